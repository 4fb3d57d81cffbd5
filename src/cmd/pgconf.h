/*
 * cmd/pgconf.h: PostgreSQL's configuration files as the server reads them: postgresql.conf with its
 * includes, then postgresql.auto.conf.
 *
 * For `up`, which must know what a backup's configuration says before the server acts on it, and
 * what of it the server would stop at. Rules: PostgreSQL's src/backend/utils/misc/guc-file.l,
 * versions 10 to 18. Files are read with the rights the caller has at the moment. One thread.
 */
#ifndef CMD_PGCONF_H
#define CMD_PGCONF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct arena;

/* One setting where it stands. Strings live as long as the struct pgconf. */
struct pgconf_item {
	const char *name, *value;
	const char *file; /* absolute */
	unsigned line;
	bool from_auto; /* of postgresql.auto.conf: the server reads that one whatever config_file
			   says */
	bool dropped;
};

/* What the server would refuse to start at: a line that is none, an include that cannot be read. */
struct pgconf_problem {
	const char *file;
	unsigned line;
	const char *text; /* "cannot include '/etc/x.conf': No such file or directory" */
	bool from_auto;
};

struct pgconf {
	struct pgconf_item *items; /* in the order the server applies them */
	size_t count, cap;
	struct pgconf_problem *problems;
	size_t problem_count, problem_cap;
	bool has_main; /* postgresql.conf is in the data directory */
	struct arena *arena;
};

/* data_dir is absolute. Problems inside the files are no failure of this function. */
int pgconf_read(const char *data_dir, struct errmsg *e, struct pgconf *ret);
void pgconf_free(struct pgconf *conf);

/* The value in effect, NULL if no file sets it. Names compare without case. */
const char *pgconf_get(const struct pgconf *conf, const char *name);
bool pgconf_name_equal(const char *a, const char *b);

/* Adds a setting behind all others of its file. -ENOMEM. */
int pgconf_add(struct pgconf *conf, const char *name, const char *value, const char *file,
	       unsigned line, bool from_auto);
int pgconf_add_problem(struct pgconf *conf, const char *file, unsigned line, bool from_auto,
		       const char *text);

/* Takes every setting of that name, or the one at that place, out. */
struct pgconf_dropped {
	unsigned from_main, from_auto;
};
struct pgconf_dropped pgconf_drop(struct pgconf *conf, const char *name);
struct pgconf_dropped pgconf_drop_at(struct pgconf *conf, const char *file, unsigned line);

/*
 * The text of a file without includes that sets what is left: of postgresql.conf and its includes,
 * or of postgresql.auto.conf. malloc'ed.
 */
int pgconf_format(const struct pgconf *conf, bool from_auto, const char *heading, char **ret);

/*
 * Splits a list of names as the server does for libraries: at commas, blanks around names ignored,
 * double quotes around a name. Calls fn for each; stops at its first non-zero.
 */
int pgconf_split(const char *list, int (*fn)(void *ctx, const char *name), void *ctx);

/* "on", "yes", "t" ...: true; -1: not a boolean. */
int pgconf_bool(const char *value);
/* A memory size in kB; a number without a unit counts in units of unit_kb. -EINVAL. */
long long pgconf_kilobytes(const char *value, unsigned unit_kb);

/* ---- for the parser's own tests ---- */

enum pgconf_line { PGCONF_EMPTY, PGCONF_SETTING, PGCONF_SYNTAX };

/*
 * One line without its newline. For PGCONF_SETTING name and value are copied to the two buffers,
 * each at least len + 1 bytes, the value with quotes and escapes resolved.
 */
enum pgconf_line pgconf_parse_line(const char *line, size_t len, char *name, char *value);

#endif
