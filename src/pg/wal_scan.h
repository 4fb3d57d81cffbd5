/*
 * pg/wal_scan.h: looks for a restore point in WAL, without decoding every record.
 * Source of the format: PostgreSQL src/include/access/xlogrecord.h and xlog_internal.h,
 * versions 9.6 to 18.
 *
 * It searches the contents of the pages for what the record of a restore point of that name looks
 * like, checked by its CRC. Pure; one thread a scan.
 */
#ifndef PG_WAL_SCAN_H
#define PG_WAL_SCAN_H

#include "pg/wal.h"

#define PG_RESTORE_POINT_BYTES 98u /* header 24, data header 2, time 8, name 64 */

struct pg_wal_scan {
	uint8_t name[64];
	bool found;
	uint64_t lsn; /* of the record, or of the page it ends in */
	size_t carry; /* bytes of the pages before, in window */
	uint8_t window[PG_RESTORE_POINT_BYTES + PG_WAL_PAGE];
};

/* name: 1 to 63 bytes. */
void pg_wal_scan_init(struct pg_wal_scan *scan, const char *name);
/* The next page, in their order; pages that are none are passed over. The last match stays. */
void pg_wal_scan_page(struct pg_wal_scan *scan, const uint8_t page[PG_WAL_PAGE]);

#endif
