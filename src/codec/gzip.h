/*
 * codec/gzip.h: decoding gzip piece by piece, in memory that does not grow with the stream.
 *
 * Pure; one thread a stream. Several members one after the other are one stream, as gzip has it.
 */
#ifndef CODEC_GZIP_H
#define CODEC_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gzip_stream;

int gzip_stream_new(struct gzip_stream **ret);	     /* -ENOMEM */
void gzip_stream_freep(struct gzip_stream **stream); /* NULL inside is fine */

/* The next len bytes of input; they must stay until gzip_stream_read has returned 0. */
void gzip_stream_feed(struct gzip_stream *stream, const void *data, uint32_t len);
/*
 * Decodes up to len bytes. Fewer than that, or 0: more input is needed. -EUCLEAN: damaged;
 * -EBADMSG: a member's CRC or length does not match.
 */
int64_t gzip_stream_read(struct gzip_stream *stream, void *dst, uint32_t len);
/* The input so far is whole: it ends with a member. */
bool gzip_stream_is_whole(const struct gzip_stream *stream);

#endif
