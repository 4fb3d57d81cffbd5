/*
 * base/arena.h: memory that is freed all at once (lists of backups, names of a manifest).
 * Not thread-safe; one owner.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena;

int arena_new(struct arena **ret);
void arena_free(struct arena *a); /* NULL is fine */

/* Zeroed memory aligned for any object, or NULL when out of memory. Lives until arena_free. */
void *arena_alloc(struct arena *a, size_t size);

/* A NUL-terminated copy of len bytes, packed without alignment. NULL when out of memory. */
char *arena_strndup(struct arena *a, const char *s, size_t len);

/* Bytes taken from the allocator so far. */
uint64_t arena_bytes(const struct arena *a);

#endif
