/*
 * The table of files and names against an array, with hashes that lie close together and share tags, so
 * that items are displaced, removed among others, and the table is made anew with removed slots in it.
 */
#include "overlay/table.h"

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define ITEMS 3000u

struct item {
	uint64_t key;
	bool there;
};

static uint64_t hash_key(uint64_t key)
{
	return key / 3 % 4096 |
	       (key % 5) << 56; /* tags 0 and 1 are those of free and removed slots */
}

static uint64_t hash_item(const void *item)
{
	return hash_key(((const struct item *)item)->key);
}

static bool has_key(const void *item, const void *key)
{
	return ((const struct item *)item)->key == *(const uint64_t *)key;
}

static void check_all(const struct table *t, struct item *items)
{
	uint32_t there = 0, seen = 0, at = 0;
	const struct item *found;

	for (uint32_t i = 0; i < ITEMS; i++) {
		found = table_find(t, hash_item(&items[i]), has_key, &items[i].key);
		ck_assert_ptr_eq(found, items[i].there ? &items[i] : NULL);
		there += items[i].there;
	}
	while ((found = table_next(t, &at)) != NULL) {
		ck_assert(found->there);
		seen++;
	}
	ck_assert_uint_eq(seen, there);
	ck_assert_uint_eq(t->count, there);
	ck_assert_uint_ge(t->end, there);
	ck_assert(t->size == 0 || t->end < t->size);
}

START_TEST(random_changes)
{
	const char *given = getenv("TEST_SEED");
	unsigned long long seed =
		given != NULL ? strtoull(given, NULL, 0) : (unsigned long long)time(NULL);
	unsigned long long state = seed;
	struct table t = {.hash = hash_item};
	static struct item items[ITEMS];

	(void)printf("seed %llu\n", seed);
	for (uint32_t i = 0; i < ITEMS; i++)
		items[i] = (struct item){.key = i};
	check_all(&t, items);
	for (unsigned round = 0; round < 60; round++) {
		/* Some rounds fill it, some empty it. */
		unsigned wanted = unit_random(&state) % 101;

		for (unsigned n = 0; n < ITEMS; n++) {
			struct item *item = &items[unit_random(&state) % ITEMS];
			bool add = unit_random(&state) % 100 < wanted;

			if (add && !item->there)
				ck_assert_int_eq(table_add(&t, item), 0);
			else if (!add && item->there)
				table_remove(&t, item);
			item->there = add;
		}
		check_all(&t, items);
	}
	/* As many come as go: it must not grow for ever. */
	ck_assert_uint_le(t.size, 8192);
	table_free(&t);
	ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(walk_while_removing)
{
	struct table t = {.hash = hash_item};
	static struct item items[ITEMS];
	uint32_t at = 0, seen = 0;
	struct item *item;

	ck_assert_int_eq(table_reserve(&t, ITEMS), 0);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items[i] = (struct item){.key = i, .there = true};
		ck_assert_int_eq(table_add(&t, &items[i]), 0);
	}
	ck_assert_uint_eq(t.size, 4096); /* which was enough from the beginning */
	while ((item = table_next(&t, &at)) != NULL) {
		ck_assert_uint_eq(item->key, seen);
		if (item->key % 2 == 0) {
			table_remove(&t, item);
			item->there = false;
		}
		seen++;
	}
	ck_assert_uint_eq(seen, ITEMS);
	check_all(&t, items);
	ck_assert_int_eq(table_reserve(&t, UINT32_MAX), -ENOMEM);
	check_all(&t, items);
	table_free(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("overlay_table");
	TCase *tc = tcase_create("table");

	tcase_add_test(tc, random_changes);
	tcase_add_test(tc, walk_while_removing);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
