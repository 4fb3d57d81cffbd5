/*
 * tests/unit/overlay_write_test.c: changes to a chain through a diff, as far as order and memory
 * go; what a reader sees of them is compared by tests/model.
 */
#include "base/sys.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"
#include "synth.h"
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <time.h>

static struct synth *synth;
static struct layer_chain *chain;
static struct diff *diff;
static struct overlay *ov;
static struct io_engine *io;
static struct vfd_cache *vfds;
static struct bufpool *buffers;
static enum io_kind engine_kind = IO_KIND_SYNC;

static void setup(void)
{
	static const char *const backups[] = {"FULL"};
	struct overlay_options options = {.index_memory = 1 << 20, .uid = 1, .gid = 2};
	struct diff_binding binding = {.kind = "synth",
				       .store = "/s",
				       .instance = "i",
				       .backups = backups,
				       .backup_count = 1};
	struct io_engine_options engine = {.kind = engine_kind};
	struct diff_options diff_options = {0};
	struct errmsg e = {0};
	char path[300];

	unit_setup();
	(void)snprintf(path, sizeof(path), "%s/layers", unit_path);
	ck_assert_int_eq(sys_mkdirat(AT_FDCWD, path, 0700), 0);
	synth = synth_new(path, 1, 7);
	synth_add_dir(synth, 0, "global", 0700);
	synth_add_plain(synth, 0, "global/pg_control", BLCK, true);
	synth_add_plain(synth, 0, "other", BLCK, true);
	synth_add_plain(synth, 0, "plain", 3 * BLCK, true);
	chain = synth_chain(synth);
	(void)snprintf(path, sizeof(path), "%s/diff", unit_path);
	ck_assert_int_eq(io_engine_new(&engine, &e, &io), 0);
	ck_assert_int_eq(vfd_cache_new(io, 16, &vfds), 0);
	ck_assert_int_eq(bufpool_new(8 << 20, &buffers), 0);
	ck_assert_msg(diff_open(path, true, &binding, &diff_options, &e, &diff) == 0, "%s", e.text);
	ck_assert_msg(overlay_new(chain, diff, &options, &e, &ov) == 0, "%s", e.text);
	ck_assert_int_eq(overlay_start(ov, io, vfds, buffers), 0);
}

static void teardown(void)
{
	sys_set_hook(NULL);
	while (!io_idle(io))
		io_wait(io, -1);
	overlay_free(ov);
	diff_close(diff);
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

	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		ck_assert_int_eq(overlay_lookup(ov, f, name, &f), 0);
	free(copy);
	return f;
}

static void write_done(struct overlay_write *op)
{
	op->done = NULL;
}

static void sync_done(struct overlay_sync *op)
{
	op->done = NULL;
}

static uint8_t seen[BLCK];

static void read_done(struct overlay_read *op)
{
	if (op->result > 0)
		memcpy(seen, op->data, MIN((size_t)op->result, sizeof(seen)));
	op->done = NULL;
}

static struct overlay_write start_write(const char *path, const uint8_t *data)
{
	return (struct overlay_write){
		.file = find(path), .len = BLCK, .data = data, .done = write_done};
}

/* ---- the control file ---- */

static const uint8_t control_bytes[BLCK] = "this goes into the control file";
static unsigned syncs, syncs_before_control;

static int before(void *ctx, const struct sys_event *ev)
{
	if (ev->call == SYS_CALL_WRITE && memcmp(ev->iov[0].iov_base, control_bytes, 16) == 0)
		syncs_before_control = syncs;
	return 0;
}

static void after(void *ctx, const struct sys_event *ev, int64_t result)
{
	syncs += ev->call == SYS_CALL_FDATASYNC && result == 0;
}

static const struct sys_hook hook = {.before = before, .after = after};

/* A commit on its way is no less missing than what no commit has taken yet. */
START_TEST(control_file_waits_for_the_commit_in_flight)
{
	static const uint8_t page[BLCK] = "a page";
	struct overlay_write op = start_write("plain", page);
	struct overlay_sync sync = {.all = true, .done = sync_done};

	overlay_write(ov, &op);
	while (op.done)
		io_wait(io, -1);
	ck_assert_int_eq(op.result, 0);
	sys_set_hook(&hook);
	overlay_sync(ov, &sync);
	op = start_write("global/pg_control", control_bytes);
	overlay_write(ov, &op);
	while (op.done || sync.done)
		io_wait(io, -1);
	ck_assert_int_eq(op.result, 0);
	ck_assert_int_eq(sync.result, 0);
	ck_assert_uint_eq(syncs_before_control, 2); /* of the page and of the journal */
}
END_TEST

static int slow_sync(void *ctx, const struct sys_event *ev)
{
	struct timespec pause = {.tv_nsec = 200000000};

	if (ev->call == SYS_CALL_FDATASYNC)
		(void)nanosleep(&pause, NULL);
	return before(ctx, ev);
}

static const struct sys_hook slow_hook = {.before = slow_sync, .after = after};

static void write_and_wait(const char *path, const uint8_t *data)
{
	struct overlay_write op = start_write(path, data);

	overlay_write(ov, &op);
	while (op.done)
		io_wait(io, -1);
	ck_assert_int_eq(op.result, 0);
}

static void sync_and_wait(struct overlay_sync *sync)
{
	overlay_sync(ov, sync);
	while (sync->done)
		io_wait(io, -1);
	ck_assert_int_eq(sync->result, 0);
}

/* An fsync of claimed blocks is no commit, but what it syncs is not durable before it ends. */
START_TEST(control_file_waits_for_an_fsync_in_flight)
{
	static const uint8_t page[BLCK] = "a page";
	struct overlay_sync all = {.all = true, .done = sync_done};
	struct overlay_sync one = {.done = sync_done};
	struct overlay_write op;

	engine_kind = IO_KIND_THREADS;
	setup();
	write_and_wait("plain", page);
	write_and_wait("global/pg_control", page);
	sync_and_wait(&all);
	write_and_wait("plain", page);
	sys_set_hook(&slow_hook);
	one.file = find("plain");
	overlay_sync(ov, &one);
	op = start_write("global/pg_control", control_bytes);
	overlay_write(ov, &op);
	while (op.done || one.done)
		io_wait(io, -1);
	ck_assert_uint_ge(syncs_before_control, 1);
	teardown();
}
END_TEST

static bool sync_fails;

static int fail_sync(void *ctx, const struct sys_event *ev)
{
	return sync_fails && ev->call == SYS_CALL_FDATASYNC ? -ENOSPC : 0;
}

static const struct sys_hook fail_hook = {.before = fail_sync};

/* The control file would vouch for the page that is lost. Other changes go on: it was no EIO. */
START_TEST(control_file_is_not_written_after_a_failed_file)
{
	static const uint8_t page[BLCK] = "a page that is lost";
	struct overlay_sync one = {.done = sync_done};
	struct overlay_read read = {.len = BLCK, .done = read_done};
	struct overlay_write op;

	write_and_wait("plain", page);
	sys_set_hook(&fail_hook);
	sync_fails = true;
	one.file = read.file = find("plain");
	overlay_sync(ov, &one);
	while (one.done)
		io_wait(io, -1);
	sync_fails = false;
	ck_assert_int_eq(one.result, -ENOSPC);
	op = start_write("global/pg_control", control_bytes);
	overlay_write(ov, &op);
	while (op.done)
		io_wait(io, -1);
	ck_assert_int_eq(op.result, -ENOSPC);
	read.file = find("global/pg_control");
	overlay_read(ov, &read);
	while (read.done)
		io_wait(io, -1);
	ck_assert_int_ne(memcmp(seen, control_bytes, 16), 0);
	write_and_wait("other", page);
}
END_TEST

/* ---- fallocate ---- */

static int no_space(void *ctx, const struct sys_event *ev)
{
	return ev->call == SYS_CALL_FALLOCATE ? -ENOSPC : 0;
}

static const struct sys_hook full_hook = {.before = no_space};

static void resize_done(struct overlay_resize *op)
{
	op->done = NULL;
}

/* The caller is told that nothing was done: then nothing may have been. */
START_TEST(zero_range_without_space_keeps_the_range)
{
	static const uint8_t page[BLCK] = "must stay";
	struct overlay_resize op = {.fallocate = true,
				    .mode = FALLOC_FL_ZERO_RANGE,
				    .len = 2 * BLCK,
				    .done = resize_done};
	struct overlay_read read = {.len = BLCK, .done = read_done};

	write_and_wait("plain", page);
	sys_set_hook(&full_hook);
	op.file = read.file = find("plain");
	overlay_resize(ov, &op);
	while (op.done)
		io_wait(io, -1);
	ck_assert_int_eq(op.result, -ENOSPC);
	overlay_read(ov, &read);
	while (read.done)
		io_wait(io, -1);
	ck_assert_mem_eq(seen, page, BLCK);
}
END_TEST

/* ---- memory ---- */

START_TEST(links_that_are_gone_take_no_memory)
{
	char target[DIFF_TARGET_MAX + 1];
	const struct overlay_create what = {.mode = S_IFLNK | 0777, .target = target};
	uint64_t bytes = arena_bytes(ov->arena);
	struct file *f;

	memset(target, 'x', sizeof(target));
	target[DIFF_TARGET_MAX] = '\0';
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(overlay_create(ov, overlay_root(ov), "link", &what, &f), 0);
		ck_assert_str_eq(overlay_readlink(f), target);
		ck_assert_int_eq(overlay_unlink(ov, overlay_root(ov), "link"), 0);
	}
	ck_assert_uint_eq(arena_bytes(ov->arena), bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlay_write");
	TCase *tcase = tcase_create("write"), *threads = tcase_create("threads");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, control_file_waits_for_the_commit_in_flight);
	tcase_add_test(tcase, control_file_is_not_written_after_a_failed_file);
	tcase_add_test(tcase, zero_range_without_space_keeps_the_range);
	tcase_add_test(tcase, links_that_are_gone_take_no_memory);
	tcase_add_test(threads, control_file_waits_for_an_fsync_in_flight);
	suite_add_tcase(suite, tcase);
	suite_add_tcase(suite, threads);
	return unit_run(suite);
}
