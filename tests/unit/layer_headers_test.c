/*
 * Tests of page header maps: decoding, what is refused, and the scan of the data file that stands
 * in for them.
 */
#include "base/util.h"
#include "layer/probackup/headers.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <string.h>

/* ---- header maps ---- */

#define PAGES 5u

/* Five pages of 100, 200, ... bytes at blocks 0, 2, 4, ...; step 1: whole. */
static void raw_headers(uint8_t *raw, uint32_t step, struct headers_info *info)
{
	uint32_t pos = 0;

	memset(raw, 0, (PAGES + 1) * HEADERS_ENTRY_SIZE);
	for (uint32_t i = 0; i <= PAGES; i++) {
		put_le32(raw + i * HEADERS_ENTRY_SIZE + 8, i * step);
		put_le32(raw + i * HEADERS_ENTRY_SIZE + 12, pos);
		pos += 8 + 100 * (i + 1);
	}
	*info = (struct headers_info){.size = 5 * 8 + 1500, .count = PAGES, .whole = step == 1};
}

static int decode_raw(const uint8_t *raw, struct headers_info *info, struct headers *ret,
		      const char **problem)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	uint8_t blob[1024];

	info->hdr_size = (uint32_t)libdeflate_zlib_compress(
		c, raw, (PAGES + 1) * HEADERS_ENTRY_SIZE, blob, sizeof(blob));
	libdeflate_free_compressor(c);
	info->hdr_crc = crc32c(0, raw, (PAGES + 1) * HEADERS_ENTRY_SIZE);
	return headers_decode(blob, info, ret, problem);
}

START_TEST(headers_are_found)
{
	uint8_t raw[(PAGES + 1) * HEADERS_ENTRY_SIZE];
	struct headers_info info;
	const char *problem;
	struct headers h;

	raw_headers(raw, 2, &info);
	ck_assert_int_eq(decode_raw(raw, &info, &h, &problem), 0);
	ck_assert_uint_eq(headers_find(&h, 0), 0);
	ck_assert_uint_eq(headers_find(&h, 1), 1);
	ck_assert_uint_eq(headers_find(&h, 8), 4);
	ck_assert_uint_eq(headers_find(&h, 9), 5);
	ck_assert_uint_eq(headers_block(&h, 3), 6);
	ck_assert_uint_eq(headers_pos(&h, 1), 108);
	ck_assert_uint_eq(headers_len(&h, 4), 508);
	headers_free(&h);
}
END_TEST

START_TEST(headers_refuse_damage)
{
	uint8_t raw[(PAGES + 1) * HEADERS_ENTRY_SIZE];
	struct headers_info info;
	const char *problem;
	struct headers h;

#define ENTRY(i, off) (raw + (i)*HEADERS_ENTRY_SIZE + (off))
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		raw_headers(raw, 1, &info);                                                        \
		change;                                                                            \
		ck_assert_msg(decode_raw(raw, &info, &h, &problem) == -EUCLEAN, #change);          \
	} while (0)
	REFUSED(put_le32(ENTRY(0, 12), 1));
	REFUSED(put_le32(ENTRY(2, 12), 108));
	REFUSED(put_le32(ENTRY(2, 12), 50));
	REFUSED(put_le32(ENTRY(1, 12), 8));
	REFUSED(put_le32(ENTRY(3, 12), 0x7fffffff));
	REFUSED(put_le32(ENTRY(5, 12), 1541));
	REFUSED(put_le32(ENTRY(2, 8), 1));
	REFUSED(put_le32(ENTRY(4, 8), 5)); /* said to be whole */
	REFUSED(put_le32(ENTRY(4, 8), 131072); info.whole = false);
	REFUSED(put_le32(ENTRY(4, 8), 0xffffffff); info.whole = false);
	REFUSED(info.size++);
	REFUSED(info.count = 0);
	REFUSED(info.count = 131073);
	REFUSED(info.count--);
	REFUSED(info.size = 6 * 8200);
#undef REFUSED
}
END_TEST

START_TEST(headers_check_their_crc)
{
	uint8_t raw[(PAGES + 1) * HEADERS_ENTRY_SIZE], blob[1024];
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	struct headers_info info;
	const char *problem;
	struct headers h;

	raw_headers(raw, 1, &info);
	info.hdr_size = (uint32_t)libdeflate_zlib_compress(c, raw, sizeof(raw), blob, sizeof(blob));
	libdeflate_free_compressor(c);
	info.hdr_crc = crc32c(0, raw, sizeof(raw)) + 1;
	ck_assert_int_eq(headers_decode(blob, &info, &h, &problem), -EBADMSG);
	info.hdr_size--;
	ck_assert_int_eq(headers_decode(blob, &info, &h, &problem), -EUCLEAN);
}
END_TEST

START_TEST(headers_outside_of_the_map)
{
	struct headers_info info = {.size = 100, .count = 1, .hdr_off = 90, .hdr_size = 20};
	const char *problem;
	struct headers h;
	int fd = openat(unit_dir, "map", O_RDWR | O_CREAT, 0600);

	ck_assert_int_eq(ftruncate(fd, 100), 0);
	ck_assert_int_eq(headers_read(fd, 100, &info, &h, &problem), -EUCLEAN);
	info.hdr_off = UINT64_MAX;
	ck_assert_int_eq(headers_read(fd, 100, &info, &h, &problem), -EUCLEAN);
	info.hdr_off = 0;
	info.hdr_size = 0;
	ck_assert_int_eq(headers_read(fd, 100, &info, &h, &problem), -EUCLEAN);
	info.hdr_size = 4000000000u;
	ck_assert_int_eq(headers_read(fd, UINT64_MAX, &info, &h, &problem), -EUCLEAN);
	info.hdr_size = 50;
	info.hdr_off = 80;
	ck_assert_int_eq(headers_read(fd, 200, &info, &h, &problem),
			 -EUCLEAN); /* the map is shorter */
	ck_assert_int_eq(headers_read(-1, 0, &info, &h, &problem), -ENOENT);
	close(fd);
}
END_TEST

/* A stream of count pages with payloads of len bytes at every step-th block. */
static int make_stream(uint32_t count, uint32_t len, uint32_t step, struct headers_info *info)
{
	int fd = openat(unit_dir, "stream", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t record[8200] = {0};

	info->crc = 0;
	for (uint32_t i = 0; i < count; i++) {
		put_le32(record, i * step);
		put_le32(record + 4, len);
		ck_assert_int_eq(write(fd, record, 8 + len), 8 + (ssize_t)len);
		info->crc = crc32c(info->crc, record, 8 + len);
	}
	info->size = (uint64_t)count * (8 + len);
	return fd;
}

START_TEST(scan_reads_the_file_itself)
{
	struct headers_info info = {.count = 300, .whole = false};
	const char *problem;
	struct headers h;
	int fd = make_stream(300, 8192, 3, &info);

	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), 0);
	ck_assert_uint_eq(headers_block(&h, 299), 897);
	ck_assert_uint_eq(headers_pos(&h, 299), 299 * 8200);
	ck_assert_uint_eq(headers_len(&h, 299), 8200);
	headers_free(&h);
	info.whole = true;
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	info.whole = false;
	info.count = 299;
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	info.count = 301;
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	info.count = 300;
	ck_assert_int_eq(ftruncate(fd, 200 * 8200 + 7), 0);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	ck_assert_str_eq(problem, "the file is cut off");
	close(fd);
}
END_TEST

START_TEST(scan_refuses_damage)
{
	struct headers_info info = {.count = 10};
	const char *problem;
	struct headers h;
	uint8_t word[4];
	int fd = make_stream(10, 500, 1, &info);

	put_le32(word, 0);
	ck_assert_int_eq(pwrite(fd, word, 4, 508 * 4 + 4), 4);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	put_le32(word, 8193);
	ck_assert_int_eq(pwrite(fd, word, 4, 508 * 4 + 4), 4);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	put_le32(word, (uint32_t)-2); /* old versions: the file was truncated */
	ck_assert_int_eq(pwrite(fd, word, 4, 508 * 4 + 4), 4);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	put_le32(word, 500);
	ck_assert_int_eq(pwrite(fd, word, 4, 508 * 4 + 4), 4);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), 0);
	headers_free(&h);
	put_le32(word, 3);
	ck_assert_int_eq(pwrite(fd, word, 4, 508 * 4), 4);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	close(fd);
}
END_TEST

/* Without the map only the crc of the whole file says that a page is the right one. */
START_TEST(scan_compares_the_file_with_its_crc)
{
	struct headers_info info = {.count = 100};
	const char *problem;
	struct headers h;
	int fd = make_stream(100, 8192, 2, &info);
	uint8_t byte = 1;

	ck_assert_int_eq(pwrite(fd, &byte, 1, 70 * 8200 + 4000), 1);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EBADMSG);
	byte = 0;
	ck_assert_int_eq(pwrite(fd, &byte, 1, 70 * 8200 + 4000), 1);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), 0);
	ck_assert(h.unsummed);
	headers_free(&h);
	byte = 139; /* a page that would be one block further */
	ck_assert_int_eq(pwrite(fd, &byte, 1, 69 * 8200), 1);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EBADMSG);
	byte = 138;
	ck_assert_int_eq(pwrite(fd, &byte, 1, 69 * 8200), 1);
	ck_assert_int_eq(ftruncate(fd, 100 * 8200 + 1), 0);
	ck_assert_int_eq(headers_scan(fd, &info, &h, &problem), -EUCLEAN);
	ck_assert_str_eq(problem, "the file is longer than its pages");
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_headers");
	TCase *t = tcase_create("headers");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_add_test(t, headers_are_found);
	tcase_add_test(t, headers_refuse_damage);
	tcase_add_test(t, headers_check_their_crc);
	tcase_add_test(t, headers_outside_of_the_map);
	tcase_add_test(t, scan_reads_the_file_itself);
	tcase_add_test(t, scan_refuses_damage);
	tcase_add_test(t, scan_compares_the_file_with_its_crc);
	suite_add_tcase(s, t);
	return unit_run(s);
}
