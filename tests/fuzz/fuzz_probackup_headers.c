/*
 * Page header arrays: as a zlib stream, as the inflated array, from the records of a data file, and
 * out of page_header_map. What is accepted is a set of records that tile the file.
 *
 * Input: a byte that chooses, count (2 bytes), size (4 bytes), whole (1 byte), then the bytes.
 */
#include "base/util.h"
#include "codec/codec.h"
#include "fuzz_dir.h"
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

static int read_map(int fd, size_t size, const struct headers_info *info)
{
	const char *problem = NULL;
	struct headers h;
	int rc = headers_read(fd, size, info, &h, &problem);

	FUZZ_CHECK(rc == 0 || problem != NULL);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || rc == -EBADMSG || rc == -ENOENT ||
		   (rc == -ENOMEM && memory_fail_hit()) || rc == -EBADF || rc == -EISDIR);
	if (rc == 0)
		check_headers(&h, info);
	return rc;
}

/* The first two bytes say where the array is, the third what is wrong with the map. */
static void read_from_map(const uint8_t *data, size_t size, struct headers_info *info)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	size_t raw_len = ((size_t)info->count + 1) * HEADERS_ENTRY_SIZE;
	void *raw = malloc(raw_len);
	uint8_t wrong = data[2];

	FUZZ_CHECK(raw != NULL && fd >= 0);
	info->hdr_off = get_le16(data) % 64;
	info->hdr_size = (uint32_t)(size - 3);
	FUZZ_CHECK(pwrite(fd, data + 3, size - 3, (off_t)info->hdr_off) == (ssize_t)(size - 3));
	if (codec_decode(CODEC_ZLIB, data + 3, size - 3, raw, raw_len) == 0)
		info->hdr_crc = crc32c(0, raw, raw_len);
	size += info->hdr_off - 3;
	if (wrong % 8 == 1) /* shorter than it was when its size was asked */
		FUZZ_CHECK(ftruncate(fd, (off_t)size / 2) == 0);
	else if (wrong % 8 == 2)
		size = size / 2;
	else if (wrong % 8 == 3)
		info->hdr_off = UINT64_MAX - wrong;
	else if (wrong % 8 == 4)
		info->hdr_crc ^= wrong;
	FUZZ_WITH_FAILING_MEMORY(size, 4u, 3,
				 read_map(wrong % 8 == 5   ? -1
					  : wrong % 8 == 6 ? fuzz_dir()
							   : fd,
					  size, info));
	free(raw);
	close(fd);
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

/* pages: 0, the records alone; else their pages, too, of the codec before it. */
static int scan_file(int fd, const struct headers_info *info, unsigned pages)
{
	const char *problem = NULL;
	struct headers h;
	int rc = pages == 0 ? headers_scan(fd, info, &h, &problem)
			    : headers_scan_pages(fd, info, (enum codec)(pages - 1), 131072, &h,
						 &problem);

	FUZZ_CHECK(rc == 0 || problem != NULL);
	FUZZ_CHECK(rc != -ENOMEM || memory_fail_hit());
	if (rc == 0) {
		FUZZ_CHECK(h.unsummed == (pages == 0));
		check_headers(&h, info);
	}
	return rc;
}

/* With crc 7 it is not the file that the list has the crc of. */
static void scan(const uint8_t *data, size_t size, struct headers_info *info, unsigned pages)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	info->crc = crc32c(0, data, size) ^ (info->crc == 7);
	FUZZ_WITH_FAILING_MEMORY(size, 4u, 2, scan_file(fd, info, pages));
	/* It opens and cannot be read. */
	if (size % 4 == 1)
		(void)scan_file(fuzz_dir(), info, pages);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers_info info;

	if (size < PREFIX)
		return 0;
	info = (struct headers_info){
		.count = get_le16(data + 1), .size = get_le32(data + 3), .whole = data[7] % 2 != 0};
	if (data[0] % 16 == 14)
		info.crc = 7;
	if (data[0] % 4 == 0)
		decode(data + PREFIX, size - PREFIX, &info);
	else if (data[0] % 4 == 1)
		decode_raw(data + PREFIX, size - PREFIX, &info);
	else if (data[0] % 4 == 2)
		scan(data + PREFIX, size - PREFIX, &info, data[0] / 16 % (CODEC_MAX_ + 1));
	else if (size >= PREFIX + 3)
		read_from_map(data + PREFIX, size - PREFIX, &info);
	return 0;
}
