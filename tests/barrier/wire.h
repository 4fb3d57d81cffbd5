/*
 * tests/barrier/wire.h: a session on the in-process transport, on a real diff: requests as the
 * kernel makes them go in, answers come out through a callback, inside wire_send or io_wait.
 */
#ifndef BARRIER_WIRE_H
#define BARRIER_WIRE_H

#include "core.h"
#include "fuse/session.h"

#include <linux/fuse.h>

struct wire {
	struct core core;
	struct session *session;
	/* data is valid until it returns. It must not call wire_send. */
	void (*answer)(void *ctx, uint64_t unique, int error, const void *data, size_t len);
	void *ctx;
	uint8_t *in, *out;
};

struct wire_part {
	const void *data;
	size_t len;
};

/* Opens the diff (made if missing), and a session on it that has answered INIT. */
int wire_open(struct wire *w, const struct core_options *options, struct layer_chain *chain,
	      const char *diff_path, struct errmsg *e);
/* Nothing may be in flight. */
void wire_close(struct wire *w);

/* One request of up to two parts behind its header. 0, or -EAGAIN when no receive buffer is free.
 */
int wire_send(struct wire *w, enum fuse_opcode opcode, uint64_t unique, uint64_t nodeid,
	      struct wire_part body, struct wire_part more);
uint64_t wire_nodes(const struct wire *w);

#endif
