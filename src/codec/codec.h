/*
 * codec/codec.h: decoding one page or one buffer.
 *
 * Pure functions on memory, called from any thread; decoder states are kept per thread and freed with it.
 * No file is touched here.
 */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

enum codec { CODEC_NONE, CODEC_ZLIB, CODEC_PGLZ, CODEC_LZ4, CODEC_ZSTD, CODEC_MAX_ };

/* The codec of that name as backup tools write it ("none", "zlib", ...), or -ENOTSUP. */
int codec_from_name(const char *name);
const char *codec_name(enum codec codec);

/* Decodes src to exactly dst_len bytes, using all of src: 0, else -EUCLEAN (damaged) or -ENOMEM. dst is then undefined. */
int codec_decode(enum codec codec, const void *src, size_t src_len, void *dst, size_t dst_len);

#endif
