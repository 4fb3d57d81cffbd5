/*
 * Each queued ticket counts the earlier mutating tickets that overlap it (`blockers`); it is
 * granted when the count reaches zero. Entering counts once over the queue, leaving counts down
 * once over what stands behind: no pass is repeated, whatever the order of completion.
 *
 * granted may do anything to the barrier, even end the life of the file it belongs to. So
 * barrier_leave first finds all it sets free, on a list of its own, and does not look at the
 * barrier any more once it has begun to call.
 */
#include "io/barrier.h"

#include <assert.h>
#include <stddef.h>

static bool overlap(const struct ticket *a, const struct ticket *b)
{
	return a->from < b->to && b->from < a->to;
}

static void unlink_ticket(struct barrier *barrier, struct ticket *ticket)
{
	*(ticket->prev ? &ticket->prev->next : &barrier->head) = ticket->next;
	*(ticket->next ? &ticket->next->prev : &barrier->tail) = ticket->prev;
	ticket->prev = ticket->next = NULL;
}

static void append_ticket(struct barrier *barrier, struct ticket *ticket)
{
	ticket->next = NULL;
	ticket->prev = barrier->tail;
	*(barrier->tail ? &barrier->tail->next : &barrier->head) = ticket;
	barrier->tail = ticket;
}

void barrier_enter(struct barrier *barrier, struct ticket *ticket)
{
	ticket->blockers = 0;
	ticket->ready_next = NULL;
	for (const struct ticket *t = barrier->head; t; t = t->next)
		if (t->mutates && overlap(t, ticket))
			ticket->blockers++;
	ticket->waiting = ticket->blockers > 0;
	if (ticket->waiting || ticket->mutates)
		append_ticket(barrier, ticket);
	if (!ticket->waiting)
		ticket->granted(ticket);
}

void barrier_leave(struct barrier *barrier, struct ticket *ticket)
{
	struct ticket *ready = NULL, **tail = &ready, *next, *t;

	assert(ticket->mutates && !ticket->waiting);
	next = ticket->next;
	unlink_ticket(barrier, ticket);
	while ((t = next)) {
		next = t->next;
		if (!overlap(t, ticket) || --t->blockers > 0)
			continue;
		if (!t->mutates)
			unlink_ticket(barrier, t);
		*tail = t;
		tail = &t->ready_next;
	}
	while ((t = ready)) {
		ready = t->ready_next;
		t->ready_next = NULL;
		t->waiting = false;
		t->granted(t);
	}
}

bool barrier_is_empty(const struct barrier *barrier)
{
	return !barrier->head;
}

bool barrier_has_whole(const struct barrier *barrier)
{
	for (const struct ticket *t = barrier->head; t; t = t->next)
		if (t->mutates && t->from == 0 && t->to == UINT64_MAX)
			return true;
	return false;
}
