/*
 * diff/diff.h: the writable layer of one clone: file records, block states, journal, commit,
 * recovery, lock.
 *
 * Called by src/overlay (which owns names and attributes) on the core thread; diff_open and
 * diff_recover block and run before requests are served. What stands where on disk, and what is
 * promised, is in docs/architecture.md ("The diff") and in DIFF_FORMAT below.
 *
 *	<diff>/superblock   text, checksummed: format version, uuid, binding, frozen names
 *	<diff>/lock         flock of the one mount that may write; pid for messages; open or clean
 *	<diff>/gen/<g>/state, journal, data/xx/<file id in 16 hex digits>   xx = (id >> 8) & 0xff
 *	<diff>/cache/ log
 *
 * Order of durability: the host write of a block has completed before its state changes in memory;
 * a commit first makes data files (and the names of new ones) durable, then appends one group to
 * the journal and makes that durable, then answers, and frees host space that became unreachable
 * last.
 */
#ifndef DIFF_DIFF_H
#define DIFF_DIFF_H

#include "base/err.h"
#include "diff/record.h"
#include "io/vfd.h"

#include <stdbool.h>
#include <stdint.h>

#define DIFF_FORMAT	1
#define DIFF_BLCKSZ	8192u
#define DIFF_MAX_BLOCKS UINT32_MAX /* a file holds at most this many blocks: -EFBIG above */

struct diff;
struct diff_file; /* a file record: lives as long as the file, whatever the kernel forgets */

/* What a diff belongs to; it is refused with another chain (D8). */
struct diff_binding {
	const char *kind, *store, *instance;
	const char *const *backups; /* ids, oldest first */
	unsigned backup_count;
	uint8_t content_hash[16];
};

struct diff_options {
	/* Bytes of host space kept for journal and checkpoints; below it new blocks get -ENOSPC. */
	uint64_t reserve;
	/* Bytes of journal after which a commit writes a new state instead; 0: a default. */
	uint64_t journal_limit;
};

/* How recovery and checkpoints reach the names, which src/overlay keeps. */
struct diff_namespace {
	/* Replays a record (any type but BLOCKS, SIZE and NEXT_ID). -EUCLEAN if it does not fit. */
	int (*apply)(void *ctx, const struct diff_record *record);
	/*
	 * Emits records that rebuild names and attributes from the bare chain. Stops at emit's
	 * first error and returns it.
	 */
	int (*dump)(void *ctx, int (*emit)(void *sink, const struct diff_record *record),
		    void *sink);
	/* After replay, before anything is written: -EUCLEAN if the names are no tree. NULL: they
	 * always are. */
	int (*check)(void *ctx);
	/* After replay: true if the file has a name. */
	bool (*is_named)(void *ctx, uint64_t id);
	/* Bytes of a file as the chain has it (0 for new files): how a file record starts. */
	uint64_t (*base_size)(void *ctx, uint64_t id);
	void *ctx;
};

/*
 * Reads only the superblock, takes no lock: what a diff is bound to, as text for the user ("key =
 * value" lines, malloc'ed).
 */
int diff_describe(const char *path, struct errmsg *e, char **ret_text);

/*
 * Opens the diff, making it if the directory is missing or empty (create). Takes the lock (-EBUSY
 * names the pid), checks format version and binding. Blocks. A new diff is durable when this
 * returns.
 */
int diff_open(const char *path, bool create, const struct diff_binding *binding,
	      const struct diff_options *options, struct errmsg *e, struct diff **ret);

/*
 * The same in two steps, for whoever has something else to do meanwhile: diff_begin looks at the
 * directory, makes it, and takes the lock; diff_finish, with the same arguments, does the rest, on any
 * thread. After a failure of diff_finish the diff can only be closed.
 */
int diff_begin(const char *path, bool create, const struct diff_binding *binding,
	       const struct diff_options *options, struct errmsg *e, struct diff **ret);
int diff_finish(struct diff *diff, bool create, const struct diff_binding *binding,
		struct errmsg *e);

/*
 * Loads the state, replays the journal, removes data files that no record names, makes durable what
 * survived, writes a new state if anything was replayed or removed. A diff that was left clean
 * stays byte for byte as it was. Blocks. ns must stay valid until diff_close.
 */
int diff_recover(struct diff *diff, const struct diff_namespace *ns, struct errmsg *e);
/* Lines about what the file system lacks, of a diff that this diff_open has made; else "". */
const char *diff_warnings(const struct diff *diff);
/* One line for the log and the user about what recovery did, or "". */
const char *diff_recovery_note(const struct diff *diff);

/* From now on asynchronous: after privileges were dropped and threads may exist. */
int diff_start(struct diff *diff, struct io_engine *io, struct vfd_cache *vfds);

/*
 * Before diff_close, when idle and nothing is pending: writes a new state if the journal holds
 * anything, so that the next mount has nothing to replay and writes nothing. Blocks. An error costs
 * nothing but that.
 */
int diff_checkpoint(struct diff *diff);
/*
 * Everything synced and nothing in flight (see diff_sync, diff_is_idle). Drops the lock. NULL is
 * fine.
 */
void diff_close(struct diff *diff);
bool diff_is_idle(const struct diff *diff);

int diff_dirfd(const struct diff *diff);
uint64_t diff_new_id(struct diff *diff); /* never given before, in this mount or any earlier one */

/* 0, or -EROFS once an EIO has failed the diff or one of its files: no new mutations. */
int diff_writable(const struct diff *diff);
/* From now on it is not. */
void diff_set_read_only(struct diff *diff);

/* ---- room for what was accepted ---- */

/*
 * With write-back the kernel accepts writes that come to us later. `bytes` of host space are
 * allocated for them here and given up when one of them finds no room, whoever filled the disk.
 * Where they cannot be had (full already, or the host does not allocate) it goes on without. 0:
 * none, and what an earlier mount left is removed. Once, after diff_open; blocks. 0, or an error
 * that is not one of room.
 */
int diff_ballast_open(struct diff *diff, uint64_t bytes);
bool diff_ballast_is_there(const struct diff *diff); /* all of it */
/* It can be relied on: on the file systems that are known for it. */
bool diff_ballast_is_sure(const struct diff *diff);
/*
 * An accepted write has found no room. True: there may be some now, try again. *seen, 0 at first, is
 * what the writer has tried with already; false when nothing more can be given up.
 */
bool diff_ballast_spend(struct diff *diff, uint64_t *seen);
/* Now and then while it is tight: takes the ballast again when there is room. Does not block. */
void diff_ballast_restore(struct diff *diff);
/* So many files are open for writing: each may become a new one on the host. */
void diff_expect_files(struct diff *diff, unsigned files);
/*
 * There is no room to accept more: the ballast is not there, or hardly more than options.reserve is
 * left beside it, or the host can hardly make the files that are expected. False without a ballast.
 * Blocks as long as statvfs does, once a second.
 */
bool diff_is_tight(struct diff *diff);
/* Of the distance that diff_is_tight keeps, half is gone, or the ballast is: nothing more may slip
 * through. */
bool diff_is_tightest(struct diff *diff);
/* There is room for the first block of a small file: half of options.reserve may go for that. */
bool diff_has_little_room(struct diff *diff);
/* Bytes free on the host for the diff's owner; UINT64_MAX where that cannot be told. Blocks. */
uint64_t diff_host_free(struct diff *diff);

/* ---- names and attributes ---- */

/* Bytes of journal are missing at the moment; ready is called when to try again (once). */
struct diff_room_wait {
	void (*ready)(struct diff_room_wait *wait);
	struct diff_room_wait *next;
};

/*
 * Appends the records to what the next commit writes, all of them in one group, in this order. The
 * caller changes its own state after success. -EAGAIN: nothing was done, call diff_wait_room and
 * try again later; -ENOSPC, -EROFS, -ENOMEM: nothing was done.
 */
int diff_log(struct diff *diff, const struct diff_record *records, unsigned count);
void diff_wait_room(struct diff *diff, struct diff_room_wait *wait);

/* ---- file records ---- */

/* NULL if the diff knows nothing of it. */
struct diff_file *diff_file_find(struct diff *diff, uint64_t id);
/*
 * Finds or makes the record; a new one has this size and takes its blocks from below up to it. In
 * memory only.
 */
int diff_file_get(struct diff *diff, uint64_t id, uint64_t base_size, struct diff_file **ret);
/*
 * The last name and the last user are gone and nothing is in flight: frees the record; host space
 * goes after the commit that makes it unreachable.
 */
void diff_file_drop(struct diff *diff, struct diff_file *file);

uint64_t diff_file_size(const struct diff_file *file); /* bytes */
/* Blocks at or above it never come from below. */
uint32_t diff_file_base_limit(const struct diff_file *file);
/* State of block; *ret_count: how many blocks from it on, at most max, share it. */
enum block_state diff_file_run(const struct diff_file *file, uint32_t block, uint32_t max,
			       uint32_t *ret_count);
/*
 * The data file, for reading blocks in state DATA at their own offsets; NULL if none was written.
 */
struct vfd *diff_file_vfd(struct diff_file *file);
int diff_file_error(const struct diff_file *file); /* 0, or the -errno every later fsync answers */
/* Data that was accepted as the file's is lost: -errno is what every later sync answers. */
void diff_file_fail(struct diff_file *file, int rc);
/*
 * The file's modification time changed with a write; recorded with the next group that concerns it.
 */
void diff_file_touch(struct diff_file *file, const struct diff_attr *attr);

/*
 * Logs DIFF_RECORD_SIZE and applies it. Shrinking makes blocks at or above the new size absent and
 * lowers the base limit. What a shrink left behind the size inside its last block is the caller's
 * to overwrite before it extends. Errors as diff_log.
 */
int diff_truncate(struct diff *diff, struct diff_file *file, uint64_t size);

/*
 * Blocks [first, first + count) become ZERO. In memory, durable with the file's next commit. keep: their
 * host space stays allocated, else it is freed after that commit. Errors as diff_log.
 */
int diff_zero(struct diff *diff, struct diff_file *file, uint32_t first, uint32_t count, bool keep);

/*
 * Writes iov to the data file at byte off. off and off + len are multiples of DIFF_BLCKSZ except
 * where the block they fall into is DATA already. Touched blocks become DATA and the size at least
 * `size` when the host write has completed, then done is called. Errors in op->result: 0, or
 * -ENOSPC, -EDQUOT, -EIO, -EROFS, or the file's own; nothing changed then. May wait for room in
 * the journal by itself. done may be called before diff_write returns; so it is with diff_allocate
 * and diff_sync.
 */
struct diff_write {
	struct diff_file *file;
	struct iovec *iov;
	unsigned iovcnt;
	uint64_t off, len; /* bytes; len is the sum of iov */
	uint64_t size;	   /* file size at least this afterwards */
	bool accepted; /* whoever wrote it knows no error of it: takes of options.reserve, too */
	void (*done)(struct diff_write *op);
	int result;

	/* the diff's own */
	struct diff *diff;
	struct vfd_op io;
	struct diff_room_wait room;
	uint64_t room_taken;
	bool claims;
};
void diff_write(struct diff *diff, struct diff_write *op);

/*
 * Allocates host space for bytes [off, off+len) of the data file (never a sparse success) and
 * reserves journal bytes. States stay.
 */
struct diff_allocate {
	struct diff_file *file;
	uint64_t off, len;
	void (*done)(struct diff_allocate *op);
	int result; /* 0, -ENOSPC, -EDQUOT, -EOPNOTSUPP, ... */

	struct diff *diff;
	struct vfd_op io;
	struct diff_room_wait room;
};
void diff_allocate(struct diff *diff, struct diff_allocate *op);

/* ---- commit ---- */

struct diff_file_wait { /* the diff's own */
	void (*done)(struct diff_file_wait *wait, int rc);
	struct diff_file_wait *next;
};

/* Fill file and done, keep until done. */
struct diff_sync {
	struct diff_file *file; /* NULL with all unset: names only (fsyncdir) */
	bool all;		/* every dirty file: the timer, unmount */
	void (*done)(struct diff_sync *op);
	int result;

	struct diff *diff;
	struct diff_sync *next;	    /* waits for a commit */
	struct diff_file_wait wait; /* waits for an fdatasync of the file */
	unsigned parts;
	bool ahead;
};
/*
 * All names so far and, of the file, everything written before the call are durable when done is
 * called with result 0. Nothing to record: one fdatasync of the data file, no journal write.
 *
 * A failed fdatasync fails the file: its errno is the result of every later sync of it, and of every
 * `all` while the file lives. ENOSPC and
 * EDQUOT of the journal fail the syncs that wait for it, and the next one tries again.
 */
void diff_sync(struct diff *diff, struct diff_sync *op);

/* Something waits for a commit: the 5-second timer calls diff_sync(all) then. */
bool diff_has_pending(const struct diff *diff);

struct diff_stats {
	uint64_t commits, groups, states, fast_syncs, sync_ahead, failed_files;
	uint64_t journal_used, journal_size; /* bytes */
	uint64_t data_blocks, zero_blocks, files;
	uint64_t pending_bytes;
	uint64_t ballast_bytes, ballast_spent; /* there now; times that it was given up */
};
void diff_get_stats(const struct diff *diff, struct diff_stats *ret);

/*
 * Deliberate protocol defects for the tests that must find them; 0 in every build but the tests'
 * own.
 */
enum diff_defect {
	DIFF_DEFECT_NONE,
	DIFF_DEFECT_JOURNAL_BEFORE_DATA, /* the group is written before the data is synced */
	DIFF_DEFECT_NO_JOURNAL_SYNC,	 /* answers before the journal is durable */
	DIFF_DEFECT_NO_DIR_SYNC,	 /* names of new data files are not made durable */
	DIFF_DEFECT_FREE_BEFORE_COMMIT,	 /* host space is freed before the commit */
	DIFF_DEFECT_KEEP_BASE_LIMIT,	 /* a truncation does not lower the base limit */
};
extern enum diff_defect diff_test_defect;

#endif
