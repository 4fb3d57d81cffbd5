/*
 * cmd/recovery.h: a clone that is recovered from the store's archive.
 *
 * When a diff is made for a target, the data directory in it is prepared so that any start of
 * PostgreSQL recovers: recovery.signal and settings in postgresql.auto.conf, or recovery.conf up to
 * version 11. <diff>/recovery records what was asked for. A diff is prepared once: when the server
 * has recovered it removes the signal, and from then on the settings mean nothing to it.
 */
#ifndef CMD_RECOVERY_H
#define CMD_RECOVERY_H

#include "base/err.h"
#include "cmd/target.h"
#include "overlay/overlay.h"

#include <stdbool.h>
#include <stdint.h>

/* What <diff>/recovery holds. Strings are malloc'ed. */
struct recovery {
	enum target_kind kind;
	enum target_action action;
	char *value; /* as target_value; "" if none */
	bool exclusive;
	uint32_t timeline;
	char *command;	       /* restore_command */
	uint32_t segment_size; /* 0: no archive */
	uint64_t start_lsn, end_lsn;
};

void recovery_clear(struct recovery *recovery);

/*
 * Makes the record of a choice: recovery runs `program wal-get store %f %p --instance instance`.
 * -EINVAL: one of them has a line break in it.
 */
int recovery_make(const struct target *target, const struct target_choice *choice,
		  const char *program, const char *store, const char *instance,
		  struct recovery *ret);

/* -ENOENT: the diff was made without a target. */
int recovery_read(int diff_dirfd, struct errmsg *e, struct recovery *ret);
int recovery_read_path(const char *diff, struct errmsg *e, struct recovery *ret);
int recovery_parse(const char *text, size_t len, struct errmsg *e, struct recovery *ret);
char *recovery_format(const struct recovery *recovery); /* NULL: no memory */
/* Durable when it returns. */
int recovery_record(int diff_dirfd, const struct recovery *recovery, struct errmsg *e);
/* -EINVAL: a target was asked for that is not the recorded one. */
int recovery_compare(const struct recovery *recovery, const struct target *target,
		     struct errmsg *e);

/* ---- settings ---- */

#define RECOVERY_SETTINGS_MAX 8
struct recovery_setting {
	const char *name;
	const char *value; /* the recovery's or static */
	char text[16];
};
/* As PostgreSQL is told; returns how many. */
unsigned recovery_settings(const struct recovery *recovery,
			   struct recovery_setting ret[RECOVERY_SETTINGS_MAX]);

/* "name = 'value'" lines, as postgresql.auto.conf (12 and later) or recovery.conf has them. */
char *recovery_conf_text(const struct recovery *recovery);
/* What a clone that recovers also needs in its postgresql.auto.conf, whatever its version. */
#define RECOVERY_NO_ARCHIVE                                                                        \
	"# The clone's WAL must not get into the original's archive.\n"                            \
	"archive_mode = 'off'\n"

/* ---- recovery_plan.c ---- */

/* By the user, who then gets that or an error. */
bool recovery_is_asked(const struct target *target);
bool recovery_diff_is_new(const char *diff);
/*
 * A diff that is used again: -EINVAL: a target is asked for that is not its own. *ret_backup
 * (malloc'ed) is set if it has one: the backup it was made on.
 */
int recovery_resume(const char *diff, const struct target *target, struct errmsg *e,
		    char **ret_backup);
/*
 * What a new diff on this chain must be prepared for; ret->kind stays TARGET_NONE if for nothing.
 * choice: of target_choose, NULL if no target is asked for. May add to the chain's warnings.
 */
int recovery_plan(struct store *store, struct layer_chain *chain, const struct target *target,
		  const struct target_choice *choice, struct errmsg *e, struct recovery *ret);

/* ---- recovery_prepare.c ---- */

/*
 * Writes the files into a diff through its overlay (not started yet), durably. Frees the overlay
 * and closes its diff. Blocks.
 */
int recovery_prepare(struct overlay *ov, const struct recovery *recovery, unsigned major, uid_t uid,
		     gid_t gid, struct errmsg *e);

/* The program that runs, as a path that stays (malloc'ed). */
int recovery_program(struct errmsg *e, char **ret);

/* The name of the file that makes a server of this version recover. */
const char *recovery_signal_name(unsigned major);

#endif
