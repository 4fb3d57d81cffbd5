/*
 * layer/probackup/catalog.h: the backups of one instance as their backup.control files describe
 * them, and the chains they form. Nothing is locked and no list is read here.
 */
#ifndef LAYER_PROBACKUP_CATALOG_H
#define LAYER_PROBACKUP_CATALOG_H

#include "layer/probackup/control.h"

#include <stdio.h>

struct catalog_backup {
	char id[PROBACKUP_ID_MAX + 1]; /* the directory's name; backups are known by it */
	uint64_t number;	       /* its value in base 36: seconds since 1970 */
	int rc;			       /* 0, or why its backup.control cannot be used */
	char *problem;		       /* the message, if rc is not 0 */
	struct probackup_control control;
};

struct catalog {
	struct catalog_backup *items; /* oldest first */
	size_t count;
};

/* Reads all backup.control files of the instance's directory. A bad one is kept with its reason. */
int catalog_load(int instance_dirfd, struct catalog *ret, struct errmsg *e);
void catalog_free(struct catalog *catalog);

/* By id, whatever its case; NULL if there is none. */
const struct catalog_backup *catalog_find(const struct catalog *catalog, const char *id);

struct catalog_chain {
	const struct catalog_backup **items; /* oldest first, the last one is the target */
	unsigned count;
};

/*
 * Finds the members of the target's chain and checks all that can be said without their lists:
 * nothing is missing, status, versions, block sizes. force: a suspect status will do. e says which
 * backup is at fault. The items belong to the catalog.
 */
int catalog_resolve(const struct catalog *catalog, const struct catalog_backup *target, bool force,
		    struct catalog_chain *ret, struct errmsg *e);
void catalog_chain_free(struct catalog_chain *chain);

/* What a member of a chain may be (status, version, sizes); target is whose chain it is in. */
int catalog_check_member(const char *id, const struct probackup_control *control,
			 const char *target, bool force, struct errmsg *e);

/* Writes what the user should know of a member although it can be mounted: lines, each ending in
 * \n. */
void catalog_caution(FILE *out, const char *id, const struct probackup_control *control);

/* A codec (enum codec) that no store at hand was ever written with; and its line. */
bool catalog_is_unverified(int codec);
void catalog_caution_codec(FILE *out, const char *id, const char *name);

#endif
