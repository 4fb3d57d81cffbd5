/*
 * layer/probackup/control.h: backup.control, the few lines pg_probackup keeps about one backup.
 * Pure functions; any thread.
 */
#ifndef LAYER_PROBACKUP_CONTROL_H
#define LAYER_PROBACKUP_CONTROL_H

#include "base/err.h"
#include "layer/probackup/stamp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#define PROBACKUP_ID_MAX       13u /* digits of 2^64-1 in base 36 */
#define PROBACKUP_CONTROL_MAX  (256u << 10)
#define PROBACKUP_VERSION_MIN  20401u /* the first with page_header_map */
#define PROBACKUP_VERSION_KNOW 20599u /* above it: the commercial line, no public source */
#define PROBACKUP_VERSION_MAX  29999u /* 3.x is another product with another catalog */

enum probackup_mode {
	PROBACKUP_MODE_FULL,
	PROBACKUP_MODE_PAGE,
	PROBACKUP_MODE_PTRACK,
	PROBACKUP_MODE_DELTA,
	PROBACKUP_MODE_MAX_
};

enum probackup_status {
	PROBACKUP_STATUS_OK,
	PROBACKUP_STATUS_DONE,
	PROBACKUP_STATUS_ORPHAN,
	PROBACKUP_STATUS_CORRUPT,
	PROBACKUP_STATUS_RUNNING,
	PROBACKUP_STATUS_ERROR,
	PROBACKUP_STATUS_MERGING,
	PROBACKUP_STATUS_MERGED,
	PROBACKUP_STATUS_DELETING,
	PROBACKUP_STATUS_DELETED,
	PROBACKUP_STATUS_UNKNOWN, /* any other word */
	PROBACKUP_STATUS_MAX_
};

struct probackup_control {
	enum probackup_mode mode;
	enum probackup_status status;
	bool stream;	   /* WAL of the backup is inside */
	bool has_external; /* external directories were backed up */
	bool has_crc;	   /* content_crc is given */
	uint32_t content_crc;
	uint32_t block_size, xlog_block_size; /* 0: not given */
	uint32_t checksum_version;
	uint32_t program_version; /* a * 10000 + b * 100 + c of the writer, 0: not given */
	uint32_t pg_version;	  /* major, 0: not given */
	uint32_t timeline;
	uint64_t start_lsn, stop_lsn;
	int64_t start_time;		   /* seconds since 1970, 0 unknown */
	int64_t recovery_time;		   /* the same, of the consistent state */
	uint64_t recovery_xid;		   /* the next transaction then; 0: not given */
	int64_t data_bytes, wal_bytes;	   /* -1: not given */
	char parent[PROBACKUP_ID_MAX + 1]; /* "" if none */
	char external_dirs[1024];	   /* a colon between them; cut off if longer */
	char compress_alg[16];		   /* what the run was told, "" if not given */
	char program_text[24];		   /* the version as it stands there */
	char unknown_key[32]; /* the first key this program does not know, "" if none */
	XXH128_hash_t digest; /* of the file, when it was read */
	struct stamp stamp;   /* before that */
	bool has_stamp;
};

/* -EUCLEAN with "line N: ..." or "no status" in e for what cannot be a backup.control. */
int probackup_control_parse(const char *data, size_t len, struct probackup_control *ret,
			    struct errmsg *e);

/*
 * Reads and parses dirfd/name, which is a backup.control; e names the backup. *ret is zeroed before, or what an
 * earlier call gave: where the file is still the same it stays.
 */
int probackup_control_read(int dirfd, const char *name, const char *id,
			   struct probackup_control *ret, struct errmsg *e);

const char *probackup_mode_name(enum probackup_mode mode);
const char *probackup_status_name(enum probackup_status status);
/* Why a backup of this status must not be mounted and what to do, or NULL if it may be. */
const char *probackup_status_refusal(enum probackup_status status);
/* The files are all there, but pg_probackup has found damage in them or below: may be opened by force. */
bool probackup_status_is_suspect(enum probackup_status status);

/* What -errno means for something in the store that could not be opened. */
const char *probackup_open_text(int rc);

/* 1 to 13 digits and upper-case letters: the number they are in base 36, or -EINVAL. */
int probackup_id_parse(const char *id, uint64_t *ret);

/* Unsigned decimal, nothing around it, at most max; -EINVAL. */
int probackup_parse_decimal(const char *text, size_t len, uint64_t max, uint64_t *ret);

#endif
