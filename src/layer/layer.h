/*
 * layer/layer.h: the driver interface: what a backup tool's store looks like to the rest of the program.
 *
 * A store driver opens a store, lists its backups and opens the chain of one: its layers, oldest first. A
 * layer enumerates its manifest once, in path order, and says where its blocks are stored (locate). A driver
 * never walks the chain to find a block: src/overlay asks the layers, newest first, and keeps the answer in
 * an index of its own.
 *
 * Threads: store and chain functions run on one thread before the mount serves requests (as the owner, with
 * the owner's rights). locate and check may block, and run on several engine threads at once: a layer is
 * immutable after its chain is open.
 */
#ifndef LAYER_LAYER_H
#define LAYER_LAYER_H

#include "base/err.h"
#include "codec/codec.h"
#include "pg/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LAYER_BLCKSZ 8192u
#define LAYER_SIZE_UNKNOWN UINT64_MAX
#define LAYER_NO_LIMIT UINT32_MAX
#define LAYER_NO_FILE UINT32_MAX
#define LAYER_ABSENT 0u
#define LAYER_ZERO UINT32_MAX

struct layer;
struct layer_chain;
struct store;

enum layer_kind {
	LAYER_DIR,
	LAYER_SYMLINK,
	LAYER_PLAIN,  /* content whole in one layer, stored byte for byte in one file at the same offsets */
	LAYER_BLOCKS, /* a relation segment: each block comes from the newest layer that stores it */
	LAYER_INLINE, /* content made by the driver, in memory */
};

/* Where content that this layer does not store comes from. */
enum layer_origin {
	LAYER_ORIGIN_NONE,    /* nowhere: this layer has it all */
	LAYER_ORIGIN_BELOW,   /* the same path in the nearest older layer that has it; there must be one (the driver has checked) */
	LAYER_ORIGIN_NEAREST, /* the same path in the nearest older layers that have it */
};

/* One line of a manifest. Strings belong to the layer and live until layer_chain_close. */
struct layer_entry {
	const char *path;   /* relative, safe (path_is_safe); where the mount shows it */
	uint32_t mode;      /* st_mode with type bits */
	enum layer_kind kind;
	enum layer_origin origin;
	uint64_t size;          /* logical bytes; LAYER_SIZE_UNKNOWN: as the layers below, or as the blocks say */
	uint32_t file;          /* id for locate and name; LAYER_NO_FILE: this layer stores nothing of it */
	uint32_t base_limit;    /* LAYER_BLOCKS: blocks at or above it never come from below; counts in the target layer only */
	uint32_t stored_prefix; /* LAYER_BLOCKS: blocks 0 .. stored_prefix-1 are surely stored here */
	uint32_t segno;         /* LAYER_BLOCKS: number of the 1 GiB segment, for page checksums */
	const char *target;     /* LAYER_SYMLINK */
	const void *data;       /* LAYER_INLINE: size bytes */
};

/* Where one block is stored. */
struct layer_extent {
	uint64_t off; /* byte offset of the record in the layer's file */
	uint32_t len; /* record bytes; or LAYER_ABSENT: look below; or LAYER_ZERO: a block of zeros, stored nowhere */
};

struct layer_ops {
	uint32_t version; /* LAYER_OPS_VERSION */

	/*
	 * Fills out[0 .. count-1] for blocks first .. first+count-1 of the file: LAYER_ABSENT where it stores none. Reads header
	 * maps where the format has them, never page data; anew in each call, so ask for all blocks of a file at once.
	 * -EUCLEAN and friends with the reason in e.
	 */
	int (*locate)(struct layer *layer, uint32_t file, uint32_t first, uint32_t count, struct layer_extent *out,
		      struct errmsg *e);

	/* 1 + the highest block below limit that this layer stores of the file, or 0. Blocks. */
	int (*highest)(struct layer *layer, uint32_t file, uint32_t limit, uint32_t *ret_count, struct errmsg *e);

	/*
	 * Turns a stored record (as read from the extent) into the block: checks what the record says of itself,
	 * decodes. Pure, any thread: 0 or -EUCLEAN/-EBADMSG.
	 */
	int (*decode)(const struct layer *layer, uint32_t file, uint32_t block, const void *record, uint32_t len,
		      void *ret_block);

	/* Path of the file's stored bytes, relative to layer_dirfd. Belongs to the layer. */
	const char *(*name)(const struct layer *layer, uint32_t file);
};

#define LAYER_OPS_VERSION 1

/* Drivers embed these two. */
struct layer {
	const struct layer_ops *ops;
	const char *id; /* the backup's id, for messages */
	int dirfd;      /* what names are relative to */
	bool page_checksums; /* pages carry PostgreSQL data checksums */
	struct layer_entry *entries; /* sorted by strcmp of path, no duplicates */
	uint32_t entry_count;
};

struct layer_chain {
	const struct store_driver *driver;
	struct layer **layers; /* oldest first; the last one is the target */
	unsigned count;
	char *store_path;         /* absolute */
	char *instance;           /* "" where the store has none */
	uint8_t content_hash[16]; /* XXH3-128 over all that the chain's content depends on */
	bool needs_archive;       /* WAL is not in the backup: it cannot start without an archive */
	uint32_t pg_version;      /* major, 0 unknown */
	int64_t start_time;       /* of the target backup, seconds since 1970: the files' times; 0 unknown */
	char *warnings;           /* lines for the user, each ending in \n; "" if none */
};

/* One backup of a listing; strings belong to the listing. */
struct backup_info {
	const char *instance, *id, *mode, *parent, *status; /* parent "" if none */
	bool mountable;
	const char *reason; /* why not, or a caution; "" if nothing */
	int64_t start_time; /* seconds since 1970, 0 unknown */
	uint64_t bytes;     /* stored */
	bool stream;        /* WAL inside */
	uint32_t timeline;
	uint64_t start_lsn, stop_lsn;
	int64_t recovery_time;  /* when it was consistent, seconds since 1970, 0 unknown */
	uint64_t recovery_xid;  /* the next transaction then, 0 unknown */
};

struct backup_list {
	struct backup_info *items; /* by instance, then oldest first */
	size_t count;
	void *owned; /* the driver's memory behind the strings */
};

/* ---- the WAL archive of a store ---- */

/* Takes the bytes of a file in order; its first non-zero value ends the reading and is returned. */
struct wal_sink {
	int (*write)(void *ctx, const void *data, size_t len);
	void *ctx;
};

struct wal_segment {
	uint32_t timeline;
	bool partial; /* the end of its timeline, or not whole yet */
	uint64_t number;
};

struct wal_history {
	uint32_t timeline;
	struct pg_wal_switch *ancestors; /* oldest first; NULL: the file is damaged */
	size_t count;
};

struct wal_list {
	uint32_t segment_size;
	uint64_t system_identifier;
	struct wal_segment *segments; /* by timeline, then number; each once */
	size_t count;
	struct wal_history *histories; /* by timeline */
	size_t history_count;
};

void wal_list_free(struct wal_list *list);

struct store_driver {
	uint32_t version; /* STORE_DRIVER_VERSION */
	const char *name; /* "pg_probackup" */

	/* 1: the directory is a store of this kind; 0: it is not; or -errno. */
	int (*probe)(int dirfd);
	int (*open)(const char *path, struct errmsg *e, struct store **ret);
	void (*close)(struct store *store); /* NULL is fine */
	/* instance NULL: all of them. A backup that cannot be read is listed with its reason. */
	int (*list)(struct store *store, const char *instance, struct errmsg *e, struct backup_list *ret);
	void (*list_free)(struct backup_list *list);
	/*
	 * instance NULL: the only one. backup NULL: the newest that can be mounted. Takes the store's own shared locks
	 * (lock_pid names the process that lives as long as the mount; 0: no locks), then reads all lists.
	 */
	int (*open_chain)(struct store *store, const char *instance, const char *backup, pid_t lock_pid,
			  struct errmsg *e, struct layer_chain **ret);
	/* Drops the locks. NULL is fine. */
	void (*close_chain)(struct layer_chain *chain);

	/*
	 * The store's WAL archive; both NULL where it has none. instance NULL: the only one.
	 *
	 * wal_read delivers the file PostgreSQL knows by that name, decoded, a segment always whole (a partial one with zeros
	 * behind it). -ENOENT: the archive is there and has no such file, and that alone; -EINVAL: no name of a WAL file;
	 * -EUCLEAN, -EBADMSG: damaged, and the sink has had a part of it.
	 */
	int (*wal_read)(struct store *store, const char *instance, const char *name, const struct wal_sink *sink,
			struct errmsg *e);
	/* What the archive has; of the segments only their names. -ENOTDIR: there is no archive. */
	int (*wal_list)(struct store *store, const char *instance, struct errmsg *e, struct wal_list *ret);
};

#define STORE_DRIVER_VERSION 1

struct store {
	const struct store_driver *driver;
	char *path; /* absolute */
	int dirfd;
};

/* Finds the driver for a path and opens it. A kind that is recognised but has no driver is named: -ENOTSUP. */
int store_open(const char *path, struct errmsg *e, struct store **ret);
void store_close(struct store *store);

#endif
