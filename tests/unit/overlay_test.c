/*
 * tests/unit/overlay_test.c: how layers merge: what exists, how long it is, and whose block is
 * shown.
 *
 * Chains are made in memory (tests/model/synth.h). Each case is a mistake that such a view can
 * make: stale tails, emptied files that come back, holes that end a file early, names that vanish.
 */
#include "base/sys.h"
#include "base/util.h"
#include "overlay/overlay.h"
#include "synth.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define BLCK LAYER_BLCKSZ

static struct synth *synth;
static struct layer_chain *chain;
static struct overlay *ov;
static struct io_engine *io;
static struct vfd_cache *vfds;
static struct bufpool *buffers;

static void layers(unsigned count)
{
	unit_setup();
	synth = synth_new(unit_path, count, 7);
}

static void show(void)
{
	struct overlay_options options = {.index_memory = 1 << 20, .uid = 1, .gid = 2};
	struct io_engine_options engine = {.kind = IO_KIND_SYNC};
	struct errmsg e = {0};

	chain = synth_chain(synth);
	ck_assert_int_eq(io_engine_new(&engine, &e, &io), 0);
	ck_assert_int_eq(vfd_cache_new(io, 16, &vfds), 0);
	ck_assert_int_eq(bufpool_new(8 << 20, &buffers), 0);
	ck_assert_msg(overlay_new(chain, NULL, &options, &e, &ov) == 0, "%s", e.text);
	ck_assert_int_eq(overlay_start(ov, io, vfds, buffers), 0);
}

static void done(void)
{
	overlay_free(ov);
	while (!io_idle(io))
		io_wait(io, -1);
	vfd_cache_free(vfds);
	bufpool_free(buffers);
	io_engine_free(io);
	synth_free(synth);
	unit_teardown();
}

static struct file *find(const char *path)
{
	struct file *f = overlay_root(ov);
	char *copy = strdup(path), *save = NULL;

	for (char *name = strtok_r(copy, "/", &save); name && f; name = strtok_r(NULL, "/", &save))
		if (overlay_lookup(ov, f, name, &f) < 0)
			f = NULL;
	free(copy);
	return f;
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	ck_assert_ptr_nonnull(find(path));
	overlay_getattr(ov, find(path), &st);
	return (uint64_t)st.st_size;
}

struct answer {
	struct overlay_read op;
	bool done;
	uint8_t bytes[1 << 16];
};

static void read_done(struct overlay_read *op)
{
	struct answer *a = CONTAINER_OF(op, struct answer, op);

	if (op->result > 0)
		memcpy(a->bytes, op->data, (size_t)op->result);
	a->done = true;
}

static int64_t read_at(const char *path, uint64_t off, uint32_t len, struct answer *a)
{
	*a = (struct answer){.op = {.file = find(path), .off = off, .len = len, .done = read_done}};
	overlay_read(ov, &a->op);
	while (!a->done)
		io_wait(io, -1);
	return a->op.result;
}

/* The block as that layer stores it. */
static void assert_block(const char *path, uint32_t block, unsigned layer)
{
	struct layer *l = chain->layers[layer];
	static struct answer a;
	uint8_t expected[BLCK], record[BLCK + 64];
	struct layer_extent ext = {0};
	uint32_t i = 0;
	int fd;

	while (i < l->entry_count && strcmp(l->entries[i].path, path) != 0)
		i++;
	ck_assert_uint_lt(i, l->entry_count);
	ck_assert_int_eq(l->ops->locate(l, l->entries[i].file, block, 1, &ext, NULL), 0);
	ck_assert_uint_ne(ext.len, LAYER_ABSENT);
	fd = sys_openat(l->dirfd, l->ops->name(l, l->entries[i].file), O_RDONLY, 0);
	ck_assert_int_eq(sys_pread_full(fd, record, ext.len, ext.off), ext.len);
	sys_close(fd);
	ck_assert_int_eq(l->ops->decode(l, l->entries[i].file, block, record, ext.len, expected),
			 0);
	ck_assert_int_eq(read_at(path, (uint64_t)block * BLCK, BLCK, &a), BLCK);
	ck_assert_msg(memcmp(a.bytes, expected, BLCK) == 0, "%s block %u is not layer %u's", path,
		      block, layer);
}

static void assert_zero(const char *path, uint32_t block)
{
	static struct answer a;
	static const uint8_t zeros[BLCK];

	ck_assert_int_eq(read_at(path, (uint64_t)block * BLCK, BLCK, &a), BLCK);
	ck_assert_int_eq(memcmp(a.bytes, zeros, BLCK), 0);
}

static const uint8_t all[8] = {1, 1, 1, 1, 1, 1, 1, 1};

static void blocks(unsigned layer, const char *path, uint32_t limit, uint32_t count,
		   const uint8_t *stored)
{
	struct synth_blocks b = {.origin = LAYER_ORIGIN_NEAREST,
				 .size = LAYER_SIZE_UNKNOWN,
				 .base_limit = limit,
				 .count = count,
				 .stored = stored};

	synth_add_blocks(synth, layer, path, &b);
}

START_TEST(stale_tail_after_truncation)
{
	layers(3);
	blocks(0, "r", 8, 8, all);
	blocks(1, "r", 2, 0, NULL); /* shrank here */
	blocks(2, "r", 3, 3, (const uint8_t[]){0, 0, 1});
	show();
	ck_assert_uint_eq(size_of("r"), 3 * BLCK);
	assert_block("r", 0, 0);
	assert_block("r", 1, 0);
	assert_block("r", 2, 2);
	done();
}
END_TEST

START_TEST(length_is_highest_placed_block)
{
	layers(2);
	blocks(0, "r", 2, 2, all);
	blocks(1, "r", 8, 0, NULL); /* grew by blocks that nobody stored */
	blocks(0, "s", 8, 2, all);
	blocks(1, "s", LAYER_NO_LIMIT, 5, (const uint8_t[]){0, 0, 0, 0, 1});
	show();
	ck_assert_uint_eq(size_of("r"), 2 * BLCK);
	ck_assert_uint_eq(size_of("s"), 5 * BLCK);
	assert_zero("s", 2); /* a hole is zeros, not a short read */
	assert_block("s", 4, 1);
	done();
}
END_TEST

START_TEST(emptied_file_stays_empty)
{
	struct synth_blocks empty = {.origin = LAYER_ORIGIN_NONE, .size = 0};
	static struct answer a;

	layers(2);
	blocks(0, "r", 8, 8, all);
	synth_add_blocks(synth, 1, "r", &empty);
	synth_add_plain(synth, 0, "p", 100, true);
	synth_add_plain(synth, 1, "p", 0, true);
	show();
	ck_assert_uint_eq(size_of("r"), 0);
	ck_assert_uint_eq(size_of("p"), 0);
	ck_assert_int_eq(read_at("r", 0, BLCK, &a), 0);
	done();
}
END_TEST

START_TEST(dropped_file_stays_dropped)
{
	layers(2);
	blocks(0, "gone", 8, 8, all);
	synth_add_plain(synth, 0, "gone_init", 0, true);
	synth_add_plain(synth, 1, "kept_init", 0, true);
	show();
	ck_assert_ptr_null(find("gone"));
	ck_assert_ptr_null(find("gone_init"));
	ck_assert_uint_eq(size_of("kept_init"), 0); /* zero-length files are files */
	done();
}
END_TEST

START_TEST(newest_block_wins_and_zero_hides)
{
	layers(4);
	blocks(0, "r", 8, 8, all);
	blocks(1, "r", 8, 3, (const uint8_t[]){0, 1, 2});
	blocks(2, "r", 8, 2, (const uint8_t[]){0, 1});
	blocks(3, "r", 8, 0, NULL);
	show();
	ck_assert_uint_eq(size_of("r"), 8 * BLCK);
	assert_block("r", 0, 0);
	assert_block("r", 1, 2);
	assert_zero("r", 2);
	assert_block("r", 7, 0);
	done();
}
END_TEST

START_TEST(reads_end_with_the_file)
{
	static struct answer a;

	layers(2);
	synth_add_plain(synth, 0, "p", 10000, true);
	synth_add_plain(synth, 1, "p", 10000, false);
	show();
	ck_assert_int_eq(read_at("p", 9000, 5000, &a), 1000);
	ck_assert_int_eq(read_at("p", 10000, 1, &a), 0);
	ck_assert_int_eq(read_at("p", 1 << 20, 4096, &a), 0);
	ck_assert_int_eq(read_at("p", 8191, 2, &a), 2);
	done();
}
END_TEST

START_TEST(unchanged_file_nobody_has)
{
	struct overlay_options options = {.index_memory = 1 << 20};
	struct errmsg e = {0};
	struct overlay *none = NULL;

	layers(2);
	synth_add_plain(synth, 1, "p", 10000, false);
	ck_assert_int_eq(overlay_new(synth_chain(synth), NULL, &options, &e, &none), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(e.text, "'p'"));
	synth_free(synth);
	unit_teardown();
}
END_TEST

START_TEST(index_memory_is_bounded)
{
	struct overlay_stats stats;
	char name[16];

	layers(1);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "r%03d", i);
		blocks(0, name, 8, 8, all);
	}
	show();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 300; i++) {
			(void)snprintf(name, sizeof(name), "r%03d", i);
			assert_block(name, (uint32_t)i % 8, 0);
		}
	}
	overlay_get_stats(ov, &stats);
	ck_assert_uint_eq(stats.index_builds, 300); /* they fit: none is built twice */
	ck_assert_uint_le(stats.index_bytes, 1 << 20);
	done();
}
END_TEST

START_TEST(read_only_refuses_changes)
{
	struct overlay_create what = {.mode = S_IFREG | 0600};
	struct file *f;

	layers(1);
	synth_add_dir(synth, 0, "d", S_IFDIR | 0700);
	show();
	ck_assert_int_eq(overlay_create(ov, overlay_root(ov), "x", &what, &f), -EROFS);
	ck_assert_int_eq(overlay_rmdir(ov, overlay_root(ov), "d"), -EROFS);
	ck_assert_int_eq(overlay_lookup(ov, overlay_root(ov), "x", &f), -ENOENT);
	done();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay");
	TCase *tc = tcase_create("layers");

	tcase_add_test(tc, stale_tail_after_truncation);
	tcase_add_test(tc, length_is_highest_placed_block);
	tcase_add_test(tc, emptied_file_stays_empty);
	tcase_add_test(tc, dropped_file_stays_dropped);
	tcase_add_test(tc, newest_block_wins_and_zero_hides);
	tcase_add_test(tc, reads_end_with_the_file);
	tcase_add_test(tc, unchanged_file_nobody_has);
	tcase_add_test(tc, index_memory_is_bounded);
	tcase_add_test(tc, read_only_refuses_changes);
	suite_add_tcase(suite, tc);
	return unit_run(suite);
}
