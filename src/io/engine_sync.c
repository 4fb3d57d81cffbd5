/*
 * The engine for tests: everything runs on the calling thread, inside io_reap or io_wait.
 *
 * Without a seed operations run and complete in the order of submission. With one, two lotteries
 * decide: which pending operations run, and which of those that ran are reported, so that effects
 * become visible out of order and completions come late. The same seed and the same calls give the
 * same order.
 */
#include "io/engine_internal.h"

#include <errno.h>
#include <stdlib.h>

struct sync_state {
	struct op_list pending; /* submitted */
	struct op_list ran;	/* result known, not reported */
	uint64_t random;	/* xorshift state; 0: in order */
};

static uint64_t next_random(struct sync_state *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random * 0x2545f4914f6cdd1dull >> 11;
}

static int sync_start(struct io_engine *engine, const struct io_engine_options *options,
		      struct errmsg *e)
{
	struct sync_state *s = calloc(1, sizeof(*s));

	if (!s)
		return errmsg_set(e, -ENOMEM, "I/O engine: out of memory");
	s->random = options->shuffle_seed;
	engine->state = s;
	return 0;
}

static void sync_stop(struct io_engine *engine)
{
	free(engine->state);
	engine->state = NULL;
}

static void sync_submit(struct io_engine *engine, struct io_op *op)
{
	struct sync_state *s = engine->state;

	op_list_push(&s->pending, op);
	engine_signal(engine->event_fd);
}

static void sync_flush(struct io_engine *engine)
{
}

static void run_one(struct sync_state *s, unsigned index)
{
	struct io_op *op = op_list_take(&s->pending, index);

	engine_run(op);
	op_list_push(&s->ran, op);
}

static void run_some(struct sync_state *s, bool must_progress, struct op_list *completed)
{
	uint64_t runs = next_random(s) % (s->pending.count + 1);
	uint64_t reports;

	if (runs == 0 && must_progress && s->ran.count == 0 && s->pending.count > 0)
		runs = 1;
	for (; runs > 0; runs--)
		run_one(s, (unsigned)(next_random(s) % s->pending.count));

	reports = next_random(s) % (s->ran.count + 1);
	if (reports == 0 && must_progress && s->ran.count > 0)
		reports = 1;
	for (; reports > 0; reports--)
		op_list_push(completed,
			     op_list_take(&s->ran, (unsigned)(next_random(s) % s->ran.count)));
}

static void sync_collect(struct io_engine *engine, bool must_progress, struct op_list *completed)
{
	struct sync_state *s = engine->state;

	if (s->random != 0) {
		run_some(s, must_progress, completed);
	} else {
		while (s->pending.head)
			run_one(s, 0);
		op_list_append(completed, &s->ran);
	}
	if (s->pending.head || s->ran.head)
		engine_signal(engine->event_fd);
}

const struct engine_driver engine_driver_sync = {
	.name = "sync",
	.start = sync_start,
	.stop = sync_stop,
	.submit = sync_submit,
	.flush = sync_flush,
	.collect = sync_collect,
};
