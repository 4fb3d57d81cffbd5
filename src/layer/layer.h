/*
 * layer/layer.h: the driver interface: what a backup tool's store looks like to the rest of the program.
 *
 * A store driver opens a store, lists its backups and opens the chain of one: its layers, oldest first. A
 * layer enumerates its manifest once, in path order, and says where its blocks are stored (locate). A driver
 * never walks the chain to find a block: src/overlay asks the layers, newest first, and keeps the answer in
 * an index of its own.
 *
 * Threads: store and chain functions run on one thread before the mount serves requests (as the owner, with
 * the owner's rights). locate, highest, check and the verify operations may block, and run on several engine threads at once: a layer
 * is immutable after its chain is open.
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
#define LAYER_NO_SUM 0u
#define LAYER_READ_DATA 1

struct arena;
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
	uint32_t sum; /* layer_page_sum of what the store has noted of the page, or LAYER_NO_SUM */
};

/*
 * LSN and checksum of a page in 32 bits, which is what an index can afford to keep of them. Pages that differ in
 * only one of the two (or in less than 4 GiB of LSN) always differ here. A page of zeros has 0 and 0.
 */
static inline uint32_t layer_page_sum(uint64_t lsn, uint16_t checksum)
{
	uint32_t sum = (uint32_t)lsn + (uint32_t)(lsn >> 32) * 0x9E3779B1u + checksum * 0x85EBCA6Bu + 1;

	return sum != LAYER_NO_SUM ? sum : UINT32_MAX;
}

#define LAYER_NO_BLOCK UINT32_MAX

/* Something that is wrong with what is stored. Strings are good during the call. */
struct layer_finding {
	const char *backup;
	const char *file; /* relative to the backup's directory; NULL: none */
	uint32_t block;   /* of that file, or LAYER_NO_BLOCK */
	bool harmless;    /* worth saying, and no damage */
	const char *reason;
};

/* The caller of verify; called on the threads that verify runs on. */
struct layer_verify {
	void (*found)(void *ctx, const struct layer_finding *finding);
	/* So much more was read and checked. False: end as soon as you can. */
	bool (*step)(void *ctx, uint64_t bytes, uint32_t pages);
	void *ctx;
};

struct layer_verifying; /* a file that is being verified; the driver's */

struct layer_ops {
	uint32_t version; /* LAYER_OPS_VERSION */

	/*
	 * Fills out[0 .. count-1] for blocks first .. first+count-1 of the file: LAYER_ABSENT where it stores none. Reads header
	 * maps where the format has them, never page data; anew in each call, so ask for all blocks of a file at once.
	 * 0, or LAYER_READ_DATA: it had to read the stored file, which costs so much that the answer is worth keeping.
	 * -EUCLEAN and friends with the reason in e.
	 */
	int (*locate)(struct layer *layer, uint32_t file, uint32_t first, uint32_t count, struct layer_extent *out,
		      struct errmsg *e);

	/* 1 + the highest block below limit that this layer stores of the file, or 0. Blocks. */
	int (*highest)(struct layer *layer, uint32_t file, uint32_t limit, uint32_t *ret_count, struct errmsg *e);

	/*
	 * Turns a stored record (as read from the extent) into the block: checks what the record says of itself,
	 * decodes. Pure, any thread: 0, -ESTALE (it is the record of another block, or of another length) or -EUCLEAN
	 * (it cannot be decoded). Callers want layer_take_page.
	 */
	int (*decode)(const struct layer *layer, uint32_t file, uint32_t block, const void *record, uint32_t len,
		      void *ret_block);

	/* Path of the file's stored bytes, relative to layer_dirfd. Belongs to the layer. */
	const char *(*name)(const struct layer *layer, uint32_t file);

	/*
	 * A LAYER_PLAIN file: reads it and compares it with what the store has noted of it. Files too large to be read
	 * in passing may be left out. -EUCLEAN or -EBADMSG with the reason in e. NULL: nothing is noted.
	 */
	int (*check)(struct layer *layer, uint32_t file, struct errmsg *e);

	/* Bytes of the stored file as the store has noted them. */
	uint64_t (*stored)(const struct layer *layer, uint32_t file);

	/*
	 * Reads the whole stored file of an entry of this layer, whatever its size, and checks all that is known of it: its sum, its
	 * part of a header map, each page in its place, those that newer layers replace, too. Blocks; any thread. What is wrong goes
	 * to found; negative (-ENOMEM, -EMFILE) only if it could not be looked at.
	 */
	int (*verify)(struct layer *layer, const struct layer_entry *entry, const struct layer_verify *v);

	/*
	 * The same in parts, so that several threads can share a large file: begin (which says how many there are, 1 or more),
	 * each part once, from any thread, and end, which frees, after the last of them or when no more will follow. v must live
	 * until then. After a failure of begin there is nothing to end.
	 */
	int (*verify_begin)(struct layer *layer, const struct layer_entry *entry, const struct layer_verify *v,
			    struct layer_verifying **ret, uint32_t *ret_parts);
	int (*verify_part)(struct layer_verifying *verifying, uint32_t part);
	void (*verify_end)(struct layer_verifying *verifying);
};

#define LAYER_OPS_VERSION 4

/*
 * Decodes the record that x says of the block and, if verify, checks the page: its sum, and its checksum where the
 * cluster has them. blkno is the block's number in the relation (segments counted). Pure, any thread. 0, or -EUCLEAN or
 * -EBADMSG with a phrase in *ret_reason: the page must not be used; or -ENOMEM.
 */
int layer_take_page(const struct layer *layer, uint32_t file, uint32_t block, uint32_t blkno,
		    const struct layer_extent *x, const void *record, bool verify, void *ret_page,
		    const char **ret_reason);

/* Drivers embed these two. */
struct layer {
	const struct layer_ops *ops;
	const char *id; /* the backup's id, for messages */
	int dirfd;      /* what names are relative to */
	bool page_checksums; /* pages carry PostgreSQL data checksums */
	bool unsummed;	     /* nothing tells whether its manifest is what was written */
	struct layer_entry *entries; /* sorted by strcmp of path, no duplicates */
	uint32_t entry_count;
};

/*
 * For who has made all he needs of the manifests: frees the entries of the layers below the target. Strings, data and the
 * operations stay. Nobody may be looking at these entries.
 */
void layer_chain_drop_older_entries(struct layer_chain *chain);

/*
 * For who has asked open_chain to return before all is locked: waits for that, and says whether what was read is still so. Until
 * then there are the manifests and the content hash, and nothing that is stored may be asked for; the warnings come with it.
 * Any number of times, on the thread that opened the chain.
 */
int layer_chain_settle(struct layer_chain *chain, struct errmsg *e);

struct layer_chain {
	const struct store_driver *driver;
	struct layer **layers; /* oldest first; the last one is the target */
	unsigned count;
	struct arena *older_entries; /* the entries of all but the target lie in it; NULL: each is freed by itself */
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

/*
 * What a restore makes and a mount does not show (struct layer_extras). Strings belong to the chain.
 */

/* A tablespace: the mount's entry `link` leads to its entry `shown`; a restore makes a directory elsewhere. */
struct layer_space {
	const char *link;  /* "pg_tblspc/16384" */
	const char *shown; /* ".pgoverlay/tblspc/16384" */
	const char *path;  /* where it was in the original: absolute */
};

/* A directory outside of the data directory that was backed up with it. */
struct layer_outside {
	unsigned number;  /* what entries refer to */
	const char *path; /* where it was in the original: absolute */
};

/* What is in one. Parents come before their children. */
struct layer_outside_entry {
	unsigned number;
	const char *path;          /* relative to its directory; safe */
	uint32_t mode;             /* st_mode with type bits: a directory or a regular file */
	uint64_t size;             /* bytes */
	const struct layer *layer; /* that stores it, at name below its dirfd; NULL: size is 0 */
	const char *name;
};

struct layer_extras {
	struct layer_space *spaces;
	size_t space_count;
	struct layer_outside *outsides;
	size_t outside_count;
	struct layer_outside_entry *entries;
	size_t entry_count;
	const char *primary_conninfo; /* of the original's primary, "" if not known */
	const char *databases;        /* lines {"dbOid":"16385", "datname":"d1"}, "" if not known */
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
	 * (lock_pid names the process that lives as long as the mount; 0: no locks), and reads all lists.
	 */
	int (*open_chain)(struct store *store, const char *instance, const char *backup, pid_t lock_pid,
			  struct errmsg *e, struct layer_chain **ret);
	/* layer_chain_settle. NULL: there is nothing to wait for. */
	int (*settle)(struct layer_chain *chain, struct errmsg *e);
	/*
	 * Keeps, in a directory for what can be made again (base/cache_dir.h), what the next open_chain need not read again
	 * while the store stays as it is; once, when the chain is open. Best effort; may block. NULL: there is nothing.
	 */
	void (*keep)(struct layer_chain *chain, const char *cache);
	/* Drops the locks, as far as the process may. NULL is fine. */
	void (*close_chain)(struct layer_chain *chain);
	/* Drops the lock of process lock_pid on the layer with that dirfd, in another process. NULL: there are none. */
	void (*unlock)(int layer_dirfd, pid_t lock_pid);
	/* For a restore. The arrays are freed with layer_extras_free. */
	int (*extras)(struct layer_chain *chain, struct errmsg *e, struct layer_extras *ret);

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

#define STORE_DRIVER_VERSION 3

/* What the caller may set between store_open and open_chain. */
struct store_options {
	/*
	 * Also a named backup of which the tool has noted that it, or one it was made on, is damaged: what is damaged is
	 * an error when it is read. Never one that is unfinished or about to go.
	 */
	bool force;
	bool external; /* show external directories, below .pgoverlay/external/ */
	/* A directory that `keep` was given by an earlier mount of the chain; it need not be there. NULL: none. */
	const char *cache;
	/* open_chain may return while the locks are still being taken: see layer_chain_settle. */
	bool settle_later;
};

struct store {
	const struct store_driver *driver;
	char *path; /* absolute */
	int dirfd;
	struct store_options options;
};

/* Finds the driver for a path and opens it. A kind that is recognised but has no driver is named: -ENOTSUP. */
int store_open(const char *path, struct errmsg *e, struct store **ret);
void store_close(struct store *store);
/* Takes the lock of a process that ends off a layer, whatever kind of store it lies in. */
void store_unlock(int layer_dirfd, pid_t lock_pid);

void layer_extras_free(struct layer_extras *extras);

#endif
