/*
 * Lists read on a thread of their own give what reading them one after the other gives: lines, sums,
 * and what is said of damage; and they can be left at any time.
 */
#include "layer/probackup/content_ahead.h"
#include "unit.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <xxhash.h>

enum { LISTS = 3, LINES = 40000 };

static unsigned long long state;

/* What a reader has seen, and when it has had enough. */
struct seen {
	uint64_t lines, stop;
	XXH64_hash_t sum;
	char last[CONTENT_PATH_MAX + 1];
};

static int see(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct seen *s = ctx;

	s->sum = XXH64(line->path, line->path_len + 1, s->sum);
	s->sum = XXH64((const char *)line + offsetof(struct content_line, size),
		       sizeof(*line) - offsetof(struct content_line, size), s->sum);
	(void)strcpy(s->last, line->path);
	return ++s->lines == s->stop ? errmsg_set(e, -ENOTSUP, "enough of it") : 0;
}

/* broken: the line that is damaged, 0: none; most paths are short, some as long as they can be. */
static void make_list(const char *dir, unsigned lines, unsigned broken)
{
	char path[400];
	FILE *f;

	(void)mkdirat(unit_dir, dir, 0700);
	(void)snprintf(path, sizeof(path), "%s/%s/backup_content.control", unit_path, dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	for (unsigned i = 1; i <= lines; i++) {
		unsigned pad = unit_random(&state) % 100 == 0 ? unit_random(&state) % 200 : 0;

		(void)fprintf(f,
			      "{\"path\":\"base/%u/%0*u\", \"size\":\"%u\", \"mode\":\"33152\", "
			      "\"is_datafile\":\"0\", \"crc\":\"%s\", \"compress_alg\":\"none\"%s}\n",
			      i % 7, (int)pad, i, unit_random(&state),
			      i == broken ? "no number" : "77",
			      unit_random(&state) % 50 == 0 ? ", \"new_in_3\":\"1\"" : "");
	}
	ck_assert_int_eq(fclose(f), 0);
}

struct lists {
	char names[LISTS][8];
	struct content_source sources[LISTS];
};

static void open_lists(struct lists *l)
{
	for (unsigned i = 0; i < LISTS; i++) {
		(void)snprintf(l->names[i], sizeof(l->names[i]), "L%u", i);
		l->sources[i] = (struct content_source){
			.dirfd = openat(unit_dir, l->names[i], O_RDONLY | O_DIRECTORY),
			.id = l->names[i]};
	}
}

static void close_lists(const struct lists *l)
{
	for (unsigned i = 0; i < LISTS; i++)
		(void)close(l->sources[i].dirfd);
}

/* stop: in the list of number stop_at. Returns how many lists were the same. */
static unsigned compare(uint64_t stop, unsigned stop_at, const char *said)
{
	struct content_ahead *ahead;
	struct lists l;
	unsigned i = 0;
	int rc = 0;

	open_lists(&l);
	ahead = content_ahead_begin(l.sources, LISTS, 0);
	ck_assert_ptr_nonnull(ahead);
	for (; i < LISTS && rc == 0; i++) {
		struct seen one = {.stop = i == stop_at ? stop : 0}, two = one;
		struct content_sums sums = {0}, sums2 = {0};
		struct errmsg e = {""}, e2 = {""};

		rc = content_read(l.sources[i].dirfd, l.names[i], see, &one, &sums, &e);
		ck_assert_int_eq(content_ahead_read(ahead, see, &two, &sums2, &e2), rc);
		ck_assert_str_eq(e.text, e2.text);
		ck_assert_mem_eq(&sums, &sums2, sizeof(sums));
		ck_assert_uint_eq(one.lines, two.lines);
		ck_assert_uint_eq(one.sum, two.sum);
		ck_assert_str_eq(one.last, two.last);
		if (rc < 0)
			ck_assert_ptr_nonnull(strstr(e.text, said));
	}
	content_ahead_end(ahead);
	close_lists(&l);
	return rc == 0 ? i : i - 1;
}

static void make_lists(unsigned broken)
{
	for (unsigned i = 0; i < LISTS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "L%u", i);
		make_list(name, i == 1 ? LINES : 10 * i, i == 1 ? broken : 0);
	}
}

START_TEST(same_as_one_after_the_other)
{
	make_lists(0);
	ck_assert_uint_eq(compare(0, 0, ""), LISTS);
	/* The caller refuses a line: the first, the last, and one in between. */
	ck_assert_uint_eq(compare(1, 1, "L1: backup_content.control, line 1: enough"), 1);
	ck_assert_uint_eq(compare(LINES, 1, "line 40000: enough"), 1);
	ck_assert_uint_eq(compare(1 + unit_random(&state) % LINES, 1, "enough"), 1);
	ck_assert_uint_eq(compare(20, 2, "L2: backup_content.control, line 20: enough"), 2);
}
END_TEST

START_TEST(damage)
{
	make_lists(1 + unit_random(&state) % LINES);
	ck_assert_uint_eq(compare(0, 0, "a value is not valid"), 1);
	make_lists(0);
	ck_assert_int_eq(unlinkat(unit_dir, "L2/backup_content.control", 0), 0);
	ck_assert_uint_eq(compare(0, 0, "backup L2: cannot open"), 2);
}
END_TEST

START_TEST(left_early)
{
	struct lists l;

	make_lists(0);
	open_lists(&l);
	for (unsigned i = 0; i < 20; i++) {
		struct content_ahead *ahead = content_ahead_begin(l.sources, LISTS, 0);
		struct content_sums sums;
		struct seen seen = {0};
		struct errmsg e = {""};

		ck_assert_ptr_nonnull(ahead);
		if (i % 2 == 0)
			ck_assert_int_eq(content_ahead_read(ahead, see, &seen, &sums, &e), 0);
		(void)usleep(unit_random(&state) % 3000);
		content_ahead_end(ahead);
	}
	/* The first list has no line. */
	ck_assert_ptr_null(content_ahead_begin(l.sources, LISTS, 1));
	content_ahead_end(NULL);
	close_lists(&l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_ahead");
	TCase *tc = tcase_create("ahead");
	const char *given = getenv("TEST_SEED");

	if (get_nprocs() < 2) {
		(void)printf("skip: layer_ahead: a single processor\n");
		return 77;
	}
	state = given != NULL ? strtoull(given, NULL, 0) : (unsigned long long)time(NULL);
	(void)printf("seed %llu\n", state);
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_test(tc, same_as_one_after_the_other);
	tcase_add_test(tc, damage);
	tcase_add_test(tc, left_early);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
