/*
 * tests/unit/io_barrier_test.c: the barrier against a model that looks at all pairs after every
 * step.
 */
#include "io/barrier.h"
#include "io_util.h"

#include <stdbool.h>
#include <string.h>

enum { QUEUE_MAX = 64, RANDOM_STEPS = 100000 };

/* A request of the test: its ticket, and its place in the order of arrival. */
struct req {
	struct ticket ticket;
	uint64_t arrival;
	bool used, granted, left;
};

static struct barrier barrier;
static struct req reqs[QUEUE_MAX];
static uint64_t arrivals, grants;
static unsigned long long rnd;
static int depth; /* of granted callbacks */
static bool reenter;

static struct req *req_of(struct ticket *ticket)
{
	return (struct req *)(void *)((char *)ticket - offsetof(struct req, ticket));
}

static void leave_now(struct req *r)
{
	r->left = true;
	barrier_leave(&barrier, &r->ticket);
	r->used = false;
}

static void random_enter(void);

static struct req *random_granted_mutator(void)
{
	unsigned first = unit_random(&rnd) % QUEUE_MAX;

	for (unsigned i = 0; i < QUEUE_MAX; i++) {
		struct req *r = &reqs[(first + i) % QUEUE_MAX];

		if (r->used && r->granted && r->ticket.mutates && !r->left)
			return r;
	}
	return NULL;
}

static void on_granted(struct ticket *ticket)
{
	struct req *r = req_of(ticket), *other;

	MUST(r->used && !r->granted && !ticket->waiting);
	r->granted = true;
	grants++;
	if (!ticket->mutates)
		r->used = false;
	if (!reenter || depth > 20)
		return;
	depth++;
	switch (unit_random(&rnd) % 6) {
	case 0:
		if (ticket->mutates)
			leave_now(r);
		break;
	case 1:
		random_enter();
		break;
	case 2:
		other = random_granted_mutator();
		if (other)
			leave_now(other);
		break;
	default:
		break;
	}
	depth--;
}

static struct req *free_req(void)
{
	for (unsigned i = 0; i < QUEUE_MAX; i++)
		if (!reqs[i].used)
			return &reqs[i];
	return NULL;
}

static struct req *enter(uint64_t from, uint64_t to, bool mutates)
{
	struct req *r = free_req();

	MUST(r);
	memset(r, 0xa5, sizeof(*r)); /* the barrier must not trust what is in its own fields */
	r->ticket.from = from;
	r->ticket.to = to;
	r->ticket.mutates = mutates;
	r->ticket.granted = on_granted;
	r->arrival = arrivals++;
	r->used = true;
	r->granted = r->left = false;
	barrier_enter(&barrier, &r->ticket);
	return r;
}

static void random_enter(void)
{
	uint64_t from = unit_random(&rnd) % 40, len = unit_random(&rnd) % 12;

	if (!free_req())
		return;
	if (unit_random(&rnd) % 8 == 0)
		enter(0, UINT64_MAX, unit_random(&rnd) % 2);
	else
		enter(from, from + len, unit_random(&rnd) % 2);
}

static bool model_blocked(const struct req *r)
{
	for (unsigned i = 0; i < QUEUE_MAX; i++) {
		const struct req *o = &reqs[i];

		if (o->used && o->ticket.mutates && o->arrival < r->arrival &&
		    o->ticket.from < r->ticket.to && r->ticket.from < o->ticket.to)
			return true;
	}
	return false;
}

static void check_against_model(void)
{
	bool any = false, whole = false;

	for (unsigned i = 0; i < QUEUE_MAX; i++) {
		const struct req *r = &reqs[i];

		if (!r->used)
			continue;
		any = true;
		whole |= r->ticket.mutates && r->ticket.from == 0 && r->ticket.to == UINT64_MAX;
		MUST(r->granted == !model_blocked(r));
		MUST(r->granted == !r->ticket.waiting);
	}
	MUST(barrier_is_empty(&barrier) == !any);
	MUST(barrier_has_whole(&barrier) == whole);
}

static void reset(void)
{
	memset(&barrier, 0, sizeof(barrier));
	memset(reqs, 0, sizeof(reqs));
	arrivals = grants = 0;
	reenter = false;
}

START_TEST(random_against_model)
{
	struct req *r;

	reset();
	rnd = test_seed("barrier", _i);
	reenter = _i > 0;
	for (unsigned step = 0; step < RANDOM_STEPS; step++) {
		/* The queue swings between nearly empty and full. */
		bool grow = unit_random(&rnd) % 100 < (step / 500 % 2 ? 65u : 45u);

		if (grow && free_req())
			random_enter();
		else if ((r = random_granted_mutator()))
			leave_now(r);
		check_against_model();
	}
	while ((r = random_granted_mutator())) {
		leave_now(r);
		check_against_model();
	}
	ck_assert(barrier_is_empty(&barrier));
	ck_assert_uint_eq(grants, arrivals);
	printf("barrier: %llu tickets granted\n", (unsigned long long)grants);
}
END_TEST

START_TEST(readers_hold_nobody_up)
{
	struct req *w, *r, *later;

	reset();
	w = enter(0, 10, true);
	r = enter(0, UINT64_MAX, false);
	later = enter(20, 30, true); /* overlaps the waiting reader only */
	ck_assert(w->granted && !r->granted && later->granted);
	leave_now(w);
	ck_assert(r->granted); /* not held up by the later writer */
	leave_now(later);
	ck_assert(barrier_is_empty(&barrier));
}
END_TEST

START_TEST(order_of_arrival)
{
	struct req *a, *b, *c, *d;

	reset();
	a = enter(0, 10, true);
	b = enter(5, 15, true);
	c = enter(12, 20, true); /* overlaps b, not a: must not pass b */
	d = enter(0, 0, true);	 /* empty: overlaps nothing */
	ck_assert(a->granted && !b->granted && !c->granted && d->granted);
	ck_assert(!barrier_has_whole(&barrier));
	leave_now(a);
	ck_assert(b->granted && !c->granted);
	leave_now(b);
	ck_assert(c->granted);
	leave_now(d);
	leave_now(c);
	ck_assert(barrier_is_empty(&barrier));
}
END_TEST

/* The file, and with it the barrier, ends with the last request. */
static struct barrier *mortal;
static struct ticket last;

static void end_of_file(struct ticket *ticket)
{
	ck_assert_ptr_eq(ticket, &last);
	free(mortal);
	mortal = NULL;
}

static void nothing(struct ticket *ticket)
{
}

START_TEST(granted_may_free_the_barrier)
{
	struct ticket first = {.from = 0, .to = 1, .mutates = true, .granted = nothing};

	mortal = calloc(1, sizeof(*mortal));
	last = (struct ticket){.from = 0, .to = UINT64_MAX, .granted = end_of_file};
	barrier_enter(mortal, &first);
	barrier_enter(mortal, &last);
	barrier_leave(mortal, &first);
	ck_assert_ptr_null(mortal);

	mortal = calloc(1, sizeof(*mortal));
	barrier_enter(mortal, &last);
	ck_assert_ptr_null(mortal);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_barrier");
	TCase *tc = tcase_create("barrier");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, readers_hold_nobody_up);
	tcase_add_test(tc, order_of_arrival);
	tcase_add_test(tc, granted_may_free_the_barrier);
	tcase_add_loop_test(tc, random_against_model, 0, 3);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
