/*
 * /proc/self/mountinfo, one mount a line:
 *	<id> <parent> <major>:<minor> <root> <mount point> <options> [<tag>...] - <type> <source>
 *<super options> Blanks, tabs, newlines and backslashes in paths are written as octal escapes.
 */
#include "fuse/mountinfo.h"

#include "base/sys.h"
#include "base/util.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_WAIT_MS 2000
#define POLL_MS	       2

extern char **environ;

static void unescape(char *s)
{
	char *to = s;

	while (*s != 0) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = 0;
}

static uid_t parse_user(const char *super_options)
{
	const char *p = strstr(super_options, "user_id=");

	return p != NULL ? (uid_t)strtoul(p + strlen("user_id="), NULL, 10) : 0;
}

bool mountinfo_parse_line(char *line, char **ret_mountpoint, struct mountinfo *ret)
{
	char *rest = NULL;
	char *fields[6];
	char *type, *source, *super_options;

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
		if (fields[i] == NULL)
			return false;
	}
	for (;;) {
		char *tag = strtok_r(NULL, " \n", &rest);

		if (tag == NULL)
			return false;
		if (strcmp(tag, "-") == 0)
			break;
	}
	type = strtok_r(NULL, " \n", &rest);
	source = strtok_r(NULL, " \n", &rest);
	super_options = strtok_r(NULL, " \n", &rest);
	if (type == NULL || source == NULL || super_options == NULL ||
	    sscanf(fields[2], "%u:%u", &ret->major, &ret->minor) != 2)
		return false;
	unescape(fields[4]);
	unescape(source);
	*ret_mountpoint = fields[4];
	(void)snprintf(ret->fstype, sizeof(ret->fstype), "%s", type);
	(void)snprintf(ret->source, sizeof(ret->source), "%s", source);
	(void)snprintf(ret->options, sizeof(ret->options), ",%s", super_options);
	ret->options[strcspn(ret->options, "\n")] = 0;
	ret->user_id = parse_user(super_options);
	return true;
}

typedef int (*mount_fn)(void *ctx, const char *mountpoint, const struct mountinfo *info);

static int each_mount(mount_fn fn, void *ctx)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (f == NULL)
		return -errno;
	while (rc == 0 && getline(&line, &cap, f) > 0) {
		struct mountinfo info;
		char *mountpoint;

		if (mountinfo_parse_line(line, &mountpoint, &info))
			rc = fn(ctx, mountpoint, &info);
	}
	free(line);
	(void)fclose(f);
	return rc;
}

struct find {
	const char *mountpoint;
	struct mountinfo *ret;
	bool found;
};

/* Later lines cover earlier ones. */
static int find_one(void *ctx, const char *mountpoint, const struct mountinfo *info)
{
	struct find *find = ctx;

	if (strcmp(mountpoint, find->mountpoint) == 0) {
		*find->ret = *info;
		find->found = true;
	}
	return 0;
}

int mountinfo_find(const char *mountpoint, struct mountinfo *ret)
{
	struct find find = {.mountpoint = mountpoint, .ret = ret};
	int rc = each_mount(find_one, &find);

	if (rc != 0)
		return rc;
	return find.found ? 0 : -ENOENT;
}

static int find_device(void *ctx, const char *mountpoint, const struct mountinfo *info)
{
	struct mountinfo *wanted = ctx;

	if (info->major != wanted->major || info->minor != wanted->minor)
		return 0;
	*wanted = *info;
	return 1;
}

int mountinfo_of_device(unsigned major, unsigned minor, struct mountinfo *ret)
{
	struct mountinfo wanted = {.major = major, .minor = minor};
	int rc = each_mount(find_device, &wanted);

	if (rc <= 0)
		return rc < 0 ? rc : -ENOENT;
	*ret = wanted;
	return 0;
}

struct each {
	mount_fn fn;
	void *ctx;
};

static int each_of_ours(void *ctx, const char *mountpoint, const struct mountinfo *info)
{
	const struct each *each = ctx;

	return strcmp(info->fstype, SESSION_FSTYPE) == 0 ? each->fn(each->ctx, mountpoint, info)
							 : 0;
}

int mountinfo_each(mount_fn fn, void *ctx)
{
	struct each each = {.fn = fn, .ctx = ctx};

	return each_mount(each_of_ours, &each);
}

/* stat would be answered from the kernel's cache; statfs never is. */
static bool says_dead(const char *mountpoint)
{
	struct statfs st;

	return statfs(mountpoint, &st) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

bool mountinfo_is_dead(const char *mountpoint)
{
	struct mountinfo info;
	int status = 0;
	pid_t pid;

	if (mountinfo_find(mountpoint, &info) != 0 || strcmp(info.fstype, SESSION_FSTYPE) != 0)
		return false;
	/* In a process of its own: one whose daemon lives and is stuck does not answer. */
	pid = fork();
	if (pid == 0)
		_exit(says_dead(mountpoint));
	for (int waited = 0; pid > 0 && waited < ANSWER_WAIT_MS; waited += POLL_MS) {
		if (waitpid(pid, &status, WNOHANG) != 0)
			return WIFEXITED(status) && WEXITSTATUS(status) == 1;
		(void)poll(NULL, 0, POLL_MS);
	}
	if (pid > 0)
		(void)kill(pid, SIGKILL);
	return false;
}

void mountinfo_set_readahead(const char *mountpoint, unsigned kib)
{
	_cleanup_close_ int fd = -1;
	char path[128], text[16];
	struct mountinfo info;
	int len;

	if (geteuid() != 0 || mountinfo_find(mountpoint, &info) != 0 ||
	    strcmp(info.fstype, SESSION_FSTYPE) != 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", info.major,
		       info.minor);
	fd = sys_openat(AT_FDCWD, path, O_WRONLY, 0);
	if (fd < 0)
		return;
	len = snprintf(text, sizeof(text), "%u", kib);
	(void)sys_pwrite_full(fd, text, (size_t)len, 0);
}

/* Who may not unmount asks the setuid program that comes with libfuse. */
static int run_fusermount(const char *mountpoint, bool lazy)
{
	static char program[] = "fusermount3", unmount[] = "-u", plain[] = "-q", detach[] = "-qz",
		    end[] = "--";
	_cleanup_free_ char *path = strdup(mountpoint);
	char *const argv[] = {program, unmount, lazy ? detach : plain, end, path, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;
	int rc;

	if (path == NULL || posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	rc = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (rc == 0)
		rc = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (rc != 0)
		return -rc;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	/* It says no more than yes or no; in use is by far the most frequent no. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int mountinfo_unmount(const char *mountpoint, bool lazy)
{
	if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return run_fusermount(mountpoint, lazy);
}
