/*
 * tests/unit/fuse_pipe.h: a session on the in-process transport, with a chain made in memory and a
 * real diff.
 *
 * Requests are put together as the kernel does it; an answer is kept until the next one to the same
 * number. The engine runs on the calling thread and only when pipe_run is called, so that requests
 * can be kept in flight.
 */
#ifndef TESTS_UNIT_FUSE_PIPE_H
#define TESTS_UNIT_FUSE_PIPE_H

#include "fuse/session.h"

#include <linux/fuse.h>

struct pipe_answer {
	bool there;
	int error; /* 0 or -errno */
	size_t len;
	uint8_t data[1 << 17];
};

extern struct session *pipe_session;
extern struct overlay *pipe_overlay;

void pipe_open(void);
void pipe_close(void);

/* Sends a request: body is copied, up to two pieces. Returns its number, or 0 when no buffer was
 * free. */
uint64_t pipe_send(enum fuse_opcode opcode, uint64_t nodeid, const void *body, size_t len,
		   const void *more, size_t more_len);
/* Lets the engine work until nothing is left to do. */
void pipe_run(void);
/* What was answered to that number; NULL: nothing yet. */
const struct pipe_answer *pipe_answer(uint64_t unique);
/* Sends, runs, returns the answer. Fails the test if there is none. */
const struct pipe_answer *pipe_ask(enum fuse_opcode opcode, uint64_t nodeid, const void *body,
				   size_t len);
/* The same for requests that end with a name (and a second one, unless NULL). */
const struct pipe_answer *pipe_ask_name(enum fuse_opcode opcode, uint64_t nodeid, const void *body,
					size_t len, const char *name, const char *name2);

/* Frequent ones. */
uint64_t pipe_lookup(uint64_t dir, const char *name); /* node id; 0: not there */
void pipe_forget(uint64_t nodeid, uint64_t lookups);
uint64_t pipe_open_file(uint64_t nodeid,
			enum fuse_opcode opcode); /* FUSE_OPEN, FUSE_OPENDIR: a handle */
uint64_t pipe_create(uint64_t dir, const char *name, uint64_t *ret_handle);
uint64_t pipe_send_write(uint64_t nodeid, uint64_t handle, uint64_t off, const void *data,
			 uint32_t len);
const struct pipe_answer *pipe_read(uint64_t nodeid, uint64_t handle, uint64_t off, uint32_t len);
void pipe_release(uint64_t nodeid, uint64_t handle, enum fuse_opcode opcode);
uint64_t pipe_nodes(void);

#endif
