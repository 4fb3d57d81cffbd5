/*
 * pg/control.c: pg_control by offset. From 12 to 18 the fields used here stand at the same places;
 * only the CRC moved, with 18.
 */
#include "pg/control.h"
#include "base/util.h"

#include <errno.h>
#include <inttypes.h>

#define OFF_SYSTEM_IDENTIFIER	 0
#define OFF_CONTROL_VERSION	 8
#define OFF_CATALOG_VERSION	 12
#define OFF_STATE		 16
#define OFF_TIME		 24
#define OFF_CHECKPOINT		 32
#define OFF_REDO		 40
#define OFF_TIMELINE		 48
#define OFF_MIN_RECOVERY_POINT	 136
#define OFF_BACKUP_START_POINT	 152
#define OFF_BACKUP_END_REQUIRED	 168
#define OFF_MAX_CONNECTIONS	 180
#define OFF_MAX_WORKER_PROCESSES 184
#define OFF_MAX_WAL_SENDERS	 188
#define OFF_MAX_PREPARED_XACTS	 192
#define OFF_MAX_LOCKS_PER_XACT	 196
#define OFF_BLCKSZ		 216
#define OFF_SEGMENT_BLOCKS	 220
#define OFF_WAL_BLCKSZ		 224
#define OFF_WAL_SEGMENT_SIZE	 228
#define OFF_CHECKSUM_VERSION	 252

/* Where the CRC over everything before it stands. */
static const struct {
	uint32_t control_version;
	uint32_t crc_off;
} layouts[] = {
	{1201, 288}, /* 12 */
	{1300, 288}, /* 13 to 16 */
	{1700, 288}, /* 17 */
	{1800, 292}, /* 18 */
};

static const struct {
	uint32_t catalog_version;
	unsigned major;
} catalogs[] = {
	{201909212, 12}, {202007201, 13}, {202107181, 14}, {202209061, 15},
	{202307071, 16}, {202406281, 17}, {202506291, 18},
};

static const char *const state_names[PG_STATE_MAX_] = {
	[PG_STATE_STARTUP] = "starting up",
	[PG_STATE_SHUTDOWN] = "shut down",
	[PG_STATE_SHUTDOWN_IN_RECOVERY] = "shut down in recovery",
	[PG_STATE_SHUTTING_DOWN] = "shutting down",
	[PG_STATE_CRASH_RECOVERY] = "in crash recovery",
	[PG_STATE_ARCHIVE_RECOVERY] = "in archive recovery",
	[PG_STATE_PRODUCTION] = "in production",
};

const char *pg_state_name(enum pg_state state)
{
	return (unsigned)state < PG_STATE_MAX_ ? state_names[state] : "unrecognized status code";
}

unsigned pg_major_of_catalog(uint32_t catalog_version)
{
	for (size_t i = 0; i < ARRAY_SIZE(catalogs); i++) {
		if (catalogs[i].catalog_version == catalog_version)
			return catalogs[i].major;
	}
	return 0;
}

static bool is_power_of_two(uint32_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* Offset of the CRC in that version's layout, or 0. */
static uint32_t crc_offset(uint32_t control_version)
{
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		if (layouts[i].control_version == control_version)
			return layouts[i].crc_off;
	}
	return 0;
}

static void read_fields(const uint8_t *p, struct pg_control *c)
{
	*c = (struct pg_control){
		.system_identifier = get_le64(p + OFF_SYSTEM_IDENTIFIER),
		.control_version = get_le32(p + OFF_CONTROL_VERSION),
		.catalog_version = get_le32(p + OFF_CATALOG_VERSION),
		.state = (enum pg_state)get_le32(p + OFF_STATE),
		.time = (int64_t)get_le64(p + OFF_TIME),
		.checkpoint = get_le64(p + OFF_CHECKPOINT),
		.redo = get_le64(p + OFF_REDO),
		.timeline = get_le32(p + OFF_TIMELINE),
		.min_recovery_point = get_le64(p + OFF_MIN_RECOVERY_POINT),
		.backup_start_point = get_le64(p + OFF_BACKUP_START_POINT),
		.backup_end_required = p[OFF_BACKUP_END_REQUIRED] != 0,
		.max_connections = get_le32(p + OFF_MAX_CONNECTIONS),
		.max_worker_processes = get_le32(p + OFF_MAX_WORKER_PROCESSES),
		.max_wal_senders = get_le32(p + OFF_MAX_WAL_SENDERS),
		.max_prepared_xacts = get_le32(p + OFF_MAX_PREPARED_XACTS),
		.max_locks_per_xact = get_le32(p + OFF_MAX_LOCKS_PER_XACT),
		.blcksz = get_le32(p + OFF_BLCKSZ),
		.segment_blocks = get_le32(p + OFF_SEGMENT_BLOCKS),
		.wal_blcksz = get_le32(p + OFF_WAL_BLCKSZ),
		.wal_segment_size = get_le32(p + OFF_WAL_SEGMENT_SIZE),
		.checksum_version = get_le32(p + OFF_CHECKSUM_VERSION),
	};
}

int pg_control_parse(const void *data, size_t len, struct pg_control *ret, struct errmsg *e)
{
	const uint8_t *p = data;
	struct pg_control c;
	uint32_t version, crc_off;

	if (len < OFF_STATE)
		return errmsg_set(e, -EUCLEAN, "only %zu bytes", len);
	version = get_le32(p + OFF_CONTROL_VERSION);
	crc_off = crc_offset(version);
	if (crc_off == 0)
		return errmsg_set(e, -ENOTSUP,
				  "its format version is %" PRIu32
				  ", not one of PostgreSQL 12 to 18",
				  version);
	if (len < crc_off + 4)
		return errmsg_set(e, -EUCLEAN, "only %zu bytes", len);

	read_fields(p, &c);
	c.crc = get_le32(p + crc_off);
	c.used = crc_off + 4;
	if (crc32c(0, p, crc_off) != c.crc) {
		*ret = c;
		return errmsg_set(e, -EBADMSG, "its checksum does not match");
	}
	if ((unsigned)c.state >= PG_STATE_MAX_ || !is_power_of_two(c.blcksz) ||
	    !is_power_of_two(c.wal_blcksz) || !is_power_of_two(c.wal_segment_size) ||
	    c.segment_blocks == 0)
		return errmsg_set(e, -EUCLEAN, "it holds values that PostgreSQL does not write");
	*ret = c;
	return 0;
}
