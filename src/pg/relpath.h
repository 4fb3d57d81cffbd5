/*
 * pg/relpath.h: which relation a file of a data directory belongs to.
 * Source of the rules: PostgreSQL src/common/relpath.c. Pure functions; any thread.
 */
#ifndef PG_RELPATH_H
#define PG_RELPATH_H

#include <stdbool.h>
#include <stdint.h>

#define PG_TABLESPACE_DEFAULT 1663u /* base/ */
#define PG_TABLESPACE_GLOBAL 1664u  /* global/ */
#define PG_SEGNO_MAX 32767u         /* 2^32 blocks in segments of 1 GiB */

enum pg_fork { PG_FORK_MAIN, PG_FORK_FSM, PG_FORK_VM, PG_FORK_INIT, PG_FORK_MAX_ };

struct pg_relpath {
	uint32_t tablespace;
	uint32_t database; /* 0 in global/ */
	uint32_t relation; /* the relfilenode */
	enum pg_fork fork;
	uint32_t segno;
};

/*
 * Takes apart a path relative to the data directory; false (ret untouched) if it is none of
 *
 *	global/<relation>   base/<database>/<relation>   pg_tblspc/<tablespace>/PG_<version>/<database>/<relation>
 *
 * with <relation> = <relfilenode>[_fsm|_vm|_init][.<segno>]. Temporary relations (t3_16384) are not relations here:
 * no backup has them.
 */
bool pg_relpath_parse(const char *path, struct pg_relpath *ret);

const char *pg_fork_name(enum pg_fork fork); /* "main", "fsm", "vm", "init" */

#endif
