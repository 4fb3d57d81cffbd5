/*
 * cmd/server_stuck.h: a fast shutdown that never ends.
 *
 * A postmaster that gets one while it starts its processes anew after the crash of one waits, when
 * recovery is done, for a checkpointer that nobody tells to end (seen with version 15). Called by
 * server.c while it waits; one thread; reads /proc only.
 */
#ifndef CMD_SERVER_STUCK_H
#define CMD_SERVER_STUCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_STUCK_MS 10000

/* What was seen last; zeros at first. */
struct server_calm {
	pid_t checkpointer;
	uint64_t spent; /* nanoseconds of processor time */
	uint64_t since_ms;
};

/*
 * True once the server has had no process at work but a checkpointer that is between two
 * checkpoints, and that has not run at all for SERVER_STUCK_MS. To be called again and again.
 */
bool server_is_stuck(pid_t postmaster, uint64_t now_ms, struct server_calm *calm);

#endif
