/*
 * tests/unit/fuse_pipe.c: see fuse_pipe.h.
 */
#include "fuse_pipe.h"

#include "base/util.h"
#include "synth.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define ANSWERS 256

static struct synth *synth;
static struct diff *diff;
static struct io_engine *io;
static struct vfd_cache *vfds;
static struct bufpool *buffers;
static uint64_t last_unique;
static struct pipe_answer *answers; /* by number modulo ANSWERS */

struct session *pipe_session;
struct overlay *pipe_overlay;

static void take_reply(void *ctx, const struct iovec *iov, int count)
{
	struct fuse_out_header head;
	struct pipe_answer *a;
	size_t skip = sizeof(head);

	ck_assert_uint_ge(iov[0].iov_len, sizeof(head));
	memcpy(&head, iov[0].iov_base, sizeof(head));
	a = &answers[head.unique % ANSWERS];
	ck_assert_msg(!a->there, "request %llu was answered twice",
		      (unsigned long long)head.unique);
	a->there = true;
	a->error = head.error;
	a->len = 0;
	for (int i = 0; i < count; i++) {
		ck_assert_uint_le(a->len + iov[i].iov_len, sizeof(a->data));
		memcpy(a->data + a->len, (const char *)iov[i].iov_base + skip,
		       iov[i].iov_len - skip);
		a->len += iov[i].iov_len - skip;
		skip = 0;
	}
	ck_assert_uint_eq(a->len + sizeof(head), head.len);
}

static struct layer_chain *make_chain(void)
{
	static const uint8_t stored[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	const struct synth_blocks relation = {.size = 8 * LAYER_BLCKSZ,
					      .base_limit = LAYER_NO_LIMIT,
					      .count = 8,
					      .stored = stored};
	char name[32];

	synth = synth_new(unit_path, 1, 11);
	synth_add_dir(synth, 0, "base", 0700);
	synth_add_dir(synth, 0, "many", 0700);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "many/%04u", i);
		synth_add_inline(synth, 0, name, i);
	}
	synth_add_blocks(synth, 0, "base/1", &relation);
	synth_add_symlink(synth, 0, "link", "base/1");
	return synth_chain(synth);
}

static void open_overlay(struct layer_chain *chain)
{
	const char *ids[1] = {chain->layers[0]->id};
	const struct diff_binding binding = {.kind = "test",
					     .store = chain->store_path,
					     .instance = chain->instance,
					     .backups = ids,
					     .backup_count = 1};
	const struct diff_options diff_options = {0};
	const struct overlay_options options = {
		.uid = getuid(), .gid = getgid(), .index_memory = 1 << 20};
	char path[300];
	struct errmsg e = {0};

	(void)snprintf(path, sizeof(path), "%s/diff", unit_path);
	ck_assert_msg(diff_open(path, true, &binding, &diff_options, &e, &diff) == 0, "%s", e.text);
	ck_assert_msg(overlay_new(chain, diff, &options, &e, &pipe_overlay) == 0, "%s", e.text);
	ck_assert_int_eq(overlay_start(pipe_overlay, io, vfds, buffers), 0);
}

static void open_session(struct layer_chain *chain)
{
	const struct session_options options = {.store = "a store, of the test"};
	const struct session_pipe pipe = {.reply = take_reply};
	const struct session_parts parts = {
		.overlay = pipe_overlay, .chain = chain, .io = io, .vfds = vfds, .run_dirfd = -1};
	struct errmsg e = {0};

	ck_assert_msg(session_new(&options, &e, &pipe_session) == 0, "%s", e.text);
	ck_assert_int_eq(session_attach(pipe_session, &pipe), 0);
	ck_assert_msg(session_start(pipe_session, &parts, &e) == 0, "%s", e.text);
}

void pipe_open(void)
{
	const struct io_engine_options engine = {.kind = IO_KIND_SYNC};
	const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
					  .minor = FUSE_KERNEL_MINOR_VERSION,
					  .max_readahead = 128 << 10,
					  .flags = ~0u};
	struct layer_chain *chain;

	unit_setup();
	last_unique = 0;
	answers = calloc(ANSWERS, sizeof(*answers));
	ck_assert_int_eq(io_engine_new(&engine, NULL, &io), 0);
	ck_assert_int_eq(vfd_cache_new(io, 16, &vfds), 0);
	ck_assert_int_eq(bufpool_new(8 << 20, &buffers), 0);
	chain = make_chain();
	open_overlay(chain);
	open_session(chain);
	ck_assert_int_eq(pipe_ask(FUSE_INIT, 0, &init, sizeof(init))->error, 0);
}

static void sync_done(struct overlay_sync *op)
{
	ck_assert_int_eq(op->result, 0);
	op->all = false;
}

void pipe_close(void)
{
	struct overlay_sync sync = {.all = true, .done = sync_done};

	overlay_sync(pipe_overlay, &sync);
	pipe_run();
	ck_assert(!sync.all);
	session_free(pipe_session);
	overlay_free(pipe_overlay);
	diff_close(diff);
	vfd_cache_free(vfds);
	bufpool_free(buffers);
	io_engine_free(io);
	synth_free(synth);
	free(answers);
	unit_teardown();
}

uint64_t pipe_send(enum fuse_opcode opcode, uint64_t nodeid, const void *body, size_t len,
		   const void *more, size_t more_len)
{
	const struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + len + more_len),
					    .opcode = opcode,
					    .unique = last_unique + 2,
					    .nodeid = nodeid,
					    .uid = getuid(),
					    .gid = getgid(),
					    .pid = (uint32_t)getpid()};
	uint8_t *message = malloc(head.len);
	int rc;

	memcpy(message, &head, sizeof(head));
	if (len > 0)
		memcpy(message + sizeof(head), body, len);
	if (more_len > 0)
		memcpy(message + sizeof(head) + len, more, more_len);
	answers[head.unique % ANSWERS].there = false;
	rc = session_feed(pipe_session, message, head.len);
	free(message);
	if (rc == -EAGAIN)
		return 0;
	ck_assert_int_eq(rc, 0);
	last_unique = head.unique;
	return last_unique;
}

void pipe_run(void)
{
	while (!io_idle(io))
		(void)io_wait(io, -1);
}

const struct pipe_answer *pipe_answer(uint64_t unique)
{
	const struct pipe_answer *a = &answers[unique % ANSWERS];

	return a->there ? a : NULL;
}

static const struct pipe_answer *finish(uint64_t unique)
{
	ck_assert_uint_ne(unique, 0);
	pipe_run();
	ck_assert_ptr_nonnull(pipe_answer(unique));
	return pipe_answer(unique);
}

const struct pipe_answer *pipe_ask(enum fuse_opcode opcode, uint64_t nodeid, const void *body,
				   size_t len)
{
	return finish(pipe_send(opcode, nodeid, body, len, NULL, 0));
}

const struct pipe_answer *pipe_ask_name(enum fuse_opcode opcode, uint64_t nodeid, const void *body,
					size_t len, const char *name, const char *name2)
{
	char names[600];
	size_t names_len = strlen(name) + 1;

	memcpy(names, name, names_len);
	if (name2 != NULL) {
		memcpy(names + names_len, name2, strlen(name2) + 1);
		names_len += strlen(name2) + 1;
	}
	return finish(pipe_send(opcode, nodeid, body, len, names, names_len));
}

uint64_t pipe_lookup(uint64_t dir, const char *name)
{
	const struct pipe_answer *a = pipe_ask_name(FUSE_LOOKUP, dir, NULL, 0, name, NULL);
	struct fuse_entry_out entry;

	ck_assert_int_eq(a->error, 0);
	memcpy(&entry, a->data, sizeof(entry));
	/* Also that a name is not there is worth keeping. */
	ck_assert_uint_ge(entry.entry_valid, 3600);
	return entry.nodeid;
}

void pipe_forget(uint64_t nodeid, uint64_t lookups)
{
	const struct fuse_forget_in in = {.nlookup = lookups};
	uint64_t unique = pipe_send(FUSE_FORGET, nodeid, &in, sizeof(in), NULL, 0);

	ck_assert_ptr_null(pipe_answer(unique)); /* the kernel does not expect one */
}

uint64_t pipe_open_file(uint64_t nodeid, enum fuse_opcode opcode)
{
	const struct fuse_open_in in = {.flags = O_RDWR};
	const struct pipe_answer *a = pipe_ask(opcode, nodeid, &in, sizeof(in));
	struct fuse_open_out out;

	ck_assert_int_eq(a->error, 0);
	memcpy(&out, a->data, sizeof(out));
	if (opcode == FUSE_OPEN)
		ck_assert_uint_ne(out.open_flags & FOPEN_KEEP_CACHE, 0);
	return out.fh;
}

uint64_t pipe_create(uint64_t dir, const char *name, uint64_t *ret_handle)
{
	const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
	const struct pipe_answer *a = pipe_ask_name(FUSE_CREATE, dir, &in, sizeof(in), name, NULL);
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	ck_assert_int_eq(a->error, 0);
	memcpy(&entry, a->data, sizeof(entry));
	memcpy(&out, a->data + sizeof(entry), sizeof(out));
	*ret_handle = out.fh;
	return entry.nodeid;
}

uint64_t pipe_send_write(uint64_t nodeid, uint64_t handle, uint64_t off, const void *data,
			 uint32_t len)
{
	const struct fuse_write_in in = {.fh = handle, .offset = off, .size = len};

	return pipe_send(FUSE_WRITE, nodeid, &in, sizeof(in), data, len);
}

const struct pipe_answer *pipe_read(uint64_t nodeid, uint64_t handle, uint64_t off, uint32_t len)
{
	const struct fuse_read_in in = {.fh = handle, .offset = off, .size = len};

	return pipe_ask(FUSE_READ, nodeid, &in, sizeof(in));
}

void pipe_release(uint64_t nodeid, uint64_t handle, enum fuse_opcode opcode)
{
	const struct fuse_release_in in = {.fh = handle};

	ck_assert_int_eq(pipe_ask(opcode, nodeid, &in, sizeof(in))->error, 0);
}

uint64_t pipe_nodes(void)
{
	struct session_stats stats;

	session_get_stats(pipe_session, &stats);
	return stats.nodes;
}
