/*
 * overlay/bulk.h: the whole content of a chain's target, read once on many threads: what `restore`
 * writes and `verify` checks.
 *
 * Files are cut into chunks of neighbouring blocks. A worker takes the next chunk of an open file
 * or opens the next file (builds its index: each layer's locate, newest first), reads what the
 * chunk needs with few large reads, decodes and checks it, and hands the bytes to the sink. Each
 * block is read once, from where its newest version lies. Nothing of a mount is used: no engine, no
 * diff; the overlay must not be started.
 *
 * Memory: the chunks of all workers take at most about 80 MiB, the indexes of open files and what
 * building them takes at most `memory`, however many workers there are.
 *
 * Damage (a page that does not decode or does not check, a stored file that is missing or too
 * short) is one log line naming backup, file and block, and counts; the run goes on with the next
 * block until max_damage is reached. An error of the sink ends the run.
 */
#ifndef OVERLAY_BULK_H
#define OVERLAY_BULK_H

#include "base/err.h"
#include "layer/layer.h"
#include "overlay/overlay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of what the sink is given in memory: enough to write it directly (O_DIRECT). */
#define BULK_ALIGN 4096u

struct bulk;

/* One regular file. The caller may set skip and user before the run; whole is known when the sink
 * opens it. */
struct bulk_file {
	const struct layer_entry *entry; /* of the target's manifest; NULL: from bulk_add */
	uint64_t size;			 /* bytes */
	bool skip;			 /* neither read nor given to the sink */
	bool whole;			 /* without holes */
	void *user;
	void *state; /* bulk.c's own */
};

struct bulk_sink {
	/*
	 * On worker threads, several at once, of one file too: open comes before its first write
	 * and close after its last. Returns 0 or -errno, which ends the run.
	 */
	int (*open)(void *ctx, struct bulk_file *file);
	/*
	 * Bytes of the file at off, a multiple of LAYER_BLCKSZ; data lies on a multiple of
	 * BULK_ALIGN. What is never written is zeros that no backup stores (a hole).
	 */
	int (*write)(void *ctx, struct bulk_file *file, uint64_t off, const void *data, size_t len);
	/* rc < 0: the file is damaged or the run is ending; what was written of it is not all. */
	int (*close)(void *ctx, struct bulk_file *file, int rc);
	void *ctx;
};

/* What has been done; read while the run goes on with bulk_progress. */
struct bulk_counters {
	uint64_t files, bytes;		   /* done, and given to the sink */
	uint64_t total_files, total_bytes; /* of those not skipped */
	uint64_t stored_bytes;		   /* read from the store */
	uint64_t damage;		   /* blocks, or files where no block can be named */
};

struct bulk_options {
	unsigned jobs;	      /* worker threads; 0: as many as processors */
	uint64_t memory;      /* bytes for indexes; 0: 96 MiB */
	unsigned descriptors; /* that open files may have, the sink's two each among them; 0: any */
	uint64_t max_damage;  /* the run ends when so much was found; 0: never */
	/* On the calling thread, about ten times a second; negative ends the run. NULL is fine. */
	int (*tick)(void *ctx, const struct bulk_counters *counters);
	void *ctx;
};

/* The regular files of the overlay's chain, in path order. The overlay must outlive it. */
int bulk_new(struct overlay *ov, struct bulk **ret);
void bulk_free(struct bulk *bulk); /* NULL is fine */

/*
 * Adds a file that is stored whole, byte for byte, at name below dirfd of a layer (which names the
 * backup in messages). Pointers from bulk_files become invalid. name must outlive the bulk.
 */
int bulk_add(struct bulk *bulk, const struct layer *layer, const char *name, uint64_t size,
	     void *user);

struct bulk_file *bulk_files(struct bulk *bulk, size_t *ret_count);

/*
 * 0: all was given to the sink. -EUCLEAN: damage was found (reported, and counted); the sink's
 * error otherwise. Blocks. Once.
 */
int bulk_run(struct bulk *bulk, const struct bulk_options *options, const struct bulk_sink *sink,
	     struct bulk_counters *ret_counters);

#endif
