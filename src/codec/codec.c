/*
 * codec/codec.c: the codecs by name and number. Decoder states are made on a thread's first use and
 * freed when it ends; the engine's threads are few and long-lived.
 */
#include "codec/codec.h"
#include "base/util.h"
#include "codec/pglz.h"

#include <errno.h>
#include <libdeflate.h>
#include <limits.h>
#include <lz4.h>
#include <pthread.h>
#include <zstd.h>

struct decoders {
	struct libdeflate_decompressor *deflate;
	ZSTD_DCtx *zstd;
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;
static _Thread_local struct decoders *thread_decoders;

static void decoders_free(void *p)
{
	struct decoders *d = p;

	libdeflate_free_decompressor(d->deflate);
	ZSTD_freeDCtx(d->zstd);
	free(d);
	/* Another destructor of this thread may decode: it starts anew. */
	thread_decoders = NULL;
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, decoders_free);
}

/* This thread's decoders, or NULL when out of memory. */
static struct decoders *decoders_get(void)
{
	struct decoders *d = thread_decoders;

	if (d != NULL)
		return d;
	if (pthread_once(&key_once, make_key) != 0 || key_error != 0)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	if (pthread_setspecific(key, d) != 0) {
		free(d);
		return NULL;
	}
	thread_decoders = d;
	return d;
}

static int decode_none(const void *src, size_t src_len, void *dst, size_t dst_len)
{
	if (src_len != dst_len)
		return -EUCLEAN;
	if (src_len > 0)
		memcpy(dst, src, src_len);
	return 0;
}

static int decode_zlib(const void *src, size_t src_len, void *dst, size_t dst_len)
{
	struct decoders *d = decoders_get();
	enum libdeflate_result result;
	size_t used = 0;

	if (d == NULL)
		return -ENOMEM;
	if (d->deflate == NULL) {
		d->deflate = libdeflate_alloc_decompressor();
		if (d->deflate == NULL)
			return -ENOMEM;
	}
	/* NULL for the output length: anything but exactly dst_len is an error. */
	result = libdeflate_zlib_decompress_ex(d->deflate, src, src_len, dst, dst_len, &used, NULL);
	return result == LIBDEFLATE_SUCCESS && used == src_len ? 0 : -EUCLEAN;
}

static int decode_lz4(const void *src, size_t src_len, void *dst, size_t dst_len)
{
	int n;

	if (src_len == 0 || src_len > INT_MAX || dst_len > INT_MAX)
		return -EUCLEAN;
	/* A block ends where the input ends, so success means that all of it was used. */
	n = LZ4_decompress_safe(src, dst, (int)src_len, (int)dst_len);
	return n >= 0 && (size_t)n == dst_len ? 0 : -EUCLEAN;
}

static int decode_zstd(const void *src, size_t src_len, void *dst, size_t dst_len)
{
	struct decoders *d;
	size_t n;

	/* One frame exactly, and neither a skippable one nor one of zstd's old formats. */
	if (src_len < 4 || get_le32(src) != ZSTD_MAGICNUMBER)
		return -EUCLEAN;
	n = ZSTD_findFrameCompressedSize(src, src_len);
	if (ZSTD_isError(n) || n != src_len)
		return -EUCLEAN;

	d = decoders_get();
	if (d == NULL)
		return -ENOMEM;
	if (d->zstd == NULL) {
		d->zstd = ZSTD_createDCtx();
		if (d->zstd == NULL)
			return -ENOMEM;
	}
	/* In one piece the output is the window: memory does not grow with what the frame asks. */
	n = ZSTD_decompressDCtx(d->zstd, dst, dst_len, src, src_len);
	return !ZSTD_isError(n) && n == dst_len ? 0 : -EUCLEAN;
}

static const struct {
	const char *name;
	int (*decode)(const void *src, size_t src_len, void *dst, size_t dst_len);
} codecs[CODEC_MAX_] = {
	[CODEC_NONE] = {"none", decode_none}, [CODEC_ZLIB] = {"zlib", decode_zlib},
	[CODEC_PGLZ] = {"pglz", pglz_decode}, [CODEC_LZ4] = {"lz4", decode_lz4},
	[CODEC_ZSTD] = {"zstd", decode_zstd},
};

int codec_from_name(const char *name)
{
	for (int i = 0; i < CODEC_MAX_; i++) {
		if (strcmp(codecs[i].name, name) == 0)
			return i;
	}
	return -ENOTSUP;
}

const char *codec_name(enum codec codec)
{
	return (unsigned)codec < CODEC_MAX_ ? codecs[codec].name : "?";
}

int codec_decode(enum codec codec, const void *src, size_t src_len, void *dst, size_t dst_len)
{
	if ((unsigned)codec >= CODEC_MAX_)
		return -EUCLEAN;
	return codecs[codec].decode(src, src_len, dst, dst_len);
}
