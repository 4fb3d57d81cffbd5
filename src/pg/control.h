/*
 * pg/control.h: what global/pg_control says of a cluster.
 * Source of the format: PostgreSQL src/include/catalog/pg_control.h, versions 12 to 18.
 * Pure functions; any thread.
 */
#ifndef PG_CONTROL_H
#define PG_CONTROL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_CONTROL_FILE_SIZE 8192u /* what the server writes; far less of it is used */

enum pg_state {
	PG_STATE_STARTUP,
	PG_STATE_SHUTDOWN,
	PG_STATE_SHUTDOWN_IN_RECOVERY,
	PG_STATE_SHUTTING_DOWN,
	PG_STATE_CRASH_RECOVERY,
	PG_STATE_ARCHIVE_RECOVERY,
	PG_STATE_PRODUCTION,
	PG_STATE_MAX_
};

struct pg_control {
	uint64_t system_identifier;
	uint32_t control_version;
	uint32_t catalog_version;
	enum pg_state state;
	int64_t time; /* of the last update, seconds since 1970 */
	uint64_t checkpoint, redo; /* LSNs of the latest checkpoint */
	uint32_t timeline;
	uint64_t min_recovery_point, backup_start_point; /* LSNs, 0: none */
	bool backup_end_required;
	/* Settings of the primary that a server in hot standby must not go below. */
	uint32_t max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts, max_locks_per_xact;
	uint32_t blcksz;         /* bytes of a page */
	uint32_t segment_blocks; /* pages of a full segment */
	uint32_t wal_blcksz, wal_segment_size; /* bytes */
	uint32_t checksum_version; /* of data pages; 0: they have none */
	uint32_t crc; /* of the bytes before it, as it stands in the file */
	uint32_t used; /* bytes, crc included; the server writes zeros behind them */
};

/*
 * Reads the first len bytes of the file. -EUCLEAN: too short, or values that no server writes; -ENOTSUP: the
 * layout of another version (or byte order); -EBADMSG: the CRC does not match, everything in ret is filled
 * from the bytes as they are. e says what, without a file name.
 */
int pg_control_parse(const void *data, size_t len, struct pg_control *ret, struct errmsg *e);

/* As pg_controldata prints it ("shut down", "in production", ...). */
const char *pg_state_name(enum pg_state state);

/* The major version (12 to 18) whose releases have this catalog version number, or 0. */
unsigned pg_major_of_catalog(uint32_t catalog_version);

#endif
