/*
 * tests/barrier/wire.c: see wire.h.
 */
#include "wire.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX ((1u << 20) + 4096u)

static void take_answer(void *ctx, const struct iovec *iov, int count)
{
	struct wire *w = ctx;
	struct fuse_out_header head;
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		if (len + iov[i].iov_len > MESSAGE_MAX)
			abort();
		memcpy(w->out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memcpy(&head, w->out, sizeof(head));
	if (len < sizeof(head) || len != head.len)
		abort();
	w->answer(w->ctx, head.unique, head.error, w->out + sizeof(head), len - sizeof(head));
}

static void ignore(void *ctx, uint64_t unique, int error, const void *data, size_t len)
{
	if (error != 0)
		abort();
}

static int start_session(struct wire *w, struct layer_chain *chain, struct errmsg *e)
{
	const struct session_options options = {.store = chain->store_path};
	const struct session_pipe pipe = {.reply = take_answer, .ctx = w};
	const struct session_parts parts = {.overlay = w->core.ov,
					    .chain = chain,
					    .io = w->core.io,
					    .vfds = w->core.vfds,
					    .run_dirfd = -1};
	const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
					  .minor = FUSE_KERNEL_MINOR_VERSION,
					  .max_readahead = 128 << 10,
					  .flags = ~0u};
	int rc = session_new(&options, e, &w->session);

	if (rc == 0)
		rc = session_attach(w->session, &pipe);
	if (rc == 0)
		rc = session_start(w->session, &parts, e);
	if (rc < 0)
		return rc;
	w->answer = ignore;
	return wire_send(w, FUSE_INIT, 1, 0, (struct wire_part){&init, sizeof(init)},
			 (struct wire_part){0});
}

int wire_open(struct wire *w, const struct core_options *options, struct layer_chain *chain,
	      const char *diff_path, struct errmsg *e)
{
	int rc;

	*w = (struct wire){.in = malloc(MESSAGE_MAX), .out = malloc(MESSAGE_MAX)};
	if (!w->in || !w->out)
		abort();
	rc = core_new(&w->core, options, e);
	if (rc == 0)
		rc = core_open(&w->core, chain, diff_path, e);
	if (rc == 0)
		rc = start_session(w, chain, e);
	if (rc < 0)
		wire_close(w);
	return rc;
}

void wire_close(struct wire *w)
{
	session_free(w->session);
	if (w->core.io) {
		core_drain(&w->core);
		core_close(&w->core);
		core_free(&w->core);
	}
	free(w->in);
	free(w->out);
	*w = (struct wire){0};
}

int wire_send(struct wire *w, enum fuse_opcode opcode, uint64_t unique, uint64_t nodeid,
	      struct wire_part body, struct wire_part more)
{
	const struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + body.len + more.len),
					    .opcode = opcode,
					    .unique = unique,
					    .nodeid = nodeid,
					    .uid = getuid(),
					    .gid = getgid(),
					    .pid = (uint32_t)getpid()};

	memcpy(w->in, &head, sizeof(head));
	if (body.len > 0)
		memcpy(w->in + sizeof(head), body.data, body.len);
	if (more.len > 0)
		memcpy(w->in + sizeof(head) + body.len, more.data, more.len);
	return session_feed(w->session, w->in, head.len);
}

uint64_t wire_nodes(const struct wire *w)
{
	struct session_stats stats;

	session_get_stats(w->session, &stats);
	return stats.nodes;
}
