/*
 * By the type and the options that /proc/self/mountinfo shows: what a file system can do can be
 * tried (the diff does, when it is made), what it promises cannot.
 */
#include "cmd/host.h"

#include "base/sys.h"
#include "base/util.h"
#include "fuse/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

enum trust { IN_MEMORY, NO_JOURNAL, UP_TO_OTHERS };

static const struct {
	const char *type; /* or its beginning, before a dot */
	enum trust trust;
} types[] = {
	{"tmpfs", IN_MEMORY},	    {"ramfs", IN_MEMORY},   {"vfat", NO_JOURNAL},
	{"msdos", NO_JOURNAL},	    {"exfat", NO_JOURNAL},  {"ext2", NO_JOURNAL},
	{"minix", NO_JOURNAL},	    {"fuse", UP_TO_OTHERS}, {"fuseblk", UP_TO_OTHERS},
	{"9p", UP_TO_OTHERS},	    {"cifs", UP_TO_OTHERS}, {"smb3", UP_TO_OTHERS},
	{"virtiofs", UP_TO_OTHERS},
};

static const char *const reasons[] = {
	[IN_MEMORY] = "it is in memory and gone when the machine restarts",
	[NO_JOURNAL] = "it has no journal: a power cut can damage it as a whole",
	[UP_TO_OTHERS] = "whether an fsync there survives a power cut is up to who serves it",
};

static const char *reason_of(const char *fstype)
{
	size_t len = strcspn(fstype, ".");

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		if (strlen(types[i].type) == len && strncmp(types[i].type, fstype, len) == 0)
			return reasons[types[i].trust];
	}
	return NULL;
}

static bool has_option(const struct mountinfo *info, const char *option)
{
	size_t len = strlen(option);

	for (const char *p = info->options; (p = strstr(p, option)) != NULL; p++) {
		if (p[-1] == ',' && (p[len] == ',' || p[len] == 0))
			return true;
	}
	return false;
}

/* The path, or what exists of it: where it will be made. -ENOENT cannot be: there is a root. */
static int stat_existing(const char *path, struct stat *ret)
{
	_cleanup_free_ char *at = strdup(path);
	int rc;

	if (at == NULL)
		return -ENOMEM;
	while ((rc = sys_fstatat(AT_FDCWD, at, ret, 0)) == -ENOENT && strcmp(at, "/") != 0) {
		char *slash = strrchr(at, '/');

		if (slash == NULL || slash == at)
			(void)strcpy(at, "/");
		else
			*slash = 0;
	}
	return rc;
}

static bool is_volatile(const struct mountinfo *info)
{
	return strcmp(info->fstype, "overlay") == 0 &&
	       (has_option(info, "volatile") || has_option(info, "fsync=volatile"));
}

int host_check(const char *what, const char *path, FILE *warnings, struct errmsg *e)
{
	struct mountinfo info;
	const char *reason;
	struct stat st;
	int rc = stat_existing(path, &st);

	if (rc < 0)
		return errmsg_set(e, rc, "%s '%s': %s", what, path, strerror(-rc));
	/* A subvolume of btrfs has a device number that no mount shows: there is nothing to say. */
	if (mountinfo_of_device(major(st.st_dev), minor(st.st_dev), &info) != 0)
		return 0;
	if (is_volatile(&info))
		return errmsg_set(e, -EINVAL,
				  "the %s '%s' lies on an overlay that is mounted 'volatile': "
				  "fsync does nothing there, so nothing can be kept; choose "
				  "another place",
				  what, path);
	reason = reason_of(info.fstype);
	if (reason != NULL)
		(void)fprintf(warnings, "the %s '%s' lies on %s: %s\n", what, path, info.fstype,
			      reason);
	if (has_option(&info, "nobarrier") || has_option(&info, "barrier=0"))
		(void)fprintf(warnings,
			      "the %s '%s' lies on a file system mounted without barriers: "
			      "a power cut can cost what was synced\n",
			      what, path);
	return 0;
}
