/*
 * overlay/api.c: libpgoverlay (include/pgoverlay/pgoverlay.h) on top of the overlay, read-only.
 *
 * The overlay answers from continuations; here each call runs the engine until its answer is there.
 * So the caller's thread is the core thread while it is in the library.
 */
#include "base/util.h"
#include "overlay/overlay.h"
#include "pgoverlay/pgoverlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define READ_MAX    (1u << 20)
#define VFD_SLOTS   64u /* a guest in its process takes few descriptors */
#define BUFFERS	    (16u << 20)
#define INDEX_BYTES (64u << 20)

struct pgoverlay_store {
	struct store *store;
};

struct pgoverlay_list {
	struct store *store;
	struct backup_list list;
	struct pgoverlay_backup *items;
};

struct pgoverlay_chain {
	struct store *store;
	struct layer_chain *layers;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	struct overlay *ov;
};

struct pgoverlay_file {
	struct pgoverlay_chain *chain;
	struct file *file;
	uint64_t size;
	bool is_relation;
};

const char *pgoverlay_version(void)
{
	return PGOVERLAY_VERSION;
}

static int fail(struct pgoverlay_error *e, const struct errmsg *why, int rc)
{
	if (e != NULL)
		(void)snprintf(e->text, sizeof(e->text), "%s", errmsg_text(why, rc));
	return rc;
}

/* ---- stores ---- */

int pgoverlay_store_open(const char *path, struct pgoverlay_error *e, struct pgoverlay_store **ret)
{
	struct pgoverlay_store *store = calloc(1, sizeof(*store));
	struct errmsg why = {""};
	int rc = store != NULL ? store_open(path, &why, &store->store) : -ENOMEM;

	if (rc < 0) {
		free(store);
		return fail(e, &why, rc);
	}
	*ret = store;
	return 0;
}

void pgoverlay_store_close(struct pgoverlay_store *store)
{
	if (store != NULL)
		store_close(store->store);
	free(store);
}

const char *pgoverlay_store_kind(const struct pgoverlay_store *store)
{
	return store->store->driver->name;
}

static void fill_backup(const struct backup_info *info, struct pgoverlay_backup *ret)
{
	*ret = (struct pgoverlay_backup){
		.instance = info->instance,
		.id = info->id,
		.mode = info->mode,
		.parent = info->parent,
		.status = info->status,
		.reason = info->reason,
		.mountable = info->mountable,
		.stream = info->stream,
		.start_time = info->start_time,
		.bytes = info->bytes,
		.start_lsn = info->start_lsn,
		.stop_lsn = info->stop_lsn,
		.timeline = info->timeline,
	};
}

int pgoverlay_list(struct pgoverlay_store *store, const char *instance, struct pgoverlay_error *e,
		   struct pgoverlay_list **ret)
{
	struct pgoverlay_list *list = calloc(1, sizeof(*list));
	struct errmsg why = {""};
	int rc = -ENOMEM;

	if (list != NULL)
		rc = store->store->driver->list(store->store, instance, &why, &list->list);
	if (rc < 0) {
		free(list);
		return fail(e, &why, rc);
	}
	list->store = store->store;
	list->items = calloc(MAX(list->list.count, (size_t)1), sizeof(*list->items));
	if (list->items == NULL) {
		pgoverlay_list_free(list);
		return fail(e, &why, -ENOMEM);
	}
	for (size_t i = 0; i < list->list.count; i++)
		fill_backup(&list->list.items[i], &list->items[i]);
	*ret = list;
	return 0;
}

size_t pgoverlay_list_count(const struct pgoverlay_list *list)
{
	return list->list.count;
}

const struct pgoverlay_backup *pgoverlay_list_get(const struct pgoverlay_list *list, size_t i)
{
	return i < list->list.count ? &list->items[i] : NULL;
}

void pgoverlay_list_free(struct pgoverlay_list *list)
{
	if (list == NULL)
		return;
	list->store->driver->list_free(&list->list);
	free(list->items);
	free(list);
}

/* ---- chains ---- */

/* Members that the caller's version of the struct does not have are zero. */
static int take_options(const struct pgoverlay_options *options, struct pgoverlay_options *ret)
{
	*ret = (struct pgoverlay_options){0};
	if (options == NULL)
		return 0;
	if (options->size < offsetof(struct pgoverlay_options, instance) ||
	    options->size > sizeof(*options))
		return -EINVAL;
	memcpy(ret, options, options->size);
	return 0;
}

static int start_overlay(struct pgoverlay_chain *chain, const struct pgoverlay_options *options,
			 struct errmsg *e)
{
	struct io_engine_options io = {.kind = options->threads > 0 ? IO_KIND_THREADS
								    : IO_KIND_SYNC,
				       .threads = options->threads};
	struct overlay_options ov = {
		.uid = getuid(),
		.gid = getgid(),
		.index_memory = options->index_bytes > 0 ? options->index_bytes : INDEX_BYTES,
		.verify_reads = !options->no_verify,
	};
	int rc = overlay_new(chain->layers, NULL, &ov, e, &chain->ov);

	if (rc == 0)
		rc = io_engine_new(&io, e, &chain->io);
	if (rc == 0)
		rc = vfd_cache_new(chain->io, VFD_SLOTS, &chain->vfds);
	if (rc == 0)
		rc = bufpool_new(BUFFERS, &chain->buffers);
	if (rc == 0)
		rc = overlay_start(chain->ov, chain->io, chain->vfds, chain->buffers);
	return rc;
}

int pgoverlay_chain_open(struct pgoverlay_store *store, const struct pgoverlay_options *options,
			 struct pgoverlay_error *e, struct pgoverlay_chain **ret)
{
	struct pgoverlay_chain *chain = calloc(1, sizeof(*chain));
	struct pgoverlay_options o;
	struct errmsg why = {""};
	int rc = chain != NULL ? take_options(options, &o) : -ENOMEM;

	if (rc == 0) {
		chain->store = store->store;
		store->store->options =
			(struct store_options){.force = o.force, .external = o.external};
		rc = store->store->driver->open_chain(store->store, o.instance, o.backup,
						      o.no_lock ? 0 : getpid(), &why,
						      &chain->layers);
	}
	if (rc == 0)
		rc = start_overlay(chain, &o, &why);
	if (rc < 0) {
		pgoverlay_chain_close(chain);
		return fail(e, &why, rc);
	}
	*ret = chain;
	return 0;
}

void pgoverlay_chain_close(struct pgoverlay_chain *chain)
{
	if (chain == NULL)
		return;
	overlay_free(chain->ov);
	vfd_cache_free(chain->vfds);
	bufpool_free(chain->buffers);
	io_engine_free(chain->io);
	if (chain->layers != NULL)
		chain->store->driver->close_chain(chain->layers);
	free(chain);
}

unsigned pgoverlay_chain_count(const struct pgoverlay_chain *chain)
{
	return chain->layers->count;
}

const char *pgoverlay_chain_id(const struct pgoverlay_chain *chain, unsigned i)
{
	return i < chain->layers->count ? chain->layers->layers[i]->id : NULL;
}

const char *pgoverlay_chain_warnings(const struct pgoverlay_chain *chain)
{
	return chain->layers->warnings;
}

unsigned pgoverlay_chain_pg_version(const struct pgoverlay_chain *chain)
{
	return chain->layers->pg_version;
}

/* ---- files ---- */

static const struct layer *target_of(const struct pgoverlay_chain *chain)
{
	return chain->layers->layers[chain->layers->count - 1];
}

static int compare_path(const void *path, const void *entry)
{
	return strcmp(path, ((const struct layer_entry *)entry)->path);
}

static const struct layer_entry *find_entry(const struct pgoverlay_chain *chain, const char *path)
{
	const struct layer *target = target_of(chain);

	return bsearch(path, target->entries, target->entry_count, sizeof(*target->entries),
		       compare_path);
}

/* The overlay's file of a path that is in the manifest. */
static int find_file(struct pgoverlay_chain *chain, const char *path, struct file **ret)
{
	struct file *file = overlay_root(chain->ov);
	char name[256];

	for (;;) {
		size_t len = strcspn(path, "/");
		int rc;

		if (len >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		rc = overlay_lookup(chain->ov, file, name, &file);
		if (rc < 0 || path[len] == '\0') {
			*ret = file;
			return rc;
		}
		path += len + 1;
	}
}

static int fill_stat(struct pgoverlay_chain *chain, const struct layer_entry *entry,
		     struct pgoverlay_stat *ret)
{
	struct file *file;
	struct stat st;
	int rc = find_file(chain, entry->path, &file);

	if (rc < 0)
		return rc;
	overlay_getattr(chain->ov, file, &st);
	*ret = (struct pgoverlay_stat){
		.mode = st.st_mode,
		.size = (uint64_t)st.st_size,
		.ino = st.st_ino,
		.is_relation = entry->kind == LAYER_BLOCKS,
		.link = entry->target,
	};
	return 0;
}

int pgoverlay_walk(struct pgoverlay_chain *chain,
		   int (*fn)(void *ctx, const char *path, const struct pgoverlay_stat *st),
		   void *ctx)
{
	const struct layer *target = target_of(chain);
	int rc = 0;

	for (uint32_t i = 0; i < target->entry_count && rc == 0; i++) {
		struct pgoverlay_stat st;

		rc = fill_stat(chain, &target->entries[i], &st);
		if (rc == 0)
			rc = fn(ctx, target->entries[i].path, &st);
	}
	return rc;
}

int pgoverlay_stat(struct pgoverlay_chain *chain, const char *path, struct pgoverlay_stat *ret)
{
	const struct layer_entry *entry = find_entry(chain, path);

	return entry != NULL ? fill_stat(chain, entry, ret) : -ENOENT;
}

int pgoverlay_open(struct pgoverlay_chain *chain, const char *path, struct pgoverlay_file **ret)
{
	const struct layer_entry *entry = find_entry(chain, path);
	struct pgoverlay_stat st;
	struct pgoverlay_file *file;
	int rc = entry != NULL ? fill_stat(chain, entry, &st) : -ENOENT;

	if (rc < 0)
		return rc;
	if (entry->kind == LAYER_DIR || entry->kind == LAYER_SYMLINK)
		return entry->kind == LAYER_DIR ? -EISDIR : -ELOOP;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return -ENOMEM;
	file->chain = chain;
	file->size = st.size;
	file->is_relation = st.is_relation;
	rc = find_file(chain, path, &file->file);
	if (rc < 0) {
		free(file);
		return rc;
	}
	overlay_ref(file->file);
	*ret = file;
	return 0;
}

void pgoverlay_close(struct pgoverlay_file *file)
{
	if (file != NULL)
		overlay_unref(file->chain->ov, file->file);
	free(file);
}

uint64_t pgoverlay_size(const struct pgoverlay_file *file)
{
	return file->size;
}

/* One read of the overlay; its data is valid in the callback only. */
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

static int64_t read_piece(struct pgoverlay_file *file, void *buf, uint32_t len, uint64_t off)
{
	struct read_call call = {
		.op = {.file = file->file, .off = off, .len = len, .done = read_done}, .buf = buf};

	overlay_read(file->chain->ov, &call.op);
	while (!call.done)
		(void)io_wait(file->chain->io, -1);
	return call.op.result;
}

int64_t pgoverlay_pread(struct pgoverlay_file *file, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	if (off >= file->size)
		return 0;
	len = (size_t)MIN((uint64_t)len, file->size - off);
	while (done < len) {
		/* Pieces end at block boundaries, so that no block is decoded twice. */
		uint64_t room = READ_MAX - (off + done) % PGOVERLAY_BLOCK_SIZE;
		uint32_t piece = (uint32_t)MIN((uint64_t)(len - done), room);
		int64_t n = read_piece(file, (char *)buf + done, piece, off + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

int64_t pgoverlay_read_blocks(struct pgoverlay_file *file, uint32_t first, uint32_t count,
			      void *buf)
{
	int64_t n;

	if (!file->is_relation)
		return -EINVAL;
	n = pgoverlay_pread(file, buf, (size_t)count * PGOVERLAY_BLOCK_SIZE,
			    (uint64_t)first * PGOVERLAY_BLOCK_SIZE);
	return n < 0 ? n : n / PGOVERLAY_BLOCK_SIZE;
}
