/*
 * io/barrier.h: the pending-ops barrier: one FIFO of tickets per file.
 *
 * A mutating request takes a ticket on arrival and keeps it until its effect is complete. Any request waits
 * for the earlier mutating tickets that overlap its byte range, never for later ones, so overlapping writes
 * apply in the order of arrival. Requests that only look (read, getattr, open, fsync) wait in the same FIFO
 * but hold nobody up and leave it when granted. Waiting parks a continuation; no thread sleeps.
 * An empty range overlaps nothing. granted may enter and leave the same barrier, and may end its life with
 * the last ticket.
 *
 * Locking: core thread only.
 */
#ifndef IO_BARRIER_H
#define IO_BARRIER_H

#include <stdbool.h>
#include <stdint.h>

struct ticket {
	uint64_t from, to; /* bytes [from, to); the whole file: 0, UINT64_MAX */
	bool mutates;
	void (*granted)(struct ticket *ticket);

	/* the barrier's own */
	struct ticket *prev, *next, *ready_next;
	unsigned blockers; /* earlier mutating tickets that overlap */
	bool waiting;
};

struct barrier {
	struct ticket *head, *tail;
};

/*
 * Queues the ticket and calls granted when no earlier mutating ticket overlaps: at once, inside this call, or
 * later inside a barrier_leave. A ticket that does not mutate is off the queue before granted is called.
 */
void barrier_enter(struct barrier *barrier, struct ticket *ticket);

/* The ticket's effect is complete: grants whom it held up. Only for granted tickets that mutate. */
void barrier_leave(struct barrier *barrier, struct ticket *ticket);

bool barrier_is_empty(const struct barrier *barrier);
/* True if a ticket for the whole file is queued: then the size may change before a newcomer's turn. */
bool barrier_has_whole(const struct barrier *barrier);

#endif
