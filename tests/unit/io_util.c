/*
 * tests/unit/io_util.c: see io_util.h.
 */
#include "io_util.h"

#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>

static struct sys_hook probe_hook;
uint64_t ring_meddle;
bool ring_is_old;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);

static unsigned ring_random(unsigned n)
{
	unsigned long long state = ring_meddle;
	unsigned v = unit_random(&state) % n;

	ring_meddle = state ? state : 1;
	return v;
}

/* Changes results that the engine has not seen yet. What was done beyond them is done again. */
int __wrap_io_uring_submit(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	int rc;

	if (ring_meddle && ring_random(8) == 0)
		return ring_random(2) ? -EAGAIN : -EINTR;
	rc = __real_io_uring_submit(ring);
	if (!ring_meddle)
		return rc;
	io_uring_for_each_cqe(ring, head, cqe)
	{
		unsigned pick = ring_random(16);

		if (pick < 4 && cqe->res > 1)
			cqe->res = 1 + (int)ring_random((unsigned)cqe->res - 1);
		else if (pick < 5)
			cqe->res = -EINTR;
		else if (pick < 6)
			cqe->res = -EAGAIN;
	}
	return rc;
}

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p)
{
	if (ring_is_old && (p->flags & IORING_SETUP_COOP_TASKRUN))
		return -EINVAL;
	return __real_io_uring_queue_init_params(entries, ring, p);
}

struct io_engine *engine_start_with(int which, const struct io_engine_options *options)
{
	static const enum io_kind kinds[] = {IO_KIND_SYNC, IO_KIND_SYNC, IO_KIND_THREADS,
					     IO_KIND_URING};
	struct io_engine_options o = options ? *options : (struct io_engine_options){0};
	struct io_engine *engine;
	struct errmsg e = {{0}};
	int rc;

	o.kind = kinds[which];
	if (which == ENGINE_SHUFFLED && o.shuffle_seed == 0)
		o.shuffle_seed = test_seed(NULL, which);
	rc = io_engine_new(&o, &e, &engine);
	if (rc < 0 && which == ENGINE_URING) {
		fprintf(stderr, "skipped with uring: %s\n", errmsg_text(&e, rc));
		return NULL;
	}
	ck_assert_msg(rc == 0, "engine %d: %s", which, errmsg_text(&e, rc));
	return engine;
}

struct io_engine *engine_start(int which)
{
	return engine_start_with(which, NULL);
}

uint64_t test_seed(const char *test, int which)
{
	const char *env = getenv("PGOVERLAY_TEST_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : 20240607u;

	if (test)
		printf("%s: PGOVERLAY_TEST_SEED=%llu case %d\n", test, (unsigned long long)seed,
		       which);
	fflush(stdout);
	seed = (seed + 1) * 0x9e3779b97f4a7c15u + (uint64_t)which;
	return seed ? seed : 1;
}

static void done_nothing(struct io_op *op)
{
}

void engine_drain(struct io_engine *engine)
{
	while (!io_idle(engine))
		io_wait(engine, -1);
}

int64_t engine_do(struct io_engine *engine, struct io_op *op)
{
	if (!op->done)
		op->done = done_nothing;
	io_submit(engine, op);
	engine_drain(engine);
	return op->result;
}

static void raise_max(atomic_long *max, long value)
{
	long seen = atomic_load(max);

	while (value > seen && !atomic_compare_exchange_weak(max, &seen, value))
		;
}

static bool is_transfer(enum sys_call call)
{
	return call == SYS_CALL_READ || call == SYS_CALL_WRITE || call == SYS_CALL_FSYNC ||
	       call == SYS_CALL_FDATASYNC || call == SYS_CALL_FALLOCATE;
}

static int probe_before(void *ctx, const struct sys_event *event)
{
	struct probe *p = ctx;
	long n;

	atomic_fetch_add(&p->before[event->call], 1);
	if ((p->fail_call == SYS_CALL_MAX_ || p->fail_call == event->call) &&
	    (p->fail_fd < 0 || p->fail_fd == event->fd)) {
		n = atomic_fetch_add(&p->seen, 1) + 1;
		if (p->fail_at > 0 && n >= p->fail_at &&
		    (p->fail_count == 0 || n < p->fail_at + p->fail_count))
			return p->fail_with;
	}
	if (event->call == SYS_CALL_OPEN)
		raise_max(&p->open_max, atomic_fetch_add(&p->open_now, 1) + 1);
	if (is_transfer(event->call))
		raise_max(&p->running_max, atomic_fetch_add(&p->running, 1) + 1);
	return 0;
}

static void probe_after(void *ctx, const struct sys_event *event, int64_t result)
{
	struct probe *p = ctx;

	atomic_fetch_add(&p->after[event->call], 1);
	if ((event->call == SYS_CALL_OPEN && result < 0) || event->call == SYS_CALL_CLOSE)
		atomic_fetch_sub(&p->open_now, 1);
	if (is_transfer(event->call))
		atomic_fetch_sub(&p->running, 1);
}

void probe_reset(struct probe *probe)
{
	long open_now = atomic_load(&probe->open_now);

	memset(probe, 0, sizeof(*probe));
	atomic_store(&probe->open_now, open_now);
	atomic_store(&probe->open_max, open_now);
	probe->fail_call = SYS_CALL_MAX_;
	probe->fail_fd = -1;
}

void probe_fail(struct probe *probe, enum sys_call call, long at, long count, int with)
{
	probe_reset(probe);
	probe->fail_call = call;
	probe->fail_at = at;
	probe->fail_count = count;
	probe->fail_with = with;
}

void probe_install(struct probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	probe_reset(probe);
	probe_hook = (struct sys_hook){.before = probe_before, .after = probe_after, .ctx = probe};
	sys_set_hook(&probe_hook);
}

void probe_remove(void)
{
	sys_set_hook(NULL);
}

unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory itself */
}
