/*
 * overlay/overlay_internal.h: what the files of this room share: the tree, the content of the
 * chain, fetching.
 */
#ifndef OVERLAY_INTERNAL_H
#define OVERLAY_INTERNAL_H

#include "base/arena.h"
#include "overlay/overlay.h"
#include "overlay/table.h"

#define BLCK LAYER_BLCKSZ

struct index; /* where each block of one file of the chain is stored */
struct index_cache;

/* One layer that stores something of a file. */
struct base_part {
	uint32_t layer; /* index into the chain's layers */
	uint32_t file;	/* the driver's id */
};

/* The content a file has in the chain; immutable but for the loaded index. Lives in the overlay's
 * arena. */
struct base {
	enum layer_kind kind; /* PLAIN, BLOCKS or INLINE */
	uint32_t segno;
	uint64_t id;	  /* of its file */
	uint64_t size;	  /* bytes */
	const void *data; /* INLINE */
	struct index *index;
	uint32_t limit; /* BLOCKS: blocks at or above it come from the target layer or from nowhere
			 */
	uint32_t part_count;
	struct base_part parts[]; /* newest first; PLAIN has one */
};

/* A name in a directory. */
struct dirent {
	struct file *dir, *file;
	struct file
		*shadow; /* what the mount shows instead (the link to a native pg_wal), or NULL */
	struct dirent *prev, *next; /* in the directory, in order of making */
	bool from_chain;
	bool in_arena; /* goes with the overlay */
	uint16_t name_len;
	uint64_t dir_id; /* dir may have gone before the name is forgotten */
	char name[];	 /* NUL-terminated */
};

struct file {
	uint64_t id;
	struct diff_attr attr;
	uint32_t names;	  /* how many directory entries lead here */
	uint32_t subdirs; /* directories */
	uint32_t refs;
	bool attr_changed;	  /* differs from the chain: goes into the next state */
	bool attr_unlogged;	  /* on ov->unlogged: times that the next commit shall record */
	bool is_wal;		  /* has, or had, the name of a WAL segment */
	bool in_arena;		  /* of the chain: goes with the overlay */
	bool own_target;	  /* made in the diff: freed with the file */
	struct base *base;	  /* NULL: new, empty, or no regular file */
	struct diff_file *record; /* NULL: the diff knows nothing of its content */
	struct barrier barrier;
	void *user;
	const char *target; /* symbolic links */
	struct dirent *first_child, *last_child;
	struct file *parent; /* directories: for "..", and against moving one below itself */
	struct file *next_unlogged;
};

struct index_list {
	struct index *head, *tail;
};

struct overlay {
	struct layer_chain *chain;
	struct diff *diff; /* NULL: read-only */
	struct overlay_options options;
	struct diff_namespace ns;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	struct arena *arena;
	bool building;	    /* the chain's tree: its files and names go into the arena */
	bool replayed;	    /* the diff has said something of names or attributes */
	struct table files; /* by id */
	struct table names; /* by directory and name */
	struct file *root;
	uint64_t control_id; /* of global/pg_control */
	uint64_t wal_ids[2]; /* of pg_wal, and pg_xlog as it was called before PostgreSQL 10 */
	struct file *wal_link;
	struct file *unlogged;
	struct dirent
		*gone; /* names of the chain that are gone, for the next state; linked by next */
	/* Indexes with pieces, and those that only know where to find them; the last used first. */
	struct index_list holding, bare;
	struct index_cache *cache; /* NULL: none */
	uint64_t index_bytes, bare_bytes, index_builds, index_loads, nameless;
	uint64_t base_blocks, diff_blocks, zero_blocks;
	uint64_t *layer_bytes; /* read of each layer, stored bytes */
	uint64_t bad_pages;    /* atomic: decoding threads count too */
	uint64_t bad_files;    /* whole ones: without a usable header map, or plain and damaged */
	int64_t base_time;     /* nanoseconds: times of the chain's files */
};

static inline bool file_is_dir(const struct file *f)
{
	return S_ISDIR(f->attr.mode);
}

static inline bool file_is_regular(const struct file *f)
{
	return S_ISREG(f->attr.mode);
}

/* bytes; from memory */
uint64_t file_size(const struct file *f);
int64_t overlay_now(void); /* nanoseconds since 1970 */
/* The record of a file that is about to change. */
int file_get_record(struct overlay *ov, struct file *f);
/* ctime and, if asked, mtime become now; recorded with the next commit. */
void file_touch(struct overlay *ov, struct file *f, bool mtime);
void overlay_log_times(struct overlay *ov);

/* tree.c */
int tree_add_file(struct overlay *ov, uint64_t id, const struct diff_attr *attr, struct file **ret);
int tree_link(struct overlay *ov, struct file *dir, const char *name, size_t len, struct file *f,
	      bool from_chain);
/* tree_link in two steps: what can fail for lack of memory comes first. free() takes an uninserted
 * one back. */
struct dirent *tree_prepare(struct file *dir, const char *name, size_t len, struct file *f);
int tree_insert(struct overlay *ov, struct dirent *d);
void tree_unlink(struct overlay *ov, struct dirent *d);
struct dirent *tree_find(struct overlay *ov, const struct file *dir, const char *name, size_t len);
void tree_release(struct overlay *ov, struct file *f); /* frees it if nothing holds it any more */
void tree_free(struct overlay *ov);
uint64_t tree_base_id(const char *path);
/* Makes room for so many files; 0 or -ENOMEM. Before any other. */
int tree_init(struct overlay *ov, uint32_t count);
struct file *tree_file(const struct overlay *ov, uint64_t id);
/* Hints that the file, or the name in the directory of that id, will be looked for or added soon. */
void tree_expect_file(const struct overlay *ov, uint64_t id);
void tree_expect_name(const struct overlay *ov, uint64_t dir_id, const char *name);

/* chain.c: fills the tree from the chain's manifests. */
int chain_build(struct overlay *ov, struct errmsg *e);

/* replay.c */
void replay_setup(struct overlay *ov);
void replay_finish(struct overlay *ov);

/* index.c */
struct index_wait {
	uint32_t first, count;				/* the blocks that are wanted */
	void (*ready)(struct index_wait *wait, int rc); /* pinned when rc is 0 */
	struct index_wait *next;
};
#define INDEX_NO_PART 1023u
/* One block, packed: what is held of a long file is this, and 4 bytes more to verify it. */
struct index_entry {
	uint64_t off : 40;
	uint64_t len : 14;
	uint64_t part : 10; /* INDEX_NO_PART: stored nowhere, zeros */
};
/*
 * Pins the file's index; what it says of the wanted blocks may be asked for then. 0 when that is
 * there, -EINPROGRESS when ready will be called.
 */
int index_get(struct overlay *ov, struct base *base, struct index_wait *wait);
void index_put(struct overlay *ov, struct base *base);
uint32_t index_count(const struct base *base); /* blocks; 0 of a PLAIN file */
const struct index_entry *index_entry(const struct base *base, uint32_t block);
/* What the block's page must agree with; LAYER_NO_SUM: nothing is known, or reads are not verified.
 */
uint32_t index_sum(const struct base *base, uint32_t block);
struct vfd *index_vfd(const struct base *base, unsigned part);
void index_free_all(struct overlay *ov);
/*
 * For bulk.c, which has no engine: builds the index on the calling thread (any; one a file), and
 * drops it. Without virtual descriptors, and neither counted nor bounded here.
 */
int index_build(struct overlay *ov, struct base *base, struct errmsg *e);
void index_drop(struct base *base);

/* fetch.c: blocks first .. first+count-1 of a file into buf, beyond the size zeros. */
struct fetch {
	struct overlay *ov;
	struct file *file;
	uint32_t first, count;
	uint8_t *buf;
	void (*done)(struct fetch *fetch, int rc);

	struct index_wait index_wait;
	bool pinned;
	struct segment *segments;
	struct group *groups;
	unsigned segment_count, group_count, pending;
	uint8_t *raw;
	uint32_t decode_count;
	bool decoding;
	int rc;
};
void fetch_start(struct fetch *fetch); /* done may run inside */

/* plan.c: what fetch has to do. */
enum segment_kind { SEGMENT_ZERO, SEGMENT_DIFF, SEGMENT_PLAIN, SEGMENT_STORED, SEGMENT_INLINE };
struct segment {
	enum segment_kind kind;
	uint32_t first, count; /* blocks of the file */
	uint32_t part;	       /* STORED, PLAIN */
	uint64_t off, len;     /* bytes in the stored file */
	unsigned group;	       /* STORED: number of the read that brings its bytes */
	struct vfd *vfd;
	struct fetch *fetch;
	struct vfd_op op;
	struct iovec iov;
	int rc;
};
/* Fills fetch->segments; needs the index pinned where base blocks are in the range. */
int plan_segments(struct fetch *fetch);
bool plan_needs_base(const struct fetch *fetch);

/* group.c: one read of a stored file, for segments that lie near each other in it. */
struct group {
	struct fetch *fetch;
	uint32_t part;
	uint64_t off, len; /* bytes in the stored file */
	uint64_t raw_off;  /* where they lie in fetch->raw */
	struct vfd *vfd;
	struct vfd_op op;
	struct iovec iov;
};
/* Fills fetch->groups, and takes memory for what they read. */
int group_segments(struct fetch *fetch);
/* The stored records of a segment whose group has been read. */
const uint8_t *group_raw(const struct segment *segment);
/* The first segment, and its block, that is not whole in the first got bytes; NULL: all are. */
const struct segment *group_missing(const struct group *group, int64_t got, uint32_t *ret_block);

/* decode.c: stored records of a segment into the buffer; any thread. */
void decode_report(const struct segment *segment, uint32_t block, const char *reason);
int decode_segment(struct segment *segment, const uint8_t *raw, uint32_t from, uint32_t count);

/* patch.c: a write below the barrier, merging partial blocks. */
struct patch {
	struct overlay *ov;
	struct file *file;
	uint64_t off;
	uint32_t len;
	const void *data; /* NULL: zeros, len at most BLCK */
	uint64_t grow_to; /* file size at least this afterwards; 0: as off and len say, UINT64_MAX:
			     unchanged */
	bool accepted;	  /* as in diff_write */
	void (*done)(struct patch *patch, int rc);

	struct fetch fetch;
	struct diff_write write;
	struct iovec iov[4];
	uint8_t *edges; /* merged first and last block */
	unsigned step;
};
void patch_start(struct patch *patch);
/* Bytes behind the size in the last block become zeros, so that the file can be extended. */
void patch_zero_tail(struct patch *patch);

#endif
