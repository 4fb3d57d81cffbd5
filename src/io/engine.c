/*
 * The part of the I/O engine that all kinds share: choosing one, counting, and calling `done`.
 *
 * An operation goes io_submit -> driver -> engine->completed -> done. Drivers move it as far as
 * `completed` only, so `done` is called from one place, engine_reap, and may itself submit, flush
 * or reap. One eventfd stands for everything that can complete: the ring has it registered, threads
 * write to it.
 */
#include "io/engine_internal.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

struct io_op *op_list_pop(struct op_list *list)
{
	struct io_op *op = list->head;

	if (!op)
		return NULL;
	list->head = op->next;
	if (!list->head)
		list->tail = NULL;
	list->count--;
	op->next = NULL;
	return op;
}

struct io_op *op_list_take(struct op_list *list, unsigned index)
{
	struct io_op *prev = NULL, *op = list->head;

	for (; index > 0; index--) {
		prev = op;
		op = op->next;
	}
	if (!prev)
		return op_list_pop(list);
	prev->next = op->next;
	if (list->tail == op)
		list->tail = prev;
	list->count--;
	op->next = NULL;
	return op;
}

void op_list_append(struct op_list *list, struct op_list *from)
{
	if (!from->head)
		return;
	*(list->tail ? &list->tail->next : &list->head) = from->head;
	list->tail = from->tail;
	list->count += from->count;
	*from = (struct op_list){0};
}

void engine_signal(int event_fd)
{
	/* The counter cannot overflow in practice, and if it did the descriptor would be readable
	 * anyway. */
	(void)eventfd_write(event_fd, 1);
}

uint64_t engine_iov_bytes(const struct io_op *op)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < op->iovcnt; i++)
		bytes += op->iov[i].iov_len;
	return bytes;
}

void engine_run(struct io_op *op)
{
	uint64_t bytes;

	switch (op->code) {
	case IO_READ:
		op->result = sys_preadv_full(op->fd, op->iov, op->iovcnt, op->off);
		break;
	case IO_WRITE:
		bytes = engine_iov_bytes(op);
		op->result = sys_pwritev_full(op->fd, op->iov, op->iovcnt, op->off);
		if (op->result >= 0)
			op->result = (int64_t)bytes;
		break;
	case IO_FDATASYNC:
		op->result = sys_fdatasync(op->fd);
		break;
	case IO_FSYNC:
		op->result = sys_fsync(op->fd);
		break;
	case IO_FALLOCATE:
		op->result = sys_fallocate(op->fd, op->mode, op->off, op->len);
		break;
	case IO_JOB:
		op->result = op->job(op);
		break;
	case IO_CODE_MAX_:
		op->result = -EINVAL;
		break;
	}
}

static int start_driver(struct io_engine *engine, const struct engine_driver *driver,
			const struct io_engine_options *options, struct errmsg *e)
{
	int rc;

	engine->driver = driver;
	rc = driver->start(engine, options, e);
	if (rc < 0) {
		driver->stop(engine);
		engine->driver = NULL;
	}
	return rc;
}

static int start_any(struct io_engine *engine, const struct io_engine_options *options,
		     struct errmsg *e)
{
	struct errmsg why = {0};
	int rc;

	rc = start_driver(engine, &engine_driver_uring, options, &why);
	if (rc == 0)
		return 0;
	log_notice("using threads for I/O: %s", errmsg_text(&why, rc));
	return start_driver(engine, &engine_driver_threads, options, e);
}

int io_engine_new(const struct io_engine_options *options, struct errmsg *e, struct io_engine **ret)
{
	struct io_engine *engine;
	int rc = -EINVAL;

	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return errmsg_set(e, -ENOMEM, "I/O engine: out of memory");
	engine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->event_fd < 0) {
		rc = errmsg_set(e, -errno, "I/O engine: cannot make an eventfd: %s",
				strerror(errno));
		io_engine_free(engine);
		return rc;
	}
	switch (options->kind) {
	case IO_KIND_AUTO:
		rc = start_any(engine, options, e);
		break;
	case IO_KIND_URING:
		rc = start_driver(engine, &engine_driver_uring, options, e);
		break;
	case IO_KIND_THREADS:
		rc = start_driver(engine, &engine_driver_threads, options, e);
		break;
	case IO_KIND_SYNC:
		rc = start_driver(engine, &engine_driver_sync, options, e);
		break;
	}
	if (rc < 0) {
		io_engine_free(engine);
		return rc;
	}
	*ret = engine;
	return 0;
}

void io_engine_free(struct io_engine *engine)
{
	if (!engine)
		return;
	if (engine->driver)
		engine->driver->stop(engine);
	util_closep(&engine->event_fd);
	free(engine);
}

const char *io_engine_name(const struct io_engine *engine)
{
	return engine->driver->name;
}

void io_engine_stats(const struct io_engine *engine, struct io_stats *ret)
{
	*ret = engine->stats;
}

static void account_submission(struct io_engine *engine, struct io_op *op)
{
	op->next = NULL;
	op->progress = 0;
	engine->stats.submitted[op->code]++;
	engine->stats.in_flight++;
}

void io_submit(struct io_engine *engine, struct io_op *op)
{
	account_submission(engine, op);
	op->result = 0;
	engine->driver->submit(engine, op);
}

void engine_answer(struct io_engine *engine, struct io_op *op)
{
	account_submission(engine, op);
	op_list_push(&engine->completed, op);
	engine_signal(engine->event_fd);
}

void io_flush(struct io_engine *engine)
{
	engine->driver->flush(engine);
}

static unsigned engine_reap(struct io_engine *engine, bool must_progress)
{
	unsigned batch, n = 0;
	eventfd_t ignored;
	struct io_op *op;

	engine->driver->flush(engine);
	/* Cleared before looking: what completes from here on raises it again. */
	(void)eventfd_read(engine->event_fd, &ignored);
	engine->driver->collect(engine, must_progress && !engine->completed.head,
				&engine->completed);

	/*
	 * Only what was there at the start, so that a callback which keeps submitting cannot hold
	 * the loop. What the callbacks add to the list has raised the descriptor again.
	 */
	batch = engine->completed.count;
	while (n < batch && (op = op_list_pop(&engine->completed))) {
		n++;
		engine->stats.in_flight--;
		engine->stats.completed[op->code]++;
		op->done(op);
	}
	engine->driver->flush(engine);
	return n;
}

unsigned io_reap(struct io_engine *engine)
{
	return engine_reap(engine, false);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

unsigned io_wait(struct io_engine *engine, int timeout_ms)
{
	struct pollfd fd = {.fd = engine->event_fd, .events = POLLIN};
	int64_t until = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
	int left = timeout_ms;
	unsigned n;

	for (;;) {
		n = engine_reap(engine, true);
		if (n > 0 || io_idle(engine))
			return n;
		if (timeout_ms >= 0) {
			left = (int)(until - now_ms());
			if (left <= 0)
				return 0;
		}
		(void)poll(&fd, 1,
			   left); /* EINTR: looked at again, with what is left of the time */
	}
}

bool io_completes_apart(const struct io_engine *engine)
{
	return engine->driver != &engine_driver_sync;
}

int io_poll_fd(const struct io_engine *engine)
{
	return engine->event_fd;
}

bool io_idle(const struct io_engine *engine)
{
	return engine->stats.in_flight == 0;
}
