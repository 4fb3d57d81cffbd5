/*
 * cmd/server_recovery.h: waiting for a server that recovers to a target.
 */
#ifndef CMD_SERVER_RECOVERY_H
#define CMD_SERVER_RECOVERY_H

#include "cmd/server.h"

enum recovery_end { RECOVERY_OPEN, RECOVERY_PAUSED, RECOVERY_SHUT_DOWN };

struct recovery_wait {
	const struct pgbin *bin;
	const struct owner *owner;
	const struct server_facts *facts;
	const char *data_dir;
	enum recovery_end end; /* what the target's action leads to */
	uint32_t segment_size; /* of WAL, 0 unknown */
	uint64_t end_lsn;      /* for showing progress, 0 unknown */
	unsigned stall_ms; /* gives up when nothing moves for so long; 0: the default, 10 minutes */
	void (*tell)(const char *text);
	const volatile bool *stop;
};

/*
 * Waits until recovery has come to its end: the server open, paused in hot standby, or shut down.
 * Takes as long as it moves: replays another segment, or its startup process computes. -ECHILD: it
 * has ended otherwise; -EINTR: *stop became true; -ETIMEDOUT: nothing moves.
 */
int server_wait_recovered(const struct recovery_wait *wait);

/* For tests: the LSN at which the segment begins that a startup process says it is at; 0: says
 * none. */
uint64_t server_recovery_lsn(const char *title, uint32_t segment_size);

#endif
