/*
 * Sorting what a list gives, whatever order it comes in; and finding a file of the target by its path,
 * however often that is asked. PGOVERLAY_TEST_SEED replaces the seed.
 */
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 300 };

static struct load_item items[MOST];

static bool is_before(const struct load_item *a, const struct load_item *b)
{
	return a->number < b->number;
}

/* In order, and equal ones as they came. */
static void assert_sorted(uint32_t count)
{
	struct load_item **sorted = manifest_sort(items, count, is_before);
	bool seen[MOST] = {false};

	ck_assert_ptr_nonnull(sorted);
	for (uint32_t i = 0; i < count; i++) {
		ck_assert(!seen[sorted[i] - items]);
		seen[sorted[i] - items] = true;
		if (i > 0 && sorted[i - 1]->number == sorted[i]->number)
			ck_assert(sorted[i - 1] < sorted[i]);
		else if (i > 0)
			ck_assert_uint_lt(sorted[i - 1]->number, sorted[i]->number);
	}
	free(sorted);
}

START_TEST(any_order_is_sorted)
{
	const char *given = getenv("PGOVERLAY_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	fprintf(stderr, "layer_manifest: seed %u\n", seed);
	for (unsigned round = 0; round < 2000; round++) {
		uint32_t count = (uint32_t)rand_r(&seed) % MOST;
		uint32_t kinds = 1u + (uint32_t)rand_r(&seed) % MOST;
		unsigned run = 1u + (unsigned)rand_r(&seed) % 100;

		for (uint32_t i = 0; i < count; i++)
			items[i].number =
				i % run == 0 ? (uint32_t)rand_r(&seed) % kinds
					     : items[i - 1].number + (uint32_t)rand_r(&seed) % 3;
		assert_sorted(count);
	}
}
END_TEST

START_TEST(runs_that_lie_apart_are_not_compared_through)
{
	for (uint32_t i = 0; i < MOST; i++)
		items[i].number = (i + MOST / 2) % MOST;
	assert_sorted(MOST);
	for (uint32_t i = 0; i < MOST; i++)
		items[i].number = MOST - i;
	assert_sorted(MOST);
}
END_TEST

static char paths[MOST][3];

/* "a", "aa", "ab", ...: some begin like others. */
static void add_paths(struct wanted_table *table, bool sorted)
{
	ck_assert_int_eq(wanted_init(table, MOST), 0);
	table->sorted = sorted;
	for (unsigned i = 0; i < MOST; i++) {
		unsigned n = sorted ? i : MOST - 1 - i;

		(void)snprintf(paths[n], sizeof(paths[n]), "%c%c", 'a' + (int)n / 27,
			       n % 27 == 0 ? '\0' : 'a' + (int)n % 27 - 1);
		wanted_add(table, paths[n], n, WANT_BLOCKS);
	}
}

static void assert_all_found(struct wanted_table *table)
{
	struct wanted *w;

	for (unsigned n = 0; n < MOST; n++) {
		ck_assert_int_eq(wanted_find(table, paths[n], (uint32_t)strlen(paths[n]), &w), 0);
		ck_assert_ptr_nonnull(w);
		ck_assert_uint_eq(w->item, n);
	}
	for (unsigned n = 0; n < MOST; n++) {
		char other[4] = {paths[n][0], paths[n][1]};

		other[strlen(other)] = n % 2 == 0 ? '!' : '~';
		ck_assert_int_eq(wanted_find(table, other, (uint32_t)strlen(other), &w), 0);
		ck_assert_ptr_null(w);
	}
}

/* By halves as long as few are looked for, then in the table. */
START_TEST(each_is_found_whatever_the_order)
{
	struct wanted_table table;
	struct wanted *w;

	add_paths(&table, _i == 0);
	for (unsigned n = 0; n < MOST; n += MOST / 3) {
		ck_assert_int_eq(wanted_find(&table, paths[n], (uint32_t)strlen(paths[n]), &w), 0);
		ck_assert_uint_eq(w->item, n);
		ck_assert(_i == 0 ? table.slots == NULL : table.slots != NULL);
	}
	assert_all_found(&table);
	ck_assert_ptr_nonnull(table.slots);
	wanted_free(&table);

	/* All of them by halves. */
	add_paths(&table, true);
	for (unsigned n = 0; n < 2; n++) {
		for (unsigned i = 0; i < MOST; i++) {
			table.searched = 0;
			ck_assert_int_eq(
				wanted_find(&table, paths[i], (uint32_t)strlen(paths[i]), &w), 0);
			ck_assert_uint_eq(w->item, i);
		}
		table.searched = 0;
		ck_assert_int_eq(wanted_find(&table, n == 0 ? "" : "zzz", n == 0 ? 0 : 3, &w), 0);
		ck_assert_ptr_null(w);
	}
	wanted_free(&table);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_manifest");
	TCase *t = tcase_create("manifest");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, any_order_is_sorted);
	tcase_add_test(t, runs_that_lie_apart_are_not_compared_through);
	tcase_add_loop_test(t, each_is_found_whatever_the_order, 0, 2);
	suite_add_tcase(s, t);
	return unit_run(s);
}
