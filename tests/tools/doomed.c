/*
 * tests/tools/doomed.c: linked with all of pgoverlay, this makes a program that ends as kill -9 ends it,
 * at a moment that a test names, or that has a defect which a test must find.
 *
 *	DOOM=request:N	before the serving process looks at its N-th request
 *	DOOM=memory:N	as request:N, by the OOM killer: it takes memory until its control group has none left
 *	DOOM=before:N	before its N-th call that changes something on the disk, since it serves
 *	DOOM=after:N	after that call
 *	DOOM=mount:N	before the N-th such call of mounting (recovery is among them)
 *	DEFECT=N	diff_test_defect of src/diff
 *	DEFECT=no_sync	fsync answers without having done anything
 */
#include "base/sys.h"
#include "diff/diff.h"

#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum { NEVER, AT_REQUEST, OUT_OF_MEMORY, BEFORE_CALL, AFTER_CALL, AT_MOUNT } doom;
static _Atomic int64_t left;
static _Atomic bool serving;
static bool no_sync;

void __real_fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf);
void __wrap_fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf);
void __real_diff_sync(struct diff *diff, struct diff_sync *op);
void __wrap_diff_sync(struct diff *diff, struct diff_sync *op);

/* In a control group with a limit far below this, or the test would take the machine's. */
static void take_memory(void)
{
	enum { PIECE = 1 << 20, PIECES = 256 };

	for (int i = 0; i < PIECES; i++) {
		char *piece = malloc(PIECE);

		if (piece != NULL)
			memset(piece, i + 1, PIECE);
		/* Or the compiler may leave out what nobody reads. */
		__asm__ volatile("" : : "r"(piece) : "memory");
	}
}

static void one_less(void)
{
	if (atomic_fetch_sub(&left, 1) != 1)
		return;
	if (doom == OUT_OF_MEMORY)
		take_memory();
	else
		(void)kill(getpid(), SIGKILL);
}

void __wrap_fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
	atomic_store(&serving, true);
	if (doom == AT_REQUEST || doom == OUT_OF_MEMORY)
		one_less();
	__real_fuse_session_process_buf(se, buf);
}

void __wrap_diff_sync(struct diff *diff, struct diff_sync *op)
{
	if (!no_sync) {
		__real_diff_sync(diff, op);
		return;
	}
	op->result = 0;
	op->done(op);
}

static bool changes(const struct sys_event *event)
{
	switch (event->call) {
	case SYS_CALL_WRITE:
	case SYS_CALL_FSYNC:
	case SYS_CALL_FDATASYNC:
	case SYS_CALL_FALLOCATE:
	case SYS_CALL_TRUNCATE:
	case SYS_CALL_RENAME:
	case SYS_CALL_UNLINK:
	case SYS_CALL_MKDIR:
		return true;
	default:
		return false;
	}
}

static int before(void *ctx, const struct sys_event *event)
{
	bool now = atomic_load(&serving) ? doom == BEFORE_CALL : doom == AT_MOUNT;

	if (now && changes(event))
		one_less();
	return 0;
}

static void after(void *ctx, const struct sys_event *event, int64_t result)
{
	if (atomic_load(&serving) && doom == AFTER_CALL && changes(event))
		one_less();
}

__attribute__((constructor)) static void read_fate(void)
{
	static const struct sys_hook hook = {.before = before, .after = after};
	static const char *const names[] = {"", "request:", "memory:", "before:", "after:", "mount:"};
	const char *fate = getenv("DOOM"), *defect = getenv("DEFECT");

	for (int i = AT_REQUEST; fate != NULL && i <= AT_MOUNT; i++) {
		if (strncmp(fate, names[i], strlen(names[i])) == 0) {
			doom = i;
			atomic_store(&left, strtoll(fate + strlen(names[i]), NULL, 10));
		}
	}
	if (doom > OUT_OF_MEMORY)
		sys_set_hook(&hook);
	no_sync = defect != NULL && strcmp(defect, "no_sync") == 0;
	if (defect != NULL && !no_sync)
		diff_test_defect = (enum diff_defect)strtol(defect, NULL, 10);
}
