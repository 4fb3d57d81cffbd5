/*
 * codec/pglz.h: PostgreSQL's LZ, raw token streams (PostgreSQL: src/common/pg_lzcompress.c).
 * Pure; any thread.
 */
#ifndef CODEC_PGLZ_H
#define CODEC_PGLZ_H

#include <stddef.h>

/* Decodes src to exactly dst_len bytes, using all of src: 0, else -EUCLEAN. */
int pglz_decode(const void *src, size_t src_len, void *dst, size_t dst_len);

#endif
