/*
 * pg/wal_records.c: see wal_records.h.
 */
#include "pg/wal_records.h"
#include "base/util.h"

/* XLogPageHeaderData, and the longer one of the first page of a segment. */
#define PAGE_INFO      2u
#define PAGE_ADDRESS   8u
#define PAGE_LEFT      16u
#define SHORT_HEADER   24u
#define IS_CONTINUED   0x0001u
#define LONG_HEADER    0x0002u
#define IS_OVERWRITTEN 0x0008u /* what the page before began was never finished */

/* XLogRecord, and the short header of its main data. */
#define RECORD_HEADER 24u
#define OFF_PREVIOUS  8u
#define OFF_INFO      16u
#define OFF_RMGR      17u
#define OFF_CRC	      20u
#define OFF_DATA      24u
#define DATA_SHORT    0xffu

#define RMGR_XLOG	0u
#define INFO_SWITCH	0x40u
#define INFO_BACKUP_END 0x50u

#define ALIGNED(n) (((n) + 7u) & ~7u)

void pg_wal_walk_init(struct pg_wal_walk *walk, uint64_t start, uint64_t stop,
		      uint32_t segment_size)
{
	memset(walk, 0, sizeof(*walk));
	walk->at = start;
	walk->stop = stop;
	walk->segment_size = segment_size;
}

static void broken(struct pg_wal_walk *w, uint64_t at, const char *reason)
{
	w->state = PG_WAL_BROKEN;
	w->at = at;
	w->reason = reason;
}

/* A record is whole; its end is at `end`. */
static void finish(struct pg_wal_walk *w, uint64_t end)
{
	unsigned kind = w->head[OFF_RMGR] == RMGR_XLOG ? w->head[OFF_INFO] & 0xf0u : 0;

	/* The server adds the data first and the header, up to the CRC itself, last. */
	if (crc32c(w->crc, w->head, OFF_CRC) != get_le32(w->head + OFF_CRC)) {
		broken(w, w->record, "does not match its sum");
		return;
	}
	if (w->previous != 0 && get_le64(w->head + OFF_PREVIOUS) != w->previous) {
		broken(w, w->record, "does not follow the one before it");
		return;
	}
	w->backup_start = 0;
	if (kind == INFO_BACKUP_END && w->length == PG_WAL_RECORD_HEAD &&
	    w->head[OFF_DATA] == DATA_SHORT)
		w->backup_start = get_le64(w->head + OFF_DATA + 2);
	w->switched = kind == INFO_SWITCH;
	w->previous = w->record;
	w->length = 0;
	w->at = w->switched ? round_up_u64(end, w->segment_size) : end;
	if (w->at >= w->stop)
		w->state = PG_WAL_STOPPED;
}

static void take(struct pg_wal_walk *w, const uint8_t *data, uint32_t len)
{
	uint32_t header = w->got < RECORD_HEADER ? MIN(len, RECORD_HEADER - w->got) : 0;

	if (w->got < sizeof(w->head))
		memcpy(w->head + w->got, data, MIN(len, (uint32_t)sizeof(w->head) - w->got));
	w->crc = crc32c(w->crc, data + header, len - header);
	w->got += len;
}

/* Records from pos on, as far as the page goes. */
static void take_records(struct pg_wal_walk *w, uint64_t lsn, const uint8_t *page, uint32_t pos)
{
	while (w->state == PG_WAL_GOES_ON && !w->switched && pos < PG_WAL_PAGE) {
		uint32_t n;

		if (w->length == 0) {
			w->record = w->at = lsn + pos;
			w->length = get_le32(page + pos); /* aligned: it is never cut */
			w->got = 0;
			w->crc = 0;
			if (w->at >= w->stop)
				w->state = PG_WAL_STOPPED;
			else if (w->length < RECORD_HEADER)
				broken(w, w->at, "is none: WAL ends there");
			if (w->state != PG_WAL_GOES_ON)
				return;
		}
		n = MIN(w->length - w->got, PG_WAL_PAGE - pos);
		take(w, page + pos, n);
		pos = ALIGNED(pos + n);
		w->at = lsn + pos;
		if (w->got == w->length)
			finish(w, w->at);
	}
}

/* What was begun on the page before must go on here. */
static bool continues(struct pg_wal_walk *w, const uint8_t *page)
{
	unsigned info = get_le16(page + PAGE_INFO);

	if (w->length != 0 && (info & IS_OVERWRITTEN) != 0) {
		w->length = 0;
		w->previous = 0; /* a record of its own tells of it */
		return true;
	}
	if (w->length != 0 ? (info & IS_CONTINUED) != 0 &&
				     get_le32(page + PAGE_LEFT) == w->length - w->got
			   : (info & IS_CONTINUED) == 0)
		return true;
	broken(w, w->length != 0 ? w->record : w->at, "is not continued on the next page");
	return false;
}

void pg_wal_walk_page(struct pg_wal_walk *w, uint64_t lsn, const uint8_t page[PG_WAL_PAGE])
{
	unsigned info = get_le16(page + PAGE_INFO);
	uint32_t header = (info & LONG_HEADER) != 0 ? PG_WAL_HEADER_BYTES : SHORT_HEADER;
	bool begins = w->at >= lsn + header; /* inside of it */

	if (w->state != PG_WAL_GOES_ON || lsn + PG_WAL_PAGE <= w->at)
		return;
	w->switched = false;
	if ((get_le16(page) & 0xfe00u) != 0xd000u || get_le64(page + PAGE_ADDRESS) != lsn)
		broken(w, w->length != 0 ? w->record : w->at, "is none: WAL ends there");
	else if (begins)
		take_records(w, lsn, page, (uint32_t)ALIGNED(w->at - lsn));
	else if (continues(w, page))
		take_records(w, lsn, page, header);
}
