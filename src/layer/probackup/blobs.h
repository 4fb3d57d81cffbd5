/*
 * layer/probackup/blobs.h: the pieces of page_header_map that the lines of a list name. Each
 * belongs to one file.
 */
#ifndef LAYER_PROBACKUP_BLOBS_H
#define LAYER_PROBACKUP_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
	uint64_t off;
	uint32_t size;
};

struct blobs {
	struct blob *items;
	size_t count, cap;
};

/* -ENOMEM. items is freed by the caller. */
int blobs_add(struct blobs *blobs, uint64_t off, uint32_t size);

/* False if two of them overlap; *ret_off is where. Sorts them. */
bool blobs_are_apart(struct blobs *blobs, uint64_t *ret_off);

#endif
