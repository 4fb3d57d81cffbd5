/*
 * The same work for many things on several threads: each is done once, and the first failure counts.
 */
#include "base/parallel.h"
#include "base/util.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

enum { THINGS = 1000 };

struct things {
	_Atomic unsigned done[THINGS];
	unsigned fails_from, step; /* these fail */
};

static int do_thing(void *ctx, unsigned i, struct errmsg *e)
{
	struct things *things = ctx;

	if (i == things->fails_from)
		(void)usleep(200); /* those behind it have failed before */
	things->done[i]++;
	if (i < things->fails_from || (i - things->fails_from) % things->step != 0)
		return 0;
	return errmsg_set(e, -(int)i, "thing %u", i);
}

static void assert_things(struct things *things, unsigned count, unsigned least)
{
	struct errmsg e = {""};
	char wanted[32] = "";
	int rc = parallel_for(count, least, do_thing, things, &e);
	unsigned whole = MIN(count, things->fails_from + 1);

	if (things->fails_from < count) {
		ck_assert_int_eq(rc, -(int)things->fails_from);
		(void)snprintf(wanted, sizeof(wanted), "thing %u", things->fails_from);
	} else {
		ck_assert_int_eq(rc, 0);
	}
	ck_assert_str_eq(e.text, wanted);
	for (unsigned i = 0; i < THINGS; i++)
		ck_assert_uint_le(things->done[i], i < count);
	for (unsigned i = 0; i < whole; i++)
		ck_assert_uint_eq(things->done[i], 1);
}

START_TEST(each_thing_is_done_once)
{
	static const unsigned counts[] = {0, 1, 2, 31, 32, 33, THINGS};

	for (unsigned n = 0; n < ARRAY_SIZE(counts); n++) {
		for (unsigned least = 0; least < 40; least += 13) {
			struct things things = {.fails_from = THINGS, .step = 1};

			assert_things(&things, counts[n], least);
		}
	}
}
END_TEST

START_TEST(the_first_failure_counts)
{
	for (unsigned from = 1; from < THINGS; from += 17) {
		struct things things = {.fails_from = from, .step = 1 + from % 3};

		assert_things(&things, THINGS, 1);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_parallel");
	TCase *t = tcase_create("parallel");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, each_thing_is_done_once);
	tcase_add_test(t, the_first_failure_counts);
	suite_add_tcase(s, t);
	return unit_run(s);
}
