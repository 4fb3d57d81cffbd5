/*
 * gzip in pieces. Byte 0 chooses what the rest is: a stream as it is; a deflate stream that gets
 * header, CRC and length; plain bytes that are compressed. Bytes 1 and 2 are the sizes of the
 * pieces that go in and come out. However it is cut, the result is the same.
 */
#include "base/util.h"
#include "codec/gzip.h"
#include "fuzz_dir.h"

#include <errno.h>
#include <zlib.h>

#define OUT_MAX (256u << 10)

struct bytes {
	uint8_t *data;
	size_t len;
};

static struct bytes bytes_new(size_t size)
{
	struct bytes b = {.data = malloc(MAX(size, (size_t)1))};

	FUZZ_CHECK(b.data != NULL);
	return b;
}

/* 0, the error, or 1: more than OUT_MAX, and the rest is not wanted. */
static int decode(const struct bytes *in, uint32_t in_piece, uint32_t out_piece, struct bytes *out,
		  bool *ret_whole)
{
	struct gzip_stream *s = NULL;
	int64_t n = 0;

	*out = bytes_new(OUT_MAX + out_piece);
	FUZZ_CHECK(gzip_stream_new(&s) == 0);
	for (size_t at = 0; at < in->len && n >= 0 && out->len < OUT_MAX;) {
		uint32_t len = (uint32_t)MIN((size_t)in_piece, in->len - at);
		/* A copy, so that what is kept of the piece before is noticed. */
		struct bytes piece = bytes_new(len);

		memcpy(piece.data, in->data + at, len);
		gzip_stream_feed(s, piece.data, len);
		do {
			n = gzip_stream_read(s, out->data + out->len, out_piece);
			FUZZ_CHECK(n <= (int64_t)out_piece);
			if (n > 0)
				out->len += (size_t)n;
		} while (n == (int64_t)out_piece && out->len < OUT_MAX);
		free(piece.data);
		at += len;
	}
	FUZZ_CHECK(n >= 0 || n == -EUCLEAN || n == -EBADMSG);
	*ret_whole = gzip_stream_is_whole(s);
	gzip_stream_freep(&s);
	if (n < 0)
		return (int)n;
	return out->len >= OUT_MAX ? 1 : 0;
}

static void check(const struct bytes *in, uint32_t in_piece, uint32_t out_piece,
		  const struct bytes *wanted)
{
	struct bytes a, b;
	bool whole_a, whole_b;
	int rc_a = decode(in, UINT32_MAX, 1u << 16, &a, &whole_a);
	int rc_b = decode(in, in_piece, out_piece, &b, &whole_b);

	if (rc_a != 1 && rc_b != 1) {
		FUZZ_CHECK(rc_a == rc_b && (rc_a < 0 || whole_a == whole_b));
		/* What came before an error depends on the pieces. */
		FUZZ_CHECK(rc_a < 0 || a.len == b.len);
	}
	FUZZ_CHECK(memcmp(a.data, b.data, MIN(a.len, b.len)) == 0);
	if (wanted != NULL && rc_a == 0)
		FUZZ_CHECK(whole_a && a.len == wanted->len &&
			   memcmp(a.data, wanted->data, a.len) == 0);
	FUZZ_CHECK(wanted == NULL || rc_a >= 0);
	free(a.data);
	free(b.data);
}

/* header, data, CRC, length; false if data is no deflate stream and nothing else. */
static bool wrap(const uint8_t *data, size_t size, struct bytes *ret, struct bytes *ret_plain)
{
	static const uint8_t header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
	int rc;

	*ret_plain = bytes_new(OUT_MAX);
	FUZZ_CHECK(inflateInit2(&z, -MAX_WBITS) == Z_OK);
	z.next_out = ret_plain->data;
	z.avail_out = OUT_MAX - 1;
	rc = inflate(&z, Z_FINISH);
	ret_plain->len = z.total_out;
	(void)inflateEnd(&z);
	if (rc != Z_STREAM_END || z.avail_in > 0) {
		free(ret_plain->data);
		return false;
	}
	*ret = bytes_new(size + 18);
	ret->len = size + 18;
	memcpy(ret->data, header, sizeof(header));
	memcpy(ret->data + 10, data, size);
	put_le32(ret->data + 10 + size,
		 (uint32_t)crc32(0, ret_plain->data, (uInt)ret_plain->len));
	put_le32(ret->data + 14 + size, (uint32_t)ret_plain->len);
	return true;
}

/* Two members, as many as gzip allows. */
static void compress_and_check(const uint8_t *data, size_t size, uint32_t in_piece,
			       uint32_t out_piece)
{
	struct bytes in = bytes_new(size + 200), plain = {.data = (uint8_t *)(uintptr_t)data};

	plain.len = MIN(size, (size_t)(OUT_MAX - 1));
	for (unsigned i = 0; i < 2; i++) {
		size_t from = i * (plain.len / 2), to = i == 0 ? plain.len / 2 : plain.len;
		z_stream z = {.next_in = (Bytef *)(uintptr_t)(data + from)};

		FUZZ_CHECK(deflateInit2(&z, 1, Z_DEFLATED, MAX_WBITS + 16, 8, 0) == Z_OK);
		z.avail_in = (uInt)(to - from);
		z.next_out = in.data + in.len;
		z.avail_out = (uInt)(size + 200 - in.len);
		FUZZ_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
		in.len += z.total_out;
		(void)deflateEnd(&z);
	}
	check(&in, in_piece, out_piece, &plain);
	free(in.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in, plain;
	struct gzip_stream *none = NULL;
	uint32_t in_piece, out_piece;

	if (size < 3)
		return 0;
	in_piece = 1u + data[1];
	out_piece = 1u + data[2];
	in = (struct bytes){.data = (uint8_t *)(uintptr_t)(data + 3), .len = size - 3};
	if (data[0] % 3 == 0) {
		check(&in, in_piece, out_piece, NULL);
	} else if (data[0] % 3 == 1 && wrap(data + 3, size - 3, &in, &plain)) {
		check(&in, in_piece, out_piece, &plain);
		free(in.data);
		free(plain.data);
	} else if (data[0] % 3 == 2) {
		compress_and_check(data + 3, size - 3, in_piece, out_piece);
	}
	memory_fail(1);
	FUZZ_CHECK(gzip_stream_new(&none) == -ENOMEM);
	memory_fail(0);
	gzip_stream_freep(&none);
	return 0;
}
