/*
 * Tests of src/base but for the system calls: errors, arithmetic, paths, crc32c, arenas, ini.
 */
#include "base/arena.h"
#include "base/big.h"
#include "base/err.h"
#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- err ---- */

START_TEST(errmsg_keeps_the_first)
{
	struct errmsg e = {0};

	ck_assert_int_eq(errmsg_set(&e, -EIO, "first: %d", 1), -EIO);
	ck_assert_int_eq(errmsg_set(&e, -ENOMEM, "second"), -ENOMEM);
	ck_assert_str_eq(errmsg_text(&e, -EIO), "first: 1");
	ck_assert_int_eq(errmsg_set(NULL, -EIO, "nowhere"), -EIO);
}
END_TEST

START_TEST(errmsg_falls_back_to_the_code)
{
	struct errmsg e = {0};

	ck_assert_str_eq(errmsg_text(&e, -ENOENT), "No such file or directory");
	ck_assert_str_eq(errmsg_text(NULL, -EUCLEAN), "damaged content");
	ck_assert_str_eq(errmsg_text(NULL, -EBADMSG), "checksum does not match");
	ck_assert_str_eq(errmsg_text(NULL, -99999), "unknown error");
}
END_TEST

START_TEST(errmsg_cuts_long_text)
{
	struct errmsg e = {0};

	errmsg_set(&e, 0, "%*s", 5000, "x");
	ck_assert_uint_eq(strlen(e.text), sizeof(e.text) - 1);
}
END_TEST

/* ---- util ---- */

START_TEST(sums_of_pieces_are_joined)
{
	static uint8_t data[100000];
	unsigned long long state = 1;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)unit_random(&state);
	for (size_t at = 0; at <= sizeof(data); at += at < 70 ? 1 : 997) {
		uint32_t first = crc32c(0, data, at);
		uint32_t second = crc32c(0, data + at, sizeof(data) - at);

		ck_assert_uint_eq(crc32c_join(first, second, sizeof(data) - at),
				  crc32c(0, data, sizeof(data)));
	}
	ck_assert_uint_eq(crc32c_join(0, crc32c(0, data, 5), 5), crc32c(0, data, 5));
}
END_TEST

START_TEST(little_endian_access)
{
	uint8_t b[9] = {0};

	put_le64(b + 1, UINT64_C(0x8877665544332211));
	ck_assert_uint_eq(b[1], 0x11);
	ck_assert_uint_eq(b[8], 0x88);
	ck_assert_uint_eq(get_le16(b + 1), 0x2211);
	ck_assert_uint_eq(get_le32(b + 5), 0x88776655);
	ck_assert_uint_eq(get_le64(b + 1), UINT64_C(0x8877665544332211));
}
END_TEST

START_TEST(rounding)
{
	ck_assert_uint_eq(round_up_u64(0, 8192), 0);
	ck_assert_uint_eq(round_up_u64(1, 8192), 8192);
	ck_assert_uint_eq(round_up_u64(8192, 8192), 8192);
	ck_assert_uint_eq(round_down_u64(8191, 8192), 0);
	ck_assert_uint_eq(round_down_u64(8193, 8192), 8192);
}
END_TEST

START_TEST(times_stay_in_their_range)
{
	ck_assert_int_eq(ns_of(5, 7), 5000000007);
	ck_assert_int_eq(ns_of(-5, 7), -4999999993);
	ck_assert_int_eq(ns_of(INT64_C(35188659351150), 0), INT64_MAX);
	ck_assert_int_eq(ns_of(INT64_C(-62959728096), 0), INT64_MIN);
	ck_assert_int_eq(ns_of(INT64_C(9223372036), 999999999), INT64_MAX);
}
END_TEST

START_TEST(closep_keeps_errno)
{
	int fd = dup(0);

	errno = EXDEV;
	util_closep(&fd);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	/* Closing fails: the descriptor is closed already. */
	errno = EXDEV;
	util_closep(&fd);
	ck_assert_int_eq(errno, EXDEV);
	fd = -1;
	util_closep(&fd);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

START_TEST(take_leaves_nothing)
{
	_cleanup_free_ char *p = strdup("x");
	char *q = TAKE_PTR(p);
	int fd = 7;

	ck_assert_ptr_null(p);
	ck_assert_int_eq(TAKE_FD(fd), 7);
	ck_assert_int_eq(fd, -1);
	free(q);
}
END_TEST

START_TEST(safe_paths)
{
	static const char *const good[] = {"a",	    "a/b", "base/1/1259_fsm.1", ".a", "..a",
					   "a/...", "a b"};
	static const char *const bad[] = {"",	  "/",	    "/a",    "a/",   "a//b",
					  ".",	  "..",	    "./a",   "../a", "a/.",
					  "a/..", "a/../b", "a/./b", "//",   "a/b/.."};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(path_is_safe(good[i]), "'%s'", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!path_is_safe(bad[i]), "'%s'", bad[i]);
}
END_TEST

START_TEST(crc32c_vectors)
{
	uint8_t buf[32];

	/* RFC 3720, B.4 */
	memset(buf, 0, sizeof(buf));
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	ck_assert_uint_eq(crc32c(0, buf, 32), 0x46dd794e);
	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c(0, "", 0), 0);
	for (size_t cut = 0; cut <= 9; cut++)
		ck_assert_uint_eq(crc32c(crc32c(0, "123456789", cut), &"123456789"[cut], 9 - cut),
				  0xe3069283);
}
END_TEST

/* More than an int can count: zeros that all are the same huge page of the kernel. */
START_TEST(crc32c_of_more_than_int)
{
	const size_t len = ((size_t)1 << 31) + 12345;
	uint8_t *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint32_t whole;

	ck_assert_ptr_ne(p, MAP_FAILED);
	(void)madvise(p, len, MADV_HUGEPAGE);
	whole = crc32c(0, p, len);
	ck_assert_uint_eq(crc32c(crc32c(0, p, len / 2), p + len / 2, len - len / 2), whole);
	munmap(p, len);
}
END_TEST

/* ---- arena ---- */

START_TEST(arena_memory_is_zeroed_and_aligned)
{
	static const size_t sizes[] = {0, 1, 7, 16, 100, 1023, 1024, 1025, 4096, 100000, 300000};
	struct arena *a;
	char *last = NULL;

	ck_assert_int_eq(arena_new(&a), 0);
	for (unsigned i = 0; i < 2000; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		char *p = arena_alloc(a, size);

		ck_assert_ptr_nonnull(p);
		ck_assert_ptr_ne(p, last);
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		for (size_t k = 0; k < size; k += 97)
			ck_assert_int_eq(p[k], 0);
		memset(p, 0xa5, size);
		last = p;
	}
	arena_free(a);
	arena_free(NULL);
}
END_TEST

START_TEST(arena_strings_stay)
{
	char *strings[5000];
	struct arena *a;
	char text[64];

	ck_assert_int_eq(arena_new(&a), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		int len = snprintf(text, sizeof(text), "base/%u/%u", i, i * 7919);

		strings[i] = arena_strndup(a, text, (size_t)len);
		ck_assert_ptr_nonnull(strings[i]);
		if (i % 3 == 0)
			memset(arena_alloc(a, i % 40), 0xff, i % 40);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		snprintf(text, sizeof(text), "base/%u/%u", i, i * 7919);
		ck_assert_str_eq(strings[i], text);
	}
	ck_assert_str_eq(arena_strndup(a, "abc", 2), "ab");
	ck_assert_str_eq(arena_strndup(a, "abc", 0), "");
	arena_free(a);
}
END_TEST

START_TEST(arena_wastes_little)
{
	struct arena *a;
	uint64_t taken = 0;

	ck_assert_int_eq(arena_new(&a), 0);
	for (unsigned i = 0; i < 100000; i++) {
		ck_assert_ptr_nonnull(arena_strndup(a, "base/16384/2619_fsm", 19));
		taken += 20;
	}
	ck_assert_uint_ge(arena_bytes(a), taken);
	ck_assert_uint_le(arena_bytes(a), taken + taken / 8 + 256 * 1024);
	arena_free(a);
}
END_TEST

START_TEST(arena_refuses_absurd_sizes)
{
	struct arena *a;

	ck_assert_int_eq(arena_new(&a), 0);
	ck_assert_ptr_null(arena_alloc(a, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(a, SIZE_MAX - 15));
	ck_assert_ptr_null(arena_strndup(a, "x", SIZE_MAX));
	ck_assert_ptr_nonnull(arena_alloc(a, 1));
	arena_free(a);
}
END_TEST

/* ---- ini ---- */

struct pairs {
	char text[65536];
	int stop;
};

static int collect(void *ctx, const char *key, const char *value)
{
	struct pairs *p = ctx;
	size_t len = strlen(p->text);

	if (p->stop != 0)
		return p->stop;
	snprintf(p->text + len, sizeof(p->text) - len, "%s=%s;", key, value);
	return 0;
}

static const struct {
	const char *in, *out;
	int rc;
} ini_cases[] = {
	{"", "", 0},
	{"\n\n  \n\t\n", "", 0},
	{"# only a comment", "", 0},
	{"   # x = y\n", "", 0},
	{"a = b", "a=b;", 0},
	{"a=b\nc=d\n", "a=b;c=d;", 0},
	{"  Backup_Mode =   FULL   # which\r\n", "backup-mode=FULL;", 0},
	{"primary_conninfo = 'user=x host=y'\n", "primary-conninfo=user=x host=y;", 0},
	{"start time = '2026-01-01 10:00:00+00'", "start-time=2026-01-01 10:00:00+00;", 0},
	{"a =\nb = ''\n", "a=;b=;", 0},
	{"a = b = c", "a=b = c;", 0},
	{"a = 'it''s'", "a=it's;", 0},
	{"a = ''''", "a=';", 0},
	{"a = 'it's'", "a=it's;", 0},
	{"a = 'x' # it's fine", "a=x;", 0},
	{"a = 'x' y' # z", "a=x' y;", 0},
	{"a = '#no comment'", "a=#no comment;", 0},
	{"a = '  kept  '", "a=  kept  ;", 0},
	{"a = o'clock", "a=o'clock;", 0},
	{"a = 'open", "", -EUCLEAN},
	{"a = '", "", -EUCLEAN},
	{"a = '''", "a=';", 0},
	{"x = 1\nno pair\n", "x=1;", -EUCLEAN},
	{"= 1", "", -EUCLEAN},
	{"key # = 1", "", -EUCLEAN},
	{"'key' = 1", "", -EUCLEAN},
};

START_TEST(ini_forms)
{
	struct pairs p = {0};
	struct errmsg e = {0};

	ck_assert_int_eq(ini_parse(ini_cases[_i].in, strlen(ini_cases[_i].in), collect, &p, &e),
			 ini_cases[_i].rc);
	ck_assert_str_eq(p.text, ini_cases[_i].out);
	ck_assert_int_eq(e.text[0] != '\0', ini_cases[_i].rc != 0);
}
END_TEST

START_TEST(ini_says_which_line)
{
	struct pairs p = {0};
	struct errmsg e = {0};

	ck_assert_int_eq(ini_parse("a=1\n\nb\n", 7, collect, &p, &e), -EUCLEAN);
	ck_assert_str_eq(e.text, "line 3: no \"key = value\"");
}
END_TEST

START_TEST(ini_stops_where_told)
{
	struct pairs p = {.stop = 42};

	ck_assert_int_eq(ini_parse("a=1\nb=2\n", 8, collect, &p, NULL), 42);
	ck_assert_str_eq(p.text, "");
}
END_TEST

START_TEST(ini_bounds_lines)
{
	struct pairs p = {0};
	char line[INI_LINE_MAX + 2];

	memset(line, 'v', sizeof(line));
	memcpy(line, "a=", 2);
	ck_assert_int_eq(ini_parse(line, INI_LINE_MAX, collect, &p, NULL), 0);
	ck_assert_uint_eq(strlen(p.text), INI_LINE_MAX + 1);
	ck_assert_int_eq(ini_parse(line, INI_LINE_MAX + 1, collect, &p, NULL), -EUCLEAN);
	ck_assert_int_eq(ini_parse("a=1\0b\n", 6, collect, &p, NULL), -EUCLEAN);
}
END_TEST

/* ---- big ---- */

/* Whether the mapping that has this address is to be in huge pages: "hg" of its VmFlags. */
static bool is_huge(const void *p)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	uintptr_t at = (uintptr_t)p, from, until;
	char line[4096];
	bool here = false, huge = false;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &until) == 2)
			here = at >= from && at < until;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			huge = strstr(line, " hg") != NULL;
	}
	(void)fclose(maps);
	return huge;
}

START_TEST(the_heap_goes_on_in_a_huge_page)
{
	unsigned huge = 0;
	void *p;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return; /* another allocator */
#endif
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0)
		return; /* this kernel has none */
	big_heap();
	for (int i = 0; i < 1000; i++) {
		p = malloc(1000);
		ck_assert_ptr_nonnull(p);
		memset(p, 1, 1000);
		huge += i % 100 == 99 && is_huge(p);
	}
	ck_assert_uint_ge(huge, 9);
}
END_TEST

START_TEST(big_arrays_are_zeroed_and_keep_what_they_had)
{
	for (size_t bytes = 1; bytes <= 4 * BIG_BYTES; bytes = bytes * 7 + 1) {
		uint8_t *p = big_calloc(bytes, 1);

		ck_assert_ptr_nonnull(p);
		for (size_t i = 0; i < bytes; i += 61)
			ck_assert_uint_eq(p[i], 0);
		memset(p, 7, bytes);
		p = big_realloc(p, bytes, bytes * 3);
		ck_assert_ptr_nonnull(p);
		for (size_t i = 0; i < bytes; i += 61)
			ck_assert_uint_eq(p[i], 7);
		free(p);
	}
	ck_assert_ptr_null(big_calloc(SIZE_MAX / 2, 3));
}
END_TEST

START_TEST(mapped_memory_is_zeroed_and_lies_in_huge_pages)
{
	void *kept[8];

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		size_t bytes = BIG_MIN + i * (BIG_BYTES / 2 + 1);
		uint8_t *p = kept[i] = big_map(bytes);

		ck_assert_ptr_nonnull(p);
#if !defined(__SANITIZE_ADDRESS__)
		ck_assert_uint_eq((uintptr_t)p % BIG_BYTES, 0);
#endif
		for (size_t at = 0; at < bytes; at += 61)
			ck_assert_uint_eq(p[at], 0);
		memset(p, 7, bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		big_unmap(kept[i], BIG_MIN + i * (BIG_BYTES / 2 + 1));
#if !defined(__SANITIZE_ADDRESS__)
	ck_assert_ptr_null(big_map(SIZE_MAX / 2 + 1));
	ck_assert_ptr_null(big_map(SIZE_MAX / 4));
#endif
	big_unmap(NULL, BIG_BYTES);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, errmsg_keeps_the_first);
	tcase_add_test(t, errmsg_falls_back_to_the_code);
	tcase_add_test(t, errmsg_cuts_long_text);
	tcase_add_test(t, little_endian_access);
	tcase_add_test(t, sums_of_pieces_are_joined);
	tcase_add_test(t, rounding);
	tcase_add_test(t, times_stay_in_their_range);
	tcase_add_test(t, closep_keeps_errno);
	tcase_add_test(t, take_leaves_nothing);
	tcase_add_test(t, safe_paths);
	tcase_add_test(t, crc32c_vectors);
	tcase_add_test(t, crc32c_of_more_than_int);
	tcase_add_test(t, arena_memory_is_zeroed_and_aligned);
	tcase_add_test(t, arena_strings_stay);
	tcase_add_test(t, arena_wastes_little);
	tcase_add_test(t, arena_refuses_absurd_sizes);
	tcase_add_test(t, the_heap_goes_on_in_a_huge_page);
	tcase_add_test(t, big_arrays_are_zeroed_and_keep_what_they_had);
	tcase_add_test(t, mapped_memory_is_zeroed_and_lies_in_huge_pages);
	tcase_add_loop_test(t, ini_forms, 0, ARRAY_SIZE(ini_cases));
	tcase_add_test(t, ini_says_which_line);
	tcase_add_test(t, ini_stops_where_told);
	tcase_add_test(t, ini_bounds_lines);
	suite_add_tcase(s, t);
	return unit_run(s);
}
