/*
 * tests/unit/diff_fault_test.c: a script of operations in which the N-th system call fails, once or
 * from there on, for every N until the script runs through.
 *
 * Each time: the error reaches a caller as itself (or as EROFS once an EIO has failed the diff), an
 * operation that failed has changed nothing, and the next mount finds of each file its last
 * acknowledged version or a later one.
 */
#include "diff_util.h"

#include <dirent.h>

enum { FILES = 3, BLOCKS = 24, HISTORY = 64 };

static const char *const names[FILES] = {"a", "b", "base0"};

struct version {
	bool exists;
	uint64_t size;
	uint32_t base_limit;
	uint8_t state[BLOCKS];
	uint32_t tag[BLOCKS];
};

struct model {
	struct version history[HISTORY];
	unsigned count, acked;
	bool failed; /* no more operations on it */
};

static struct model models[FILES];
static int with;
static uint32_t next_tag;

static struct version *now(unsigned f)
{
	return &models[f].history[models[f].count - 1];
}

static struct version *next(unsigned f)
{
	struct model *m = &models[f];

	MUST(m->count < HISTORY);
	m->history[m->count] = m->history[m->count - 1];
	m->count++;
	return now(f);
}

static bool is_right(int rc)
{
	return rc == 0 || rc == with || rc == -EROFS;
}

static void assert_memory(unsigned f)
{
	const struct version *v = now(f);

	MUST((env_id(names[f]) != 0) == v->exists);
	if (!v->exists)
		return;
	MUST(env_size(names[f]) == v->size);
	MUST(diff_file_base_limit(env_file(names[f])) == v->base_limit);
	for (uint32_t i = 0; i < BLOCKS; i++)
		MUST(env_state(names[f], i) == (enum block_state)v->state[i]);
}

/* ---- operations ---- */

static bool skip(unsigned f)
{
	return models[f].failed || !now(f)->exists;
}

static void create(unsigned f)
{
	int rc = models[f].failed ? -EPERM : env_create(names[f]);
	struct version *v;

	if (models[f].failed)
		return;
	MUST(is_right(rc));
	if (rc == 0) {
		v = next(f);
		memset(v, 0, sizeof(*v));
		v->exists = true;
	}
	assert_memory(f);
}

static void write_blocks(unsigned f, uint32_t block, uint32_t count)
{
	uint32_t tag = ++next_tag;
	struct version *v;
	int rc;

	if (skip(f))
		return;
	rc = env_write(names[f], block, count, tag);
	MUST(is_right(rc));
	if (rc == 0) {
		v = next(f);
		for (uint32_t i = block; i < block + count; i++) {
			v->state[i] = BLOCK_DATA;
			v->tag[i] = tag;
		}
		v->size = MAX(v->size, (uint64_t)(block + count) * DIFF_BLCKSZ);
	}
	assert_memory(f);
}

static void truncate_to(unsigned f, uint32_t blocks)
{
	struct version *v;
	int rc;

	if (skip(f))
		return;
	rc = env_truncate(names[f], (uint64_t)blocks * DIFF_BLCKSZ);
	MUST(is_right(rc));
	if (rc == 0) {
		v = next(f);
		v->size = (uint64_t)blocks * DIFF_BLCKSZ;
		v->base_limit = MIN(v->base_limit, blocks);
		memset(v->state + blocks, BLOCK_ABSENT, BLOCKS - blocks);
	}
	assert_memory(f);
}

static void zero(unsigned f, uint32_t block, uint32_t count)
{
	int rc;

	if (skip(f))
		return;
	rc = env_zero(names[f], block, count);
	MUST(is_right(rc));
	if (rc == 0)
		memset(next(f)->state + block, BLOCK_ZERO, count);
	assert_memory(f);
}

static void allocate(unsigned f)
{
	if (skip(f))
		return;
	MUST(is_right(env_allocate(names[f], 0, BLOCKS * DIFF_BLCKSZ)));
	assert_memory(f);
}

static void move(unsigned f, unsigned f2)
{
	int rc;

	if (skip(f) || models[f2].failed)
		return;
	rc = env_rename(names[f], names[f2]);
	MUST(is_right(rc));
	if (rc == 0) {
		*next(f2) = *now(f);
		next(f)->exists = false;
		if (models[f].acked == models[f].count - 2)
			models[f2].acked = MIN(models[f2].acked, models[f2].count - 1);
	}
	assert_memory(f);
	assert_memory(f2);
}

static void discard(unsigned f)
{
	int rc;

	if (skip(f))
		return;
	rc = env_unlink(names[f]);
	MUST(is_right(rc));
	if (rc == 0)
		next(f)->exists = false;
	assert_memory(f);
}

static void sync_file(unsigned f)
{
	int rc;

	if (skip(f))
		return;
	rc = env_sync(names[f]);
	MUST(is_right(rc));
	if (rc == 0)
		models[f].acked = models[f].count - 1;
	if (diff_file_error(env_file(names[f]))) {
		MUST(rc < 0 && env_sync(names[f]) < 0); /* it stays */
		models[f].failed = true;
	}
}

/* Every file as it is now, if that worked. */
static void sync_all(void)
{
	int rc = env_sync("*");

	MUST(is_right(rc));
	for (unsigned f = 0; f < FILES; f++) {
		if (now(f)->exists && diff_file_error(env_file(names[f])))
			models[f].failed = true;
		else if (rc == 0)
			models[f].acked = models[f].count - 1;
	}
}

static void sync_names(void)
{
	int rc = env_sync(NULL);

	MUST(is_right(rc));
	for (unsigned f = 0; f < FILES && rc == 0; f++)
		if (!now(f)->exists)
			models[f].acked = models[f].count - 1;
}

static void script(void)
{
	create(0);
	write_blocks(0, 0, 4);
	sync_file(0);
	write_blocks(2, 3, 1);
	zero(2, 7, 3);
	sync_file(2);
	truncate_to(0, 2);
	write_blocks(0, 5, 1);
	sync_file(2);
	sync_file(0);
	write_blocks(0, 0, 1); /* in place */
	sync_file(0);
	create(1);
	write_blocks(1, 0, 2);
	sync_file(1);
	move(1, 0);
	sync_names();
	allocate(0);
	write_blocks(0, 8, 8);
	truncate_to(2, 12);
	truncate_to(2, 16);
	write_blocks(2, 14, 1);
	sync_all();
	zero(0, 8, 4);
	sync_all();
	discard(0);
	sync_names();
	create(0);
	write_blocks(0, 1, 1);
	discard(0);
	sync_all();
	env_drain();
}

/* ---- after it ---- */

static bool matches(unsigned f, const struct version *v)
{
	if ((env_id(names[f]) != 0) != v->exists)
		return false;
	if (!v->exists)
		return true;
	if (env_size(names[f]) != v->size ||
	    diff_file_base_limit(env_file(names[f])) != v->base_limit)
		return false;
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (env_state(names[f], i) != (enum block_state)v->state[i])
			return false;
	return true;
}

static void assert_found(unsigned f, long at, const char *kind)
{
	const struct model *m = &models[f];

	for (unsigned i = m->acked; i < m->count; i++)
		if (matches(f, &m->history[i]))
			return;
	ck_abort_msg("%s with call %ld failing: '%s' has no version from %u to %u (size %llu)",
		     kind, at, names[f], m->acked, m->count - 1,
		     env_id(names[f]) ? (unsigned long long)env_size(names[f]) : 0);
}

/*
 * Content is compared where only one version can be meant; overwriting in place keeps the states.
 */
static void assert_content(unsigned f)
{
	const struct model *m = &models[f];

	if (m->acked != m->count - 1 || m->failed || !now(f)->exists)
		return;
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (now(f)->state[i] == BLOCK_DATA)
			env_assert_block(names[f], i, now(f)->tag[i]);
}

/* What the last mount has left is what this one begins with. */
static void start_over(void)
{
	env_open();
	for (unsigned f = 0; f < 2; f++)
		if (env_id(names[f]))
			ck_assert_int_eq(env_unlink(names[f]), 0);
	ck_assert_int_eq(env_zero("base0", 0, BLOCKS), 0);
	ck_assert_int_eq(env_truncate("base0", BASE_BLOCKS * DIFF_BLCKSZ), 0);
	env_close();
	env_open();
	memset(models, 0, sizeof(models));
	for (unsigned f = 0; f < FILES; f++)
		models[f].count = 1;
	now(2)->exists = true;
	now(2)->size = BASE_BLOCKS * DIFF_BLCKSZ;
	now(2)->base_limit = diff_file_base_limit(env_file("base0"));
	for (uint32_t i = 0; i < BLOCKS; i++)
		now(2)->state[i] = (uint8_t)env_state("base0", i);
}

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void loop(const char *kind, int error, bool forever)
{
	unsigned open_before = 0;

	with = error;
	for (long at = 1;; at++) {
		bool hit;

		start_over();
		env_fail(at, forever, error);
		script();
		hit = env_fail_seen() >= at;
		env_fail(0, false, 0);
		env_kill();
		if (at == 2)
			open_before = descriptors();
		if (at > 2)
			ck_assert_uint_eq(descriptors(), open_before);
		env_open();
		for (unsigned f = 0; f < FILES; f++) {
			assert_found(f, at, kind);
			assert_content(f);
		}
		env_close();
		if (!hit) {
			ck_assert_int_gt(at, 45);
			break;
		}
	}
}

START_TEST(eio_once)
{
	loop("EIO", -EIO, false);
}
END_TEST

START_TEST(eio_for_ever)
{
	loop("EIO for ever", -EIO, true);
}
END_TEST

START_TEST(enospc_once)
{
	loop("ENOSPC", -ENOSPC, false);
}
END_TEST

START_TEST(enospc_for_ever)
{
	loop("ENOSPC for ever", -ENOSPC, true);
}
END_TEST

START_TEST(edquot_once)
{
	loop("EDQUOT", -EDQUOT, false);
}
END_TEST

/* The same with a new state written every few commits. */
START_TEST(with_states)
{
	env.options.journal_limit = 1;
	loop("EIO and states", -EIO, false);
	loop("ENOSPC and states", -ENOSPC, false);
	loop("ENOSPC for ever and states", -ENOSPC, true);
}
END_TEST

/* The journal never said that the file is gone, so what it claims must still be there. */
START_TEST(dropped_after_the_journal_failed)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 2, 7), 0);
	ck_assert_int_eq(env_sync("*"), 0);
	ck_assert_int_eq(env_unlink_open("a"), 0);
	env_fail(1, true, -EIO);
	ck_assert_int_eq(env_sync(NULL), -EIO);
	env_fail(0, false, 0);
	env_drop_nameless();
	env_kill();

	env_open();
	env_assert_block("a", 1, 7);
	env_close();
}
END_TEST

static int no_segments(void *ctx, const struct sys_event *ev)
{
	size_t len = 0;

	for (unsigned i = 0; i < ev->iovcnt && ev->call == SYS_CALL_WRITE; i++)
		len += ev->iov[i].iov_len;
	return len == 1u << 20 ? -ENOSPC : 0;
}

/*
 * Too little space for a longer journal is enough for a new state: names can still be made and
 * removed.
 */
START_TEST(a_journal_that_cannot_grow)
{
	static const struct sys_hook hook = {.before = no_segments};

	env_open();
	sys_set_hook(&hook);
	for (unsigned i = 0; i < 30000; i++) {
		ck_assert_int_eq(env_create("a"), 0);
		ck_assert_int_eq(env_unlink("a"), 0);
		if (i % 1000 == 0)
			ck_assert_int_eq(env_sync(NULL), 0);
	}
	sys_set_hook(NULL);
	env_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_fault");
	const TTest *const tests[] = {eio_once,
				      eio_for_ever,
				      enospc_once,
				      enospc_for_ever,
				      edquot_once,
				      with_states,
				      dropped_after_the_journal_failed,
				      a_journal_that_cannot_grow};
	TCase *tcase = tcase_create("fault");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 600);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
