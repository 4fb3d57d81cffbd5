/*
 * tests/model/core.h: the overlay without kernel: one diff opened on a chain, with an engine of its
 * own.
 */
#ifndef MODEL_CORE_H
#define MODEL_CORE_H

#include "overlay/overlay.h"

#include <errno.h>

struct core_options {
	enum io_kind kind;
	unsigned threads; /* 0: 3 */
	uint64_t shuffle_seed;
	uint64_t journal_limit;
	uint64_t reserve;
	unsigned slots;	     /* of the vfd cache */
	size_t buffer_bytes; /* of the buffer pool */
	uint64_t index_memory;
};

/* The engine room outlives reopening. */
struct core {
	struct core_options options;
	struct layer_chain *chain;
	const char *diff_path;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	struct diff *diff;
	struct overlay *ov;
};

/* Engine, cache and pool. */
int core_new(struct core *c, const struct core_options *options, struct errmsg *e);
void core_free(struct core *c);

/* Opens the diff (made if missing) on the chain, recovers, starts. core_close wants nothing in
 * flight. */
int core_open(struct core *c, struct layer_chain *chain, const char *diff_path, struct errmsg *e);
void core_close(struct core *c);

/* Waits until *done. False when nothing more can complete: an operation was lost. */
bool core_run(struct core *c, const bool *done);
/* Runs whatever is still going on in the background. */
void core_drain(struct core *c);

/* Synchronous forms of the asynchronous operations. */
int core_sync(struct core *c, struct file *file, bool all);
int64_t core_read(struct core *c, struct file *file, uint64_t off, uint32_t len, void *buf);
int core_write(struct core *c, struct file *file, uint64_t off, uint32_t len, const void *buf);
int core_truncate(struct core *c, struct file *file, uint64_t size);
int core_fallocate(struct core *c, struct file *file, int mode, uint64_t off, uint64_t len);
/* Waits for room in the journal after -EAGAIN. */
void core_wait_room(struct core *c);

/* Calls an operation on names again as long as the journal needs room first. */
#define CORE_RETRY(core, call)                                                                     \
	({                                                                                         \
		int _rc;                                                                           \
		while ((_rc = (call)) == -EAGAIN)                                                  \
			core_wait_room(core);                                                      \
		_rc;                                                                               \
	})

/* Finds a path from the root: 0 or -errno. */
int core_find(struct core *c, const char *path, struct file **ret);
/* Finds the directory a path lies in; *ret_name points into path. */
int core_find_parent(struct core *c, const char *path, struct file **ret_dir,
		     const char **ret_name);

#endif
