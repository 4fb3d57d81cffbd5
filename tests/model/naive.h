/*
 * tests/model/naive.h: the content of a file of a chain, by the words of layer/layer.h and nothing
 * else: every block from the newest layer that stores it. Slow, without index or cache: what
 * src/overlay is compared with.
 */
#ifndef MODEL_NAIVE_H
#define MODEL_NAIVE_H

#include "layer/layer.h"

/* The target layer's entry of the path, or NULL. */
const struct layer_entry *naive_find(const struct layer_chain *chain, const char *path);

/* Its size in bytes, without reading content. */
int naive_size(const struct layer_chain *chain, const struct layer_entry *entry, uint64_t *ret);

/* The whole content: malloc'ed, *ret_len bytes. -errno on damage. Not for directories and links. */
int naive_read(const struct layer_chain *chain, const struct layer_entry *entry, uint8_t **ret_data,
	       uint64_t *ret_len);

#endif
