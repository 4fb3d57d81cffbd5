/*
 * tests/unit/page_encode.c: see page_encode.h.
 */
#include "page_encode.h"

#include <libdeflate.h>
#include <lz4.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MATCH_MIN 3u
#define MATCH_MAX 273u
#define WINDOW	  4095u

/* The longest match that the last place with the same three bytes gives. */
static size_t find_match(const uint8_t *page, size_t at, const uint16_t *last, size_t *ret_offset)
{
	size_t from, len = 0;

	if (at + MATCH_MIN > ENCODE_PAGE)
		return 0;
	from = last[(page[at] ^ page[at + 1] << 2 ^ page[at + 2] << 4) & 4095];
	if (from == 0 || at - (from - 1) > WINDOW)
		return 0;
	from--;
	while (at + len < ENCODE_PAGE && len < MATCH_MAX && page[from + len] == page[at + len])
		len++;
	*ret_offset = at - from;
	return len >= MATCH_MIN ? len : 0;
}

static size_t put_match(uint8_t *to, size_t len, size_t offset)
{
	to[0] = (uint8_t)((offset & 0xf00) >> 4 | (len > 17 ? 15 : len - 3));
	to[1] = (uint8_t)offset;
	to[2] = (uint8_t)(len - 18);
	return len > 17 ? 3 : 2;
}

static size_t encode_pglz(const uint8_t *page, uint8_t *ret)
{
	uint16_t last[4096] = {0}; /* 1 + where three bytes were seen, by their hash */
	uint8_t out[2 * ENCODE_PAGE];
	size_t at = 0, len = 0, control = 0;

	for (unsigned item = 0; at < ENCODE_PAGE && len < ENCODE_PAGE; item++) {
		size_t offset = 0, n;

		if (item % 8 == 0) {
			control = len++;
			out[control] = 0;
		}
		n = find_match(page, at, last, &offset);
		if (n > 0) {
			out[control] |= (uint8_t)(1u << item % 8);
			len += put_match(out + len, n, offset);
		} else {
			out[len++] = page[at];
			n = 1;
		}
		for (; n > 0; n--, at++)
			if (at + MATCH_MIN <= ENCODE_PAGE)
				last[(page[at] ^ page[at + 1] << 2 ^ page[at + 2] << 4) & 4095] =
					(uint16_t)(at + 1);
	}
	if (at < ENCODE_PAGE || len >= ENCODE_PAGE)
		return 0;
	memcpy(ret, out, len);
	return len;
}

static size_t encode_zlib(const uint8_t *page, uint8_t *ret)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	size_t len = libdeflate_zlib_compress(c, page, ENCODE_PAGE, ret, ENCODE_PAGE - 1);

	libdeflate_free_compressor(c);
	return len;
}

size_t encode_page(enum codec codec, const uint8_t *page, uint8_t *ret)
{
	size_t len = 0;
	int n;

	switch (codec) {
	case CODEC_ZLIB:
		len = encode_zlib(page, ret);
		break;
	case CODEC_PGLZ:
		len = encode_pglz(page, ret);
		break;
	case CODEC_LZ4:
		n = LZ4_compress_default((const char *)page, (char *)ret, ENCODE_PAGE,
					 ENCODE_PAGE - 1);
		len = n > 0 ? (size_t)n : 0;
		break;
	case CODEC_ZSTD:
		len = ZSTD_compress(ret, ENCODE_PAGE - 1, page, ENCODE_PAGE, 1);
		if (ZSTD_isError(len))
			len = 0;
		break;
	default:
		break;
	}
	if (len > 0)
		return len;
	memcpy(ret, page, ENCODE_PAGE);
	return ENCODE_PAGE;
}
