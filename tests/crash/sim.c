/*
 * tests/crash/sim.c: see sim.h.
 */
#include "sim.h"

#include "base/util.h"

#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

const char *sim_intern(const char *name, size_t len)
{
	static char **names;
	static size_t count;

	for (size_t i = 0; i < count; i++)
		if (strncmp(names[i], name, len) == 0 && names[i][len] == '\0')
			return names[i];
	names = need(reallocarray(names, count + 1, sizeof(*names)));
	return names[count++] = need(strndup(name, len));
}

static void page_unref(struct sim_page *p)
{
	if (p && --p->refs == 0)
		free(p);
}

static void inode_unref(struct sim_inode *n)
{
	if (!n || --n->refs > 0)
		return;
	for (uint32_t i = 0; i < n->page_count; i++)
		page_unref(n->pages[i]);
	free(n->pages);
	free(n->entries);
	free(n);
}

static void put_inode(struct sim *s, uint32_t ino, struct sim_inode *n)
{
	if (ino >= s->cap) {
		uint32_t cap = MAX(ino + 1, s->cap * 2);

		s->inodes = need(reallocarray(s->inodes, cap, sizeof(*s->inodes)));
		memset(s->inodes + s->cap, 0, (cap - s->cap) * sizeof(*s->inodes));
		s->cap = cap;
	}
	s->inodes[ino] = n;
	s->count = MAX(s->count, ino + 1);
}

static struct sim_inode *inode_new(bool dir)
{
	struct sim_inode *n = need(calloc(1, sizeof(*n)));

	n->refs = 1;
	n->dir = dir;
	return n;
}

struct sim *sim_new(void)
{
	struct sim *s = need(calloc(1, sizeof(*s)));

	put_inode(s, 0, inode_new(true));
	return s;
}

struct sim *sim_clone(const struct sim *from)
{
	struct sim *s = need(calloc(1, sizeof(*s)));

	s->count = s->cap = from->count;
	s->inodes = need(calloc(from->count, sizeof(*s->inodes)));
	for (uint32_t i = 0; i < from->count; i++) {
		s->inodes[i] = from->inodes[i];
		if (s->inodes[i])
			s->inodes[i]->refs++;
	}
	return s;
}

void sim_free(struct sim *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->count; i++)
		inode_unref(s->inodes[i]);
	free(s->inodes);
	free(s);
}

/* An inode is there as soon as something in it is, whether or not the name that leads to it has
 * arrived. */
static void ensure(struct sim *s, uint32_t ino, bool dir)
{
	if (ino >= s->count || !s->inodes[ino])
		put_inode(s, ino, inode_new(dir));
}

/* The inode for changing: nobody else's any more. */
static struct sim_inode *own(struct sim *s, uint32_t ino)
{
	struct sim_inode *n = s->inodes[ino], *copy;

	n->hashed = false;
	if (n->refs == 1)
		return n;
	copy = need(malloc(sizeof(*copy)));
	*copy = *n;
	copy->refs = 1;
	copy->pages = need(malloc((n->page_count + 1) * sizeof(*n->pages)));
	copy->entries = need(malloc((n->entry_count + 1) * sizeof(*n->entries)));
	for (uint32_t i = 0; i < n->page_count; i++) {
		copy->pages[i] = n->pages[i];
		if (copy->pages[i])
			copy->pages[i]->refs++;
	}
	if (n->entry_count > 0)
		memcpy(copy->entries, n->entries, n->entry_count * sizeof(*n->entries));
	n->refs--;
	return s->inodes[ino] = copy;
}

static void remove_entry(struct sim *s, uint32_t dir, const char *name)
{
	struct sim_inode *n = own(s, dir);

	for (uint32_t i = 0; i < n->entry_count; i++)
		if (n->entries[i].name == name) {
			n->entries[i] = n->entries[--n->entry_count];
			return;
		}
}

static void set_entry(struct sim *s, uint32_t dir, const char *name, uint32_t ino)
{
	struct sim_inode *n;

	remove_entry(s, dir, name);
	n = own(s, dir);
	n->entries = need(reallocarray(n->entries, n->entry_count + 1, sizeof(*n->entries)));
	n->entries[n->entry_count++] = (struct sim_entry){.name = name, .ino = ino};
}

static struct sim_page *own_page(struct sim_inode *n, uint32_t i)
{
	struct sim_page *p = n->pages[i], *copy;

	if (p && p->refs == 1) {
		p->hash = 0;
		return p;
	}
	copy = need(calloc(1, sizeof(*copy)));
	copy->refs = 1;
	if (p) {
		memcpy(copy->data, p->data, SIM_PAGE);
		p->refs--;
	}
	return n->pages[i] = copy;
}

static void need_pages(struct sim_inode *n, uint64_t size)
{
	uint32_t count = (uint32_t)((size + SIM_PAGE - 1) / SIM_PAGE);

	if (count <= n->page_count)
		return;
	n->pages = need(reallocarray(n->pages, count, sizeof(*n->pages)));
	memset(n->pages + n->page_count, 0, (count - n->page_count) * sizeof(*n->pages));
	n->page_count = count;
}

/* data NULL: zeros */
static void fill(struct sim_inode *n, uint64_t off, uint64_t len, const uint8_t *data)
{
	for (uint64_t done = 0; done < len;) {
		uint32_t i = (uint32_t)((off + done) / SIM_PAGE), in = (off + done) % SIM_PAGE;
		uint64_t part = MIN(len - done, SIM_PAGE - in);

		if (!data && (!n->pages[i] || part == SIM_PAGE)) {
			page_unref(n->pages[i]);
			n->pages[i] = NULL;
		} else if (data) {
			memcpy(own_page(n, i)->data + in, data + done, part);
		} else {
			memset(own_page(n, i)->data + in, 0, part);
		}
		done += part;
	}
}

void sim_write(struct sim *s, uint32_t ino, uint64_t off, uint64_t len, const uint8_t *data)
{
	struct sim_inode *n;

	if (len == 0)
		return;
	ensure(s, ino, false);
	n = own(s, ino);
	need_pages(n, off + len);
	fill(n, off, len, data);
	n->size = MAX(n->size, off + len);
}

void sim_read(const struct sim *s, uint32_t ino, uint64_t off, uint64_t len, uint8_t *ret)
{
	const struct sim_inode *n = s->inodes[ino];

	for (uint64_t done = 0; done < len;) {
		uint32_t i = (uint32_t)((off + done) / SIM_PAGE), in = (off + done) % SIM_PAGE;
		uint64_t part = MIN(len - done, SIM_PAGE - in);

		if (i < n->page_count && n->pages[i])
			memcpy(ret + done, n->pages[i]->data + in, part);
		else
			memset(ret + done, 0, part);
		done += part;
	}
}

void sim_resize(struct sim *s, uint32_t ino, uint64_t size)
{
	struct sim_inode *n;

	ensure(s, ino, false);
	n = own(s, ino);
	need_pages(n, MAX(size, n->size));
	if (size < n->size)
		fill(n, size, n->size - size, NULL);
	n->size = size;
}

static void sim_allocate(struct sim *s, const struct trace_op *op)
{
	struct sim_inode *n;
	uint64_t end;

	ensure(s, op->ino, false);
	n = own(s, op->ino);
	end = MIN(op->off + op->len, n->size);
	if ((op->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && end > op->off)
		fill(n, op->off, end - op->off, NULL);
	if (!(op->mode & FALLOC_FL_KEEP_SIZE) && op->off + op->len > n->size)
		sim_resize(s, op->ino, op->off + op->len);
}

void sim_apply(struct sim *s, const struct trace_op *op)
{
	if (op->dir != SIM_NONE)
		ensure(s, op->dir, true);
	switch (op->code) {
	case TRACE_CREATE:
	case TRACE_MKDIR:
		ensure(s, op->ino, op->code == TRACE_MKDIR);
		set_entry(s, op->dir, op->name, op->ino);
		break;
	case TRACE_RENAME:
		ensure(s, op->ino, false);
		remove_entry(s, op->dir, op->name);
		set_entry(s, op->dir, op->name2, op->ino);
		break;
	case TRACE_UNLINK:
		if (sim_lookup(s, op->dir, op->name) == op->ino)
			remove_entry(s, op->dir, op->name);
		break;
	case TRACE_WRITE:
		sim_write(s, op->ino, op->off, op->len, op->data);
		break;
	case TRACE_FALLOCATE:
		sim_allocate(s, op);
		break;
	case TRACE_TRUNCATE:
		sim_resize(s, op->ino, op->len);
		break;
	case TRACE_SYNC:
		break;
	}
}

uint32_t sim_lookup(const struct sim *s, uint32_t dir, const char *name)
{
	const struct sim_inode *n = dir < s->count ? s->inodes[dir] : NULL;

	for (uint32_t i = 0; n && i < n->entry_count; i++)
		if (n->entries[i].name == name)
			return n->entries[i].ino;
	return SIM_NONE;
}
