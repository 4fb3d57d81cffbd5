/*
 * The io_uring engine: reads, writes, syncs and fallocate in the ring, jobs on the thread pool.
 *
 * At most `depth` operations are in the ring; the others wait in a FIFO, so a full queue is never
 * an error and completions (the completion queue is twice the submission queue) cannot overflow. A
 * short count moves the vector on and queues the operation again, ahead of those that have not
 * started.
 *
 * The ring has the engine's eventfd registered. Its memory is touched by the core thread only.
 */
#include "io/engine_internal.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH_DEFAULT 256u
#define DEPTH_MAX     16384u

struct uring {
	struct io_uring ring;
	bool ring_is_up;
	bool complained;
	struct pool *pool;
	struct op_list waiting; /* not started; the hook has not seen them */
	struct op_list resumed; /* started, to be submitted again */
	unsigned depth, in_ring;
};

static struct sys_event event_of(const struct io_op *op)
{
	static const enum sys_call calls[IO_CODE_MAX_] = {
		[IO_READ] = SYS_CALL_READ,	     [IO_WRITE] = SYS_CALL_WRITE,
		[IO_FSYNC] = SYS_CALL_FSYNC,	     [IO_FDATASYNC] = SYS_CALL_FDATASYNC,
		[IO_FALLOCATE] = SYS_CALL_FALLOCATE,
	};
	struct sys_event ev = {.call = calls[op->code], .fd = op->fd, .fd2 = -1};

	if (op->code == IO_READ || op->code == IO_WRITE) {
		ev.iov = op->iov;
		ev.iovcnt = op->iovcnt;
		ev.off = op->off;
	} else if (op->code == IO_FALLOCATE) {
		ev.off = op->off;
		ev.len = op->len;
		ev.flags = op->mode;
	}
	return ev;
}

static void prepare(struct io_uring_sqe *sqe, struct io_op *op)
{
	switch (op->code) {
	case IO_READ:
		io_uring_prep_readv(sqe, op->fd, op->iov, op->iovcnt, op->off + op->progress);
		break;
	case IO_WRITE:
		io_uring_prep_writev(sqe, op->fd, op->iov, op->iovcnt, op->off + op->progress);
		break;
	case IO_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case IO_FSYNC:
		io_uring_prep_fsync(sqe, op->fd, 0);
		break;
	case IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->off, (off_t)op->len);
		break;
	case IO_JOB:
	case IO_CODE_MAX_:
		io_uring_prep_nop(sqe);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

static void finish(const struct io_op *op)
{
	struct sys_event ev = event_of(op);

	sys_hook_after(&ev, op->result);
}

/* The vector is changed in place so that op->iov still points to the caller's array. */
static void advance(struct io_op *op, uint64_t bytes)
{
	op->progress += bytes;
	for (unsigned i = 0; i < op->iovcnt && bytes > 0; i++) {
		size_t n = MIN(op->iov[i].iov_len, bytes);

		op->iov[i].iov_base = (char *)op->iov[i].iov_base + n;
		op->iov[i].iov_len -= n;
		bytes -= n;
	}
}

/* True if the operation is complete, false if it has to go on. */
static bool take_result(struct io_op *op, int res)
{
	uint64_t left;

	if (res == -EINTR || res == -EAGAIN)
		return false;
	op->result = res;
	if (res < 0 || (op->code != IO_READ && op->code != IO_WRITE))
		return true;

	left = engine_iov_bytes(op);
	op->result = (int64_t)op->progress + res;
	if ((uint64_t)res >= left)
		return true;
	if (res == 0) {
		/* A read has met the end of the file; a write that makes no progress never will. */
		if (op->code == IO_WRITE)
			op->result = -EIO;
		return true;
	}
	advance(op, (uint64_t)res);
	return false;
}

/* The next operation to hand to the kernel; those that the hook fails are complete. */
static struct io_op *next_op(struct io_engine *engine, struct uring *u)
{
	struct io_op *op = op_list_pop(&u->resumed);
	struct sys_event ev;
	int rc;

	while (!op && (op = op_list_pop(&u->waiting))) {
		ev = event_of(op);
		rc = sys_hook_before(&ev);
		if (rc == 0)
			break;
		op->result = rc;
		op_list_push(&engine->completed, op);
		engine_signal(engine->event_fd);
		op = NULL;
	}
	return op;
}

static void uring_flush(struct io_engine *engine)
{
	struct uring *u = engine->state;
	struct io_op *op;
	int rc = 0;

	while (u->in_ring < u->depth && io_uring_sq_space_left(&u->ring) > 0 &&
	       (op = next_op(engine, u))) {
		prepare(io_uring_get_sqe(&u->ring), op);
		u->in_ring++;
	}
	while (io_uring_sq_ready(&u->ring) > 0) {
		rc = io_uring_submit(&u->ring);
		if (rc <= 0 && rc != -EINTR)
			break;
	}
	if (rc >= 0 || rc == -EINTR)
		return;
	/* Short of memory, as a rule. What was prepared stays in the queue: come back soon. */
	if (!u->complained)
		log_warning("io_uring refuses submissions for now: %s", strerror(-rc));
	u->complained = true;
	engine_signal(engine->event_fd);
}

static void uring_submit(struct io_engine *engine, struct io_op *op)
{
	struct uring *u = engine->state;

	if (op->code == IO_JOB)
		pool_submit(u->pool, op);
	else
		op_list_push(&u->waiting, op);
}

static void uring_collect(struct io_engine *engine, bool must_progress, struct op_list *completed)
{
	struct uring *u = engine->state;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		struct io_op *op = io_uring_cqe_get_data(cqe);

		n++;
		if (take_result(op, cqe->res)) {
			finish(op);
			op_list_push(completed, op);
		} else {
			op_list_push(&u->resumed, op);
		}
	}
	io_uring_cq_advance(&u->ring, n);
	u->in_ring -= n;
	pool_collect(u->pool, completed);
}

static const uint8_t needed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				 IORING_OP_FALLOCATE};

static int probe_opcodes(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	int rc = 0;

	if (!probe)
		return -ENOSYS;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!io_uring_opcode_supported(probe, needed[i]))
			rc = -ENOSYS;
	io_uring_free_probe(probe);
	return rc;
}

/* Submits what is prepared and waits for its result. */
static int roundtrip(struct io_uring *ring)
{
	struct __kernel_timespec patience = {.tv_sec = 5};
	struct io_uring_cqe *cqe;
	int rc;

	rc = io_uring_submit(ring);
	if (rc < 0)
		return rc;
	do {
		rc = io_uring_wait_cqe_timeout(ring, &cqe, &patience);
	} while (rc == -EINTR);
	if (rc < 0)
		return rc;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

/* A ring that can be made may still refuse to work (sandboxes): believe only what was seen. */
static int probe_roundtrip(struct io_uring *ring)
{
	static char byte; /* static: the kernel may still write it if we have lost patience */
	static struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	_cleanup_close_ int fd = memfd_create("pgoverlay-probe", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	io_uring_prep_readv(io_uring_get_sqe(ring), fd, &iov, 1, 0);
	return roundtrip(ring); /* 0: the file is empty */
}

/* With the most that the kernel knows: it refuses flags that are newer than itself. */
static int init_ring(struct uring *u)
{
	static const unsigned more[] = {
		IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_R_DISABLED, /* before Linux 5.19 */
		0,			 /* before Linux 5.10 */
	};
	int rc = -EINVAL;

	for (unsigned i = 0; i < ARRAY_SIZE(more) && rc == -EINVAL; i++) {
		struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | more[i],
						 .cq_entries = u->depth * 2};

		rc = io_uring_queue_init_params(u->depth, &u->ring, &params);
	}
	return rc;
}

/* liburing 2.3 declares functions for this and does not have them. */
static int register_at(const struct io_uring *ring, unsigned what, const void *arg, unsigned count)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, count) < 0 ? -errno : 0;
}

/* From here on the ring does what is needed and nothing else, whoever submits to it. */
static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction allowed[ARRAY_SIZE(needed)] = {0};
	int rc = 0;

	if ((ring->flags & IORING_SETUP_R_DISABLED) == 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[i].sqe_op = needed[i];
	}
	/* Without it (Linux 5.10) the library waits by an operation of its own. */
	if ((ring->features & IORING_FEAT_EXT_ARG) != 0)
		rc = register_at(ring, IORING_REGISTER_RESTRICTIONS, allowed, ARRAY_SIZE(allowed));
	return rc == 0 ? register_at(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) : rc;
}

static int start_ring(struct uring *u, int event_fd)
{
	int rc = init_ring(u);

	if (rc < 0)
		return rc;
	u->ring_is_up = true;
	rc = probe_opcodes(&u->ring);
	if (rc == 0)
		rc = io_uring_register_eventfd(&u->ring, event_fd);
	if (rc == 0)
		rc = restrict_ring(&u->ring);
	if (rc == 0)
		rc = probe_roundtrip(&u->ring);
	return rc;
}

void *engine_uring_ring(struct io_engine *engine)
{
	struct uring *u = engine->driver == &engine_driver_uring ? engine->state : NULL;

	return u != NULL ? &u->ring : NULL;
}

static int uring_start(struct io_engine *engine, const struct io_engine_options *options,
		       struct errmsg *e)
{
	struct uring *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return errmsg_set(e, -ENOMEM, "I/O engine: out of memory");
	engine->state = u;
	u->depth = MIN(options->depth > 0 ? options->depth : DEPTH_DEFAULT, DEPTH_MAX);
	rc = start_ring(u, engine->event_fd);
	if (rc < 0)
		return errmsg_set(e, rc, "io_uring does not work here: %s", strerror(-rc));
	return pool_new(options->threads, engine->event_fd, e, &u->pool);
}

static void uring_stop(struct io_engine *engine)
{
	struct uring *u = engine->state;

	if (!u)
		return;
	pool_free(u->pool);
	if (u->ring_is_up)
		io_uring_queue_exit(&u->ring);
	free(u);
	engine->state = NULL;
}

const struct engine_driver engine_driver_uring = {
	.name = "uring",
	.start = uring_start,
	.stop = uring_stop,
	.submit = uring_submit,
	.flush = uring_flush,
	.collect = uring_collect,
};
