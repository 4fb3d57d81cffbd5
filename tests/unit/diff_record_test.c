/*
 * tests/unit/diff_record_test.c: records as bytes: every type there and back, and nothing but what
 * encoding writes is accepted.
 */
#include "base/util.h"
#include "diff/diff.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			ck_abort_msg("not true: %s", #x);                                          \
	} while (0)

static const struct diff_run runs[] = {{0, 1, BLOCK_DATA},
				       {1, 5, BLOCK_ZERO},
				       {6, 1, BLOCK_DATA},
				       {100, UINT32_MAX - 100, BLOCK_ZERO}};

static const struct diff_attr attr = {.mode = S_IFREG | 0640,
				      .uid = 26,
				      .gid = UINT32_MAX,
				      .atime = -1,
				      .mtime = 0,
				      .ctime = INT64_MAX};
static const struct diff_attr link_attr = {.mode = S_IFLNK | 0777};

static char long_name[DIFF_NAME_MAX + 1], long_target[DIFF_TARGET_MAX + 1];

#define NAME(s)	 .name = (s), .name_len = (uint32_t)strlen(s)
#define NAME2(s) .name2 = (s), .name2_len = (uint32_t)strlen(s)

static unsigned samples(struct diff_record *r)
{
	unsigned n = 0;

	memset(long_name, 'n', DIFF_NAME_MAX);
	memset(long_target, 't', DIFF_TARGET_MAX);
	r[n++] = (struct diff_record){.type = DIFF_RECORD_INODE, .id = 16, .attr = attr};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_INODE,
				      .id = 17,
				      .attr = link_attr,
				      .target = "../x",
				      .target_len = 4};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_INODE,
				      .id = 18,
				      .attr = link_attr,
				      .target = long_target,
				      .target_len = DIFF_TARGET_MAX};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_ATTR, .id = UINT64_MAX, .attr = attr};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_LINK, .id = 17, .dir = 1, NAME("a")};
	r[n++] =
		(struct diff_record){.type = DIFF_RECORD_LINK, .id = 17, .dir = 1, NAME(long_name)};
	r[n++] = (struct diff_record){
		.type = DIFF_RECORD_UNLINK, .dir = DIFF_ID_BASE | 5, NAME("...")};
	r[n++] = (struct diff_record){
		.type = DIFF_RECORD_RENAME, .dir = 1, .dir2 = 2, NAME("from"), NAME2(long_name)};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_RENAME,
				      .dir = 1,
				      .dir2 = 2,
				      .flags = DIFF_RENAME_EXCHANGE,
				      NAME("x"),
				      NAME2("y")};
	r[n++] = (struct diff_record){
		.type = DIFF_RECORD_SIZE, .id = 17, .size = 12345, .base_limit = 2};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_SIZE,
				      .id = 17,
				      .size = (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ,
				      .base_limit = UINT32_MAX};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_BLOCKS, .id = 17, .size = 1};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_BLOCKS,
				      .id = 17,
				      .size = 99,
				      .base_limit = 3,
				      .runs = runs,
				      .run_count = ARRAY_SIZE(runs)};
	r[n++] = (struct diff_record){.type = DIFF_RECORD_NEXT_ID, .id = 16};
	return n;
}

static bool same(const struct diff_record *a, const struct diff_record *b)
{
	if (a->type != b->type || a->id != b->id || a->dir != b->dir || a->dir2 != b->dir2 ||
	    a->flags != b->flags || a->size != b->size || a->base_limit != b->base_limit ||
	    a->run_count != b->run_count || a->name_len != b->name_len ||
	    a->name2_len != b->name2_len || a->target_len != b->target_len ||
	    memcmp(&a->attr, &b->attr, sizeof(a->attr)) != 0)
		return false;
	for (uint32_t i = 0; i < a->run_count; i++)
		if (a->runs[i].first != b->runs[i].first || a->runs[i].count != b->runs[i].count ||
		    a->runs[i].state != b->runs[i].state)
			return false;
	return (!a->name_len || memcmp(a->name, b->name, a->name_len) == 0) &&
	       (!a->name2_len || memcmp(a->name2, b->name2, a->name2_len) == 0) &&
	       (!a->target_len || memcmp(a->target, b->target, a->target_len) == 0);
}

static struct diff_run *decoded_runs;
static uint32_t decoded_cap;

static int64_t decode(const uint8_t *data, size_t len, struct diff_record *ret)
{
	/* Exactly as long as it is, so that the address sanitizer sees a read behind it. */
	uint8_t *copy = malloc(len ? len : 1);
	static uint8_t *last;
	int64_t n;

	free(last);
	memcpy(copy, data, len);
	n = diff_record_decode(copy, len, ret, &decoded_runs, &decoded_cap);
	last = copy;
	return n;
}

START_TEST(there_and_back)
{
	struct diff_record all[32], got;
	struct diff_buffer buffer = {0};
	unsigned count = samples(all);
	size_t pos = 0;

	for (unsigned i = 0; i < count; i++) {
		size_t before = buffer.len;

		ck_assert_int_eq(diff_record_encode(&buffer, &all[i]), 0);
		ck_assert_uint_eq(buffer.len - before, diff_record_encoded_size(&all[i]));
	}
	for (unsigned i = 0; i < count; i++) {
		int64_t n = diff_record_decode(buffer.data + pos, buffer.len - pos, &got,
					       &decoded_runs, &decoded_cap);

		ck_assert_int_eq(n, (int64_t)diff_record_encoded_size(&all[i]));
		ck_assert_msg(same(&all[i], &got), "record %u", i);
		pos += (size_t)n;
	}
	ck_assert_uint_eq(pos, buffer.len);
	ck_assert_int_eq(decode(buffer.data, 0, &got), -EUCLEAN);
	diff_buffer_free(&buffer);
	ck_assert_uint_eq(buffer.len, 0);
}
END_TEST

/* Whatever is accepted encodes to the same bytes again. */
static void check(const uint8_t *data, size_t len)
{
	struct diff_buffer again = {0};
	struct diff_record r;
	int64_t n = decode(data, len, &r);

	if (n < 0) {
		MUST(n == -EUCLEAN);
		return;
	}
	MUST((size_t)n <= len);
	MUST(diff_record_encode(&again, &r) == 0);
	MUST(again.len == (size_t)n && memcmp(again.data, data, again.len) == 0);
	diff_buffer_free(&again);
}

START_TEST(damaged_bytes)
{
	struct diff_record all[32];
	unsigned count = samples(all);
	unsigned long long rnd = 1;

	for (unsigned i = 0; i < count; i++) {
		struct diff_buffer buffer = {0};

		ck_assert_int_eq(diff_record_encode(&buffer, &all[i]), 0);
		for (size_t len = 0; len < buffer.len; len++) {
			struct diff_record r;

			MUST(decode(buffer.data, len, &r) == -EUCLEAN);
		}
		for (size_t bit = 0; bit < 8 * buffer.len; bit++) {
			buffer.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			check(buffer.data, buffer.len);
			buffer.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (unsigned n = 0; n < 2000; n++) {
			uint8_t *copy = malloc(buffer.len);

			memcpy(copy, buffer.data, buffer.len);
			for (unsigned k = unit_random(&rnd) % 4; k < 5; k++)
				copy[unit_random(&rnd) % buffer.len] = (uint8_t)unit_random(&rnd);
			check(copy, buffer.len);
			free(copy);
		}
		diff_buffer_free(&buffer);
	}
}
END_TEST

START_TEST(random_bytes)
{
	unsigned long long rnd = 2;
	uint8_t data[128];

	for (unsigned i = 0; i < 300000; i++) {
		size_t len = unit_random(&rnd) % sizeof(data);

		for (size_t k = 0; k < len; k++)
			data[k] = unit_random(&rnd) % 3 ? 0 : (uint8_t)unit_random(&rnd);
		if (len >= 8 && i % 2) {
			put_le32(data, (uint32_t)len);
			put_le32(data + 4, 1 + i % DIFF_RECORD_NEXT_ID);
		}
		check(data, len);
	}
}
END_TEST

static void refused(const struct diff_record *r)
{
	struct diff_buffer buffer = {0};

	ck_assert_int_eq(diff_record_encode(&buffer, r), -EINVAL);
	ck_assert_uint_eq(buffer.len, 0);
	diff_buffer_free(&buffer);
}

START_TEST(what_no_record_can_say)
{
	static const struct diff_run bad[][2] = {
		{{0, 0, BLOCK_DATA}, {5, 1, BLOCK_DATA}},
		{{5, 1, BLOCK_DATA}, {0, 1, BLOCK_DATA}},
		{{0, 6, BLOCK_DATA}, {5, 1, BLOCK_ZERO}},
		{{0, 5, BLOCK_DATA}, {5, 1, BLOCK_DATA}},
		{{0, 1, BLOCK_ABSENT}, {5, 1, BLOCK_DATA}},
		{{0, 1, BLOCK_DATA}, {5, UINT32_MAX - 4, BLOCK_DATA}},
	};
	static const char *const names[] = {"", ".", "..", "a/b", "/"};
	struct diff_attr device = {.mode = S_IFCHR | 0600};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		refused(&(struct diff_record){
			.type = DIFF_RECORD_BLOCKS, .id = 1, .runs = bad[i], .run_count = 2});
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		refused(&(struct diff_record){
			.type = DIFF_RECORD_UNLINK, .dir = 1, NAME(names[i])});
		refused(&(struct diff_record){.type = DIFF_RECORD_RENAME,
					      .dir = 1,
					      .dir2 = 1,
					      NAME("a"),
					      NAME2(names[i])});
	}
	refused(&(struct diff_record){
		.type = DIFF_RECORD_UNLINK, .dir = 1, .name = "a\0b", .name_len = 3});
	refused(&(struct diff_record){.type = DIFF_RECORD_UNLINK, NAME("a")});
	refused(&(struct diff_record){.type = DIFF_RECORD_LINK, .dir = 1, NAME("a")});
	refused(&(struct diff_record){.type = DIFF_RECORD_RENAME,
				      .dir = 1,
				      .dir2 = 1,
				      .flags = 2,
				      NAME("a"),
				      NAME2("b")});
	refused(&(struct diff_record){.type = DIFF_RECORD_INODE, .id = 16, .attr = device});
	refused(&(struct diff_record){.type = DIFF_RECORD_INODE, .id = 16, .attr = link_attr});
	refused(&(struct diff_record){
		.type = DIFF_RECORD_INODE, .id = 16, .attr = attr, .target = "x", .target_len = 1});
	refused(&(struct diff_record){.type = DIFF_RECORD_INODE, .attr = attr});
	refused(&(struct diff_record){.type = DIFF_RECORD_SIZE, .id = 1, .size = UINT64_MAX});
	refused(&(struct diff_record){.type = DIFF_RECORD_NEXT_ID});
	refused(&(struct diff_record){.type = (enum diff_record_type)0, .id = 1});
	refused(&(struct diff_record){.type = DIFF_RECORD_MAX_, .id = 1});
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_record");
	TCase *tcase = tcase_create("record");

	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, there_and_back);
	tcase_add_test(tcase, damaged_bytes);
	tcase_add_test(tcase, random_bytes);
	tcase_add_test(tcase, what_no_record_can_say);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
