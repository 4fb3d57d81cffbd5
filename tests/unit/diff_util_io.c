/*
 * tests/unit/diff_util_io.c: see diff_util.h: content, syncs, system calls and what lies on disk.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

#include <sys/stat.h>

/* ---- content ---- */

static void write_done(struct diff_write *op)
{
	op->len = 0;
}

int env_write(const char *name, uint32_t block, uint32_t count, uint32_t tag)
{
	size_t len = (size_t)count * DIFF_BLCKSZ;
	uint32_t *data = malloc(len);
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct diff_write op = {
		.file = env_file(name), .iov = &iov, .iovcnt = 1, .len = len, .done = write_done};

	if (!data || !op.file) {
		free(data);
		return -ENOMEM;
	}
	for (size_t i = 0; i < len / sizeof(*data); i++)
		data[i] = tag;
	op.off = (uint64_t)block * DIFF_BLCKSZ;
	op.size = op.off + len;
	op.result = 1;
	diff_write(env.diff, &op);
	while (op.len > 0)
		MUST(io_wait(env.io, 10000) > 0);
	free(data);
	return op.result;
}

int env_truncate(const char *name, uint64_t size)
{
	int rc;

	while ((rc = diff_truncate(env.diff, env_file(name), size)) == -EAGAIN)
		env_wait_for_room();
	return rc;
}

int env_zero(const char *name, uint32_t block, uint32_t count)
{
	int rc;

	while ((rc = diff_zero(env.diff, env_file(name), block, count, false)) == -EAGAIN)
		env_wait_for_room();
	return rc;
}

static void allocate_done(struct diff_allocate *op)
{
	op->len = 0;
}

int env_allocate(const char *name, uint64_t off, uint64_t len)
{
	struct diff_allocate op = {
		.file = env_file(name), .off = off, .len = len, .done = allocate_done};

	diff_allocate(env.diff, &op);
	while (op.len > 0)
		MUST(io_wait(env.io, 10000) > 0);
	return op.result;
}

void env_sync_done(struct diff_sync *op)
{
	op->done = NULL;
}

int env_sync(const char *name)
{
	struct diff_sync op = {.done = env_sync_done};

	op.all = name && strcmp(name, "*") == 0;
	if (name && !op.all)
		op.file = env_file(name);
	diff_sync(env.diff, &op);
	while (op.done)
		MUST(io_wait(env.io, 10000) > 0);
	return op.result;
}

enum block_state env_state(const char *name, uint32_t block)
{
	uint32_t n;

	return diff_file_run(env_file(name), block, 1, &n);
}

static void read_done(struct vfd_op *op)
{
	op->vfd = NULL;
}

void env_assert_block(const char *name, uint32_t block, uint32_t tag)
{
	static uint32_t data[DIFF_BLCKSZ / sizeof(uint32_t)];
	struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
	struct vfd_op op = {.vfd = diff_file_vfd(env_file(name)), .done = read_done};

	ck_assert_msg(env_state(name, block) == BLOCK_DATA, "%s block %u has state %d", name, block,
		      (int)env_state(name, block));
	op.io = (struct io_op){
		.code = IO_READ, .off = (uint64_t)block * DIFF_BLCKSZ, .iov = &iov, .iovcnt = 1};
	vfd_submit(&op);
	while (op.vfd)
		MUST(io_wait(env.io, 10000) > 0);
	ck_assert_int_eq(op.io.result, DIFF_BLCKSZ);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		if (data[i] != tag)
			ck_abort_msg("%s block %u holds %u, not %u", name, block, data[i], tag);
}

uint64_t env_size(const char *name)
{
	return diff_file_size(env_file(name));
}

/* ---- system calls ---- */

static struct {
	struct env_calls calls;
	long at, seen;
	bool forever;
	int with;
} probe;

static void count(const struct sys_event *ev)
{
	switch (ev->call) {
	case SYS_CALL_WRITE:
		probe.calls.writes++;
		break;
	case SYS_CALL_FDATASYNC:
		probe.calls.fdatasyncs++;
		break;
	case SYS_CALL_FSYNC:
		probe.calls.fsyncs++;
		break;
	case SYS_CALL_FALLOCATE:
		probe.calls.fallocates++;
		break;
	case SYS_CALL_RENAME:
		probe.calls.renames++;
		break;
	case SYS_CALL_UNLINK:
		probe.calls.unlinks++;
		break;
	case SYS_CALL_OPEN:
		probe.calls.opens_create += (ev->flags & O_CREAT) != 0;
		probe.calls.others++;
		break;
	default:
		probe.calls.others++;
		break;
	}
}

/* Single-threaded: with the engine `sync` everything runs on the test's thread. */
static int before(void *ctx, const struct sys_event *ev)
{
	count(ev);
	if (ev->call == SYS_CALL_CLOSE)
		return 0;
	probe.seen++;
	if (probe.at > 0 && (probe.seen == probe.at || (probe.forever && probe.seen > probe.at)))
		return probe.with;
	return 0;
}

static void after(void *ctx, const struct sys_event *ev, int64_t result)
{
}

static const struct sys_hook hook = {.before = before, .after = after};

void env_calls_reset(void)
{
	memset(&probe.calls, 0, sizeof(probe.calls));
	sys_set_hook(&hook);
}

struct env_calls env_calls(void)
{
	return probe.calls;
}

void env_fail(long at, bool forever, int with)
{
	probe.at = at;
	probe.forever = forever;
	probe.with = with;
	probe.seen = 0;
	sys_set_hook(&hook);
}

long env_fail_seen(void)
{
	return probe.seen;
}

/* ---- what lies on disk ---- */

void env_path(char *ret, size_t size, const char *relative)
{
	snprintf(ret, size, "%s/%s", env.path, relative);
}

static uint64_t sum;
static unsigned data_files;

/* Added up, because the order in which a directory lists its names may change. */
static int add_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	uint64_t one = 17;
	char *data;
	size_t len;

	data_files += S_ISREG(st->st_mode) && strstr(path, "/data/") != NULL;
	for (const char *p = path; *p; p++)
		one = one * 31 + (unsigned char)*p;
	if (S_ISREG(st->st_mode)) {
		MUST(sys_read_file(AT_FDCWD, path, 1u << 30, &data, &len) == 0);
		one = one * 31 + crc32c(0, data, len);
		one = one * 31 + len;
		free(data);
	}
	sum += one;
	return 0;
}

uint64_t env_fingerprint(void)
{
	char path[400];

	sum = 0;
	env_path(path, sizeof(path), "superblock");
	ck_assert_int_eq(nftw(path, add_file, 16, FTW_PHYS), 0);
	env_path(path, sizeof(path), "gen");
	ck_assert_int_eq(nftw(path, add_file, 16, FTW_PHYS), 0);
	return sum;
}

unsigned env_data_files(void)
{
	char path[400];

	data_files = 0;
	env_path(path, sizeof(path), "gen/1/data");
	ck_assert_int_eq(nftw(path, add_file, 16, FTW_PHYS), 0);
	return data_files;
}

uint64_t env_data_bytes(const char *name)
{
	char path[DIFF_PATH_SIZE], full[400], relative[64];
	struct stat st;

	file_path(env_id(name), path);
	snprintf(relative, sizeof(relative), "gen/1/data/%s", path);
	env_path(full, sizeof(full), relative);
	ck_assert_int_eq(stat(full, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

struct diff_stats env_stats(void)
{
	struct diff_stats st;

	diff_get_stats(env.diff, &st);
	return st;
}
