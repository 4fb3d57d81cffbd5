/*
 * The WAL archive of a store: names, first pages, histories, gzip streams, and which form of a
 * segment is taken.
 */
#include "base/util.h"
#include "codec/gzip.h"
#include "layer/layer.h"
#include "unit.h"

#include <errno.h>
#include <libdeflate.h>
#include <string.h>
#include <sys/stat.h>

#define SEGMENT (1u << 20)
#define SYSTEM	UINT64_C(7710201894668842367)
#define NAME	"000000010000000000000003"

/* ---- names ---- */

START_TEST(names_of_an_archive)
{
	static const struct {
		const char *name;
		uint32_t size;
		bool valid;
		enum pg_wal_kind kind;
		uint32_t timeline;
		uint64_t segment;
	} cases[] = {
		{"000000010000000000000003", SEGMENT, true, PG_WAL_SEGMENT, 1, 3},
		{"0000000A00000002000000FF", 16 * SEGMENT, true, PG_WAL_SEGMENT, 10, 2 * 256 + 255},
		{"0000000100000002000000FF", 1024 * SEGMENT, false, 0, 0, 0},
		{"000000010000000200000003", 1024 * SEGMENT, true, PG_WAL_SEGMENT, 1, 11},
		{"000000010000000200000004", 1024 * SEGMENT, false, 0, 0, 0},
		{"000000010000000000000FFF", SEGMENT, true, PG_WAL_SEGMENT, 1, 4095},
		{"000000010000000000001000", SEGMENT, false, 0, 0, 0},
		{"00000002.history", SEGMENT, true, PG_WAL_HISTORY, 2, 0},
		{"000000010000000000000003.00000028.backup", SEGMENT, true, PG_WAL_BACKUP, 1, 3},
		{"000000010000000000000003.gz", SEGMENT, false, 0, 0, 0},
		{"000000010000000000000003.partial", SEGMENT, false, 0, 0, 0},
		{"000000010000000000000003.0000002.backup", SEGMENT, false, 0, 0, 0},
		{"00000001000000000000000a", SEGMENT, false, 0, 0, 0},
		{"000000000000000000000003", SEGMENT, false, 0, 0, 0},
		{"00000002.history/", SEGMENT, false, 0, 0, 0},
		{"../../etc/passwd", SEGMENT, false, 0, 0, 0},
		{"", SEGMENT, false, 0, 0, 0},
	};
	char text[PG_WAL_NAME_SIZE];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pg_wal_name name;
		bool valid = pg_wal_name_parse(cases[i].name, cases[i].size, &name);

		ck_assert_msg(valid == cases[i].valid, "%s", cases[i].name);
		if (!valid)
			continue;
		ck_assert_int_eq(name.kind, cases[i].kind);
		ck_assert_uint_eq(name.timeline, cases[i].timeline);
		ck_assert_uint_eq(name.segment, cases[i].segment);
		pg_wal_segment_name(name.timeline, name.segment, cases[i].size, text);
		if (name.kind == PG_WAL_SEGMENT)
			ck_assert_str_eq(text, cases[i].name);
	}
	ck_assert(pg_wal_segment_size_is_valid(SEGMENT));
	ck_assert(pg_wal_segment_size_is_valid(1024 * SEGMENT));
	ck_assert(!pg_wal_segment_size_is_valid(SEGMENT / 2));
	ck_assert(!pg_wal_segment_size_is_valid(3 * SEGMENT));
}
END_TEST

START_TEST(lsns)
{
	static const char *const wrong[] = {"",	    "/",    "1/",   "/1", "1/2x", "123456789/1",
					    "0/1 ", "-1/2", "0x1/2"};
	char text[PG_LSN_TEXT_SIZE];
	uint64_t lsn;

	ck_assert(pg_lsn_parse("16/b374D848", &lsn));
	ck_assert_uint_eq(lsn, UINT64_C(0x16B374D848));
	ck_assert_str_eq(pg_lsn_text(lsn, text), "16/B374D848");
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(!pg_lsn_parse(wrong[i], &lsn), "%s", wrong[i]);
}
END_TEST

/* ---- histories ---- */

START_TEST(histories)
{
	static const char good[] = "1\t0/B00090\tat restore point \"fork\"\n# a "
				   "comment\n\n2\t0/C000A0\tno reason\r\n";
	static const char *const wrong[] = {"",
					    "\n",
					    "x\t0/1\tz\n",
					    "1\t0-1\n",
					    "1\n",
					    "3\t0/1\n",
					    "2\t0/2\tx\n1\t0/3\tx\n",
					    "1\t0/2\tx\n2\t0/1\tx\n",
					    "0\t0/1\n"};
	struct pg_wal_switch *list;
	size_t count;

	ck_assert_int_eq(pg_wal_history_parse(good, sizeof(good) - 1, 3, &list, &count, NULL), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(list[0].timeline, 1);
	ck_assert_uint_eq(list[0].lsn, 0xB00090);
	ck_assert_uint_eq(list[1].timeline, 2);
	ck_assert_uint_eq(list[1].lsn, 0xC000A0);
	free(list);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(pg_wal_history_parse(wrong[i], strlen(wrong[i]), 3, &list, &count,
						   NULL) == -EUCLEAN,
			      "case %u", i);
}
END_TEST

/* ---- gzip ---- */

/* Two members, fed and read in pieces of every kind of size. */
START_TEST(gzip_in_pieces)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	_cleanup_(gzip_stream_freep) struct gzip_stream *s = NULL;
	_cleanup_free_ unsigned char *plain = malloc(300000), *packed = malloc(700000),
				     *got = malloc(300001);
	unsigned long long state = (unsigned)_i + 1;
	size_t len = 0, fed = 0, made = 0;

	for (unsigned i = 0; i < 300000; i++)
		plain[i] = (unsigned char)(i % 1000 < 700 ? i / 500 : unit_random(&state));
	len = libdeflate_gzip_compress(c, plain, 100000, packed, 700000);
	len += libdeflate_gzip_compress(c, plain + 100000, 200000, packed + len, 700000 - len);
	libdeflate_free_compressor(c);
	ck_assert_int_eq(gzip_stream_new(&s), 0);
	while (fed < len) {
		uint32_t part = 1 + unit_random(&state) % (_i % 2 ? 7 : 70000);
		int64_t n;

		part = (uint32_t)MIN(len - fed, (size_t)part);
		ck_assert(!gzip_stream_is_whole(s) || made == 100000);
		gzip_stream_feed(s, packed + fed, part);
		fed += part;
		do {
			uint32_t room = 1 + unit_random(&state) % 50000;

			room = (uint32_t)MIN(300001 - made, (size_t)room);
			n = gzip_stream_read(s, got + made, room);
			ck_assert_int_ge(n, 0);
			made += (size_t)n;
		} while (n > 0);
	}
	ck_assert(gzip_stream_is_whole(s));
	ck_assert_uint_eq(made, 300000);
	ck_assert_int_eq(memcmp(plain, got, made), 0);
}
END_TEST

/* ---- an archive ---- */

static unsigned char segment[SEGMENT + 1];

static void make_segment(uint32_t timeline, uint64_t number, uint64_t system)
{
	for (unsigned i = 0; i < SEGMENT; i++)
		segment[i] = (unsigned char)(i * 7 + i / 8192);
	put_le16(segment, 0xd110);
	put_le16(segment + 2, 2);
	put_le32(segment + 4, timeline);
	put_le64(segment + 8, number * SEGMENT);
	put_le64(segment + 24, system);
	put_le32(segment + 32, SEGMENT);
	put_le32(segment + 36, 8192);
}

static void put_bytes(const char *name, const void *data, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "wal/main/%s", name);
	fd = openat(unit_dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	close(fd);
}

/* flip: the byte from the end that is changed, 0: none; cut: bytes left out at the end */
static void put_gzip(const char *name, size_t len, size_t flip, size_t cut)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	_cleanup_free_ unsigned char *packed = malloc(2 * SEGMENT);
	size_t n = libdeflate_gzip_compress(c, segment, len, packed, 2 * SEGMENT);

	ck_assert_uint_gt(n, 0);
	libdeflate_free_compressor(c);
	if (flip > 0)
		packed[n - flip] ^= 1;
	put_bytes(name, packed, n - cut);
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "wal/main/%s", name);
	ck_assert_int_eq(unlinkat(unit_dir, path, 0), 0);
}

static struct store *store;
static unsigned char got[2 * SEGMENT];
static size_t got_len;
static struct errmsg why;

static void setup(void)
{
	unit_setup();
	mkdirat(unit_dir, "backups", 0700);
	mkdirat(unit_dir, "backups/main", 0700);
	mkdirat(unit_dir, "wal", 0700);
	mkdirat(unit_dir, "wal/main", 0700);
	unit_put_file(
		"backups/main/pg_probackup.conf",
		"pgdata = /x\nsystem-identifier = 7710201894668842367\nxlog-seg-size = 1048576\n");
	ck_assert_int_eq(store_open(unit_path, NULL, &store), 0);
}

static void teardown(void)
{
	store_close(store);
	unit_teardown();
}

static int take(void *ctx, const void *data, size_t len)
{
	ck_assert_uint_le(got_len + len, sizeof(got));
	memcpy(got + got_len, data, len);
	got_len += len;
	return 0;
}

static int read_wal(const char *name)
{
	const struct wal_sink sink = {take, NULL};

	got_len = 0;
	why = (struct errmsg){0};
	return store->driver->wal_read(store, NULL, name, &sink, &why);
}

static void check_is(size_t len)
{
	ck_assert_msg(read_wal(NAME) == 0, "%s", why.text);
	ck_assert_uint_eq(got_len, SEGMENT);
	ck_assert_int_eq(memcmp(got, segment, len), 0);
	for (size_t i = len; i < SEGMENT; i++)
		ck_assert_int_eq(got[i], 0);
}

static void check_refused(int rc, const char *reason)
{
	ck_assert_int_eq(read_wal(NAME), rc);
	ck_assert_msg(strstr(why.text, reason) != NULL, "%s", why.text);
}

/* Each form is told apart by its last byte; the better one goes first. */
START_TEST(the_best_form_is_taken)
{
	make_segment(1, 3, SYSTEM);
	ck_assert_int_eq(read_wal(NAME), -ENOENT);
	put_bytes(NAME ".part", segment, 5000);
	put_bytes(NAME ".gz.part", segment, 5000);
	ck_assert_int_eq(read_wal(NAME), -ENOENT);
	segment[SEGMENT - 1] = 1;
	put_bytes(NAME ".partial", segment, SEGMENT);
	check_is(SEGMENT);
	segment[SEGMENT - 1] = 2;
	put_gzip(NAME ".gz.partial", SEGMENT, 0, 0);
	check_is(SEGMENT);
	segment[SEGMENT - 1] = 3;
	put_bytes(NAME, segment, SEGMENT);
	check_is(SEGMENT);
	segment[SEGMENT - 1] = 4;
	put_gzip(NAME ".gz", SEGMENT, 0, 0);
	check_is(SEGMENT);
}
END_TEST

START_TEST(partial_ones_end_in_zeros)
{
	make_segment(1, 3, SYSTEM);
	put_bytes(NAME ".partial", segment, 300000);
	check_is(300000);
	put_gzip(NAME ".gz.partial", 400000, 0, 0);
	check_is(400000);
	/* Made in advance, nothing written. */
	remove_file(NAME ".gz.partial");
	memset(segment, 0, SEGMENT);
	put_bytes(NAME ".partial", segment, SEGMENT);
	check_is(SEGMENT);
	make_segment(1, 4, SYSTEM);
	put_bytes(NAME ".partial", segment, 300000);
	check_refused(-EUCLEAN, "0/400000");
}
END_TEST

START_TEST(damage_is_not_the_end)
{
	make_segment(1, 3, SYSTEM);
	put_bytes(NAME, segment, SEGMENT - 1);
	check_refused(-EUCLEAN, "cut off");
	put_bytes(NAME, segment, 0);
	check_refused(-EUCLEAN, "cut off");
	put_bytes(NAME, segment, SEGMENT + 1);
	check_refused(-EUCLEAN, "more than");
	put_gzip(NAME ".gz", SEGMENT, 8, 0);
	check_refused(-EBADMSG, "checksum");
	put_gzip(NAME ".gz", SEGMENT, 1, 0);
	check_refused(-EBADMSG, "checksum");
	put_gzip(NAME ".gz", SEGMENT, 0, 1);
	check_refused(-EUCLEAN, "cut off");
	put_gzip(NAME ".gz", SEGMENT, 0, 5000);
	check_refused(-EUCLEAN, "cut off");
	put_gzip(NAME ".gz", SEGMENT - 1, 0, 0);
	check_refused(-EUCLEAN, "cut off");
	put_gzip(NAME ".gz", SEGMENT + 1, 0, 0);
	check_refused(-EUCLEAN, "longer");
	put_bytes(NAME ".gz", "x", 1);
	ck_assert_int_lt(read_wal(NAME), 0);
	ck_assert_int_ne(read_wal(NAME), -ENOENT);
}
END_TEST

START_TEST(of_another_place_or_cluster)
{
	make_segment(1, 3, SYSTEM + 1);
	put_bytes(NAME, segment, SEGMENT);
	check_refused(-EUCLEAN, "another cluster");
	make_segment(1, 4, SYSTEM);
	put_bytes(NAME, segment, SEGMENT);
	check_refused(-EUCLEAN, "WAL from 0/400000 on, not from 0/300000");
	make_segment(2, 3, SYSTEM);
	put_bytes(NAME, segment, SEGMENT);
	check_refused(-EUCLEAN, "timeline 2");
	make_segment(1, 3, SYSTEM);
	put_le32(segment + 32, 16 * SEGMENT);
	put_bytes(NAME, segment, SEGMENT);
	check_refused(-EUCLEAN, "segments of 16777216");
	memset(segment, 0, SEGMENT);
	put_bytes(NAME, segment, SEGMENT);
	check_refused(-EUCLEAN, "does not begin");
	/* The first segment of a new timeline is a copy of the old one's. */
	make_segment(1, 3, SYSTEM);
	put_bytes("000000020000000000000003", segment, SEGMENT);
	ck_assert_int_eq(read_wal("000000020000000000000003"), 0);
}
END_TEST

START_TEST(nothing_outside_the_archive)
{
	make_segment(1, 3, SYSTEM);
	put_bytes("elsewhere", segment, SEGMENT);
	ck_assert_int_eq(symlinkat("elsewhere", unit_dir, "wal/main/" NAME), 0);
	ck_assert_int_eq(read_wal(NAME), -ELOOP);
	ck_assert_int_eq(read_wal("elsewhere"), -EINVAL);
	ck_assert_int_eq(read_wal("../main/" NAME), -EINVAL);
	ck_assert_int_eq(read_wal(""), -EINVAL);
	remove_file(NAME);
	ck_assert_int_eq(mkdirat(unit_dir, "wal/main/" NAME, 0700), 0);
	ck_assert_int_eq(read_wal(NAME), -EUCLEAN);
}
END_TEST

/* On another disk by a link: that very link is named, and what to do. */
START_TEST(links_to_the_archive_are_named)
{
	static const char *const links[] = {"wal", "wal/main"};
	char text[400];

	make_segment(1, 3, SYSTEM);
	put_bytes(NAME, segment, SEGMENT);
	for (unsigned i = 0; i < ARRAY_SIZE(links); i++) {
		ck_assert_int_eq(renameat(unit_dir, links[i], unit_dir, "disk"), 0);
		(void)snprintf(text, sizeof(text), "%s/disk", unit_path);
		ck_assert_int_eq(symlinkat(text, unit_dir, links[i]), 0);
		ck_assert_int_eq(read_wal(NAME), -ELOOP);
		(void)snprintf(text, sizeof(text), "%s/%s: a symbolic link, ", unit_path, links[i]);
		ck_assert_msg(strstr(why.text, text) != NULL, "%s", why.text);
		(void)snprintf(text, sizeof(text), ": mount --bind DIRECTORY %s/%s", unit_path,
			       links[i]);
		ck_assert_msg(strcmp(why.text + strlen(why.text) - strlen(text), text) == 0, "%s",
			      why.text);
		ck_assert_int_eq(unlinkat(unit_dir, links[i], 0), 0);
		ck_assert_int_eq(renameat(unit_dir, "disk", unit_dir, links[i]), 0);
		ck_assert_int_eq(read_wal(NAME), 0);
	}
}
END_TEST

START_TEST(no_archive_is_not_the_end)
{
	ck_assert_int_eq(unlinkat(unit_dir, "wal/main", AT_REMOVEDIR), 0);
	ck_assert_int_eq(read_wal(NAME), -ENOTDIR);
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/pg_probackup.conf", 0), 0);
	ck_assert_int_eq(read_wal(NAME), -EUCLEAN);
	unit_put_file("backups/main/pg_probackup.conf", "xlog-seg-size = 12\n");
	ck_assert_int_eq(read_wal(NAME), -EUCLEAN);
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/pg_probackup.conf", 0), 0);
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main", AT_REMOVEDIR), 0);
	ck_assert_int_eq(read_wal(NAME), -ENOTDIR);
}
END_TEST

START_TEST(small_files)
{
	put_bytes("00000002.history", "1\t0/B00090\tx\n", 13);
	ck_assert_int_eq(read_wal("00000002.history"), 0);
	ck_assert_uint_eq(got_len, 13);
	ck_assert_int_eq(read_wal("00000003.history"), -ENOENT);
	put_bytes("00000003.history", "1\t0/B0", 0);
	ck_assert_int_eq(read_wal("00000003.history"), -EUCLEAN);
	put_bytes(NAME ".00000028.backup", "START", 5);
	ck_assert_int_eq(read_wal(NAME ".00000028.backup"), 0);
	ck_assert_uint_eq(got_len, 5);
}
END_TEST

START_TEST(what_there_is)
{
	static const char *const names[] = {"000000010000000000000005.gz",
					    "000000010000000000000004",
					    "000000010000000000000004.partial",
					    "000000010000000000000006.gz.partial",
					    "000000020000000000000006",
					    "000000010000000000000007.gz.part",
					    "junk",
					    "000000010000000000000005.00000028.backup",
					    "00000003.history"};
	struct wal_list list;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		put_bytes(names[i], "x", 1);
	put_bytes("00000002.history", "1\t0/600090\tx\n", 13);
	ck_assert_int_eq(store->driver->wal_list(store, "main", NULL, &list), 0);
	ck_assert_uint_eq(list.segment_size, SEGMENT);
	ck_assert_uint_eq(list.system_identifier, SYSTEM);
	ck_assert_uint_eq(list.count, 4);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(list.segments[i].timeline, i < 3 ? 1 : 2);
		ck_assert_uint_eq(list.segments[i].number, i < 3 ? 4 + i : 6);
		ck_assert_int_eq(list.segments[i].partial, i == 2);
	}
	ck_assert_uint_eq(list.history_count, 2);
	ck_assert_uint_eq(list.histories[0].timeline, 2);
	ck_assert_uint_eq(list.histories[0].count, 1);
	ck_assert_uint_eq(list.histories[1].timeline, 3);
	ck_assert_ptr_null(list.histories[1].ancestors);
	wal_list_free(&list);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wal");
	TCase *pure = tcase_create("names"), *t = tcase_create("archive");

	tcase_add_test(pure, names_of_an_archive);
	tcase_add_test(pure, lsns);
	tcase_add_test(pure, histories);
	tcase_add_loop_test(pure, gzip_in_pieces, 0, 40);
	suite_add_tcase(s, pure);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_best_form_is_taken);
	tcase_add_test(t, partial_ones_end_in_zeros);
	tcase_add_test(t, damage_is_not_the_end);
	tcase_add_test(t, of_another_place_or_cluster);
	tcase_add_test(t, nothing_outside_the_archive);
	tcase_add_test(t, links_to_the_archive_are_named);
	tcase_add_test(t, no_archive_is_not_the_end);
	tcase_add_test(t, small_files);
	tcase_add_test(t, what_there_is);
	suite_add_tcase(s, t);
	return unit_run(s);
}
