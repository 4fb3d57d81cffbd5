/*
 * overlay/bulk_internal.h: bulk.c hands out the work, bulk_chunk.c does one chunk of it.
 */
#ifndef OVERLAY_BULK_INTERNAL_H
#define OVERLAY_BULK_INTERNAL_H

#include "overlay/bulk.h"
#include "overlay/overlay_internal.h"

#include <pthread.h>

/* A file while it is open, and before and after that. */
struct bulk_state {
	struct bulk_file *file;
	struct file *node;	   /* of the overlay; NULL: stored whole at name */
	const struct layer *layer; /* of name */
	const char *name;
	int *fds; /* one a part (one for name); -1: no block of it is needed */
	uint32_t blocks, next, in_flight;
	uint64_t memory;
	int rc;	     /* damaged */
	bool opened; /* the sink has it */
	struct bulk_state *next_open;
};

struct bulk {
	struct overlay *ov;
	struct bulk_file *files;
	size_t count, cap;
	struct bulk_options options;
	const struct bulk_sink *sink;
	uint32_t chunk_blocks;

	pthread_mutex_t lock;
	pthread_cond_t work, done;
	size_t next;
	struct bulk_state *open_head, *open_tail; /* files with chunks that nobody has taken */
	unsigned opening, in_flight, workers, files_open;
	uint64_t descriptors; /* of files_open, at most */
	uint64_t memory;
	bool stop;
	int rc;
	struct bulk_counters counters; /* atomic where workers add */
};

/* One worker's buffers. */
struct bulk_worker {
	struct bulk *bulk;
	pthread_t thread;
	uint8_t *out, *raw;
	size_t raw_size;
	struct bulk_read *reads;
	uint32_t read_count;
	bool started;
};

struct bulk_read *bulk_reads_new(uint32_t count); /* as many as a chunk has blocks */

/* Counts damage; ends the run when there is too much of it. */
void bulk_damage(struct bulk *bulk, struct bulk_state *state, uint64_t blocks);

/* Index and descriptors of a file, and whether it is whole. 0 also if it turned out to be damaged
 * (state->rc); -ENOMEM, -EMFILE. */
int bulk_open_parts(struct bulk *bulk, struct bulk_state *state);
void bulk_close_parts(struct bulk_state *state);
/* Blocks first .. first+count-1 to the sink. Negative: an error of the sink, or -ENOMEM. */
int bulk_chunk(struct bulk_worker *w, struct bulk_state *state, uint32_t first, uint32_t count);

#endif
