/*
 * tests/barrier/late_room.c: see late_room.h.
 */
#include "late_room.h"

#include "diff/diff.h"
#include "rng.h"

#include <errno.h>

#define ONE_IN 16u

int __real_diff_log(struct diff *diff, const struct diff_record *records, unsigned count);
void __real_diff_wait_room(struct diff *diff, struct diff_room_wait *wait);
int __wrap_diff_log(struct diff *diff, const struct diff_record *records, unsigned count);
void __wrap_diff_wait_room(struct diff *diff, struct diff_room_wait *wait);

static struct {
	bool on, refused; /* refused: who asks to wait next was refused here */
	struct rng rng;
	uint64_t count;
	struct diff_room_wait *waiters, **tail;
} room;

void late_room_start(uint64_t seed)
{
	room.on = true;
	room.refused = false;
	room.rng.state = seed;
	room.count = 0;
	room.waiters = NULL;
	room.tail = &room.waiters;
}

void late_room_stop(void)
{
	room.on = false;
}

uint64_t late_room_count(void)
{
	return room.count;
}

int __wrap_diff_log(struct diff *diff, const struct diff_record *records, unsigned count)
{
	int rc = diff_writable(diff);

	room.refused = rc == 0 && room.on && rng_one_in(&room.rng, ONE_IN);
	if (!room.refused)
		return __real_diff_log(diff, records, count);
	room.count++;
	return -EAGAIN;
}

void __wrap_diff_wait_room(struct diff *diff, struct diff_room_wait *wait)
{
	if (!room.refused) {
		__real_diff_wait_room(diff, wait);
		return;
	}
	room.refused = false;
	wait->next = NULL;
	*room.tail = wait;
	room.tail = &wait->next;
}

void late_room_wake(void)
{
	struct diff_room_wait *wait = room.waiters, *next;

	if (!room.on || rng_one_in(&room.rng, 2))
		return;
	room.waiters = NULL;
	room.tail = &room.waiters;
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait);
	}
}
