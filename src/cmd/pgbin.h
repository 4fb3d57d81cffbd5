/*
 * cmd/pgbin.h: finding the programs of the PostgreSQL version that a backup needs.
 * One thread; runs programs as the owner.
 */
#ifndef CMD_PGBIN_H
#define CMD_PGBIN_H

#include "base/err.h"
#include "cmd/process.h"

#include <stdbool.h>

struct pgbin {
	unsigned major;
	char *dir;	/* where postgres lies */
	char *postgres; /* absolute paths */
	char *psql;	/* NULL: not installed */
	char *version;	/* "15.20" */
	char *lib_dir;	/* what $libdir means; NULL: unknown */
};

/* The major version in PG_VERSION of a data directory: 15; of "9.6" it is 9. */
int pgbin_read_major(const char *data_dir, struct errmsg *e, unsigned *ret);

/*
 * Looks in $PGOVERLAY_PGBIN, the places of Debian and of PGDG's packages, beside pg_config and in
 * PATH. -ENOENT names the places and the package to install.
 */
int pgbin_find(unsigned major, const struct owner *owner, struct errmsg *e, struct pgbin *ret);
void pgbin_clear(struct pgbin *bin);

/*
 * Is there a file for this library, looked for as the server does (LOAD, *_preload_libraries)?
 * search: the value of dynamic_library_path or NULL; plugins: the rule of local_preload_libraries,
 * names without a path lie in $libdir/plugins. True when it cannot be told.
 */
bool pgbin_has_library(const struct pgbin *bin, const char *name, const char *search, bool plugins);

#endif
