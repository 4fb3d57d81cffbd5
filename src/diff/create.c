/*
 * Making a diff. The superblock comes last, when everything else is durable: a directory without
 * one is either no diff, or one whose making was interrupted, and then there is nothing in it worth
 * keeping. The lock, with our mark in it, comes first and tells the two apart.
 */
#include "diff/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

struct survey {
	bool lock, ours, foreign;
};

static int survey_name(void *ctx, const char *name, unsigned char d_type)
{
	static const char *const own[] = {"gen", "cache", "log", "superblock.tmp"};
	struct survey *s = ctx;

	if (strcmp(name, "lock") == 0) {
		s->lock = true;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++) {
		if (strcmp(name, own[i]) == 0) {
			s->ours = true;
			return 0;
		}
	}
	s->foreign = true;
	return 0;
}

int diff_check_empty(int dirfd, const char *path, struct errmsg *e)
{
	struct survey s = {0};
	int rc = sys_readdir(dirfd, ".", survey_name, &s);

	if (rc < 0)
		return errmsg_set(e, rc, "'%s': %s", path, strerror(-rc));
	if (s.foreign || (s.ours && !s.lock) || (s.lock && !lock_is_ours(dirfd)))
		return errmsg_set(
			e, -ENOTEMPTY,
			"'%s' is not empty and is no diff; give an empty or a new directory", path);
	return 0;
}

static int make_dir(int dirfd, const char *name)
{
	int rc = sys_mkdirat(dirfd, name, 0700);

	return rc == -EEXIST ? 0 : rc;
}

static int sync_dir(int dirfd, const char *name)
{
	int fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY, 0), rc;

	if (fd < 0)
		return fd;
	rc = sys_fsync(fd);
	(void)sys_close(fd);
	return rc;
}

static int make_dirs(int dirfd, const char *generation)
{
	char name[64];
	int rc = make_dir(dirfd, "cache");

	if (rc == 0)
		rc = make_dir(dirfd, "gen");
	if (rc == 0)
		rc = make_dir(dirfd, generation);
	(void)snprintf(name, sizeof(name), "%s/data", generation);
	if (rc == 0)
		rc = make_dir(dirfd, name);
	for (unsigned i = 0; i < DIFF_DATA_DIRS && rc == 0; i++) {
		(void)snprintf(name, sizeof(name), "%s/data/%02x", generation, i);
		rc = make_dir(dirfd, name);
	}
	(void)snprintf(name, sizeof(name), "%s/data", generation);
	return rc < 0 ? rc : sync_dir(dirfd, name);
}

static void warn(struct diff *diff, const char *lacks)
{
	size_t len = strlen(diff->warnings);

	(void)snprintf(diff->warnings + len, sizeof(diff->warnings) - len,
		       "the diff lies on a filesystem without %s\n", lacks);
}

static bool is_unsupported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOSYS;
}

/* A file that is only made longer takes no space. */
static bool is_sparse(int fd)
{
	struct stat st;

	return sys_ftruncate(fd, DIFF_SEGMENT) != 0 || sys_fstat(fd, &st) != 0 ||
	       (uint64_t)st.st_blocks * 512 < DIFF_SEGMENT;
}

/* What the diff needs of its filesystem beyond plain files; said once, when it is made. */
static void check_filesystem(struct diff *diff)
{
	const int punch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	int fd = sys_openat(diff->gen_fd, "journal", O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return; /* making the journal will say it */
	if (!is_sparse(fd))
		warn(diff, "sparse files: a file takes as much space as it is long, whatever was "
			   "changed in it");
	if (is_unsupported(sys_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, DIFF_SEGMENT)))
		warn(diff, "fallocate: allocating space in the mount will be refused");
	if (is_unsupported(sys_fallocate(fd, punch, 0, DIFF_SEGMENT)))
		warn(diff,
		     "hole punching: truncated files keep their space until they are removed");
	(void)sys_close(fd);
}

const char *diff_warnings(const struct diff *diff)
{
	return diff->warnings;
}

static int write_first_state(struct diff *diff)
{
	struct diff_buffer state = {0};
	bool renamed;
	int rc = state_encode(diff, 1, &state);

	if (rc == 0)
		rc = state_write(diff, &state, &renamed);
	diff_buffer_free(&state);
	return rc;
}

static int make_generation(struct diff *diff, const char *generation, struct errmsg *e)
{
	int rc = make_dirs(diff->dirfd, generation);

	if (rc < 0)
		return rc;
	diff->gen_fd = sys_openat(diff->dirfd, generation, O_RDONLY | O_DIRECTORY, 0);
	if (diff->gen_fd < 0)
		return diff->gen_fd;
	check_filesystem(diff);
	rc = journal_create(diff->gen_fd, e);
	if (rc == 0)
		rc = write_first_state(diff);
	if (rc == 0)
		rc = sys_fsync(diff->gen_fd);
	(void)sys_close(TAKE_FD(diff->gen_fd));
	if (rc == 0)
		rc = sync_dir(diff->dirfd, "gen");
	return rc < 0 ? rc : sys_fsync(diff->dirfd);
}

/*
 * The name of the diff in its parent. A parent we may not read is somebody else's, who made this
 * directory.
 */
static int sync_parent(const char *path)
{
	_cleanup_free_ char *parent = NULL;
	int rc;

	if (asprintf(&parent, "%s/..", path) < 0) {
		parent = NULL;
		return -ENOMEM;
	}
	rc = sync_dir(AT_FDCWD, parent);
	return rc == -EACCES ? 0 : rc;
}

int diff_create_begin(struct diff *diff, struct errmsg *e)
{
	int rc = sys_fsync(diff->lock_fd);

	if (rc == 0)
		rc = sys_fsync(diff->dirfd);
	return rc < 0 ? errmsg_set(e, rc, "cannot make a diff in '%s': %s", diff->path,
				   strerror(-rc))
		      : 0;
}

int diff_create(struct diff *diff, const struct diff_binding *binding, struct errmsg *e)
{
	char generation[] = "gen/1";
	struct superblock sb = {.generation = generation};
	int rc = 0;

	if (getrandom(sb.uuid, sizeof(sb.uuid), 0) != (ssize_t)sizeof(sb.uuid))
		rc = -EIO;
	memcpy(diff->uuid, sb.uuid, sizeof(diff->uuid));
	if (rc == 0)
		rc = make_generation(diff, generation, e);
	if (rc == 0)
		rc = superblock_write(diff->dirfd, &sb, binding);
	if (rc == 0)
		rc = sync_parent(diff->path);
	return rc < 0 ? errmsg_set(e, rc, "cannot make a diff in '%s': %s", diff->path,
				   strerror(-rc))
		      : 0;
}
