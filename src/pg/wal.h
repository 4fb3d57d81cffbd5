/*
 * pg/wal.h: files of a WAL archive: their names, the first page of a segment, timeline histories.
 * Source of the formats: PostgreSQL src/include/access/xlog_internal.h and timeline.c, versions 9.6
 * to 18. Pure functions; any thread.
 */
#ifndef PG_WAL_H
#define PG_WAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_WAL_SEGMENT_MIN  (UINT32_C(1) << 20)
#define PG_WAL_SEGMENT_MAX  (UINT32_C(1) << 30)
#define PG_WAL_PAGE	    8192u
#define PG_WAL_HEADER_BYTES 40u /* of the first page of a segment */
#define PG_WAL_NAME_SIZE    25	/* of a segment's name, with its NUL */
#define PG_LSN_TEXT_SIZE    20	/* of "FFFFFFFF/FFFFFFFF" and its NUL */

bool pg_wal_segment_size_is_valid(uint64_t bytes);

enum pg_wal_kind {
	PG_WAL_SEGMENT, /* 000000010000000000000008 */
	PG_WAL_HISTORY, /* 00000002.history */
	PG_WAL_BACKUP,	/* 000000010000000000000008.00000028.backup */
};

struct pg_wal_name {
	enum pg_wal_kind kind;
	uint32_t timeline;
	uint64_t segment; /* number since LSN 0; 0 of a history */
};

/* False (ret untouched) for what PostgreSQL gives no file of an archive. */
bool pg_wal_name_parse(const char *name, uint32_t segment_size, struct pg_wal_name *ret);
void pg_wal_segment_name(uint32_t timeline, uint64_t segment, uint32_t segment_size,
			 char ret[PG_WAL_NAME_SIZE]);

/* What the first page of a segment must say. */
struct pg_wal_expect {
	uint32_t timeline; /* the first segment of a timeline may hold pages of the one before */
	uint64_t segment;
	uint32_t segment_size;
	uint64_t system_identifier; /* 0: not known */
};
/* 0, or -EUCLEAN with a phrase like "it is of another cluster" in e. len: at least
 * PG_WAL_HEADER_BYTES. */
int pg_wal_check_first_page(const void *page, const struct pg_wal_expect *expect, struct errmsg *e);

/* The end of a timeline that others go on from. */
struct pg_wal_switch {
	uint32_t timeline;
	uint64_t lsn; /* the next timeline begins here */
};
/*
 * The ancestors that the history file of `timeline` lists, oldest first, malloc'ed. -EUCLEAN with
 * the line in e.
 */
int pg_wal_history_parse(const char *text, size_t len, uint32_t timeline,
			 struct pg_wal_switch **ret, size_t *ret_count, struct errmsg *e);

/* "16/B374D848" and nothing else. */
bool pg_lsn_parse(const char *text, uint64_t *ret);
const char *pg_lsn_text(uint64_t lsn, char ret[PG_LSN_TEXT_SIZE]); /* returns ret */

#endif
