/*
 * overlay/tree.c: the names of the merged tree, in memory: files by id, names by directory and
 * name.
 *
 * Every file of the chain and of the diff has a struct file; a file lives until it has neither name
 * nor reference. A name that came from the chain and goes away is remembered (ov->gone), because
 * the state written by the next checkpoint says how the tree differs from the bare chain.
 */
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAL_NAME_LEN	  24u
#define KEY_LEN(name_len) (sizeof(uint64_t) + (name_len))

uint64_t tree_base_id(const char *path)
{
	return XXH3_64bits(path, strlen(path)) | DIFF_ID_BASE;
}

static void memory_free(void *p, bool in_arena)
{
	if (!in_arena)
		free(p);
}

int tree_add_file(struct overlay *ov, uint64_t id, const struct diff_attr *attr, struct file **ret)
{
	struct file *f;

	HASH_FIND(hh, ov->files, &id, sizeof(id), f);
	if (f)
		return -EEXIST;
	f = ov->building ? arena_alloc(ov->arena, sizeof(*f)) : calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->in_arena = ov->building;
	f->id = id;
	f->attr = *attr;
	HASH_ADD(hh, ov->files, id, sizeof(f->id), f);
	if (!f->hh.tbl) {
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

	HASH_ADD_KEYPTR(hh, ov->names, &d->dir_id, KEY_LEN(d->name_len), d);
	if (!d->hh.tbl)
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
	uint8_t key[KEY_LEN(DIFF_NAME_MAX)];
	struct dirent *d;

	if (len > DIFF_NAME_MAX)
		return NULL;
	memcpy(key, &dir->id, sizeof(dir->id));
	memcpy(key + sizeof(dir->id), name, len);
	HASH_FIND(hh, ov->names, key, KEY_LEN(len), d);
	return d;
}

void tree_unlink(struct overlay *ov, struct dirent *d)
{
	struct file *f = d->file;

	HASH_DELETE(hh, ov->names, d);
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

static void file_free(struct overlay *ov, struct file *f)
{
	struct file **p;

	for (p = &ov->unlogged; f->attr_unlogged && *p; p = &(*p)->next_unlogged) {
		if (*p == f) {
			*p = f->next_unlogged;
			break;
		}
	}
	HASH_DELETE(hh, ov->files, f);
	ov->nameless--;
	if (f->record)
		diff_file_drop(ov->diff, f->record);
	free(f->own_target);
	memory_free(f, f->in_arena);
}

void tree_release(struct overlay *ov, struct file *f)
{
	if (f->names == 0 && f->refs == 0 && f != ov->root && f != ov->wal_link)
		file_free(ov, f);
}

void tree_free(struct overlay *ov)
{
	struct dirent *d, *d_next;
	struct file *f, *f_next;

	HASH_ITER(hh, ov->names, d, d_next)
	{
		HASH_DELETE(hh, ov->names, d);
		memory_free(d, d->in_arena);
	}
	while ((d = ov->gone)) {
		ov->gone = d->next;
		memory_free(d, d->in_arena);
	}
	HASH_ITER(hh, ov->files, f, f_next)
	{
		HASH_DELETE(hh, ov->files, f);
		free(f->own_target);
		memory_free(f, f->in_arena);
	}
	free(ov->wal_link);
}
