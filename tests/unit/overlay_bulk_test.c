/*
 * tests/unit/overlay_bulk_test.c: reading a whole chain on many threads: every byte once and right,
 * damage counted and gone on from, the sink's errors, and memory.
 *
 * Random chains are made in memory (tests/model/synth.h) and compared with tests/model/naive.h. The
 * environment's SEED makes a run the same again.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "naive.h"
#include "overlay/bulk.h"
#include "synth.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define BLCK LAYER_BLCKSZ

/* What the sink has of one file. */
struct got {
	uint8_t *bytes, *times; /* times: how often each block came */
	int rc;
	atomic_int opens, closes;
};

struct run {
	struct synth *synth;
	struct layer_chain *chain;
	struct overlay *ov;
	struct bulk *bulk;
	struct bulk_file *files;
	size_t count;
	struct got *got;
	struct bulk_counters counters;
	atomic_int calls;
	int fail_write_at; /* the call that fails; 0: none */
	atomic_uint ticks;
};

static int sink_open(void *ctx, struct bulk_file *file)
{
	struct got *got = file->user;

	(void)ctx;
	got->opens++;
	return 0;
}

static int sink_write(void *ctx, struct bulk_file *file, uint64_t off, const void *data, size_t len)
{
	struct run *run = ctx;
	struct got *got = file->user;

	if (++run->calls == run->fail_write_at)
		return -ENOSPC;
	ck_assert_uint_le(off + len, file->size);
	ck_assert_uint_eq(off % BLCK, 0);
	ck_assert_uint_eq((uintptr_t)data % BULK_ALIGN, 0);
	memcpy(got->bytes + off, data, len);
	for (uint64_t block = off / BLCK; block < (off + len + BLCK - 1) / BLCK; block++)
		got->times[block]++;
	return 0;
}

static int sink_close(void *ctx, struct bulk_file *file, int rc)
{
	struct got *got = file->user;

	(void)ctx;
	got->rc = rc;
	got->closes++;
	return 0;
}

static void prepare(struct run *run, uint64_t seed)
{
	const struct overlay_options options = {.verify_reads = true};
	struct errmsg e = {""};

	unit_setup();
	run->chain = synth_random(unit_path, seed, &run->synth);
	ck_assert_msg(overlay_new(run->chain, NULL, &options, &e, &run->ov) == 0, "%s", e.text);
	ck_assert_int_eq(bulk_new(run->ov, &run->bulk), 0);
	run->files = bulk_files(run->bulk, &run->count);
	run->got = calloc(run->count + 1, sizeof(*run->got));
	for (size_t i = 0; i < run->count; i++) {
		run->files[i].user = &run->got[i];
		run->got[i].bytes = calloc(1, run->files[i].size + 1);
		run->got[i].times = calloc(1, run->files[i].size / BLCK + 2);
	}
}

static int go(struct run *run, struct bulk_options options)
{
	const struct bulk_sink sink = {
		.open = sink_open, .write = sink_write, .close = sink_close, .ctx = run};

	return bulk_run(run->bulk, &options, &sink, &run->counters);
}

static void finish(struct run *run)
{
	for (size_t i = 0; i < run->count; i++) {
		free(run->got[i].bytes);
		free(run->got[i].times);
	}
	free(run->got);
	bulk_free(run->bulk);
	overlay_free(run->ov);
	synth_free(run->synth);
	unit_teardown();
}

static void check_file(const struct run *run, const struct bulk_file *file)
{
	const struct got *got = file->user;
	bool holes = false;
	uint8_t *want;
	uint64_t len;

	ck_assert_int_eq(naive_read(run->chain, file->entry, &want, &len), 0);
	ck_assert_uint_eq(file->size, len);
	ck_assert_msg(memcmp(got->bytes, want, len) == 0, "%s differs", file->entry->path);
	ck_assert_int_eq(got->opens, 1);
	ck_assert_int_eq(got->closes, 1);
	ck_assert_int_eq(got->rc, 0);
	for (uint64_t i = 0; i < len / BLCK; i++)
		ck_assert_msg(got->times[i] <= 1, "%s: a block came twice", file->entry->path);
	for (uint64_t i = 0; i < (len + BLCK - 1) / BLCK; i++)
		holes = holes || got->times[i] == 0;
	if (len > 0)
		ck_assert_int_eq(file->whole, !holes);
	free(want);
}

static uint64_t first_seed(void)
{
	const char *text = getenv("SEED");

	return text ? strtoull(text, NULL, 10) : 1000;
}

START_TEST(every_byte_once_and_right)
{
	static const unsigned jobs[] = {1, 2, 3, 16};

	for (unsigned n = 0; n < 12; n++) {
		uint64_t seed = first_seed() + n, bytes = 0;
		struct run run = {0};

		printf("seed %llu\n", (unsigned long long)seed);
		prepare(&run, seed);
		ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = jobs[n % 4]}), 0);
		for (size_t i = 0; i < run.count; i++) {
			check_file(&run, &run.files[i]);
			bytes += run.files[i].size;
		}
		ck_assert_uint_eq(run.counters.files, run.count);
		ck_assert_uint_eq(run.counters.total_files, run.count);
		ck_assert_uint_eq(run.counters.total_bytes, bytes);
		ck_assert_uint_ge(run.counters.bytes + BLCK * run.count, bytes);
		ck_assert_uint_eq(run.counters.damage, 0);
		finish(&run);
	}
}
END_TEST

/* One file's index at a time is all that fits: it still ends, with many threads. */
START_TEST(little_memory_is_enough)
{
	struct run run = {0};

	prepare(&run, 77);
	ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 8, .memory = 1}), 0);
	for (size_t i = 0; i < run.count; i++)
		check_file(&run, &run.files[i]);
	finish(&run);
}
END_TEST

static atomic_int open_now, open_most, open_last; /* open_last: when the last ones were opened */

static int counted_open(void *ctx, struct bulk_file *file)
{
	const struct run *run = ctx;
	int now = ++open_now, most = open_most;

	while (now > most && !atomic_compare_exchange_weak(&open_most, &most, now))
		;
	usleep(2000); /* others open theirs */
	if (file->user == &run->got[run->count - 1])
		open_last = open_now;
	return sink_open(ctx, file);
}

static int counted_close(void *ctx, struct bulk_file *file, int rc)
{
	usleep(2000);
	open_now--;
	return sink_close(ctx, file, rc);
}

static const unsigned descriptors[] = {0, 1, 4, 8, 13, 60};

/* However few there are one file is open at a time, to the end no more than they are enough for, and no fewer. */
START_TEST(few_descriptors_are_enough)
{
	struct run run = {0};
	const struct bulk_sink sink = {
		.open = counted_open, .write = sink_write, .close = counted_close, .ctx = &run};
	const struct bulk_options options = {.jobs = 8, .descriptors = descriptors[_i]};

	prepare(&run, 78);
	open_most = 0;
	ck_assert_int_eq(bulk_run(run.bulk, &options, &sink, &run.counters), 0);
	for (size_t i = 0; i < run.count; i++)
		check_file(&run, &run.files[i]);
	ck_assert_int_eq(open_now, 0);
	if (options.descriptors > 0)
		ck_assert_int_le(open_most, (int)MAX(options.descriptors / 4, 1u));
	if (options.descriptors == 0 || options.descriptors > 50) {
		ck_assert_int_ge(open_most, 3);
		ck_assert_int_ge(open_last, 2);
	}
	finish(&run);
}
END_TEST

START_TEST(skipped_files_are_left_alone)
{
	struct run run = {0};

	prepare(&run, 5);
	for (size_t i = 0; i < run.count; i += 2)
		run.files[i].skip = true;
	ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 2}), 0);
	for (size_t i = 0; i < run.count; i++)
		ck_assert_int_eq(run.got[i].opens, i % 2);
	ck_assert_uint_eq(run.counters.files, run.count / 2);
	finish(&run);
}
END_TEST

START_TEST(the_sinks_error_ends_the_run)
{
	struct run run = {.fail_write_at = 3};

	prepare(&run, 6);
	ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 3}), -ENOSPC);
	for (size_t i = 0; i < run.count; i++)
		ck_assert_int_eq(run.got[i].opens, run.got[i].closes);
	finish(&run);
}
END_TEST

static int stop_at_once(void *ctx, const struct bulk_counters *counters)
{
	struct run *run = ctx;

	(void)counters;
	run->ticks++;
	return -EINTR;
}

static int slow_write(void *ctx, struct bulk_file *file, uint64_t off, const void *data, size_t len)
{
	usleep(20000);
	return sink_write(ctx, file, off, data, len);
}

START_TEST(the_tick_can_end_the_run)
{
	struct run run = {0};
	const struct bulk_sink sink = {
		.open = sink_open, .write = slow_write, .close = sink_close, .ctx = &run};
	const struct bulk_options options = {.jobs = 2, .tick = stop_at_once, .ctx = &run};

	prepare(&run, 8);
	ck_assert_int_eq(bulk_run(run.bulk, &options, &sink, &run.counters), -EINTR);
	ck_assert_uint_ge(run.ticks, 1);
	for (size_t i = 0; i < run.count; i++)
		ck_assert_int_eq(run.got[i].opens, run.got[i].closes);
	finish(&run);
}
END_TEST

/* ---- damage ---- */

/* Cuts the stored file of the first relation that has blocks in the target; returns its number. */
static size_t cut_a_file(struct run *run)
{
	for (size_t i = 0; i < run->count; i++) {
		const struct layer_entry *entry = run->files[i].entry;
		const struct layer *target = run->chain->layers[run->chain->count - 1];
		struct stat st;
		int fd;

		if (entry->kind != LAYER_BLOCKS || entry->file == LAYER_NO_FILE ||
		    run->files[i].size < 3 * (uint64_t)BLCK)
			continue;
		fd = openat(target->dirfd, target->ops->name(target, entry->file), O_RDWR);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 10 ||
		    ftruncate(fd, st.st_size - 1) < 0) {
			if (fd >= 0)
				close(fd);
			continue;
		}
		close(fd);
		return i;
	}
	return SIZE_MAX;
}

START_TEST(damage_is_counted_and_the_rest_goes_on)
{
	unsigned cut = 0;

	for (uint64_t seed = 20; seed < 40 && cut < 3; seed++) {
		struct run run = {0};
		size_t bad;

		prepare(&run, seed);
		bad = cut_a_file(&run);
		if (bad != SIZE_MAX) {
			cut++;
			ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 2}), -EUCLEAN);
			ck_assert_uint_ge(run.counters.damage, 1);
			ck_assert_int_eq(run.got[bad].rc, -EUCLEAN);
			ck_assert_int_eq(run.got[bad].closes, 1);
			for (size_t i = 0; i < run.count; i++)
				if (i != bad)
					check_file(&run, &run.files[i]);
		}
		finish(&run);
	}
	ck_assert_uint_eq(cut, 3);
}
END_TEST

START_TEST(a_limit_of_damage_ends_the_run)
{
	struct run run = {0};

	prepare(&run, 21);
	for (unsigned i = 0; i < run.chain->count; i++) {
		const struct layer *layer = run.chain->layers[i];

		for (uint32_t k = 0; k < layer->entry_count; k++)
			if (layer->entries[k].file != LAYER_NO_FILE)
				(void)unlinkat(layer->dirfd,
					       layer->ops->name(layer, layer->entries[k].file), 0);
	}
	ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 1, .max_damage = 2}), -EUCLEAN);
	ck_assert_uint_eq(run.counters.damage, 2);
	finish(&run);
}
END_TEST

START_TEST(files_from_elsewhere_take_part)
{
	struct run run = {0};
	struct got got = {.bytes = calloc(1, 3 * BLCK), .times = calloc(1, 4)};
	struct got gone = {.bytes = calloc(1, BLCK), .times = calloc(1, 4)};
	char text[BLCK + 100];

	prepare(&run, 9);
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	unit_put_file("elsewhere", text);
	struct layer from = *run.chain->layers[0];

	from.dirfd = unit_dir;
	ck_assert_int_eq(bulk_add(run.bulk, &from, "elsewhere", strlen(text), &got), 0);
	ck_assert_int_eq(bulk_add(run.bulk, &from, "not-there", 100, &gone), 0);
	ck_assert_int_eq(go(&run, (struct bulk_options){.jobs = 2}), -EUCLEAN);
	ck_assert_int_eq(memcmp(got.bytes, text, strlen(text)), 0);
	ck_assert_int_eq(got.rc, 0);
	ck_assert_int_eq(gone.rc, -EUCLEAN);
	ck_assert(bulk_files(run.bulk, &run.count)[run.count - 2].whole);
	run.count -= 2;
	ck_assert_uint_eq(run.counters.damage, 1);
	free(got.bytes);
	free(got.times);
	free(gone.bytes);
	free(gone.times);
	finish(&run);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay_bulk");
	TCase *tcase = tcase_create("bulk");

	tcase_set_timeout(tcase, 120);
	log_set_level(LOG_LEVEL_ERROR);
	tcase_add_test(tcase, every_byte_once_and_right);
	tcase_add_test(tcase, little_memory_is_enough);
	tcase_add_loop_test(tcase, few_descriptors_are_enough, 0, ARRAY_SIZE(descriptors));
	tcase_add_test(tcase, skipped_files_are_left_alone);
	tcase_add_test(tcase, the_sinks_error_ends_the_run);
	tcase_add_test(tcase, the_tick_can_end_the_run);
	tcase_add_test(tcase, damage_is_counted_and_the_rest_goes_on);
	tcase_add_test(tcase, a_limit_of_damage_ends_the_run);
	tcase_add_test(tcase, files_from_elsewhere_take_part);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
