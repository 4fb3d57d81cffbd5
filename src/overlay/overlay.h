/*
 * overlay/overlay.h: the merged view: names, attributes and blocks of a chain with a diff on top.
 *
 * Called by src/fuse and by tests, on the core thread only; no locks. Operations on names and
 * attributes are memory only and answer at once (-EAGAIN: the journal needs room first, see
 * overlay_wait_room). Operations on content are asynchronous: the caller fills a struct, keeps it
 * until done, and done may be called inside the call itself.
 *
 * A struct file is a file, directory or link of the merged tree. It exists as long as it has a name
 * or a reference; src/fuse holds one reference for each node and each open.
 */
#ifndef OVERLAY_OVERLAY_H
#define OVERLAY_OVERLAY_H

#include "base/err.h"
#include "diff/diff.h"
#include "io/barrier.h"
#include "io/bufpool.h"
#include "layer/layer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct overlay;
struct file;

struct overlay_options {
	uid_t uid; /* owner of everything in the chain */
	gid_t gid;
	const char *wal_dir;   /* pg_wal is shown as a link to it; NULL: as in the chain */
	uint64_t index_memory; /* bytes of block index held at most */
	const char *cache;    /* directory where indexes are kept, made if missing; NULL: nowhere */
	uint64_t cache_limit; /* bytes in it at most; 0: 4 GiB */
	bool verify_reads;    /* check what is read from the chain against its checksums */
};

/*
 * The first half of overlay_new: the tree of the chain, for which the diff is not needed (options.wal_dir is
 * not looked at). Blocks. While it is being built nobody else uses the chain.
 */
int overlay_new_tree(struct layer_chain *chain, const struct overlay_options *options, struct errmsg *e,
		     struct overlay **ret);

/* The second: recovers the diff (NULL: read-only) on it. Blocks. After a failure it can only be freed. */
int overlay_add_diff(struct overlay *ov, struct diff *diff, const char *wal_dir, struct errmsg *e);

/*
 * Builds the tree of the chain and, with a diff (NULL: read-only), recovers it. Blocks. chain and
 * diff stay the caller's and must outlive the overlay.
 */
int overlay_new(struct layer_chain *chain, struct diff *diff, const struct overlay_options *options,
		struct errmsg *e, struct overlay **ret);
/* From now on asynchronous. The diff is started too. */
int overlay_start(struct overlay *ov, struct io_engine *io, struct vfd_cache *vfds,
		  struct bufpool *buffers);
/* Nothing in flight, everything synced. NULL is fine. */
void overlay_free(struct overlay *ov);

/* ---- names ---- */

struct file *overlay_root(struct overlay *ov);
struct file *overlay_find(struct overlay *ov, uint64_t id); /* NULL if unknown */
uint64_t
overlay_file_id(const struct file *file); /* st_ino; stable across mounts for files of the chain */
void overlay_ref(struct file *file);
void overlay_unref(struct overlay *ov, struct file *file);
void *overlay_file_user(const struct file *file); /* one pointer for src/fuse: its node */
void overlay_file_set_user(struct file *file, void *user);

int overlay_lookup(struct overlay *ov, struct file *dir, const char *name,
		   struct file **ret); /* -ENOENT; no reference taken */

struct overlay_create {
	uint32_t mode; /* with type bits; block and character devices are refused with -EPERM */
	uid_t uid;
	gid_t gid;
	const char *target; /* symbolic links */
};
int overlay_create(struct overlay *ov, struct file *dir, const char *name,
		   const struct overlay_create *what, struct file **ret);
int overlay_unlink(struct overlay *ov, struct file *dir, const char *name);
int overlay_rmdir(struct overlay *ov, struct file *dir, const char *name);
int overlay_link(struct overlay *ov, struct file *file, struct file *dir, const char *name);
/* flags: 0, RENAME_NOREPLACE or RENAME_EXCHANGE (renameat2). */
int overlay_rename(struct overlay *ov, struct file *dir, const char *name, struct file *dir2,
		   const char *name2, unsigned flags);
const char *overlay_readlink(struct file *file); /* NULL unless a link */
/* It has, or had, the name of a segment in the cluster's pg_wal. */
bool overlay_is_wal(const struct file *file);
/* It is global/pg_control. */
bool overlay_is_control(const struct overlay *ov, const struct file *file);

/* After -EAGAIN from a function above: ready is called once when to try again. */
void overlay_wait_room(struct overlay *ov, struct diff_room_wait *wait);

/* A snapshot of a directory's names, "." and ".." first. */
struct overlay_dirent {
	const char *name;
	struct file
		*file; /* may have lost this name since; valid for overlay_find(id) != NULL only */
	uint64_t id;
	uint32_t mode;
};
struct overlay_dir {
	struct overlay_dirent *entries;
	size_t count;
	char *names;
};
int overlay_list(struct overlay *ov, struct file *dir, struct overlay_dir *ret);
void overlay_list_free(struct overlay_dir *list);

/* ---- attributes ---- */

/* From memory. st_blocks follows from the size (tools take few blocks for holes). Call it behind
 * the barrier (overlay_wait). */
void overlay_getattr(struct overlay *ov, struct file *file, struct stat *ret);

#define OVERLAY_SET_MODE  1u
#define OVERLAY_SET_UID	  2u
#define OVERLAY_SET_GID	  4u
#define OVERLAY_SET_ATIME 8u
#define OVERLAY_SET_MTIME 16u
#define OVERLAY_SET_CTIME 32u
int overlay_setattr(struct overlay *ov, struct file *file, const struct diff_attr *attr,
		    unsigned which);

/* mtime and ctime that writes have left, where the kernel keeps them (write-back): recorded when a
 * commit concerns the file, at the next timer at the latest. */
void overlay_take_times(struct overlay *ov, struct file *file, const struct diff_attr *attr);

int overlay_statfs(struct overlay *ov,
		   struct statvfs *ret); /* of the diff's file system; may take a system call */

/* ---- content ---- */

/* Calls done once every earlier mutating request on the file is complete. */
struct overlay_wait {
	struct file *file;
	void (*done)(struct overlay_wait *op);
	struct ticket ticket;
};
void overlay_wait(struct overlay *ov, struct overlay_wait *op);

/*
 * Reads len bytes at off. On success data points to result bytes (fewer at the end of the file)
 * that are valid until done returns. len at most 1 MiB.
 */
struct overlay_read {
	struct file *file;
	uint64_t off;
	uint32_t len;
	void (*done)(struct overlay_read *op);
	int64_t result; /* bytes or -errno */
	const void *data;
	void *state; /* the overlay's own */
	struct ticket ticket;
};
void overlay_read(struct overlay *ov, struct overlay_read *op);

/*
 * Writes len bytes (at most 1 MiB); data must stay until done. cached: whoever wrote them was told
 * long ago that it has worked (write-back), so an error fails the file: every later sync of it
 * answers with it until the next mount.
 */
struct overlay_write {
	struct file *file;
	uint64_t off;
	uint32_t len;
	const void *data;
	bool append; /* at the end of the file as it is when the write's turn comes; off is set */
	bool cached;
	void (*done)(struct overlay_write *op);
	int result; /* 0 or -errno */
	void *state;
	struct ticket ticket;
};
void overlay_write(struct overlay *ov, struct overlay_write *op);

/* Sets the size, or does fallocate(2) with mode 0, KEEP_SIZE, KEEP_SIZE|PUNCH_HOLE, ZERO_RANGE
 * (with or without KEEP_SIZE). */
struct overlay_resize {
	struct file *file;
	bool fallocate;
	int mode;
	uint64_t off, len;	      /* fallocate: range; else off is the new size */
	const struct diff_attr *attr; /* set in the same turn, as overlay_setattr does */
	unsigned which;		      /* 0: none */
	void (*done)(struct overlay_resize *op);
	int result;
	struct stat after; /* on success: before a later request has changed anything */
	void *state;
	struct ticket ticket;
};
void overlay_resize(struct overlay *ov, struct overlay_resize *op);

/* Makes content, size and names durable; directories: names. all: everything (timer, unmount), file
 * NULL. */
struct overlay_sync {
	struct file *file;
	bool all;
	void (*done)(struct overlay_sync *op);
	int result;
	struct overlay *ov; /* the overlay's own, as what follows */
	struct ticket ticket;
	struct diff_sync sync;
};
void overlay_sync(struct overlay *ov, struct overlay_sync *op);

/*
 * What the diff changed, as one JSON object (malloc'ed, NULL: no memory): {"changes":[...]}, by
 * path, each with path, type (file, directory, link, other) and
 *
 *	change: new, removed, modified (content), renamed (from; modified, too, if it has blocks),
 *		linked (from: another name of a file of the chain), attributes
 *	of files that are not removed: size, and where the chain has them base_size
 *	kept: bytes of the chain's content that are still below, if that was cut
 *	blocks: [first, count] pairs in the diff; zero: the same, blocks of zeros
 */
char *overlay_changes_json(const struct overlay *ov);

struct overlay_stats {
	uint64_t files, nameless, index_bytes, index_builds, /* indexes made by asking the layers */
		index_loads, /* pieces or indexes brought by the cache instead */
		base_blocks, diff_blocks, zero_blocks, bad_pages, /* reads of one that failed */
		bad_files; /* the same of files that are damaged as a whole */
};
void overlay_get_stats(const struct overlay *ov, struct overlay_stats *ret);
/* From time to time: gives memory back that no request has needed since the last call. */
void overlay_trim(struct overlay *ov);
/* Bytes of stored pages and files read of that layer of the chain so far. */
uint64_t overlay_layer_bytes(const struct overlay *ov, unsigned layer);
struct diff *overlay_diff(struct overlay *ov); /* NULL when read-only */

#endif
