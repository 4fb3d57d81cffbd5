/*
 * Page header arrays: as a zlib stream, as the inflated array, and from the records of a data file.
 * What is accepted is a set of records that tile the file.
 *
 * Input: a byte that chooses, count (2 bytes), size (4 bytes), whole (1 byte), then the bytes.
 */
#include "base/util.h"
#include "codec/codec.h"
#include "fuzz.h"
#include "layer/probackup/headers.h"

#include <errno.h>
#include <libdeflate.h>
#include <sys/mman.h>
#include <unistd.h>

#define PREFIX 8u

static void check_headers(struct headers *h, const struct headers_info *info)
{
	uint64_t pos = 0;

	FUZZ_CHECK(h->count == info->count && h->count > 0);
	for (uint32_t i = 0; i < h->count; i++) {
		FUZZ_CHECK(headers_pos(h, i) == pos);
		FUZZ_CHECK(headers_len(h, i) > 8 && headers_len(h, i) <= 8200);
		FUZZ_CHECK(headers_block(h, i) < 131072);
		FUZZ_CHECK(i == 0 || headers_block(h, i) > headers_block(h, i - 1));
		FUZZ_CHECK(!info->whole || headers_block(h, i) == i);
		FUZZ_CHECK(headers_find(h, headers_block(h, i)) == i);
		pos += headers_len(h, i);
	}
	FUZZ_CHECK(pos == info->size);
	FUZZ_CHECK(headers_find(h, UINT32_MAX) == h->count);
	headers_free(h);
}

static void decode(const void *blob, size_t len, struct headers_info *info)
{
	size_t raw_len = ((size_t)info->count + 1) * HEADERS_ENTRY_SIZE;
	void *raw = malloc(raw_len);
	const char *problem = NULL;
	struct headers h;

	FUZZ_CHECK(raw != NULL);
	info->hdr_size = (uint32_t)len;
	/* The checksum would keep every change out. */
	if (codec_decode(CODEC_ZLIB, blob, len, raw, raw_len) == 0)
		info->hdr_crc = crc32c(0, raw, raw_len);
	free(raw);
	if (headers_decode(blob, info, &h, &problem) == 0)
		check_headers(&h, info);
	else
		FUZZ_CHECK(problem != NULL);
}

static void decode_raw(const uint8_t *data, size_t size, struct headers_info *info)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	size_t bound = libdeflate_zlib_compress_bound(c, size);
	uint8_t *blob = malloc(bound);

	FUZZ_CHECK(blob != NULL);
	if (size >= HEADERS_ENTRY_SIZE)
		info->count = (uint32_t)(size / HEADERS_ENTRY_SIZE - 1);
	decode(blob,
	       libdeflate_zlib_compress(c, data, size / HEADERS_ENTRY_SIZE * HEADERS_ENTRY_SIZE,
					blob, bound),
	       info);
	free(blob);
	libdeflate_free_compressor(c);
}

static void scan(const uint8_t *data, size_t size, struct headers_info *info)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	const char *problem = NULL;
	struct headers h;

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	info->crc = crc32c(0, data, size);
	if (headers_scan(fd, info, &h, &problem) == 0)
		check_headers(&h, info);
	else
		FUZZ_CHECK(problem != NULL);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers_info info;

	if (size < PREFIX)
		return 0;
	info = (struct headers_info){
		.count = get_le16(data + 1), .size = get_le32(data + 3), .whole = data[7] % 2 != 0};
	if (data[0] % 3 == 0)
		decode(data + PREFIX, size - PREFIX, &info);
	else if (data[0] % 3 == 1)
		decode_raw(data + PREFIX, size - PREFIX, &info);
	else
		scan(data + PREFIX, size - PREFIX, &info);
	return 0;
}
