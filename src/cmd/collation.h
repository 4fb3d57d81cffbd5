/*
 * cmd/collation.h: collations whose version on this machine is not the one a clone's indexes were
 * built with.
 */
#ifndef CMD_COLLATION_H
#define CMD_COLLATION_H

#include "base/err.h"
#include "cmd/pgbin.h"

#include <stddef.h>

struct collation {
	char *database, *name; /* name "": the database's default collation */
	char *recorded, *actual;
};

struct collation_list {
	struct collation *items;
	size_t count;
	char *note; /* what could not be checked, or NULL */
};

/*
 * Asks the running server through psql, at most 64 databases. Failing to ask is no failure: the
 * note says why. -ENOMEM.
 */
int collation_check(const struct pgbin *bin, const struct owner *owner, const char *host,
		    unsigned port, const char *user, struct collation_list *ret);
void collation_list_free(struct collation_list *list);

#endif
