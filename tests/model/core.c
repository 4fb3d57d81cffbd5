/*
 * tests/model/core.c: see core.h.
 */
#include "core.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Every completion moves something; this many waits without one mean that an operation was lost. */
#define WAITS_MAX 2000

int core_new(struct core *c, const struct core_options *options, struct errmsg *e)
{
	struct io_engine_options io = {
		.kind = options->kind,
		.threads = options->threads ? options->threads : 3,
		.shuffle_seed = options->shuffle_seed};
	int rc;

	*c = (struct core){.options = *options};
	rc = io_engine_new(&io, e, &c->io);
	if (rc == 0)
		rc = vfd_cache_new(c->io, options->slots, &c->vfds);
	if (rc == 0)
		rc = bufpool_new(options->buffer_bytes, &c->buffers);
	if (rc < 0)
		core_free(c);
	return rc;
}

void core_free(struct core *c)
{
	vfd_cache_free(c->vfds);
	bufpool_free(c->buffers);
	io_engine_free(c->io);
	*c = (struct core){0};
}

int core_open(struct core *c, struct layer_chain *chain, const char *diff_path, struct errmsg *e)
{
	const char *ids[64];
	struct diff_binding binding = {.kind = "model",
				       .store = chain->store_path,
				       .instance = chain->instance,
				       .backups = ids,
				       .backup_count = MIN(chain->count, 64u)};
	struct diff_options options = {.journal_limit = c->options.journal_limit,
				       .reserve = c->options.reserve};
	struct overlay_options ov = {
		.uid = getuid(), .gid = getgid(), .index_memory = c->options.index_memory};
	int rc;

	for (unsigned i = 0; i < binding.backup_count; i++)
		ids[i] = chain->layers[i]->id;
	memcpy(binding.content_hash, chain->content_hash, sizeof(binding.content_hash));
	c->chain = chain;
	c->diff_path = diff_path;
	rc = diff_open(diff_path, true, &binding, &options, e, &c->diff);
	if (rc == 0)
		rc = overlay_new(chain, c->diff, &ov, e, &c->ov);
	if (rc == 0)
		rc = overlay_start(c->ov, c->io, c->vfds, c->buffers);
	if (rc < 0)
		core_close(c);
	return rc;
}

void core_close(struct core *c)
{
	overlay_free(c->ov);
	diff_close(c->diff);
	c->ov = NULL;
	c->diff = NULL;
	/* descriptors given back are closed by jobs */
	core_drain(c);
}

bool core_run(struct core *c, const bool *done)
{
	for (unsigned idle = 0; !*done && idle < WAITS_MAX;) {
		if (io_wait(c->io, c->options.kind == IO_KIND_SYNC ? -1 : 100) > 0)
			idle = 0;
		else
			idle++;
	}
	return *done;
}

void core_drain(struct core *c)
{
	for (unsigned i = 0; i < WAITS_MAX * 10; i++) {
		if (io_idle(c->io) && (!c->diff || diff_is_idle(c->diff)))
			break;
		(void)io_wait(c->io, 100);
	}
}

struct room {
	struct diff_room_wait wait;
	bool done;
};

static void room_ready(struct diff_room_wait *wait)
{
	CONTAINER_OF(wait, struct room, wait)->done = true;
}

void core_wait_room(struct core *c)
{
	struct room room = {.wait = {.ready = room_ready}};

	overlay_wait_room(c->ov, &room.wait);
	if (!core_run(c, &room.done)) {
		(void)fprintf(stderr, "model: no room in the journal, and nobody makes any\n");
		abort();
	}
}

struct sync_call {
	struct overlay_sync op;
	bool done;
};

static void sync_done(struct overlay_sync *op)
{
	CONTAINER_OF(op, struct sync_call, op)->done = true;
}

int core_sync(struct core *c, struct file *file, bool all)
{
	struct sync_call call = {.op = {.file = file, .all = all, .done = sync_done}};

	overlay_sync(c->ov, &call.op);
	return core_run(c, &call.done) ? call.op.result : -ETIMEDOUT;
}

struct read_call {
	struct overlay_read op;
	void *buf;
	bool done;
};

static void read_done(struct overlay_read *op)
{
	struct read_call *call = CONTAINER_OF(op, struct read_call, op);

	if (op->result > 0)
		memcpy(call->buf, op->data, (size_t)op->result);
	call->done = true;
}

int64_t core_read(struct core *c, struct file *file, uint64_t off, uint32_t len, void *buf)
{
	struct read_call call = {.op = {.file = file, .off = off, .len = len, .done = read_done},
				 .buf = buf};

	overlay_read(c->ov, &call.op);
	return core_run(c, &call.done) ? call.op.result : -ETIMEDOUT;
}

struct write_call {
	struct overlay_write op;
	bool done;
};

static void write_done(struct overlay_write *op)
{
	CONTAINER_OF(op, struct write_call, op)->done = true;
}

int core_write(struct core *c, struct file *file, uint64_t off, uint32_t len, const void *buf)
{
	struct write_call call = {
		.op = {.file = file, .off = off, .len = len, .data = buf, .done = write_done}};

	overlay_write(c->ov, &call.op);
	return core_run(c, &call.done) ? call.op.result : -ETIMEDOUT;
}

struct resize_call {
	struct overlay_resize op;
	bool done;
};

static void resize_done(struct overlay_resize *op)
{
	CONTAINER_OF(op, struct resize_call, op)->done = true;
}

static int resize(struct core *c, struct resize_call *call)
{
	call->op.done = resize_done;
	overlay_resize(c->ov, &call->op);
	return core_run(c, &call->done) ? call->op.result : -ETIMEDOUT;
}

int core_truncate(struct core *c, struct file *file, uint64_t size)
{
	struct resize_call call = {.op = {.file = file, .off = size}};

	return resize(c, &call);
}

int core_fallocate(struct core *c, struct file *file, int mode, uint64_t off, uint64_t len)
{
	struct resize_call call = {
		.op = {.file = file, .fallocate = true, .mode = mode, .off = off, .len = len}};

	return resize(c, &call);
}

int core_find_parent(struct core *c, const char *path, struct file **ret_dir, const char **ret_name)
{
	struct file *dir = overlay_root(c->ov);
	const char *slash;
	struct stat st;

	while ((slash = strchr(path, '/'))) {
		char name[DIFF_NAME_MAX + 2];
		size_t len = MIN((size_t)(slash - path), sizeof(name) - 1);
		int rc;

		memcpy(name, path, len);
		name[len] = '\0';
		rc = overlay_lookup(c->ov, dir, name, &dir);
		if (rc < 0)
			return rc;
		path = slash + 1;
	}
	overlay_getattr(c->ov, dir, &st);
	*ret_dir = dir;
	*ret_name = path;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int core_find(struct core *c, const char *path, struct file **ret)
{
	struct file *dir;
	const char *name;
	int rc;

	if (path[0] == '\0') {
		*ret = overlay_root(c->ov);
		return 0;
	}
	rc = core_find_parent(c, path, &dir, &name);
	return rc < 0 ? rc : overlay_lookup(c->ov, dir, name, ret);
}
