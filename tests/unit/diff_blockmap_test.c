/*
 * tests/unit/diff_blockmap_test.c: block states against an array of bytes, and what a map costs.
 */
#include "base/util.h"
#include "diff/blockmap.h"
#include "unit.h"

#include <string.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			ck_abort_msg("not true: %s", #x);                                          \
	} while (0)

enum { BLOCKS = 10000, ROUNDS = 20000 };

static uint8_t model[BLOCKS];
static unsigned long long rnd;

static uint32_t below(uint32_t n)
{
	return unit_random(&rnd) % n;
}

/* Chunk edges are where mistakes are made. */
static uint32_t some_block(void)
{
	uint32_t block = below(3) ? below(BLOCKS) : below(BLOCKS / 2048 + 1) * 2048 + below(3);

	return MIN(MAX(block, 1u) - below(2), BLOCKS - 1u);
}

static uint32_t model_run(uint32_t block, uint32_t max)
{
	uint32_t n = 1;

	while (n < max && block + n < BLOCKS && model[block + n] == model[block])
		n++;
	return block + n == BLOCKS && model[block] == BLOCK_ABSENT ? max : n;
}

static void compare(const struct blockmap *map)
{
	uint32_t data = 0, zero = 0, runs = 0, pos = 0, end = 0;
	struct diff_run run;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		data += model[i] == BLOCK_DATA;
		zero += model[i] == BLOCK_ZERO;
		runs += model[i] != BLOCK_ABSENT && (i == 0 || model[i - 1] != model[i]);
		if (model[i] != BLOCK_ABSENT)
			end = i + 1;
	}
	MUST(map->data == data && map->zero == zero && map->runs == runs);
	MUST(blockmap_end(map) == end);
	for (uint32_t n = 0; n < runs; n++) {
		MUST(blockmap_next(map, &pos, &run));
		MUST(run.count == model_run(run.first, BLOCKS) && run.state == model[run.first]);
		MUST(pos == run.first + run.count);
		MUST(run.first == 0 || model[run.first - 1] != run.state);
	}
	MUST(!blockmap_next(map, &pos, &run));
}

START_TEST(like_an_array)
{
	struct blockmap map = {0};

	rnd = (unsigned)_i;
	memset(model, 0, sizeof(model));
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t first = some_block(), count = below(4) ? 1 + below(40) : 1 + below(BLOCKS);
		enum block_state state = (enum block_state)below(3);
		uint32_t got;

		count = MIN(count, BLOCKS - first);
		if (below(50) == 0) {
			MUST(blockmap_cut(&map, first) == 0);
			memset(model + first, BLOCK_ABSENT, BLOCKS - first);
		} else {
			MUST(blockmap_set(&map, first, count, state) == 0);
			memset(model + first, (int)state, count);
		}
		for (unsigned i = 0; i < 4; i++) {
			uint32_t block = some_block(), max = 1 + below(BLOCKS - block);

			MUST(blockmap_run(&map, block, max, &got) ==
			     (enum block_state)model[block]);
			MUST(got == model_run(block, max));
		}
		if (round % 50 == 0)
			compare(&map);
	}
	compare(&map);
	blockmap_free(&map);
	ck_assert_uint_eq(map.chunk_count, 0);
}
END_TEST

START_TEST(the_last_block)
{
	struct blockmap map = {0};
	struct diff_run run;
	uint32_t n, pos = 0;

	ck_assert_int_eq(blockmap_set(&map, UINT32_MAX - 1, 1, BLOCK_DATA), 0);
	ck_assert_int_eq(blockmap_run(&map, UINT32_MAX - 1, 1, &n), BLOCK_DATA);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(blockmap_run(&map, 0, UINT32_MAX, &n), BLOCK_ABSENT);
	ck_assert_uint_eq(n, UINT32_MAX - 1);
	ck_assert_uint_eq(blockmap_end(&map), UINT32_MAX);
	ck_assert(blockmap_next(&map, &pos, &run));
	ck_assert_uint_eq(run.first, UINT32_MAX - 1);
	ck_assert_uint_eq(pos, UINT32_MAX);
	ck_assert(!blockmap_next(&map, &pos, &run));
	ck_assert_int_eq(blockmap_set(&map, 0, UINT32_MAX, BLOCK_ZERO), 0);
	ck_assert_uint_eq(map.zero, UINT32_MAX);
	ck_assert_uint_eq(map.runs, 1);
	ck_assert_int_eq(blockmap_run(&map, 0, UINT32_MAX, &n), BLOCK_ZERO);
	ck_assert_uint_eq(n, UINT32_MAX);
	blockmap_free(&map);
}
END_TEST

/* The promise: 32 KiB for a segment of 131072 blocks, however they are strewn. */
START_TEST(a_segment_costs_32_kib)
{
	struct blockmap map = {0};

	for (uint32_t i = 0; i < 131072; i++)
		ck_assert_int_eq(blockmap_set(&map, i, 1, i % 2 ? BLOCK_DATA : BLOCK_ZERO), 0);
	ck_assert_uint_eq(map.runs, 131072);
	for (uint32_t i = 64; i < map.chunk_count; i++) /* 64 chunks of 512 bytes are the 32 KiB */
		ck_assert_ptr_null(map.chunks[i]);
	for (uint32_t i = 0; i < 131072; i++)
		ck_assert_int_eq(blockmap_set(&map, i, 1, BLOCK_DATA), 0);
	ck_assert_uint_eq(map.runs, 1);
	for (uint32_t i = 1; i < 64; i++) /* all the same shared chunk */
		ck_assert_ptr_eq(map.chunks[i], map.chunks[0]);
	blockmap_free(&map);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_blockmap");
	TCase *tcase = tcase_create("blockmap");

	tcase_set_timeout(tcase, 300);
	tcase_add_loop_test(tcase, like_an_array, 1, 5);
	tcase_add_test(tcase, the_last_block);
	tcase_add_test(tcase, a_segment_costs_32_kib);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
