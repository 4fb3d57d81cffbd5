/*
 * What system calls answer on a file system: errors, permissions, link counts, times.
 *
 *	posix_check DIR
 *
 * DIR is empty and belongs to root, who runs this; users 65533 and 65532 act as the others. Each
 * call prints one line, "GROUP: CALL = ANSWER", so that two file systems can be compared line by
 * line. What POSIX wants of it, or Linux where that says more, stands beside the call, so that one
 * file system can be judged alone. Exit status 1 after a line on stderr for each answer that is not
 * the wanted one.
 */
#include "posix_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char *check_group;
static int wrongs;
static char name255[256], name256[257], target4095[4096], path4096[4097];

void answer_text(const char *call, const char *got, const char *wanted)
{
	printf("%s: %s = %s\n", check_group, call, got);
	if (strcmp(got, wanted) == 0)
		return;
	fprintf(stderr, "%s: %s = %s, wanted %s\n", check_group, call, got, wanted);
	wrongs++;
}

static const char *error_name(int err)
{
	return err == 0 ? "0" : strerrorname_np(err);
}

void answer_rc(const char *call, long rc, int wanted)
{
	answer_text(call, error_name(rc < 0 ? errno : 0), error_name(wanted));
}

void answer_value(const char *call, long long got, long long wanted)
{
	char g[32], w[32];

	snprintf(g, sizeof(g), "%lld", got);
	snprintf(w, sizeof(w), "%lld", wanted);
	answer_text(call, g, w);
}

int opens(const char *path, int flags)
{
	int fd = open(path, flags, 0666);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

int make(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, mode);

	if (fd < 0 || fchmod(fd, mode) != 0 || write(fd, path, 1) != 1)
		return -1;
	return close(fd);
}

struct stat stat_of(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		memset(&st, 0xff, sizeof(st));
	return st;
}

long links(const char *path)
{
	return (long)stat_of(path).st_nlink;
}

long size(const char *path)
{
	return (long)stat_of(path).st_size;
}

long mode(const char *path)
{
	return (long)(stat_of(path).st_mode & 07777);
}

static void names(void)
{
	check_group = "names";
	DOES(make(name255, 0600));
	FAILS(make(name256, 0600), ENAMETOOLONG);
	FAILS(mkdir(name256, 0700), ENAMETOOLONG);
	FAILS(symlink("x", name256), ENAMETOOLONG);
	FAILS(link(name255, name256), ENAMETOOLONG);
	FAILS(rename(name255, name256), ENAMETOOLONG);
	FAILS(rename(name256, name255), ENAMETOOLONG);
	FAILS(unlink(name256), ENAMETOOLONG);
	FAILS(rmdir(name256), ENAMETOOLONG);
	FAILS(access(name256, F_OK), ENAMETOOLONG);
	FAILS(access(path4096, F_OK), ENAMETOOLONG);
	DOES(rename(name255, "short"));
	DOES(rename("short", name255));
	DOES(unlink(name255));
	DOES(symlink(target4095, "longlink"));
	GIVES(size("longlink"), 4095);
	FAILS(symlink(path4096, "longerlink"), ENAMETOOLONG);
	FAILS(symlink("", "emptylink"), ENOENT);
	FAILS(opens("", O_RDONLY), ENOENT);
	FAILS(mkdir("nowhere/d", 0700), ENOENT);
	DOES(make("\xff\xfe \n", 0600));
	DOES(unlink("\xff\xfe \n"));
	DOES(unlink("longlink"));
}

static void directories(void)
{
	check_group = "directories";
	DOES(make("file", 0600));
	DOES(mkdir("dir", 0700));
	GIVES(links("dir"), 2);
	DOES(mkdir("dir/sub", 0700));
	GIVES(links("dir"), 3);
	DOES(make("dir/file", 0600));
	GIVES(links("dir"), 3);
	FAILS(mkdir("dir", 0700), EEXIST);
	FAILS(mkdir("file", 0700), EEXIST);
	FAILS(mkdir("file/sub", 0700), ENOTDIR);
	FAILS(rmdir("dir"), ENOTEMPTY);
	FAILS(rmdir("file"), ENOTDIR);
	FAILS(rmdir("dir/sub/."), EINVAL);
	FAILS(rmdir("dir/sub/.."), ENOTEMPTY);
	FAILS(rmdir("nothing"), ENOENT);
	FAILS(unlink("dir"), EISDIR);
	FAILS(unlink("file/"), ENOTDIR);
	FAILS(unlink("file/x"), ENOTDIR);
	FAILS(opens("dir", O_WRONLY), EISDIR);
	FAILS(opens("dir", O_CREAT | O_RDONLY), EISDIR);
	FAILS(opens("file", O_DIRECTORY | O_RDONLY), ENOTDIR);
	FAILS(opens("file/", O_RDONLY), ENOTDIR);
	FAILS(opens("new/", O_CREAT | O_RDWR), EISDIR);
	FAILS(truncate("dir", 0), EISDIR);
	FAILS(chdir("file"), ENOTDIR);
	FAILS(link("dir", "dirlink"), EPERM);
	DOES(rmdir("dir/sub"));
	GIVES(links("dir"), 2);
	DOES(unlink("dir/file"));
	DOES(rmdir("dir"));
	FAILS(access("dir", F_OK), ENOENT);
	DOES(unlink("file"));
}

static void renames(void)
{
	check_group = "rename";
	DOES(mkdir("a", 0700));
	DOES(mkdir("a/child", 0700));
	DOES(mkdir("empty", 0700));
	DOES(mkdir("full", 0700));
	DOES(make("full/x", 0600));
	DOES(make("file", 0600));
	FAILS(rename("a", "full"), ENOTEMPTY);
	FAILS(rename("a", "a/child/a"), EINVAL);
	FAILS(rename("a", "a/b"), EINVAL);
	FAILS(rename("a/child", "a"), ENOTEMPTY);
	FAILS(rename("a", "file"), ENOTDIR);
	FAILS(rename("file", "a"), EISDIR);
	FAILS(rename("file", "empty"), EISDIR);
	FAILS(rename("file", "new/"), ENOTDIR);
	FAILS(rename("nothing", "a"), ENOENT);
	FAILS(rename("file", "nothing/x"), ENOENT);
	FAILS(rename("file", "file/x"), ENOTDIR);
	FAILS(rename("a/.", "b"), EBUSY);
	DOES(rename("a", "empty"));
	GIVES(links("empty"), 3);
	DOES(rename("empty/child", "full/child"));
	GIVES(links("empty"), 2);
	GIVES(links("full"), 3);
	DOES(make("file2", 0600));
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "file2", RENAME_NOREPLACE), EEXIST);
	DOES(renameat2(AT_FDCWD, "file", AT_FDCWD, "file3", RENAME_NOREPLACE));
	DOES(rename("file3", "file2"));
	FAILS(access("file3", F_OK), ENOENT);
	DOES(link("file2", "same"));
	DOES(rename("file2", "same"));
	GIVES(links("file2"), 2);
	GIVES(links("same"), 2);
	DOES(rename("same", "same"));
	DOES(unlink("same"));
	DOES(unlink("file2"));
	DOES(rmdir("empty"));
	DOES(rmdir("full/child"));
	DOES(unlink("full/x"));
	DOES(rmdir("full"));
}

static void links_and_opens(void)
{
	struct stat st;
	char c = 0;
	int fd;

	check_group = "links";
	DOES(make("file", 0600));
	DOES(link("file", "second"));
	GIVES(links("file"), 2);
	GIVES(stat_of("file").st_ino == stat_of("second").st_ino, 1);
	FAILS(link("file", "second"), EEXIST);
	FAILS(link("nothing", "x"), ENOENT);
	FAILS(link("file/x", "x"), ENOTDIR);
	DOES(symlink("file", "soft"));
	FAILS(symlink("file", "soft"), EEXIST);
	DOES(link("soft", "softlink"));
	GIVES(links("soft"), 2);
	DOES(linkat(AT_FDCWD, "soft", AT_FDCWD, "third", AT_SYMLINK_FOLLOW));
	GIVES(links("file"), 3);
	DOES(symlink("loop2", "loop1"));
	DOES(symlink("loop1", "loop2"));
	FAILS(opens("loop1", O_RDONLY), ELOOP);
	FAILS(mkdir("loop1/x", 0700), ELOOP);
	FAILS(opens("soft", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(readlink("file", &c, 1), EINVAL);
	FAILS(opens("file", O_CREAT | O_EXCL | O_RDWR), EEXIST);
	FAILS(opens("soft", O_CREAT | O_EXCL | O_RDWR), EEXIST);
	DOES(symlink("made", "dangling"));
	FAILS(opens("dangling", O_RDONLY), ENOENT);
	FAILS(opens("dangling", O_CREAT | O_EXCL | O_RDWR), EEXIST);
	DOES(opens("dangling", O_CREAT | O_RDWR));
	GIVES(size("made"), 0);
	DOES(unlink("second"));
	DOES(unlink("third"));
	DOES((fd = open("file", O_RDWR | O_APPEND)));
	DOES(unlink("file"));
	FAILS(access("file", F_OK), ENOENT);
	DOES(fstat(fd, &st));
	GIVES(st.st_nlink, 0);
	GIVES(pwrite(fd, "yz", 2, 0), 2); /* Linux appends, wherever pwrite says */
	GIVES(pread(fd, &c, 1, 2), 1);
	GIVES(c, 'z');
	DOES(ftruncate(fd, 1));
	DOES(fchmod(fd, 0640));
	DOES(fsync(fd));
	FAILS(linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH), ENOENT);
	DOES(close(fd));
	for (const char *const *p = (const char *const[]){"soft", "softlink", "loop1", "loop2",
							  "dangling", "made", NULL};
	     *p != NULL; p++)
		unlink(*p);
}

static bool write_back;

static void limits(void)
{
	struct rlimit old, limit;
	int fd;

	check_group = "limits";
	DOES((fd = open("file", O_CREAT | O_RDWR, 0600)));
	FAILS(ftruncate(fd, INT64_MAX), EFBIG);
	FAILS(truncate("file", INT64_MAX), EFBIG);
	FAILS(truncate("file", -1), EINVAL);
	if (!write_back) /* the kernel does not know our limit */
		FAILS(pwrite(fd, "x", 1, INT64_MAX - 1), EFBIG);
	FAILS(pwrite(fd, "x", 1, -1), EINVAL);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	GIVES(size("file"), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){.rlim_cur = 1000, .rlim_max = old.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	FAILS(ftruncate(fd, 1001), EFBIG);
	GIVES(pwrite(fd, "12345", 5, 998), 2);
	FAILS(pwrite(fd, "12345", 5, 1000), EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	GIVES(size("file"), 1000);
	DOES(ftruncate(fd, (off_t)1 << 40)); /* sparse */
	GIVES(pwrite(fd, "end", 3, ((off_t)1 << 40) - 3), 3);
	GIVES(size("file"), 1LL << 40);
	DOES(ftruncate(fd, 0));
	GIVES(stat_of("file").st_blocks, 0);
	FAILS(ftruncate(fd, -1), EINVAL);
	DOES(close(fd));
	DOES((fd = open("file", O_RDONLY)));
	FAILS(write(fd, "x", 1), EBADF);
	FAILS(ftruncate(fd, 0), EINVAL);
	DOES(close(fd));
	DOES(unlink("file"));
}

int main(int argc, char **argv)
{
	write_back = argc == 3 && strcmp(argv[2], "--write-back") == 0;
	if (argc != 2 + write_back || chdir(argv[1]) != 0 || geteuid() != 0) {
		fprintf(stderr, "usage: posix_check DIR [--write-back] (as root)\n");
		return 2;
	}
	umask(0);
	memset(name255, 'n', 255);
	memset(name256, 'n', 256);
	memset(target4095, 't', 4095);
	memset(path4096, '/', 4096);
	names();
	directories();
	renames();
	links_and_opens();
	limits();
	check_permissions();
	check_sticky();
	check_setgid();
	check_times();
	check_mmap();
	check_locks();
	check_special();
	check_listing();
	return wrongs != 0;
}
