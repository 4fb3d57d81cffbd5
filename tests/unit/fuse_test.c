/*
 * tests/unit/fuse_test.c: the requests of src/fuse, one message at a time and many in flight.
 */
#include "base/util.h"
#include "fuse/dirty_limit.h"
#include "fuse/fuse_internal.h"
#include "fuse_pipe.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLCK 8192u
#define ROOT FUSE_ROOT_ID

static uint8_t block[BLCK];

START_TEST(agreed_with_the_kernel)
{
	/* The first answer of all went to INIT, with the number 2. */
	const struct pipe_answer *a = pipe_answer(2);
	struct fuse_init_out out;

	ck_assert_ptr_nonnull(a);
	memcpy(&out, a->data, sizeof(out));
	ck_assert_uint_eq(out.flags & FUSE_AUTO_INVAL_DATA, 0);
	ck_assert_uint_ne(out.flags & FUSE_EXPLICIT_INVAL_DATA, 0);
	ck_assert_uint_eq(
		out.flags & (FUSE_WRITEBACK_CACHE | FUSE_ATOMIC_O_TRUNC | FUSE_HANDLE_KILLPRIV), 0);
	ck_assert_uint_eq(out.flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS), 0);
	ck_assert_uint_ne(out.flags & FUSE_DO_READDIRPLUS, 0);
	ck_assert_uint_ne(out.flags & FUSE_READDIRPLUS_AUTO, 0);
	ck_assert_uint_ne(out.flags & FUSE_ASYNC_READ, 0);
	ck_assert_uint_eq(out.max_write, 1 << 20);
	ck_assert_uint_ge(out.max_background, 64);
}
END_TEST

START_TEST(lookups_are_forgotten)
{
	uint64_t base = pipe_lookup(ROOT, "base"), file = pipe_lookup(base, "1");

	ck_assert_uint_eq(pipe_nodes(), 3);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(pipe_lookup(base, "1"), file);
	ck_assert_uint_eq(pipe_nodes(), 3);
	pipe_forget(file, 1000);
	ck_assert_uint_eq(pipe_nodes(), 3);
	pipe_forget(file, 1);
	pipe_forget(base, 1);
	ck_assert_uint_eq(pipe_nodes(), 1);
	pipe_forget(ROOT, 1);
	ck_assert_uint_eq(pipe_nodes(), 1);
	/* A name that is not there takes no reference. */
	ck_assert_uint_eq(pipe_lookup(ROOT, "nothing"), 0);
	ck_assert_uint_eq(pipe_nodes(), 1);
}
END_TEST

enum { NAMES = 50 };

/* Lookups and forgets in any order; all are forgotten at the end. */
static void balance(uint64_t dir, unsigned long long *rnd)
{
	uint64_t ids[NAMES] = {0}, held[NAMES] = {0}, nodes = 2;
	char name[8];

	for (unsigned turn = 0; turn < 20000; turn++) {
		unsigned i = unit_random(rnd) % NAMES;

		if (held[i] == 0 || unit_random(rnd) % 2 == 0) {
			(void)snprintf(name, sizeof(name), "%04u", i);
			ids[i] = pipe_lookup(dir, name);
			nodes += held[i]++ == 0;
		} else {
			uint64_t n = 1 + unit_random(rnd) % held[i];

			pipe_forget(ids[i], n);
			held[i] -= n;
			nodes -= held[i] == 0;
		}
		ck_assert_uint_eq(pipe_nodes(), nodes);
	}
	for (unsigned i = 0; i < NAMES; i++)
		if (held[i] > 0)
			pipe_forget(ids[i], held[i]);
	ck_assert_uint_eq(pipe_nodes(), 2);
}

/* The kernel's count and ours never differ, and no memory is left of what it has forgotten. */
START_TEST(lookups_and_forgets_balance)
{
	const char *seed = getenv("PGOVERLAY_TEST_SEED");
	unsigned long long rnd = seed != NULL ? strtoull(seed, NULL, 10) : 20240611;
	uint64_t dir = pipe_lookup(ROOT, "many");
	size_t before;

	printf("balance: PGOVERLAY_TEST_SEED=%llu\n", rnd);
	balance(dir, &rnd);
	before = mallinfo2().uordblks;
	for (unsigned i = 0; i < 3; i++)
		balance(dir, &rnd);
	ck_assert_uint_le(mallinfo2().uordblks, before);
}
END_TEST

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

/* Mount, use, unmount inside one process: neither descriptors nor memory grow, by not one byte. */
START_TEST(sessions_leave_nothing)
{
	unsigned descriptors = 0;
	size_t memory = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t handle, file = pipe_create(ROOT, "new", &handle);
		const struct fuse_fsync_in in = {.fh = handle};
		uint64_t base = pipe_lookup(ROOT, "base"), old = pipe_lookup(base, "1");
		uint64_t read_handle = pipe_open_file(old, FUSE_OPEN);

		ck_assert_uint_ne(pipe_send_write(file, handle, 0, block, BLCK), 0);
		ck_assert_int_eq(pipe_ask(FUSE_FSYNC, file, &in, sizeof(in))->error, 0);
		ck_assert_uint_eq(pipe_read(old, read_handle, 0, BLCK)->len, BLCK);
		pipe_close(); /* as after umount -l: nothing was released or forgotten */
		if (i == 2) {
			descriptors = open_descriptors();
			memory = mallinfo2().uordblks;
		}
		if (i > 2) {
			ck_assert_uint_eq(open_descriptors(), descriptors);
			ck_assert_uint_le(mallinfo2().uordblks, memory);
		}
		pipe_open();
	}
}
END_TEST

START_TEST(forgotten_in_batches)
{
	struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one one[2];
	} in = {.head.count = 2};
	uint64_t unique;

	in.one[0] = (struct fuse_forget_one){.nodeid = pipe_lookup(ROOT, "base"), .nlookup = 1};
	in.one[1] = (struct fuse_forget_one){.nodeid = pipe_lookup(ROOT, "link"), .nlookup = 1};
	ck_assert_uint_eq(pipe_nodes(), 3);
	unique = pipe_send(FUSE_BATCH_FORGET, 0, &in, sizeof(in), NULL, 0);
	ck_assert_ptr_null(pipe_answer(unique));
	ck_assert_uint_eq(pipe_nodes(), 1);
}
END_TEST

/* Each entry of the reply but "." and ".." holds one lookup; returns how many, and where to go on.
 */
static unsigned forget_entries(const struct pipe_answer *a, uint64_t *off)
{
	unsigned count = 0;

	for (size_t at = 0; at < a->len;) {
		struct fuse_direntplus d;

		memcpy(&d, a->data + at, FUSE_NAME_OFFSET_DIRENTPLUS);
		*off = d.dirent.off;
		if (d.entry_out.nodeid != 0) {
			count++;
			pipe_forget(d.entry_out.nodeid, 1);
		}
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + d.dirent.namelen);
	}
	return count;
}

/* Whatever the size of the kernel's buffer: what did not fit must not stay referenced. */
START_TEST(readdirplus_leaks_nothing)
{
	uint64_t dir = pipe_lookup(ROOT, "many");

	for (uint32_t size = 100; size < 5000; size += 237) {
		struct fuse_read_in in = {.fh = pipe_open_file(dir, FUSE_OPENDIR), .size = size};
		static struct pipe_answer copy;
		unsigned count = 0;

		do {
			copy = *pipe_ask(FUSE_READDIRPLUS, dir, &in, sizeof(in));
			ck_assert_int_eq(copy.error, 0);
			ck_assert_uint_le(copy.len, size);
			count += forget_entries(&copy, &in.offset);
			ck_assert_uint_eq(pipe_nodes(), 2);
		} while (copy.len > 0);
		/* A buffer that holds no entry at all is an empty answer; the kernel never asks
		 * like that. */
		if (size >= 200)
			ck_assert_uint_eq(count, 200);
		pipe_release(dir, in.fh, FUSE_RELEASEDIR);
	}
}
END_TEST

/* The kernel believes readdirplus for hours: a name removed since opendir must not come back. */
START_TEST(readdirplus_shows_no_removed_name)
{
	uint64_t dir = pipe_lookup(ROOT, "many"), off = 0;
	struct fuse_read_in in = {.fh = pipe_open_file(dir, FUSE_OPENDIR), .size = 600};
	static struct pipe_answer copy;

	copy = *pipe_ask(FUSE_READDIRPLUS, dir, &in, sizeof(in));
	(void)forget_entries(&copy, &in.offset);
	for (unsigned i = 100; i < 200; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "%04u", i);
		ck_assert_int_eq(pipe_ask_name(FUSE_UNLINK, dir, NULL, 0, name, NULL)->error, 0);
	}
	in.size = 100000;
	copy = *pipe_ask(FUSE_READDIRPLUS, dir, &in, sizeof(in));
	ck_assert_uint_lt(forget_entries(&copy, &off), 100);
	ck_assert_uint_eq(pipe_nodes(), 2);
	pipe_release(dir, in.fh, FUSE_RELEASEDIR);
}
END_TEST

START_TEST(calls_not_offered)
{
	static const enum fuse_opcode opcodes[] = {
		FUSE_GETXATTR, FUSE_SETXATTR, FUSE_LISTXATTR,	   FUSE_REMOVEXATTR,
		FUSE_FLUSH,    FUSE_LSEEK,    FUSE_COPY_FILE_RANGE};
	const uint8_t body[128] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(opcodes); i++)
		ck_assert_int_eq(pipe_ask(opcodes[i], ROOT, body, sizeof(body))->error, -ENOSYS);
}
END_TEST

START_TEST(syncs_are_real)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	const struct fuse_fsync_in in = {.fh = handle};
	struct fuse_fsync_in dir = {.fh = pipe_open_file(ROOT, FUSE_OPENDIR)};
	struct diff_stats before, after;

	diff_get_stats(overlay_diff(pipe_overlay), &before);
	ck_assert_int_eq(pipe_ask(FUSE_FSYNCDIR, ROOT, &dir, sizeof(dir))->error, 0);
	diff_get_stats(overlay_diff(pipe_overlay), &after);
	ck_assert_uint_gt(after.groups, before.groups);
	ck_assert_uint_ne(pipe_send_write(file, handle, 0, block, BLCK), 0);
	ck_assert_int_eq(pipe_ask(FUSE_FSYNC, file, &in, sizeof(in))->error, 0);
	before = after;
	diff_get_stats(overlay_diff(pipe_overlay), &after);
	ck_assert_uint_gt(after.groups, before.groups);
	ck_assert_uint_eq(after.pending_bytes, 0);
	pipe_release(ROOT, dir.fh, FUSE_RELEASEDIR);
	pipe_release(file, handle, FUSE_RELEASE);
}
END_TEST

/* The data of a write lies in its receive buffer until the write is done; then no more is read. */
START_TEST(writes_keep_their_buffers)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	uint64_t sent[128];
	unsigned count = 0;

	for (; count < 128; count++) {
		memset(block, (int)count + 1, BLCK);
		sent[count] = pipe_send_write(file, handle, (uint64_t)count * BLCK, block, BLCK);
		if (sent[count] == 0)
			break;
		ck_assert_ptr_null(pipe_answer(sent[count]));
	}
	ck_assert_uint_ge(count, 16);
	ck_assert_uint_lt(count, 128);
	pipe_run();
	for (unsigned i = 0; i < count; i++) {
		const struct pipe_answer *a = pipe_answer(sent[i]);

		ck_assert_ptr_nonnull(a);
		ck_assert_int_eq(a->error, 0);
	}
	for (unsigned i = 0; i < count; i++) {
		const struct pipe_answer *a = pipe_read(file, handle, (uint64_t)i * BLCK, BLCK);

		memset(block, (int)i + 1, BLCK);
		ck_assert_uint_eq(a->len, BLCK);
		ck_assert_int_eq(memcmp(a->data, block, BLCK), 0);
	}
	pipe_release(file, handle, FUSE_RELEASE);
}
END_TEST

/* A GETATTR behind a write that is under way waits for it. */
START_TEST(attributes_wait_for_writes)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	const struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	uint64_t write, getattr;

	write = pipe_send_write(file, handle, 0, block, BLCK);
	getattr = pipe_send(FUSE_GETATTR, file, &in, sizeof(in), NULL, 0);
	ck_assert_ptr_null(pipe_answer(write));
	ck_assert_ptr_null(pipe_answer(getattr));
	pipe_run();
	ck_assert_ptr_nonnull(pipe_answer(write));
	memcpy(&out, pipe_answer(getattr)->data, sizeof(out));
	ck_assert_uint_eq(out.attr.size, BLCK);
	pipe_release(file, handle, FUSE_RELEASE);
}
END_TEST

START_TEST(open_file_outlives_name_and_node)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	const struct pipe_answer *a;

	memset(block, 7, BLCK);
	ck_assert_uint_ne(pipe_send_write(file, handle, 0, block, BLCK), 0);
	ck_assert_int_eq(pipe_ask_name(FUSE_UNLINK, ROOT, NULL, 0, "new", NULL)->error, 0);
	pipe_forget(file, 1);
	ck_assert_uint_eq(pipe_nodes(), 1);
	a = pipe_read(file, handle, 0, BLCK);
	ck_assert_uint_eq(a->len, BLCK);
	ck_assert_int_eq(memcmp(a->data, block, BLCK), 0);
	pipe_release(file, handle, FUSE_RELEASE);
	ck_assert_ptr_null(overlay_find(pipe_overlay, file));
}
END_TEST

START_TEST(unknown_nodes_are_stale)
{
	const struct fuse_getattr_in in = {0};

	ck_assert_int_eq(pipe_ask(FUSE_GETATTR, 999999, &in, sizeof(in))->error, -ESTALE);
	ck_assert_int_eq(pipe_ask_name(FUSE_LOOKUP, 999999, NULL, 0, "x", NULL)->error, -ESTALE);
	pipe_forget(999999, 3);
	ck_assert_uint_eq(pipe_nodes(), 1);
}
END_TEST

START_TEST(allocation_modes)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	struct fuse_fallocate_in in = {.fh = handle, .length = 10 * BLCK};
	const struct fuse_getattr_in getattr = {0};
	struct fuse_attr_out out;

	ck_assert_int_eq(pipe_ask(FUSE_FALLOCATE, file, &in, sizeof(in))->error, 0);
	memcpy(&out, pipe_ask(FUSE_GETATTR, file, &getattr, sizeof(getattr))->data, sizeof(out));
	ck_assert_uint_eq(out.attr.size, 10 * BLCK);
	in.mode = FALLOC_FL_COLLAPSE_RANGE;
	ck_assert_int_eq(pipe_ask(FUSE_FALLOCATE, file, &in, sizeof(in))->error, -EOPNOTSUPP);
	in.mode = FALLOC_FL_PUNCH_HOLE; /* not without KEEP_SIZE */
	ck_assert_int_eq(pipe_ask(FUSE_FALLOCATE, file, &in, sizeof(in))->error, -EOPNOTSUPP);
	pipe_release(file, handle, FUSE_RELEASE);
}
END_TEST

START_TEST(group_is_inherited)
{
	const struct fuse_mkdir_in dir = {.mode = 02770};
	const struct fuse_mkdir_in below = {.mode = 0700};
	const struct pipe_answer *a = pipe_ask_name(FUSE_MKDIR, ROOT, &dir, sizeof(dir), "g", NULL);
	struct fuse_entry_out entry;

	ck_assert_int_eq(a->error, 0);
	memcpy(&entry, a->data, sizeof(entry));
	a = pipe_ask_name(FUSE_MKDIR, entry.nodeid, &below, sizeof(below), "h", NULL);
	memcpy(&entry, a->data, sizeof(entry));
	ck_assert_uint_eq(entry.attr.mode, S_IFDIR | 02700);
}
END_TEST

START_TEST(devices_are_refused)
{
	struct fuse_mknod_in in = {.mode = S_IFCHR | 0600, .rdev = 259};

	ck_assert_int_eq(pipe_ask_name(FUSE_MKNOD, ROOT, &in, sizeof(in), "dev", NULL)->error,
			 -EPERM);
	in.mode = S_IFBLK | 0600;
	ck_assert_int_eq(pipe_ask_name(FUSE_MKNOD, ROOT, &in, sizeof(in), "dev", NULL)->error,
			 -EPERM);
	in.mode = S_IFIFO | 0600;
	ck_assert_int_eq(pipe_ask_name(FUSE_MKNOD, ROOT, &in, sizeof(in), "fifo", NULL)->error, 0);
}
END_TEST

/* An interrupted request is brought to its end all the same, and answered once. */
START_TEST(interrupts_change_nothing)
{
	uint64_t handle, file = pipe_create(ROOT, "new", &handle);
	uint64_t write = pipe_send_write(file, handle, 0, block, BLCK);
	const struct fuse_interrupt_in in = {.unique = write};

	(void)pipe_send(FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
	pipe_run();
	ck_assert_ptr_nonnull(pipe_answer(write));
	ck_assert_int_eq(pipe_answer(write)->error, 0);
	pipe_release(file, handle, FUSE_RELEASE);
}
END_TEST

/* What the allocator keeps for a thread counts as used, and would hide small leaks: without that.
 */
static void count_exactly(char **argv)
{
	if (getenv("GLIBC_TUNABLES") != NULL)
		return;
	(void)setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0", 1);
	(void)execv("/proc/self/exe", argv);
}

START_TEST(the_kernel_holds_a_part_of_all)
{
	const uint64_t mib = 1 << 20, threshold = 4800 * mib;

	ck_assert_uint_eq(dirty_limit_part(48 * mib, threshold), 10000); /* one in a hundred */
	ck_assert_uint_eq(dirty_limit_part(0, threshold), 1);
	ck_assert_uint_eq(dirty_limit_part(threshold, threshold), 1000000);
	ck_assert_uint_eq(dirty_limit_part(UINT64_MAX, threshold), 1000000);
	ck_assert_uint_eq(dirty_limit_part(UINT64_C(1) << 40, UINT64_C(1) << 41), 500000);
}
END_TEST

START_TEST(latencies_have_their_bucket)
{
	ck_assert_uint_eq(latency_bucket(0), 0);
	ck_assert_uint_eq(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
	for (unsigned i = 0; i + 1 < LATENCY_BUCKETS; i++) {
		ck_assert_uint_eq(latency_bucket(((uint64_t)LATENCY_FIRST << i) - 1), i);
		ck_assert_uint_eq(latency_bucket((uint64_t)LATENCY_FIRST << i), i + 1);
	}
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("fuse");
	TCase *tc = tcase_create("requests");

	count_exactly(argv);
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, pipe_open, pipe_close);
	tcase_add_test(tc, agreed_with_the_kernel);
	tcase_add_test(tc, lookups_are_forgotten);
	tcase_add_test(tc, lookups_and_forgets_balance);
	tcase_add_test(tc, sessions_leave_nothing);
	tcase_add_test(tc, forgotten_in_batches);
	tcase_add_test(tc, readdirplus_leaks_nothing);
	tcase_add_test(tc, readdirplus_shows_no_removed_name);
	tcase_add_test(tc, calls_not_offered);
	tcase_add_test(tc, syncs_are_real);
	tcase_add_test(tc, writes_keep_their_buffers);
	tcase_add_test(tc, attributes_wait_for_writes);
	tcase_add_test(tc, open_file_outlives_name_and_node);
	tcase_add_test(tc, unknown_nodes_are_stale);
	tcase_add_test(tc, allocation_modes);
	tcase_add_test(tc, group_is_inherited);
	tcase_add_test(tc, devices_are_refused);
	tcase_add_test(tc, interrupts_change_nothing);
	tcase_add_test(tc, latencies_have_their_bucket);
	tcase_add_test(tc, the_kernel_holds_a_part_of_all);
	suite_add_tcase(suite, tc);
	return unit_run(suite);
}
