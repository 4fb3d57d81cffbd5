/*
 * codec/gzip.c: see gzip.h. zlib does the work: it decodes in pieces of any size and checks CRC and
 * length at the end of a member.
 */
#include "codec/gzip.h"
#include "base/util.h"

#include <errno.h>
#include <zlib.h>

#define GZIP_ONLY (MAX_WBITS + 16)

struct gzip_stream {
	z_stream z;
	bool ended; /* behind a member */
};

int gzip_stream_new(struct gzip_stream **ret)
{
	struct gzip_stream *s = calloc(1, sizeof(*s));

	if (s == NULL || inflateInit2(&s->z, GZIP_ONLY) != Z_OK) {
		free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void gzip_stream_freep(struct gzip_stream **stream)
{
	if (*stream != NULL)
		(void)inflateEnd(&(*stream)->z);
	free(*stream);
}

void gzip_stream_feed(struct gzip_stream *s, const void *data, uint32_t len)
{
	s->z.next_in = (Bytef *)(uintptr_t)data;
	s->z.avail_in = len;
}

/* zlib has one code for both; the CRC and the length come last. */
static int error_of(const struct gzip_stream *s, int rc)
{
	if (rc == Z_MEM_ERROR)
		return -ENOMEM;
	return rc == Z_DATA_ERROR && s->z.msg != NULL &&
			       (strcmp(s->z.msg, "incorrect data check") == 0 ||
				strcmp(s->z.msg, "incorrect length check") == 0)
		       ? -EBADMSG
		       : -EUCLEAN;
}

int64_t gzip_stream_read(struct gzip_stream *s, void *dst, uint32_t len)
{
	s->z.next_out = dst;
	s->z.avail_out = len;
	while (s->z.avail_out > 0) {
		int rc;

		if (s->ended && s->z.avail_in == 0)
			break;
		if (s->ended && inflateReset(&s->z) != Z_OK)
			return -EUCLEAN;
		s->ended = false;
		rc = inflate(&s->z, Z_NO_FLUSH);
		if (rc == Z_BUF_ERROR)
			break;
		if (rc != Z_OK && rc != Z_STREAM_END)
			return error_of(s, rc);
		s->ended = rc == Z_STREAM_END;
	}
	return (int64_t)(len - s->z.avail_out);
}

bool gzip_stream_is_whole(const struct gzip_stream *s)
{
	return s->ended && s->z.avail_in == 0;
}
