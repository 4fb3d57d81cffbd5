/*
 * cmd/settings.h: what `up` gives the server instead of the backup's settings, so that a clone is
 * safe beside its original and starts on this machine. One table: setting, value or rule, reason,
 * versions.
 *
 * Pure, apart from looking for library files; one thread.
 */
#ifndef CMD_SETTINGS_H
#define CMD_SETTINGS_H

#include "base/err.h"
#include "cmd/pgbin.h"
#include "cmd/pgconf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct setting_pair {
	const char *name, *value;
};

/* What the rules look at. Strings stay the caller's. */
struct settings_input {
	unsigned major;
	const struct pgconf *conf;
	const struct pgbin *bin;
	const char *data_dir;		   /* the mount */
	const char *socket_dir;		   /* 0700 */
	const char *hba_file, *ident_file; /* NULL: where the server looks by itself */
	const char *config_file;	   /* NULL: postgresql.conf of the backup */
	const char *listen;		   /* NULL: no TCP */
	unsigned port;
	const struct setting_pair *recovery; /* instead of what turns recovery settings off; NULL: none */
	unsigned recovery_count;
	bool recovered; /* earlier: what the files still say of it is the clone's own, and not told */
	bool needs_queries; /* in recovery, too */
	uint64_t memory; /* bytes the machine (or our part of it) has; 0: unknown */
	bool keep_preload;
};

struct setting {
	char *name;
	char *value; /* NULL: left out, the server's default */
	char *was;   /* in the backup; NULL: not set there */
	char *reason;
	bool changed; /* worth telling: the backup says otherwise, or there is no default that it
			 could be */
	bool given;   /* by --set */
};

struct settings {
	struct setting *items;
	size_t count, cap;
};

/* Runs the table. */
int settings_decide(const struct settings_input *input, struct errmsg *e, struct settings *ret);
/* NAME=VALUE of --set: replaces ours or is added. -EINVAL with the reason: no such form, or a
 * setting that the clone stands on. */
int settings_override(struct settings *settings, const char *assignment, const struct pgconf *conf,
		      struct errmsg *e);
/* Adds one; strings are copied, value and was may be NULL. A setting that is there is replaced. */
int settings_add(struct settings *settings, const char *name, const char *value, const char *was,
		 const char *reason);
void settings_free(struct settings *settings);

const struct setting *settings_find(const struct settings *settings, const char *name);

/* Memory of this machine, or of our control group if that has less; bytes, 0 unknown. */
uint64_t settings_memory(void);

#endif
