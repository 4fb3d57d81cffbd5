/*
 * cmd/recovery_plan.c: what the daemon asks before it opens a diff; see recovery.h.
 */
#include "cmd/recovery.h"

#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define MAJOR_STOPS_SHORT 13 /* the first that gives up when the target is not reached */

bool recovery_is_asked(const struct target *target)
{
	return target->kind != TARGET_NONE && target->kind != TARGET_AUTO;
}

bool recovery_diff_is_new(const char *diff)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, diff, O_RDONLY | O_DIRECTORY, 0);
	struct stat st;

	return fd == -ENOENT || (fd >= 0 && sys_fstatat(fd, "superblock", &st, 0) == -ENOENT);
}

/* ---- a diff that is there ---- */

static int last_backup(void *ctx, const char *key, const char *value)
{
	char **last = ctx;

	if (strcmp(key, "backup") != 0)
		return 0;
	free(*last);
	*last = strdup(value);
	return *last != NULL ? 0 : -ENOMEM;
}

/* A backup that was chosen for a target is no longer the newest when the diff is used again. */
static int backup_of(const char *diff, struct errmsg *e, char **ret)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *backup = NULL;
	int rc = diff_describe(diff, e, &text);

	if (rc == 0)
		rc = ini_parse(text, strlen(text), last_backup, &backup, NULL);
	if (rc == 0)
		*ret = TAKE_PTR(backup);
	return rc;
}

int recovery_resume(const char *diff, const struct target *target, struct errmsg *e,
		    char **ret_backup)
{
	struct recovery recovery = {.kind = TARGET_NONE};
	int rc = recovery_read_path(diff, e, &recovery);

	if (rc == -ENOENT && recovery_is_asked(target))
		return errmsg_set(e, -EINVAL,
				  "the diff %s was made without a target, and may have been used: "
				  "recovery begins with a new one",
				  diff);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && recovery_is_asked(target))
		rc = recovery_compare(&recovery, target, e);
	if (rc == 0)
		rc = backup_of(diff, e, ret_backup);
	recovery_clear(&recovery);
	return rc;
}

/* ---- a new one ---- */

static int warn_of_gap(struct layer_chain *chain, const char *gap, struct errmsg *e)
{
	char *longer;

	if (chain->pg_version < MAJOR_STOPS_SHORT)
		return errmsg_set(e, -ENODATA,
				  "%s, and PostgreSQL %u would open the clone there as if it had "
				  "reached its target",
				  gap, chain->pg_version);
	if (asprintf(&longer, "%s%s\n", chain->warnings != NULL ? chain->warnings : "", gap) < 0)
		return -ENOMEM;
	free(chain->warnings);
	chain->warnings = longer;
	return 0;
}

static int make(struct layer_chain *chain, const struct target *target,
		const struct target_choice *choice, struct errmsg *e, struct recovery *ret)
{
	_cleanup_free_ char *program = NULL;
	int rc = choice->gap != NULL ? warn_of_gap(chain, choice->gap, e) : 0;

	if (rc == 0)
		rc = recovery_program(e, &program);
	if (rc == 0)
		rc = recovery_make(target, choice, program, chain->store_path, chain->instance,
				   ret);
	if (rc == -EINVAL)
		return errmsg_set(e, rc,
				  "PostgreSQL cannot be told a restore_command with a line break: rename "
				  "%s",
				  chain->store_path);
	return rc;
}

int recovery_plan(struct store *store, struct layer_chain *chain, const struct target *target,
		  const struct target_choice *choice, struct errmsg *e, struct recovery *ret)
{
	struct target immediate = *target;
	struct target_choice own = {0};
	int rc;

	if (choice != NULL)
		return make(chain, target, choice, e, ret);
	if (target->kind != TARGET_AUTO || !chain->needs_archive)
		return 0;
	immediate.kind = TARGET_IMMEDIATE;
	rc = target_choose(store, chain->instance, chain->layers[chain->count - 1]->id, &immediate,
			   e, &own);
	if (rc == 0)
		rc = make(chain, &immediate, &own, e, ret);
	target_choice_free(&own);
	return rc;
}
