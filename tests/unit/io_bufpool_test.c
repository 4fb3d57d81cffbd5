/*
 * tests/unit/io_bufpool_test.c: sizes, the bound, the order of waiting.
 */
#include "io/bufpool.h"
#include "io_util.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { HOLDERS = 40, STEPS = 100000 };

struct taker {
	struct buf_wait wait;
	void *buf;
	size_t size;
	bool asking, put_at_once;
	uint64_t asked;
};

static struct bufpool *pool;
static struct taker takers[HOLDERS];
static uint64_t asked, served[2]; /* the newest that was served after waiting, by size */
static unsigned readies;
static bool in_ready;
static struct taker *asks_again; /* in its ready, after putting its buffer back */

static void got(struct taker *t, void *buf)
{
	t->asking = false;
	t->buf = buf;
	MUST((uintptr_t)buf % 4096 == 0);
	memset(buf, (int)(t - takers), t->size);
}

static void put(struct taker *t)
{
	const unsigned char *p = t->buf;
	void *buf = t->buf;

	for (size_t i = 0; i < t->size; i += 511)
		MUST(p[i] == t - takers);
	t->buf = NULL;
	bufpool_put(pool, buf);
}

static void ask(struct taker *t, size_t size, bool put_at_once);

static void ready(struct buf_wait *wait, void *buf)
{
	struct taker *t = (struct taker *)(void *)((char *)wait - offsetof(struct taker, wait));
	uint64_t *newest = &served[t->size > BUFPOOL_SMALL];

	readies++;
	MUST(!in_ready); /* one after the other, not one inside the other */
	in_ready = true;
	MUST(t->asking);
	MUST(t->asked > *newest);
	*newest = t->asked;
	got(t, buf);
	if (t->put_at_once)
		put(t);
	if (t == asks_again) {
		asks_again = NULL;
		ask(t, t->size, false);
	}
	in_ready = false;
}

static void ask(struct taker *t, size_t size, bool put_at_once)
{
	void *buf;

	memset(&t->wait, 0xa5, sizeof(t->wait));
	t->wait.ready = ready;
	t->size = size;
	t->asking = true;
	t->put_at_once = put_at_once;
	t->asked = ++asked;
	buf = bufpool_get(pool, size, &t->wait);
	if (buf)
		got(t, buf);
}

START_TEST(random_takers)
{
	unsigned long long rnd = test_seed("bufpool", _i);
	size_t max = _i == 0 ? BUFPOOL_SMALL + BUFPOOL_LARGE : 6u << 20;

	ck_assert_int_eq(bufpool_new(max, &pool), 0);
	ck_assert_uint_eq(bufpool_bytes(pool), 0);
	for (unsigned step = 0; step < STEPS; step++) {
		struct taker *t = &takers[unit_random(&rnd) % HOLDERS];
		size_t size = 1 + unit_random(&rnd) % BUFPOOL_SMALL;

		if (unit_random(&rnd) % 16 == 0)
			size = BUFPOOL_LARGE - unit_random(&rnd) % BUFPOOL_SMALL;
		if (t->buf)
			put(t);
		else if (!t->asking)
			ask(t, size, unit_random(&rnd) % 4 == 0);
		MUST(bufpool_bytes(pool) <= max);
	}
	for (bool any = true; any;) {
		any = false;
		for (unsigned i = 0; i < HOLDERS; i++) {
			if (takers[i].buf) {
				put(&takers[i]);
				any = true;
			}
		}
	}
	for (unsigned i = 0; i < HOLDERS; i++)
		ck_assert(!takers[i].asking);
	printf("bufpool: %u waited\n", readies);
	ck_assert_uint_gt(readies, 0);
	bufpool_free(pool);
}
END_TEST

START_TEST(waits_in_order)
{
	ck_assert_int_eq(bufpool_new(BUFPOOL_SMALL + BUFPOOL_LARGE, &pool), 0);
	ask(&takers[0], BUFPOOL_LARGE, false);
	ask(&takers[1], BUFPOOL_LARGE, true);
	ask(&takers[2], BUFPOOL_SMALL + 1, true);
	ask(&takers[3], BUFPOOL_LARGE, false);
	ck_assert(takers[0].buf && takers[1].asking && takers[2].asking && takers[3].asking);
	/* A holder of the large buffer always gets a small one, whoever waits. */
	ask(&takers[4], 8192, false);
	ck_assert_ptr_nonnull(takers[4].buf);
	put(&takers[0]);
	ck_assert(!takers[1].asking && !takers[2].asking);
	ck_assert_ptr_nonnull(takers[3].buf);
	put(&takers[3]);
	put(&takers[4]);
	bufpool_free(pool);
}
END_TEST

/* Whoever puts and asks again inside its own continuation goes to the end of the queue. */
START_TEST(nobody_jumps_the_queue)
{
	ck_assert_int_eq(bufpool_new(BUFPOOL_SMALL + BUFPOOL_LARGE, &pool), 0);
	ask(&takers[0], BUFPOOL_LARGE, false);
	ask(&takers[1], BUFPOOL_LARGE, true);
	ask(&takers[2], BUFPOOL_LARGE, false);
	asks_again = &takers[1];
	put(&takers[0]);
	ck_assert_ptr_nonnull(takers[2].buf);
	ck_assert(takers[1].asking);
	put(&takers[2]);
	ck_assert_ptr_nonnull(takers[1].buf);
	put(&takers[1]);
	bufpool_free(pool);
}
END_TEST

START_TEST(idle_memory_is_given_back)
{
	struct buf_wait wait = {.ready = ready};
	void *bufs[60];

	ck_assert_int_eq(bufpool_new(128u << 20, &pool), 0);
	for (unsigned i = 0; i < 60; i++) {
		bufs[i] = bufpool_get(pool, BUFPOOL_LARGE, &wait);
		ck_assert_ptr_nonnull(bufs[i]);
		memset(bufs[i], 1, BUFPOOL_LARGE);
	}
	ck_assert_uint_eq(bufpool_bytes(pool), 60ull * BUFPOOL_LARGE);
	for (unsigned i = 0; i < 60; i++)
		bufpool_put(pool, bufs[i]);
	ck_assert_uint_le(bufpool_bytes(pool), (8u << 20) + BUFPOOL_LARGE);
	bufpool_free(pool);
}
END_TEST

START_TEST(what_nobody_needs_is_given_back)
{
	struct buf_wait wait = {.ready = ready};
	void *bufs[5];

	ck_assert_int_eq(bufpool_new(128u << 20, &pool), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 5; i++) {
			bufs[i] = bufpool_get(pool, BUFPOOL_LARGE, &wait);
			memset(bufs[i], (int)round, BUFPOOL_LARGE);
		}
		for (unsigned i = 0; i < 5; i++)
			bufpool_put(pool, bufs[i]);
		bufpool_trim(pool); /* they were all needed */
		ck_assert_uint_eq(bufpool_bytes(pool), 5ull * BUFPOOL_LARGE);
		bufs[0] = bufpool_get(pool, BUFPOOL_LARGE, &wait);
		bufs[1] = bufpool_get(pool, BUFPOOL_LARGE, &wait);
		bufpool_put(pool, bufs[0]);
		bufpool_trim(pool);
		ck_assert_uint_eq(bufpool_bytes(pool), 2ull * BUFPOOL_LARGE);
		bufpool_put(pool, bufs[1]);
		bufpool_trim(pool);
		bufpool_trim(pool);
		ck_assert_uint_eq(bufpool_bytes(pool), 0);
	}
	bufpool_free(pool);
}
END_TEST

START_TEST(refuses_a_bound_too_small)
{
	ck_assert_int_eq(bufpool_new(BUFPOOL_LARGE, &pool), -EINVAL);
	bufpool_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_bufpool");
	TCase *tc = tcase_create("bufpool");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, refuses_a_bound_too_small);
	tcase_add_test(tc, waits_in_order);
	tcase_add_test(tc, nobody_jumps_the_queue);
	tcase_add_test(tc, idle_memory_is_given_back);
	tcase_add_test(tc, what_nobody_needs_is_given_back);
	tcase_add_loop_test(tc, random_takers, 0, 2);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
