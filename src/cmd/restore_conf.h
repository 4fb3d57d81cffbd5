/*
 * cmd/restore_conf.h: the recovery settings that a restore writes, as pg_probackup writes them.
 * Pure functions.
 */
#ifndef CMD_RESTORE_CONF_H
#define CMD_RESTORE_CONF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is asked for; NULL: not given. Strings stay the caller's. */
struct restore_recovery {
	const char *time, *xid, *lsn, *name;
	const char *stop; /* "immediate" or "latest" */
	const char *inclusive, *timeline, *action;
	const char *restore_command;
	bool as_replica;
	const char *primary_conninfo, *slot;
};

/* -EINVAL with the option in e: two targets, or a value that is none. */
int restore_recovery_check(const struct restore_recovery *r, struct errmsg *e);

struct restore_conf {
	const char *backup;	      /* id */
	const char *local_time;	      /* "2026-11-20 10:42:20+00" */
	const char *restore_command;  /* the one if none is given */
	const char *primary_conninfo; /* the one if none is given */
	bool needs_archive;	      /* WAL is not in the backup */
	uint32_t pg_version;	      /* major; 0 unknown, taken for a new one */
};

/* What is to be written; malloc'ed. */
struct restore_conf_files {
	char *auto_conf;     /* to be appended to postgresql.auto.conf, "" before version 12 */
	char *recovery_conf; /* recovery.conf, NULL: none */
	bool recovery_signal, standby_signal;
};

int restore_conf_make(const struct restore_recovery *r, const struct restore_conf *conf,
		      struct restore_conf_files *ret);
void restore_conf_free(struct restore_conf_files *files);

/*
 * `"/usr/bin/pgoverlay" wal-get "STORE" "%f" "%p" --instance "I"`, as the shell and the server's
 * own percent signs want it. malloc'ed, NULL: out of memory.
 */
char *restore_conf_command(const char *program, const char *store, const char *instance);

#endif
