/*
 * pg/wal_records.h: goes through WAL record by record, and checks the sum of each.
 * Source of the format: PostgreSQL src/include/access/xlogrecord.h and xlog_internal.h, src/backend/access/transam/
 * xlogreader.c, versions 9.6 to 18.
 *
 * From one LSN to another, as recovery would, of which it knows only the frame: what a record does is not looked
 * at, but for the end of a backup. Pure; one thread a walk.
 */
#ifndef PG_WAL_RECORDS_H
#define PG_WAL_RECORDS_H

#include "pg/wal.h"

#define PG_WAL_RECORD_HEAD 34u /* of a record that is kept: its header, and the data of the end of a backup */

enum pg_wal_walk_state {
	PG_WAL_GOES_ON, /* has not come to the stop yet */
	PG_WAL_STOPPED, /* at `at`, the first end of a record that is not before the stop */
	PG_WAL_BROKEN,	/* at `at`, for `reason` */
};

struct pg_wal_walk {
	enum pg_wal_walk_state state;
	const char *reason; /* "the WAL record at %s ...": what %s, which is `at`, is or does */
	uint64_t at;	    /* the next byte */
	uint64_t stop;
	uint32_t segment_size;
	uint64_t record, previous; /* LSN of this record, and of the one before, 0 unknown */
	uint32_t length, got;	   /* of this record; length 0: between two */
	uint32_t crc;
	bool switched;	       /* what is left of the segment is not used */
	uint64_t backup_start; /* the last record ended the backup that began there; else 0 */
	uint8_t head[PG_WAL_RECORD_HEAD];
};

/* start: of a record. */
void pg_wal_walk_init(struct pg_wal_walk *walk, uint64_t start, uint64_t stop, uint32_t segment_size);
/* The next page, which begins at lsn; from the one with the start on. */
void pg_wal_walk_page(struct pg_wal_walk *walk, uint64_t lsn, const uint8_t page[PG_WAL_PAGE]);

#endif
