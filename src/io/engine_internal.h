/*
 * io/engine_internal.h: what the engines share: the driver table, lists of operations, the thread
 * pool. Included by src/io only.
 */
#ifndef IO_ENGINE_INTERNAL_H
#define IO_ENGINE_INTERNAL_H

#include "base/sys.h"
#include "io/engine.h"

#include <stddef.h>

/* A FIFO linked through io_op.next. */
struct op_list {
	struct io_op *head, *tail;
	unsigned count;
};

static inline void op_list_push(struct op_list *list, struct io_op *op)
{
	op->next = NULL;
	*(list->tail ? &list->tail->next : &list->head) = op;
	list->tail = op;
	list->count++;
}

struct io_op *op_list_pop(struct op_list *list); /* NULL when empty */
struct io_op *op_list_take(struct op_list *list, unsigned index);
void op_list_append(struct op_list *list, struct op_list *from); /* empties from */

/* How one engine works. All are called on the core thread; none runs a `done`. */
struct engine_driver {
	const char *name;
	int (*start)(struct io_engine *engine, const struct io_engine_options *options,
		     struct errmsg *e);
	void (*stop)(struct io_engine *engine); /* state may be NULL or half built */
	void (*submit)(struct io_engine *engine, struct io_op *op);
	void (*flush)(struct io_engine *engine);
	/*
	 * Appends what has completed, results set. The event descriptor was cleared before; the
	 * driver raises it again if something is left to do. must_progress: the caller is going to
	 * wait, so an engine that holds operations back on purpose lets one go.
	 */
	void (*collect)(struct io_engine *engine, bool must_progress, struct op_list *completed);
};

extern const struct engine_driver engine_driver_uring;
extern const struct engine_driver engine_driver_threads;
extern const struct engine_driver engine_driver_sync;

struct io_engine {
	const struct engine_driver *driver;
	void *state;  /* the driver's */
	int event_fd; /* non-blocking; readable when collect would find something */
	struct op_list completed;
	struct io_stats stats;
};

/* Makes io_poll_fd readable. Any thread. */
void engine_signal(int event_fd);
/* Takes an operation that needs no running: its done is called, with the result it has, by a later
 * io_reap. */
void engine_answer(struct io_engine *engine, struct io_op *op);
/* Runs the operation on the calling thread and sets its result. */
void engine_run(struct io_op *op);

/* The ring (struct io_uring), NULL where there is none: tests look at what it refuses. */
void *engine_uring_ring(struct io_engine *engine);

uint64_t engine_iov_bytes(const struct io_op *op);

struct pool;

/* threads 0: a default from the number of CPUs. The pool raises event_fd when something has
 * completed. */
int pool_new(unsigned threads, int event_fd, struct errmsg *e, struct pool **ret);
/* Stops the threads; NULL is fine. Nothing may be queued. */
void pool_free(struct pool *pool);
void pool_submit(struct pool *pool, struct io_op *op);
void pool_collect(struct pool *pool, struct op_list *completed);

#endif
