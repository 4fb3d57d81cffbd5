/*
 * pg/wal_scan.c: see wal_scan.h.
 */
#include "pg/wal_scan.h"
#include "base/util.h"

#define SHORT_HEADER 24u
#define LONG_HEADER  0x0002u

/* XLogRecord, and the short header of its main data. */
#define OFF_LENGTH 0u
#define OFF_INFO   16u
#define OFF_RMGR   17u
#define OFF_CRC	   20u
#define OFF_DATA   24u
#define OFF_NAME   (OFF_DATA + 2 + 8)

#define INFO_RESTORE_POINT 0x70u
#define DATA_SHORT	   0xffu

void pg_wal_scan_init(struct pg_wal_scan *scan, const char *name)
{
	size_t len = MIN(strlen(name), sizeof(scan->name) - 1);

	memset(scan, 0, sizeof(*scan));
	memcpy(scan->name, name, len);
}

static bool is_the_record(const struct pg_wal_scan *scan, const uint8_t *r)
{
	uint32_t crc;

	if (get_le32(r + OFF_LENGTH) != PG_RESTORE_POINT_BYTES ||
	    (r[OFF_INFO] & 0xf0u) != INFO_RESTORE_POINT || r[OFF_RMGR] != 0 ||
	    r[OFF_DATA] != DATA_SHORT || r[OFF_DATA + 1] != 8 + sizeof(scan->name) ||
	    memcmp(r + OFF_NAME, scan->name, strlen((const char *)scan->name) + 1) != 0)
		return false;
	/* The server adds the data first and the header, up to the CRC itself, last. */
	crc = crc32c(0, r + OFF_DATA, PG_RESTORE_POINT_BYTES - OFF_DATA);
	return crc32c(crc, r, OFF_CRC) == get_le32(r + OFF_CRC);
}

void pg_wal_scan_page(struct pg_wal_scan *scan, const uint8_t page[PG_WAL_PAGE])
{
	uint32_t header =
		(get_le16(page + 2) & LONG_HEADER) != 0 ? PG_WAL_HEADER_BYTES : SHORT_HEADER;
	uint64_t address = get_le64(page + 8);
	size_t len;

	if ((get_le16(page) & 0xfe00u) != 0xd000u) {
		scan->carry = 0;
		return;
	}
	memcpy(scan->window + scan->carry, page + header, PG_WAL_PAGE - header);
	len = scan->carry + PG_WAL_PAGE - header;
	for (size_t at = 0; at + PG_RESTORE_POINT_BYTES <= len; at++) {
		if (scan->window[at + OFF_DATA] != DATA_SHORT ||
		    !is_the_record(scan, scan->window + at))
			continue;
		scan->found = true;
		scan->lsn = at < scan->carry ? address : address + header + (at - scan->carry);
	}
	scan->carry = PG_RESTORE_POINT_BYTES - 1;
	memmove(scan->window, scan->window + len - scan->carry, scan->carry);
}
