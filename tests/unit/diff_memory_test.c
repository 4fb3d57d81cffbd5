/*
 * tests/unit/diff_memory_test.c: the N-th allocation fails, for every N until the script runs
 * through: -ENOMEM to the caller, nothing changed, nothing lost that was acknowledged.
 */
#include "diff_util.h"

#include "memory_fail.h"

enum { BLOCKS = 40 };

struct version {
	bool exists;
	uint64_t size;
	uint8_t state[BLOCKS];
	uint32_t tag[BLOCKS];
};

/* Of the files "a" (0) and "base0" (1): as they are, and as they were acknowledged. */
static struct version now[2], acked[2];
static bool exact; /* what is acknowledged is all there is */
static const char *const names[2] = {"a", "base0"};
static uint32_t next_tag;

static bool failed(int rc)
{
	MUST(rc == 0 || rc == -ENOMEM);
	return rc < 0;
}

static void assert_same(const struct version *v, unsigned f)
{
	MUST((env_id(names[f]) != 0) == v->exists);
	if (!v->exists)
		return;
	MUST(env_size(names[f]) == v->size);
	for (uint32_t i = 0; i < BLOCKS; i++)
		MUST(env_state(names[f], i) == (enum block_state)v->state[i]);
}

static void done(unsigned f)
{
	exact = false;
	if (env_id(names[f]) && diff_file_find(env.diff, env_id(names[f])))
		assert_same(&now[f], f);
}

static void create(void)
{
	if (now[0].exists || failed(env_create("a")))
		return;
	now[0] = (struct version){.exists = true};
	done(0);
}

static void write_some(unsigned f, uint32_t first, uint32_t count)
{
	if (!now[f].exists || failed(env_write(names[f], first, count, ++next_tag)))
		return;
	memset(now[f].state + first, BLOCK_DATA, count);
	for (uint32_t i = first; i < first + count; i++)
		now[f].tag[i] = next_tag;
	now[f].size = MAX(now[f].size, (uint64_t)(first + count) * DIFF_BLCKSZ);
	done(f);
}

static void zero_some(unsigned f, uint32_t first, uint32_t count)
{
	if (!now[f].exists || !env_file(names[f]) || failed(env_zero(names[f], first, count)))
		return;
	memset(now[f].state + first, BLOCK_ZERO, count);
	done(f);
}

static void cut(unsigned f, uint32_t blocks)
{
	if (!now[f].exists || !env_file(names[f]) ||
	    failed(env_truncate(names[f], (uint64_t)blocks * DIFF_BLCKSZ)))
		return;
	memset(now[f].state + blocks, BLOCK_ABSENT, BLOCKS - blocks);
	now[f].size = (uint64_t)blocks * DIFF_BLCKSZ;
	done(f);
}

static void sync_all(void)
{
	if (failed(env_sync("*")))
		return;
	memcpy(acked, now, sizeof(acked));
	exact = true;
}

static void discard(void)
{
	if (now[0].exists && !failed(env_unlink("a")))
		now[0].exists = exact = false;
}

static void script(void)
{
	create();
	write_some(0, 0, 3);
	write_some(1, 5, 1);
	sync_all();
	zero_some(1, 4, 9);
	write_some(1, 7, 2);
	cut(1, 8);
	cut(1, 20);
	write_some(1, 30, 4);
	sync_all();
	discard();
	create();
	write_some(0, 1, 1);
	sync_all();
	zero_some(0, 0, 20);
	sync_all();
}

static void forget(void)
{
	now[0] = acked[0] = (struct version){0};
	now[1] = (struct version){.exists = true, .size = env_size("base0")};
	for (uint32_t i = 0; i < BLOCKS; i++)
		now[1].state[i] = (uint8_t)env_state("base0", i);
	acked[1] = now[1];
	exact = false;
	if (env_id("a"))
		ck_assert_int_eq(env_unlink("a"), 0);
}

static void loop(uint64_t limit)
{
	env.options.journal_limit = limit;
	for (long at = 1;; at++) {
		bool hit;

		env_open();
		forget();
		ck_assert_int_eq(env_sync("*"), 0);
		memory_fail(at);
		script();
		hit = memory_fail_hit();
		memory_fail(0);
		env_kill();
		env_open();
		for (unsigned f = 0; f < 2 && exact; f++) {
			assert_same(&acked[f], f);
			for (uint32_t i = 0; i < BLOCKS && acked[f].exists; i++)
				if (acked[f].state[i] == BLOCK_DATA && acked[f].tag[i])
					env_assert_block(names[f], i, acked[f].tag[i]);
		}
		env_close();
		if (!hit) {
			ck_assert_int_gt(at, 20);
			break;
		}
	}
}

START_TEST(while_working)
{
	loop(0);
}
END_TEST

START_TEST(while_writing_states)
{
	loop(1);
}
END_TEST

static long open_at;

static void fail_open(void)
{
	memory_fail(open_at);
}

START_TEST(while_opening)
{
	int rc;

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 5, 1), 0);
	ck_assert_int_eq(env_zero("base0", 2, 3), 0);
	ck_assert_int_eq(env_sync("*"), 0);
	env_kill();
	env.before_open = fail_open;
	for (open_at = 1;; open_at++) {
		rc = env_try(true);
		if (!memory_fail_hit())
			break;
		memory_fail(0);
		if (rc == 0)
			env_kill();
		else
			ck_assert_int_eq(rc, -ENOMEM);
	}
	memory_fail(0);
	ck_assert_int_eq(rc, 0);
	env_assert_block("a", 4, 1);
	ck_assert_int_eq(env_state("base0", 4), BLOCK_ZERO);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_memory");
	TCase *tcase = tcase_create("memory");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, while_working);
	tcase_add_test(tcase, while_writing_states);
	tcase_add_test(tcase, while_opening);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
