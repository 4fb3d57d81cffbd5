/*
 * overlay/overlay.c: making and freeing the merged view, references, and small questions about a
 * file.
 */
#include "overlay/overlay.h"

#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t overlay_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint64_t file_size(const struct file *f)
{
	if (f->record)
		return diff_file_size(f->record);
	if (f->target)
		return strlen(f->target);
	return f->base ? f->base->size : 0;
}

int file_get_record(struct overlay *ov, struct file *f)
{
	if (!ov->diff)
		return -EROFS;
	if (f->record)
		return 0;
	return diff_file_get(ov->diff, f->id, f->base ? f->base->size : 0, &f->record);
}

/* The link that hides pg_wal when WAL lies natively. It has an id of its own and is never recorded.
 */
static int make_wal_link(struct overlay *ov)
{
	struct dirent *d = tree_find(ov, ov->root, "pg_wal", strlen("pg_wal"));
	struct file *f;

	if (!ov->options.wal_dir || !d)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->id = tree_base_id("/pg_wal");
	f->attr = d->file->attr;
	f->attr.mode = S_IFLNK | 0777;
	f->target = ov->options.wal_dir;
	f->names = 1;
	d->shadow = f;
	ov->wal_link = f;
	return 0;
}

int overlay_new_tree(struct layer_chain *chain, const struct overlay_options *options,
		     struct errmsg *e, struct overlay **ret)
{
	struct overlay *ov = calloc(1, sizeof(*ov));
	int rc;

	if (!ov)
		return errmsg_set(e, -ENOMEM, "out of memory");
	ov->chain = chain;
	ov->options = *options;
	ov->control_id = tree_base_id("global/pg_control");
	ov->wal_ids[0] = tree_base_id("pg_wal");
	ov->wal_ids[1] = tree_base_id("pg_xlog");
	ov->base_time = ns_of(chain->start_time, 0); /* which a list may have wrong */
	ov->layer_bytes = calloc(chain->count, sizeof(*ov->layer_bytes));
	if (options->cache)
		ov->cache =
			index_cache_new(options->cache, chain->content_hash, options->cache_limit);
	rc = ov->layer_bytes ? arena_new(&ov->arena) : -ENOMEM;
	if (rc == 0)
		rc = chain_build(ov, e);
	if (rc < 0) {
		overlay_free(ov);
		return errmsg_set(e, rc, "%s: %s", chain->store_path, strerror(-rc));
	}
	*ret = ov;
	return 0;
}

int overlay_add_diff(struct overlay *ov, struct diff *diff, const char *wal_dir, struct errmsg *e)
{
	int rc = 0;

	ov->diff = diff;
	ov->options.wal_dir = wal_dir;
	if (diff) {
		replay_setup(ov);
		rc = diff_recover(diff, &ov->ns, e);
		if (rc == 0)
			replay_finish(ov);
	}
	if (rc == 0)
		rc = make_wal_link(ov);
	return rc < 0 ? errmsg_set(e, rc, "%s: %s", ov->chain->store_path, strerror(-rc)) : 0;
}

int overlay_new(struct layer_chain *chain, struct diff *diff, const struct overlay_options *options,
		struct errmsg *e, struct overlay **ret)
{
	struct overlay *ov;
	int rc = overlay_new_tree(chain, options, e, &ov);

	if (rc < 0)
		return rc;
	rc = overlay_add_diff(ov, diff, options->wal_dir, e);
	if (rc < 0) {
		overlay_free(ov);
		return rc;
	}
	*ret = ov;
	return 0;
}

int overlay_start(struct overlay *ov, struct io_engine *io, struct vfd_cache *vfds,
		  struct bufpool *buffers)
{
	ov->io = io;
	ov->vfds = vfds;
	ov->buffers = buffers;
	return ov->diff ? diff_start(ov->diff, io, vfds) : 0;
}

void overlay_free(struct overlay *ov)
{
	if (!ov)
		return;
	index_free_all(ov);
	index_cache_free(ov->cache);
	tree_free(ov);
	arena_free(ov->arena);
	free(ov->layer_bytes);
	free(ov);
}

void overlay_trim(struct overlay *ov)
{
	if (ov->buffers)
		bufpool_trim(ov->buffers);
}

uint64_t overlay_layer_bytes(const struct overlay *ov, unsigned layer)
{
	return __atomic_load_n(&ov->layer_bytes[layer], __ATOMIC_RELAXED);
}

struct file *overlay_root(struct overlay *ov)
{
	return ov->root;
}

struct file *overlay_find(struct overlay *ov, uint64_t id)
{
	if (ov->wal_link && ov->wal_link->id == id)
		return ov->wal_link;
	return tree_file(ov, id);
}

uint64_t overlay_file_id(const struct file *file)
{
	return file->id;
}

void overlay_ref(struct file *file)
{
	file->refs++;
}

void overlay_unref(struct overlay *ov, struct file *file)
{
	file->refs--;
	tree_release(ov, file);
}

void *overlay_file_user(const struct file *file)
{
	return file->user;
}

void overlay_file_set_user(struct file *file, void *user)
{
	file->user = user;
}

const char *overlay_readlink(struct file *file)
{
	return file->target;
}

struct diff *overlay_diff(struct overlay *ov)
{
	return ov->diff;
}

void overlay_wait_room(struct overlay *ov, struct diff_room_wait *wait)
{
	diff_wait_room(ov->diff, wait);
}

void overlay_get_stats(const struct overlay *ov, struct overlay_stats *ret)
{
	*ret = (struct overlay_stats){
		.files = ov->files.count,
		.nameless = ov->nameless,
		.index_bytes = ov->index_bytes,
		.index_builds = ov->index_builds,
		.index_loads = ov->index_loads,
		.base_blocks = ov->base_blocks,
		.diff_blocks = ov->diff_blocks,
		.zero_blocks = ov->zero_blocks,
		.bad_pages = __atomic_load_n(&ov->bad_pages, __ATOMIC_RELAXED),
		.bad_files = ov->bad_files,
	};
}

static void wait_granted(struct ticket *ticket)
{
	struct overlay_wait *op = CONTAINER_OF(ticket, struct overlay_wait, ticket);

	op->done(op);
}

void overlay_wait(struct overlay *ov, struct overlay_wait *op)
{
	(void)ov;
	op->ticket = (struct ticket){.from = 0, .to = UINT64_MAX, .granted = wait_granted};
	barrier_enter(&op->file->barrier, &op->ticket);
}
