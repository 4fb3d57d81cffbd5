/*
 * tests/barrier/defects.c: the barrier with one defect, in front of the real one (ld --wrap).
 * DEFECT says which; the test has to find it.
 */
#include "io/barrier.h"
#include "overlay/overlay.h"
#include "overlay/overlay_internal.h"

#include "base/util.h"

#include <limits.h>

enum {
	NO_WAIT_ON_READ = 1,	/* a read goes ahead of earlier writes */
	LAST_IN_FIRST_OUT,	/* of those that wait the newest is next */
	NO_WAIT_FOR_TRUNCATE,	/* what comes after a truncation does not wait for it */
	TRUNCATE_DOES_NOT_WAIT, /* nor does it for what came before */
	RELEASED_AT_SUBMISSION, /* a write's ticket, before the host has the data */
	FSYNC_DOES_NOT_WAIT,	/* for writes under way */
};

#define OUTSIDE UINT_MAX /* ticket.blockers: never entered, or left before its time */

void __real_barrier_enter(struct barrier *barrier, struct ticket *ticket);
void __real_barrier_leave(struct barrier *barrier, struct ticket *ticket);
void __real_overlay_sync(struct overlay *ov, struct overlay_sync *op);
void __real_overlay_resize(struct overlay *ov, struct overlay_resize *op);
void __real_diff_write(struct diff *diff, struct diff_write *op);
void __wrap_barrier_enter(struct barrier *barrier, struct ticket *ticket);
void __wrap_barrier_leave(struct barrier *barrier, struct ticket *ticket);
void __wrap_overlay_sync(struct overlay *ov, struct overlay_sync *op);
void __wrap_overlay_resize(struct overlay *ov, struct overlay_resize *op);
void __wrap_diff_write(struct diff *diff, struct diff_write *op);

static bool syncs, truncates; /* the next ticket is that of an fsync, of a truncation */

static void grant_outside(struct ticket *ticket)
{
	ticket->blockers = OUTSIDE;
	ticket->waiting = false;
	ticket->granted(ticket);
}

/* ---- last in first out ---- */

static void push(struct barrier *b, struct ticket *t)
{
	t->prev = b->tail;
	t->next = NULL;
	*(b->tail ? &b->tail->next : &b->head) = t;
	b->tail = t;
}

static void take_out(struct barrier *b, struct ticket *t)
{
	*(t->prev ? &t->prev->next : &b->head) = t->next;
	*(t->next ? &t->next->prev : &b->tail) = t->prev;
}

static bool is_held_up(const struct barrier *b, const struct ticket *ticket)
{
	for (const struct ticket *t = b->head; t; t = t->next)
		if (t != ticket && t->mutates && !t->waiting && t->from < ticket->to &&
		    ticket->from < t->to)
			return true;
	return false;
}

static void lifo_grant(struct barrier *b, struct ticket *t)
{
	t->waiting = false;
	if (!t->mutates)
		take_out(b, t);
	t->granted(t);
}

static void lifo_enter(struct barrier *b, struct ticket *ticket)
{
	ticket->waiting = true;
	push(b, ticket);
	if (!is_held_up(b, ticket))
		lifo_grant(b, ticket);
}

static void lifo_leave(struct barrier *b, struct ticket *ticket)
{
	struct ticket *t;

	take_out(b, ticket);
	do {
		for (t = b->tail; t && (!t->waiting || is_held_up(b, t)); t = t->prev)
			;
		if (t)
			lifo_grant(b, t);
	} while (t);
}

/* ---- the defects ---- */

void __wrap_barrier_enter(struct barrier *barrier, struct ticket *ticket)
{
	bool sync = syncs, truncate = truncates, ranged = ticket->to != UINT64_MAX;

	syncs = truncates = false;
	if (DEFECT == LAST_IN_FIRST_OUT) {
		lifo_enter(barrier, ticket);
	} else if ((DEFECT == NO_WAIT_ON_READ && !ticket->mutates && ranged) ||
		   (DEFECT == FSYNC_DOES_NOT_WAIT && sync) ||
		   (DEFECT == TRUNCATE_DOES_NOT_WAIT && truncate)) {
		grant_outside(ticket);
	} else {
		if (DEFECT == NO_WAIT_FOR_TRUNCATE && truncate)
			ticket->mutates = false;
		__real_barrier_enter(barrier, ticket);
	}
}

void __wrap_barrier_leave(struct barrier *barrier, struct ticket *ticket)
{
	if (DEFECT == LAST_IN_FIRST_OUT)
		lifo_leave(barrier, ticket);
	else if (ticket->mutates && ticket->blockers != OUTSIDE)
		__real_barrier_leave(barrier, ticket);
}

void __wrap_overlay_sync(struct overlay *ov, struct overlay_sync *op)
{
	syncs = !op->all;
	__real_overlay_sync(ov, op);
}

void __wrap_overlay_resize(struct overlay *ov, struct overlay_resize *op)
{
	truncates = !op->fallocate;
	__real_overlay_resize(ov, op);
}

/* Of the tickets that have been granted only one covers these bytes. */
static struct ticket *ticket_of(const struct patch *p)
{
	struct ticket *t = p->file->barrier.head;

	while (t && (t->waiting || !t->mutates || t->from > p->off || t->to < p->off + p->len))
		t = t->next;
	return t;
}

void __wrap_diff_write(struct diff *diff, struct diff_write *op)
{
	struct patch *p = CONTAINER_OF(op, struct patch, write);
	struct ticket *t;

	if (DEFECT != RELEASED_AT_SUBMISSION || !p->data) {
		__real_diff_write(diff, op);
		return;
	}
	__real_diff_write(diff, op);
	t = ticket_of(p);
	if (!t)
		abort();
	__real_barrier_leave(&p->file->barrier, t);
	t->blockers = OUTSIDE;
}
