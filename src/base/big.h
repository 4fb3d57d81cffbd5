/*
 * base/big.h: memory of large arrays, in huge pages where the system has them: on virtual machines the
 * first touch of a page of 4 KiB can take longer than all the work on what is in it.
 *
 * Below BIG_MIN it is the allocator's as ever; above, sizes are rounded up to BIG_BYTES. What is
 * not mapped is released with free. Pure but for the memory; any thread.
 */
#ifndef BASE_BIG_H
#define BASE_BIG_H

#include <stddef.h>

#define BIG_BYTES ((size_t)2 << 20)
#define BIG_MIN	  (BIG_BYTES / 4)

/* Zeroed, or NULL. */
void *big_calloc(size_t count, size_t size);

/*
 * Grows what malloc or these have returned (or NULL) from old_bytes to bytes; what is new is not
 * zeroed. NULL: out of memory, and old is as it was.
 */
void *big_realloc(void *old, size_t old_bytes, size_t bytes);

/*
 * Zeroed memory of the system's own, which nobody has to clear again: bytes rounded up to BIG_BYTES, in huge
 * pages. NULL: out of memory. Released with big_unmap of as many bytes, not with free.
 */
void *big_map(size_t bytes);
void big_unmap(void *p, size_t bytes);

/*
 * The allocator's heap goes on in a huge page of BIG_BYTES, and grows by as much later. For a process that
 * stays and has not begun threads. Where it cannot be had nothing changes.
 */
void big_heap(void);

#endif
