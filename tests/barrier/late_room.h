/*
 * tests/barrier/late_room.h: a journal that now and then has no room for a record at the moment,
 * and has it later, in front of the real one (ld --wrap of diff_log and diff_wait_room). It takes a
 * journal that grows to make that happen otherwise, which is rare.
 */
#ifndef BARRIER_LATE_ROOM_H
#define BARRIER_LATE_ROOM_H

#include <stdint.h>

void late_room_start(uint64_t seed);
/* Nobody may be waiting. */
void late_room_stop(void);
/* Lets those go on that wait, or not yet. */
void late_room_wake(void);
uint64_t late_room_count(void); /* refusals since the start */

#endif
