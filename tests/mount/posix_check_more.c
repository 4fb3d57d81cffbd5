/*
 * posix_check: times, mappings, locks, special files, directories as they are read.
 */
#include "posix_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct stat seen; /* by before() */

/* A clock tick of the file system goes by, so that a time that is set again differs. */
static void before(const char *path)
{
	seen = stat_of(path);
	usleep(20000);
}

static const char *after(const char *path)
{
	struct stat st = stat_of(path);
	bool m = st.st_mtim.tv_sec != seen.st_mtim.tv_sec ||
		 st.st_mtim.tv_nsec != seen.st_mtim.tv_nsec;
	bool c = st.st_ctim.tv_sec != seen.st_ctim.tv_sec ||
		 st.st_ctim.tv_nsec != seen.st_ctim.tv_nsec;

	return m ? (c ? "mtime and ctime" : "mtime") : (c ? "ctime" : "nothing");
}

/* CALL succeeds and changes the times of PATH as wanted. */
#define TIMES(call, path, wanted)                                                                  \
	do {                                                                                       \
		before(path);                                                                      \
		DOES(call);                                                                        \
		answer_text("changed by " #call " of " path, after(path), wanted);                 \
	} while (0)

void check_times(void)
{
	static const struct timespec far[2] = {{.tv_sec = 35188659351150L},
					       {.tv_sec = 35188659351150L}};
	static const struct timespec when[2] = {{.tv_sec = 5, .tv_nsec = 7},
						{.tv_sec = 6, .tv_nsec = 8}};
	int fd;
	char c;

	check_group = "times";
	DOES(mkdir("dir", 0700));
	DOES(mkdir("dir2", 0700));
	TIMES((fd = open("dir/file", O_CREAT | O_RDWR, 0600)), "dir", "mtime and ctime");
	TIMES(write(fd, "xyz", 3), "dir/file", "mtime and ctime");
	TIMES(pread(fd, &c, 1, 0), "dir/file", "nothing");
	TIMES(ftruncate(fd, 3), "dir/file", "mtime and ctime"); /* to the size that it has */
	TIMES(ftruncate(fd, 1), "dir/file", "mtime and ctime");
	TIMES(fchmod(fd, 0640), "dir/file", "ctime");
	TIMES(fchown(fd, 65533, 65533), "dir/file", "ctime");
	TIMES(link("dir/file", "dir/link"), "dir/file", "ctime");
	TIMES(unlink("dir/link"), "dir/file", "ctime");
	TIMES(rename("dir/file", "dir2/file"), "dir", "mtime and ctime");
	TIMES(rename("dir2/file", "dir/file"), "dir2", "mtime and ctime");
	DOES(link("dir/file", "dir/hard"));
	TIMES(rename("dir/file", "dir/other"), "dir/hard", "ctime");
	DOES(unlink("dir/hard"));
	TIMES(mkdir("dir/sub", 0700), "dir", "mtime and ctime");
	TIMES(rmdir("dir/sub"), "dir", "mtime and ctime");
	TIMES(symlink("x", "dir/soft"), "dir", "mtime and ctime");
	TIMES(unlink("dir/soft"), "dir", "mtime and ctime");
	TIMES(opens("dir/other", O_RDWR | O_TRUNC), "dir/other", "mtime and ctime");
	TIMES(opens("dir/other", O_RDWR), "dir/other", "nothing");
	TIMES(chmod("dir", 0711), "dir", "ctime");
	TIMES(utimensat(AT_FDCWD, "dir/other", when, 0), "dir/other", "mtime and ctime");
	GIVES(stat_of("dir/other").st_mtim.tv_sec, 6);
	GIVES(stat_of("dir/other").st_mtim.tv_nsec, 8);
	DOES(utimensat(AT_FDCWD, "dir/other", far, 0)); /* as far as each can */
	GIVES(stat_of("dir/other").st_mtim.tv_sec > 9000000000L, 1);
	DOES(close(fd));
	DOES(unlink("dir/other"));
	DOES(rmdir("dir"));
	DOES(rmdir("dir2"));
}

/* How a child ends that reads at this place of the mapping: 0, or the signal */
static int read_in_child(const volatile char *place)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGBUS, SIG_DFL);
		_exit(*place == '\1');
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* What another process is told that wants a lock of the whole file: 0, or the error */
static int lock_in_child(const char *path, bool whole)
{
	struct flock lock = {.l_type = F_WRLCK};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(path, O_RDWR);

		if (fd < 0)
			_exit(255);
		_exit((whole ? flock(fd, LOCK_EX | LOCK_NB) : fcntl(fd, F_SETLK, &lock)) == 0
			      ? 0
			      : errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WEXITSTATUS(status);
}

void check_mmap(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *map, c = 0;
	int fd;

	check_group = "mmap";
	DOES((fd = open("file", O_CREAT | O_RDWR, 0600)));
	DOES(ftruncate(fd, page + 1));
	map = mmap(NULL, (size_t)page * 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		exit(2);
	map[page] = 'm';
	GIVES(pread(fd, &c, 1, page), 1);
	GIVES(c, 'm');
	GIVES(pwrite(fd, "w", 1, 3), 1);
	GIVES(map[3], 'w');
	GIVES(read_in_child(map + page), 0);
	GIVES(read_in_child(map + 2 * page), SIGBUS);
	DOES(ftruncate(fd, 1));
	GIVES(read_in_child(map + page), SIGBUS);
	DOES(ftruncate(fd, page + 1));
	GIVES(map[3], 0);
	GIVES(map[page], 0);
	DOES(msync(map, (size_t)page, MS_SYNC));
	DOES(munmap(map, (size_t)page * 3));
	DOES(close(fd));
	DOES(unlink("file"));
}

void check_locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
	int fd;

	check_group = "locks";
	DOES((fd = open("file", O_CREAT | O_RDWR, 0600)));
	DOES(fcntl(fd, F_SETLK, &lock));
	GIVES(lock_in_child("file", false), EAGAIN);
	lock.l_type = F_UNLCK;
	DOES(fcntl(fd, F_SETLK, &lock));
	GIVES(lock_in_child("file", false), 0);
	DOES(flock(fd, LOCK_SH));
	GIVES(lock_in_child("file", true), EWOULDBLOCK);
	DOES(flock(fd, LOCK_UN));
	GIVES(lock_in_child("file", true), 0);
	DOES(close(fd));
	DOES(unlink("file"));
}

static long mode_is(const char *path, mode_t wanted)
{
	return stat_of(path).st_mode == wanted;
}

static int bind_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	close(fd);
	return rc;
}

void check_special(void)
{
	int in, out;
	char c = 0;

	check_group = "special";
	umask(027);
	DOES(mkfifo("fifo", 0666));
	GIVES(mode_is("fifo", S_IFIFO | 0640), 1);
	FAILS(mkfifo("fifo", 0666), EEXIST);
	FAILS(opens("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	DOES((in = open("fifo", O_RDONLY | O_NONBLOCK)));
	DOES((out = open("fifo", O_WRONLY)));
	GIVES(write(out, "f", 1), 1);
	GIVES(read(in, &c, 1), 1);
	GIVES(c, 'f');
	FAILS(lseek(out, 0, SEEK_SET), ESPIPE);
	DOES(close(in));
	DOES(close(out));
	DOES(bind_to("socket"));
	GIVES(mode_is("socket", S_IFSOCK | 0750), 1);
	FAILS(bind_to("socket"), EADDRINUSE);
	FAILS(opens("socket", O_RDWR), ENXIO);
	DOES(mknod("plain", S_IFREG | 0666, 0));
	GIVES(mode_is("plain", S_IFREG | 0640), 1);
	DOES(mkdir("masked", 0777));
	GIVES(mode_is("masked", S_IFDIR | 0750), 1);
	umask(0);
	DOES(rename("fifo", "plain"));
	GIVES(mode_is("plain", S_IFIFO | 0640), 1);
	DOES(unlink("plain"));
	DOES(unlink("socket"));
	DOES(rmdir("masked"));
}

/* Names of the directory from where the stream is, without . and .. */
static int count_names(DIR *dir, char *ret_last)
{
	const struct dirent *de;
	int n = 0;

	while ((de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		n++;
		snprintf(ret_last, NAME_MAX + 1, "%s", de->d_name);
	}
	return n;
}

void check_listing(void)
{
	char path[64], last[NAME_MAX + 1];
	int removed = 0, made = 0;
	const struct dirent *de;
	DIR *dir;

	check_group = "listing";
	DOES(mkdir("many", 0700));
	for (int i = 0; i < 3000; i++) {
		snprintf(path, sizeof(path), "many/name.%d", i);
		made += mknod(path, S_IFREG | 0600, 0) == 0;
	}
	GIVES(made, 3000);
	dir = opendir("many");
	GIVES(count_names(dir, last), 3000);
	DOES(unlink("many/name.7"));
	DOES(rename("many/name.8", "many/other"));
	rewinddir(dir);
	GIVES(count_names(dir, last), 2999);
	rewinddir(dir);
	while ((de = readdir(dir)) != NULL) /* each is removed while the stream is read */
		if (de->d_name[0] != '.')
			removed += unlinkat(dirfd(dir), de->d_name, 0) == 0;
	GIVES(removed, 2999);
	rewinddir(dir);
	GIVES(count_names(dir, last), 0);
	DOES(rmdir("many"));
	FAILS(mkdirat(dirfd(dir), "x", 0700), ENOENT);
	FAILS(fchmodat(dirfd(dir), "x", 0700, 0), ENOENT);
	GIVES(count_names(dir, last), 0);
	DOES(closedir(dir));
}
