/*
 * The thread pool, and the engine that runs everything on it.
 *
 * Operations wait in one FIFO; a thread takes the oldest, runs it and appends it to the completed
 * list. The event descriptor is raised when that list stops being empty, so a burst costs one
 * wake-up. The queue needs no bound of its own: the operations belong to the caller, who bounds
 * them.
 */
#include "io/engine_internal.h"

#include "base/parallel.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#define POOL_MAX_DEFAULT 16u
#define POOL_MAX	 256u

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct op_list queue;	  /* guarded by: lock */
	struct op_list completed; /* guarded by: lock */
	bool stop;		  /* guarded by: lock */
	int event_fd;
	unsigned count; /* threads started */
	pthread_t threads[];
};

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;
	struct io_op *op;
	bool first;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->stop && !pool->queue.head)
			pthread_cond_wait(&pool->wake, &pool->lock);
		op = op_list_pop(&pool->queue);
		if (!op)
			break;
		pthread_mutex_unlock(&pool->lock);
		engine_run(op);
		pthread_mutex_lock(&pool->lock);
		first = !pool->completed.head;
		op_list_push(&pool->completed, op);
		/* Under the lock: once the core thread has seen op it may free the engine. */
		if (first)
			engine_signal(pool->event_fd);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static unsigned default_threads(void)
{
	return MIN(MAX(parallel_processors(), 2u) * 2, POOL_MAX_DEFAULT);
}

static int start_threads(struct pool *pool, unsigned count)
{
	int rc = 0;

	while (pool->count < count && rc == 0) {
		rc = thread_start(&pool->threads[pool->count], pool_thread, pool);
		if (rc == 0) {
			(void)pthread_setname_np(pool->threads[pool->count], "pgoverlay-io");
			pool->count++;
		}
	}
	return pool->count > 0 ? 0 : rc; /* fewer threads than wished for still work */
}

int pool_new(unsigned threads, int event_fd, struct errmsg *e, struct pool **ret)
{
	unsigned count = MIN(threads > 0 ? threads : default_threads(), POOL_MAX);
	struct pool *pool;
	int rc;

	pool = calloc(1, sizeof(*pool) + count * sizeof(pool->threads[0]));
	if (!pool)
		return errmsg_set(e, -ENOMEM, "I/O threads: out of memory");
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pool->event_fd = event_fd;
	rc = start_threads(pool, count);
	if (rc < 0) {
		pool_free(pool);
		return errmsg_set(e, rc, "I/O threads: cannot start: %s", strerror(-rc));
	}
	*ret = pool;
	return 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	assert(!pool->queue.head && !pool->completed.head);
	pool->stop = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void pool_submit(struct pool *pool, struct io_op *op)
{
	pthread_mutex_lock(&pool->lock);
	op_list_push(&pool->queue, op);
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
}

void pool_collect(struct pool *pool, struct op_list *completed)
{
	pthread_mutex_lock(&pool->lock);
	op_list_append(completed, &pool->completed);
	pthread_mutex_unlock(&pool->lock);
}

static int threads_start(struct io_engine *engine, const struct io_engine_options *options,
			 struct errmsg *e)
{
	struct pool *pool;
	int rc;

	rc = pool_new(options->threads, engine->event_fd, e, &pool);
	if (rc == 0)
		engine->state = pool;
	return rc;
}

static void threads_stop(struct io_engine *engine)
{
	pool_free(engine->state);
	engine->state = NULL;
}

static void threads_submit(struct io_engine *engine, struct io_op *op)
{
	pool_submit(engine->state, op);
}

static void threads_flush(struct io_engine *engine)
{
}

static void threads_collect(struct io_engine *engine, bool must_progress, struct op_list *completed)
{
	pool_collect(engine->state, completed);
}

const struct engine_driver engine_driver_threads = {
	.name = "threads",
	.start = threads_start,
	.stop = threads_stop,
	.submit = threads_submit,
	.flush = threads_flush,
	.collect = threads_collect,
};
