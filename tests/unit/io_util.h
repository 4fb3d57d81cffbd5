/*
 * tests/unit/io_util.h: what the tests of src/io share: the engines to run each test with, seeds,
 * blocking shorthands, and a hook that counts, bounds and fails system calls.
 *
 * PGOVERLAY_TEST_SEED replaces the seed of the random tests; each prints the one it used.
 */
#ifndef TESTS_UNIT_IO_UTIL_H
#define TESTS_UNIT_IO_UTIL_H

#include "base/sys.h"
#include "io/engine.h"
#include "unit.h"

#include <stdatomic.h>

/* For inner loops: ck_assert writes to a file each time. */
#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			ck_abort_msg("not true: %s", #x);                                          \
	} while (0)

enum { ENGINE_SYNC, ENGINE_SHUFFLED, ENGINE_THREADS, ENGINE_URING, ENGINE_COUNT };

/* For tcase_add_loop_test over all engines; NULL (and a line on stderr) where there is no io_uring.
 */
struct io_engine *engine_start(int which);
struct io_engine *engine_start_with(int which, const struct io_engine_options *options);

uint64_t test_seed(const char *test, int which); /* never 0; printed unless test is NULL */

/* Submits and waits; the result. */
int64_t engine_do(struct io_engine *engine, struct io_op *op);
void engine_drain(struct io_engine *engine);

/* The hook: all fields but those of the first block may be changed by any thread. */
struct probe {
	enum sys_call fail_call; /* SYS_CALL_MAX_: any */
	long fail_at;		 /* 1: the first matching call; 0: none */
	long fail_count;	 /* how many fail from there; 0: all */
	int fail_with;		 /* -errno */
	int fail_fd;		 /* only calls on this descriptor, or -1 */

	atomic_long seen; /* matching calls */
	atomic_long before[SYS_CALL_MAX_], after[SYS_CALL_MAX_];
	atomic_long open_now, open_max;	  /* descriptors, counting those being opened or closed */
	atomic_long running, running_max; /* reads, writes, syncs, fallocates */
};

void probe_install(struct probe *probe);
void probe_reset(struct probe *probe); /* fails nothing, counts from 0; open_now stays */
/* From the at-th of the calls to come, count of them (0: all) fail with -errno. Other counts start
 * again too. */
void probe_fail(struct probe *probe, enum sys_call call, long at, long count, int with);
void probe_remove(void);

/*
 * The test programs are linked with --wrap for two functions of liburing, so that a ring can be
 * made to give short counts, EINTR and EAGAIN, and to refuse submissions, at random; or to be older
 * than it is.
 */
extern uint64_t ring_meddle; /* not 0: the state of the random numbers */
extern bool ring_is_old;

unsigned count_descriptors(void); /* of this process, from /proc */

#endif
