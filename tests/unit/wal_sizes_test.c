/*
 * tests/unit/wal_sizes_test.c: archives of segments of 1 MB to 1 GB: names on both sides of 4 GB,
 * and partial ones filled up to the size. Segments are sparse, with a right first page and a last
 * byte.
 */
#include "base/util.h"
#include "layer/layer.h"
#include "pg/wal.h"
#include "unit.h"

#include <errno.h>
#include <libdeflate.h>
#include <string.h>

#define MB     (UINT64_C(1) << 20)
#define SYSTEM UINT64_C(7710201894668842367)

static const struct {
	uint64_t size;
	const char *before,
		*behind;  /* 4 GB, and the names there: version by version the same since 9.3 */
	const char *none; /* no segment has this number */
} sizes[] = {
	{1 * MB, "000000010000000000000FFF", "000000010000000100000000",
	 "000000010000000000001000"},
	{16 * MB, "0000000100000000000000FF", "000000010000000100000000",
	 "000000010000000000000100"},
	{64 * MB, "00000001000000000000003F", "000000010000000100000000",
	 "000000010000000000000040"},
	{1024 * MB, "000000010000000000000003", "000000010000000100000000",
	 "000000010000000000000004"},
};

static struct store *store;
static struct errmsg why;

static void open_store(uint64_t size)
{
	char conf[200];

	unit_setup();
	(void)mkdirat(unit_dir, "backups", 0700);
	(void)mkdirat(unit_dir, "backups/main", 0700);
	(void)mkdirat(unit_dir, "wal", 0700);
	(void)mkdirat(unit_dir, "wal/main", 0700);
	(void)snprintf(conf, sizeof(conf), "system-identifier = %llu\nxlog-seg-size = %llu\n",
		       (unsigned long long)SYSTEM, (unsigned long long)size);
	unit_put_file("backups/main/pg_probackup.conf", conf);
	ck_assert_int_eq(store_open(unit_path, NULL, &store), 0);
}

static void close_store(void)
{
	store_close(store);
	unit_teardown();
}

static void first_page(uint64_t address, uint64_t size, uint8_t page[8192])
{
	memset(page, 0, 8192);
	put_le16(page, 0xd110);
	put_le16(page + 2, 2);
	put_le32(page + 4, 1);
	put_le64(page + 8, address);
	put_le64(page + 24, SYSTEM);
	put_le32(page + 32, (uint32_t)size);
	put_le32(page + 36, 8192);
}

/* len bytes, the last one 7. */
static void put_segment(const char *name, uint64_t address, uint64_t size, uint64_t len)
{
	char path[100];
	uint8_t page[8192], last = 7;
	int fd;

	(void)snprintf(path, sizeof(path), "wal/main/%s", name);
	first_page(address, size, page);
	fd = openat(unit_dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(write(fd, page, sizeof(page)), sizeof(page));
	ck_assert_int_eq(pwrite(fd, &last, 1, (off_t)len - 1), 1);
	close(fd);
}

static void put_gzip(const char *name, uint64_t address, uint64_t size, uint64_t len)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	_cleanup_free_ uint8_t *plain = calloc(1, len), *packed = malloc(len);
	char path[100];
	size_t n;
	int fd;

	first_page(address, size, plain);
	plain[len - 1] = 7;
	n = libdeflate_gzip_compress(c, plain, len, packed, len);
	libdeflate_free_compressor(c);
	ck_assert_uint_gt(n, 0);
	(void)snprintf(path, sizeof(path), "wal/main/%s", name);
	fd = openat(unit_dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(write(fd, packed, n), (ssize_t)n);
	close(fd);
}

/* What was delivered: how much, and where there is something behind the first page. */
struct taken {
	uint64_t len, last, others;
	uint64_t address;
};

static int take(void *ctx, const void *data, size_t len)
{
	struct taken *t = ctx;
	const uint8_t *p = data;

	if (t->len == 0)
		t->address = get_le64(p + 8);
	for (size_t i = t->len == 0 ? 8192 : 0; i < len; i += 8) {
		if (get_le64(p + i) == 0)
			continue;
		t->others += t->last != 0;
		t->last = t->len + i + 8;
	}
	t->len += len;
	return 0;
}

static void check_delivered(const char *name, uint64_t address, uint64_t size, uint64_t end)
{
	struct taken t = {0};
	const struct wal_sink sink = {take, &t};
	int rc = store->driver->wal_read(store, "main", name, &sink, &why);

	ck_assert_msg(rc == 0, "%s: %s", name, why.text);
	ck_assert_uint_eq(t.len, size);
	ck_assert_uint_eq(t.last, end);
	ck_assert_uint_eq(t.others, 0);
	ck_assert_uint_eq(t.address, address);
}

static void remove_file(const char *name)
{
	char path[100];

	(void)snprintf(path, sizeof(path), "wal/main/%s", name);
	ck_assert_int_eq(unlinkat(unit_dir, path, 0), 0);
}

START_TEST(segments_are_delivered_whole)
{
	uint64_t size = sizes[_i].size, wrap = UINT64_C(1) << 32;
	const char *before = sizes[_i].before, *behind = sizes[_i].behind;
	const struct wal_sink sink = {take, &(struct taken){0}};
	char name[40];

	open_store(size);
	put_segment(before, wrap - size, size, size);
	check_delivered(before, wrap - size, size, size);
	put_segment(behind, wrap, size, size);
	check_delivered(behind, wrap, size, size);
	/* The one in the place of the other, and one that is of another size. */
	put_segment(before, wrap, size, size);
	ck_assert_int_eq(store->driver->wal_read(store, "main", before, &sink, &why), -EUCLEAN);
	put_segment(before, wrap - size, size, size - 8192);
	ck_assert_int_eq(store->driver->wal_read(store, "main", before, &sink, &why), -EUCLEAN);
	put_segment(before, wrap - size, size, size + 8);
	ck_assert_int_eq(store->driver->wal_read(store, "main", before, &sink, &why), -EUCLEAN);
	put_segment(before, wrap - size, size == MB ? 2 * MB : size / 2, size);
	ck_assert_int_eq(store->driver->wal_read(store, "main", before, &sink, &why), -EUCLEAN);
	ck_assert_int_eq(store->driver->wal_read(store, "main", sizes[_i].none, &sink, &why),
			 -EINVAL);
	remove_file(before);
	(void)snprintf(name, sizeof(name), "%s.partial", before);
	put_segment(name, wrap - size, size, 8192 * 13);
	check_delivered(before, wrap - size, size, 8192 * 13);
	if (size > 64 * MB) {
		close_store();
		return;
	}
	(void)snprintf(name, sizeof(name), "%s.gz.partial", before);
	put_gzip(name, wrap - size, size, 8192 * 15);
	check_delivered(before, wrap - size, size, 8192 * 15);
	(void)snprintf(name, sizeof(name), "%s.gz", before);
	put_gzip(name, wrap - size, size, size);
	check_delivered(before, wrap - size, size, size);
	close_store();
}
END_TEST

/* Neighbours across 4 GB are neighbours by number. */
START_TEST(the_list_counts_on)
{
	uint64_t size = sizes[_i].size, wrap = UINT64_C(1) << 32;
	struct wal_list list;

	open_store(size);
	put_segment(sizes[_i].before, wrap - size, size, 8192);
	put_segment(sizes[_i].behind, wrap, size, 8192);
	put_segment(sizes[_i].none, wrap, size, 8192);
	ck_assert_int_eq(store->driver->wal_list(store, "main", &why, &list), 0);
	ck_assert_uint_eq(list.segment_size, size);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_uint_eq(list.segments[0].number, wrap / size - 1);
	ck_assert_uint_eq(list.segments[1].number, wrap / size);
	wal_list_free(&list);
	close_store();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wal_sizes");
	TCase *t = tcase_create("sizes");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, segments_are_delivered_whole, 0, ARRAY_SIZE(sizes));
	tcase_add_loop_test(t, the_list_counts_on, 0, ARRAY_SIZE(sizes));
	suite_add_tcase(s, t);
	return unit_run(s);
}
