/*
 * overlay/tree.c: the names of the merged tree, in memory: files by id, names by directory and
 * name.
 *
 * Every file of the chain and of the diff has a struct file; a file lives until it has neither name
 * nor reference. A name that came from the chain and goes away is remembered (ov->gone), because
 * the state written by the next checkpoint says how the tree differs from the bare chain.
 */
/* Short keys: calling the library takes as long as hashing them. */
#define XXH_INLINE_ALL

#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define WAL_NAME_LEN 24u

uint64_t tree_base_id(const char *path)
{
	return XXH3_64bits(path, strlen(path)) | DIFF_ID_BASE;
}

/* Ids of the chain are hashes, those of new files numbers one behind the other. */
static uint64_t hash_id(uint64_t id)
{
	return XXH3_64bits(&id, sizeof(id));
}

static uint64_t hash_file(const void *item)
{
	return hash_id(((const struct file *)item)->id);
}

static bool file_has_id(const void *item, const void *key)
{
	return ((const struct file *)item)->id == *(const uint64_t *)key;
}

struct name_key {
	uint64_t dir_id;
	const char *name;
	size_t len;
};

static uint64_t hash_name(uint64_t dir_id, const char *name, size_t len)
{
	return XXH3_64bits_withSeed(name, len, dir_id);
}

static uint64_t hash_dirent(const void *item)
{
	const struct dirent *d = item;

	return hash_name(d->dir_id, d->name, d->name_len);
}

static bool dirent_is(const void *item, const void *key)
{
	const struct dirent *d = item;
	const struct name_key *k = key;

	return d->dir_id == k->dir_id && d->name_len == k->len &&
	       memcmp(d->name, k->name, k->len) == 0;
}

int tree_init(struct overlay *ov, uint32_t count)
{
	int rc;

	ov->files.hash = hash_file;
	ov->names.hash = hash_dirent;
	rc = table_reserve(&ov->files, count);
	return rc == 0 ? table_reserve(&ov->names, count) : rc;
}

struct file *tree_file(const struct overlay *ov, uint64_t id)
{
	return table_find(&ov->files, hash_id(id), file_has_id, &id);
}

void tree_expect_file(const struct overlay *ov, uint64_t id)
{
	table_expect(&ov->files, hash_id(id));
}

void tree_expect_name(const struct overlay *ov, uint64_t dir_id, const char *name)
{
	table_expect(&ov->names, hash_name(dir_id, name, strlen(name)));
}

static void memory_free(void *p, bool in_arena)
{
	if (!in_arena)
		free(p);
}

int tree_add_file(struct overlay *ov, uint64_t id, const struct diff_attr *attr, struct file **ret)
{
	struct file *f;

	if (tree_file(ov, id))
		return -EEXIST;
	f = ov->building ? arena_alloc(ov->arena, sizeof(*f)) : calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->in_arena = ov->building;
	f->id = id;
	f->attr = *attr;
	if (table_add(&ov->files, f) < 0) {
		memory_free(f, f->in_arena);
		return -ENOMEM;
	}
	ov->nameless++;
	*ret = f;
	return 0;
}

static void child_append(struct file *dir, struct dirent *d)
{
	d->prev = dir->last_child;
	if (dir->last_child)
		dir->last_child->next = d;
	else
		dir->first_child = d;
	dir->last_child = d;
}

static void child_remove(struct file *dir, struct dirent *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		dir->first_child = d->next;
	if (d->next)
		d->next->prev = d->prev;
	else
		dir->last_child = d->prev;
}

static void dirent_fill(struct dirent *d, struct file *dir, const char *name, size_t len,
			struct file *f)
{
	d->dir = dir;
	d->dir_id = dir->id;
	d->file = f;
	d->name_len = (uint16_t)len;
	memcpy(d->name, name, len);
}

struct dirent *tree_prepare(struct file *dir, const char *name, size_t len, struct file *f)
{
	struct dirent *d = calloc(1, sizeof(*d) + len + 1);

	if (d)
		dirent_fill(d, dir, name, len, f);
	return d;
}

static struct dirent *prepare_in_arena(struct overlay *ov, struct file *dir, const char *name,
				       size_t len, struct file *f)
{
	struct dirent *d = arena_alloc(ov->arena, sizeof(*d) + len + 1);

	if (d) {
		dirent_fill(d, dir, name, len, f);
		d->in_arena = true;
	}
	return d;
}

static bool is_wal_segment(const struct overlay *ov, const struct dirent *d)
{
	return (d->dir_id == ov->wal_ids[0] || d->dir_id == ov->wal_ids[1]) &&
	       d->name_len == WAL_NAME_LEN && strspn(d->name, "0123456789ABCDEF") == WAL_NAME_LEN;
}

int tree_insert(struct overlay *ov, struct dirent *d)
{
	struct file *f = d->file;

	if (table_add(&ov->names, d) < 0)
		return -ENOMEM;
	child_append(d->dir, d);
	if (file_is_dir(f)) {
		f->parent = d->dir;
		d->dir->subdirs++;
	}
	if (is_wal_segment(ov, d))
		f->is_wal = true;
	if (f->names++ == 0)
		ov->nameless--;
	return 0;
}

int tree_link(struct overlay *ov, struct file *dir, const char *name, size_t len, struct file *f,
	      bool from_chain)
{
	struct dirent *d = ov->building ? prepare_in_arena(ov, dir, name, len, f)
					: tree_prepare(dir, name, len, f);
	int rc = d ? tree_insert(ov, d) : -ENOMEM;

	if (rc == 0)
		d->from_chain = from_chain;
	else if (d)
		memory_free(d, d->in_arena);
	return rc;
}

struct dirent *tree_find(struct overlay *ov, const struct file *dir, const char *name, size_t len)
{
	const struct name_key key = {.dir_id = dir->id, .name = name, .len = len};

	if (len > DIFF_NAME_MAX)
		return NULL;
	return table_find(&ov->names, hash_name(dir->id, name, len), dirent_is, &key);
}

void tree_unlink(struct overlay *ov, struct dirent *d)
{
	struct file *f = d->file;

	table_remove(&ov->names, d);
	child_remove(d->dir, d);
	if (file_is_dir(f)) {
		d->dir->subdirs--;
		f->parent = NULL; /* it may go before this one does */
	}
	if (--f->names == 0)
		ov->nameless++;
	if (d->from_chain) {
		d->next = ov->gone;
		ov->gone = d;
	} else {
		memory_free(d, d->in_arena);
	}
}

static void file_dispose(struct file *f)
{
	if (f->own_target)
		free((char *)(uintptr_t)f->target);
	memory_free(f, f->in_arena);
}

static void file_free(struct overlay *ov, struct file *f)
{
	struct file **p;

	for (p = &ov->unlogged; f->attr_unlogged && *p; p = &(*p)->next_unlogged) {
		if (*p == f) {
			*p = f->next_unlogged;
			break;
		}
	}
	table_remove(&ov->files, f);
	ov->nameless--;
	if (f->record)
		diff_file_drop(ov->diff, f->record);
	file_dispose(f);
}

void tree_release(struct overlay *ov, struct file *f)
{
	if (f->names == 0 && f->refs == 0 && f != ov->root && f != ov->wal_link)
		file_free(ov, f);
}

void tree_free(struct overlay *ov)
{
	struct dirent *d;
	struct file *f;
	uint32_t at = 0;

	while ((d = table_next(&ov->names, &at)))
		memory_free(d, d->in_arena);
	while ((d = ov->gone)) {
		ov->gone = d->next;
		memory_free(d, d->in_arena);
	}
	at = 0;
	while ((f = table_next(&ov->files, &at)))
		file_dispose(f);
	table_free(&ov->names);
	table_free(&ov->files);
	free(ov->wal_link);
}
