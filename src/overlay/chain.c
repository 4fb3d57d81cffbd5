/*
 * overlay/chain.c: from the manifests of a chain to the tree: what exists, and where its content
 * lies.
 *
 * The target's manifest is the complete tree. All manifests are sorted by path, so one pass over
 * the target with a cursor in each older layer finds the layers that store something of a file.
 * What a path's content is made of is decided here, once; which block lies where is found at first
 * use (index.c).
 */
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define AHEAD 8u

struct cursor {
	const struct layer_entry *at, *end;
};

struct merge {
	struct overlay *ov;
	struct errmsg *e;
	struct cursor *cursors;	 /* one a layer */
	struct base_part *parts; /* those of the current path, newest first */
	uint64_t id;		 /* of the current path */
	uint64_t ids[AHEAD];	 /* of the next ones, by the number of their entry */
	const char *dir_path; /* of the directory the last path was in, its first dir_len bytes */
	size_t dir_len;
	struct file *dir;
	uint32_t part_count;
};

static struct layer *layer_at(const struct merge *m, uint32_t i)
{
	return m->ov->chain->layers[i];
}

/* The older layer's entry of that path, or NULL. Paths come in ascending order, each once. */
static const struct layer_entry *older_entry(struct merge *m, uint32_t i, const char *path)
{
	struct cursor *c = &m->cursors[i];

	while (c->at < c->end) {
		const struct layer_entry *e = c->at;
		int order = e->path == path ? 0 : strcmp(e->path, path);

		if (order > 0)
			return NULL;
		c->at++;
		if (order == 0) {
			/* Of a long chain no layer's next entry is near by the time it is asked for. */
			__builtin_prefetch(&c->at->path);
			__builtin_prefetch(&c->at->stored_prefix);
			return e;
		}
	}
	return NULL;
}

static void add_part(struct merge *m, uint32_t layer, uint32_t file)
{
	m->parts[m->part_count++] = (struct base_part){.layer = layer, .file = file};
}

/* Length of a relation segment: 1 + the highest block placed below the limit (never the limit as
 * such). */
static int blocks_size(struct merge *m, const struct layer_entry *target, bool whole, uint64_t *ret)
{
	uint32_t limit = target->base_limit, highest = 0;
	int rc = 0;

	if (whole) {
		*ret = (uint64_t)limit * BLCK;
		return 0;
	}
	if (m->ov->cache && index_cache_length(m->ov->cache, m->id, &highest)) {
		*ret = (uint64_t)highest * BLCK;
		return 0;
	}
	if (m->part_count > 0)
		rc = layer_chain_settle(m->ov->chain, m->e);
	for (uint32_t i = 0; i < m->part_count && rc == 0; i++) {
		struct layer *layer = layer_at(m, m->parts[i].layer);
		uint32_t count = 0;

		rc = layer->ops->highest(layer, m->parts[i].file, limit, &count, m->e);
		highest = MAX(highest, count);
	}
	if (rc < 0)
		return rc;
	if (m->ov->cache)
		index_cache_note_length(m->ov->cache, m->id, highest);
	*ret = (uint64_t)highest * BLCK;
	return 0;
}

static int merge_blocks(struct merge *m, const struct layer_entry *target, uint64_t *ret_size)
{
	uint32_t newest = m->ov->chain->count - 1;
	uint32_t limit = target->base_limit;
	bool whole = false;

	if (target->size == 0) {
		*ret_size = 0;
		return 0;
	}
	if (target->file != LAYER_NO_FILE) {
		add_part(m, newest, target->file);
		whole = limit != LAYER_NO_LIMIT && target->stored_prefix >= limit;
	}
	for (uint32_t i = newest; i-- > 0 && target->origin != LAYER_ORIGIN_NONE && !whole;) {
		const struct layer_entry *e = older_entry(m, i, target->path);

		if (!e || e->file == LAYER_NO_FILE)
			continue;
		if (e->kind != LAYER_BLOCKS)
			return errmsg_set(m->e, -EUCLEAN,
					  "%s: '%s' is a relation in backup %s and none in %s",
					  m->ov->chain->store_path, target->path,
					  layer_at(m, newest)->id, layer_at(m, i)->id);
		add_part(m, i, e->file);
		whole = limit != LAYER_NO_LIMIT && e->stored_prefix >= limit;
	}
	if (target->size != LAYER_SIZE_UNKNOWN) {
		*ret_size = target->size;
		return 0;
	}
	return blocks_size(m, target, whole, ret_size);
}

static int merge_plain(struct merge *m, const struct layer_entry *target, uint64_t *ret_size)
{
	uint32_t newest = m->ov->chain->count - 1;

	if (target->origin == LAYER_ORIGIN_NONE) {
		if (target->file != LAYER_NO_FILE)
			add_part(m, newest, target->file);
		*ret_size = target->size;
		return 0;
	}
	for (uint32_t i = newest; i-- > 0;) {
		const struct layer_entry *e = older_entry(m, i, target->path);

		if (!e) /* a driver leaves out what a layer does not store */
			continue;
		if (e->kind != LAYER_PLAIN)
			break;
		if (e->origin != LAYER_ORIGIN_NONE) /* unchanged there too */
			continue;
		if (e->file != LAYER_NO_FILE)
			add_part(m, i, e->file);
		*ret_size = e->size;
		return 0;
	}
	return errmsg_set(
		m->e, -EUCLEAN,
		"%s: backup %s says '%s' is unchanged, but no older backup of its chain has it",
		m->ov->chain->store_path, layer_at(m, newest)->id, target->path);
}

/* Content of the target's entry: ret stays NULL for an empty file. */
static int merge_content(struct merge *m, const struct layer_entry *target, struct base **ret)
{
	uint64_t size = target->size;
	struct base *base;
	int rc = 0;

	m->part_count = 0;
	if (target->kind == LAYER_BLOCKS)
		rc = merge_blocks(m, target, &size);
	else if (target->kind == LAYER_PLAIN)
		rc = merge_plain(m, target, &size);
	if (rc < 0 || size == 0)
		return rc;
	if (target->kind == LAYER_PLAIN && m->part_count == 0)
		return errmsg_set(m->e, -EUCLEAN, "%s: no backup of the chain stores '%s'",
				  m->ov->chain->store_path, target->path);
	if (size > (uint64_t)DIFF_MAX_BLOCKS * BLCK || m->part_count >= INDEX_NO_PART)
		return errmsg_set(m->e, -EFBIG, "%s: '%s' is larger or older than can be handled",
				  m->ov->chain->store_path, target->path);
	base = arena_alloc(m->ov->arena, sizeof(*base) + m->part_count * sizeof(base->parts[0]));
	if (!base)
		return -ENOMEM;
	base->kind = target->kind;
	base->id = m->id;
	base->segno = target->segno;
	base->size = size;
	base->limit = target->base_limit;
	base->data = target->data;
	base->part_count = m->part_count;
	memcpy(base->parts, m->parts, m->part_count * sizeof(base->parts[0]));
	*ret = base;
	return 0;
}

/* The directory a path lies in. Parents come before their children in path order. */
static struct file *parent_of(struct merge *m, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	char dir[4096];
	struct file *f;

	if (!slash) {
		*ret_name = path;
		return m->ov->root;
	}
	if (len >= sizeof(dir))
		return NULL;
	*ret_name = slash + 1;
	if (m->dir && m->dir_len == len && memcmp(m->dir_path, path, len) == 0)
		return m->dir;
	memcpy(dir, path, len);
	dir[len] = '\0';
	f = overlay_find(m->ov, tree_base_id(dir));
	if (!f || !file_is_dir(f))
		return NULL;
	m->dir_path = path;
	m->dir_len = len;
	m->dir = f;
	return f;
}

static int add_entry(struct merge *m, const struct layer_entry *entry)
{
	struct overlay *ov = m->ov;
	struct diff_attr attr = {.mode = entry->mode,
				 .uid = ov->options.uid,
				 .gid = ov->options.gid,
				 .atime = ov->base_time,
				 .mtime = ov->base_time,
				 .ctime = ov->base_time};
	struct base *base = NULL;
	const char *name;
	struct file *dir = parent_of(m, entry->path, &name), *f;
	int rc;

	if (!dir || strlen(name) > DIFF_NAME_MAX)
		return errmsg_set(
			m->e, -EUCLEAN, "%s: backup %s lists '%s', but not the directory it is in",
			ov->chain->store_path, layer_at(m, ov->chain->count - 1)->id, entry->path);
	if (entry->kind != LAYER_DIR && entry->kind != LAYER_SYMLINK) {
		rc = merge_content(m, entry, &base);
		if (rc < 0)
			return rc;
	}
	rc = tree_add_file(ov, m->id, &attr, &f);
	if (rc == -EEXIST)
		return errmsg_set(m->e, -ENOTSUP, "%s: '%s' and another path have the same hash",
				  ov->chain->store_path, entry->path);
	if (rc < 0)
		return rc;
	f->base = base;
	f->target = entry->target;
	return tree_link(ov, dir, name, strlen(name), f, true);
}

/*
 * What an entry will need of memory is asked for some entries earlier: in a tree of many files the
 * waits for it take longer than all else.
 */
static void expect_entry(struct merge *m, uint32_t i)
{
	const struct layer *target = layer_at(m, m->ov->chain->count - 1);
	const char *path = target->entries[i].path;

	m->ids[i % AHEAD] = tree_base_id(path);
	tree_expect_file(m->ov, m->ids[i % AHEAD]);
	/* Mostly it is in the directory that the last one was in. */
	if (m->dir && strncmp(path, m->dir_path, m->dir_len) == 0 && path[m->dir_len] == '/')
		tree_expect_name(m->ov, m->dir->id, path + m->dir_len + 1);
	if (i + AHEAD < target->entry_count)
		__builtin_prefetch(target->entries[i + AHEAD].path);
}

static int add_all(struct merge *m)
{
	const struct layer *target = layer_at(m, m->ov->chain->count - 1);

	for (uint32_t i = 0; i < MIN(AHEAD, target->entry_count); i++)
		expect_entry(m, i);
	for (uint32_t i = 0; i < target->entry_count; i++) {
		int rc;

		m->id = m->ids[i % AHEAD];
		if (i + AHEAD < target->entry_count)
			expect_entry(m, i + AHEAD);
		rc = add_entry(m, &target->entries[i]);
		if (rc < 0)
			return errmsg_set(m->e, rc, "%s: '%s': %s", m->ov->chain->store_path,
					  target->entries[i].path, strerror(-rc));
	}
	return 0;
}

static int add_root(struct overlay *ov)
{
	struct diff_attr attr = {.mode = S_IFDIR | 0700,
				 .uid = ov->options.uid,
				 .gid = ov->options.gid,
				 .atime = ov->base_time,
				 .mtime = ov->base_time,
				 .ctime = ov->base_time};
	int rc = tree_add_file(ov, DIFF_ID_ROOT, &attr, &ov->root);

	if (rc < 0)
		return rc;
	ov->root->parent = ov->root;
	ov->nameless--;
	return 0;
}

static void begin(struct cursor *cursor, const struct layer *layer)
{
	cursor->at = layer->entries;
	cursor->end = layer->entry_count > 0 ? cursor->at + layer->entry_count : cursor->at;
}

static int build(struct overlay *ov, struct errmsg *e)
{
	unsigned layers = ov->chain->count;
	const struct layer *target = ov->chain->layers[layers - 1];
	_cleanup_free_ struct cursor *cursors = calloc(layers, sizeof(*cursors));
	_cleanup_free_ struct base_part *parts = calloc(layers, sizeof(*parts));
	struct merge m = {.ov = ov, .e = e, .cursors = cursors, .parts = parts};
	int rc = tree_init(ov, target->entry_count + 1);

	if (rc == 0)
		rc = add_root(ov);
	if (rc < 0 || !cursors || !parts)
		return errmsg_set(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < layers; i++)
		begin(&cursors[i], ov->chain->layers[i]);
	rc = add_all(&m);
	if (rc == 0 && ov->cache)
		index_cache_end_lengths(ov->cache);
	return rc;
}

int chain_build(struct overlay *ov, struct errmsg *e)
{
	int rc;

	ov->building = true;
	rc = build(ov, e);
	ov->building = false;
	return rc;
}
