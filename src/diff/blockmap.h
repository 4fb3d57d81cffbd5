/*
 * diff/blockmap.h: a state for each block of a file, two bits a block.
 *
 * An array of chunks of 2048 blocks (512 bytes). Chunks of one state take no memory of their own,
 * so a whole 1 GiB segment costs 32 KiB at most, and long runs are passed in steps of 16 MiB.
 * Zero-initialise; blockmap_free when done.
 *
 * Called by the files of src/diff. Locking: the core thread's.
 */
#ifndef DIFF_BLOCKMAP_H
#define DIFF_BLOCKMAP_H

#include "diff/record.h"

#include <stdbool.h>
#include <stdint.h>

struct blockmap {
	uint64_t **chunks;
	uint32_t chunk_count;
	uint32_t data, zero; /* blocks in that state */
	uint32_t runs;	     /* longest runs of equal state that is not ABSENT */
};

void blockmap_free(struct blockmap *map);

/*
 * Blocks [first, first + count) get the state; first + count fits 32 bits. -ENOMEM: nothing
 * changed; that cannot happen right after a blockmap_prepare of the same range.
 */
int blockmap_set(struct blockmap *map, uint32_t first, uint32_t count, enum block_state state);
/* Takes the memory that setting the range to any state may need. */
int blockmap_prepare(struct blockmap *map, uint32_t first, uint32_t count);
/* Blocks from first on become ABSENT. -ENOMEM as for blockmap_set. */
int blockmap_cut(struct blockmap *map, uint32_t first);

/* The state of block; *ret_count: how many blocks from it on, at most max (not 0), share it. */
enum block_state blockmap_run(const struct blockmap *map, uint32_t block, uint32_t max,
			      uint32_t *ret_count);
/*
 * The first run at or above *pos that is not ABSENT, cut off below *pos; moves *pos behind it.
 * False: none.
 */
bool blockmap_next(const struct blockmap *map, uint32_t *pos, struct diff_run *ret);
/* One above the last block that is not ABSENT; 0: none. */
uint32_t blockmap_end(const struct blockmap *map);

#endif
