/*
 * tests/fault/book.c: see book.h.
 */
#include "book.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

struct book *book_new(void)
{
	struct book *b = need(calloc(1, sizeof(*b)));

	for (unsigned i = 0; i < BOOK_FILES; i++) {
		b->files[i].bytes = need(calloc(1, BOOK_BYTES));
		b->files[i].versions = need(calloc(BOOK_VERSIONS, sizeof(struct book_version)));
	}
	b->tree_count = 1;
	return b;
}

void book_free(struct book *b)
{
	for (unsigned i = 0; b && i < BOOK_FILES; i++) {
		free(b->files[i].bytes);
		free(b->files[i].versions);
	}
	free(b);
}

static unsigned sectors_of(uint64_t size)
{
	return (unsigned)((size + BOOK_SECTOR - 1) / BOOK_SECTOR);
}

static uint64_t sector_hash(const uint8_t *sector)
{
	static const uint8_t zeros[BOOK_SECTOR];

	return memcmp(sector, zeros, BOOK_SECTOR) == 0 ? 0 : XXH3_64bits(sector, BOOK_SECTOR) | 1;
}

static void hash(struct book_version *v, uint64_t size, const uint8_t *bytes)
{
	unsigned n = sectors_of(size);

	v->size = size;
	for (unsigned i = 0; i < n; i++)
		v->sectors[i] = sector_hash(bytes + (size_t)i * BOOK_SECTOR);
	memset(v->sectors + n, 0, (BOOK_SECTORS - n) * sizeof(v->sectors[0]));
}

void book_copy(struct book *b, const struct book *from)
{
	for (unsigned i = 0; i < BOOK_FILES; i++) {
		struct book_file *to = &b->files[i];
		const struct book_file *f = &from->files[i];

		book_resize(to, 0);
		to->type = f->type;
		to->size = f->size;
		memcpy(to->bytes, f->bytes, f->size);
		to->count = to->acked = 0;
		to->failed = false;
		if (f->count > 0) {
			to->versions[0] = f->versions[f->count - 1];
			to->count = 1;
		}
	}
	b->file_count = from->file_count;
	b->trees[0] = from->trees[from->tree_count - 1];
	b->tree_count = 1;
	b->tree_acked = 0;
}

struct book_tree *book_now(struct book *b)
{
	return &b->trees[b->tree_count - 1];
}

static int find_in(const struct book_tree *t, const char *path)
{
	for (unsigned i = 0; i < t->count; i++)
		if (strcmp(t->names[i].name, path) == 0)
			return (int)i;
	return -1;
}

int book_find(const struct book *b, const char *path)
{
	const struct book_tree *t = &b->trees[b->tree_count - 1];
	int at = find_in(t, path);

	return at < 0 ? -1 : (int)t->names[at].file;
}

unsigned book_add_file(struct book *b, uint32_t type)
{
	struct book_file *f = &b->files[b->file_count];

	if (b->file_count == BOOK_FILES)
		abort();
	book_resize(f, 0);
	f->type = type;
	f->count = f->acked = 0;
	f->failed = false;
	book_keep(f);
	return b->file_count++;
}

struct book_tree *book_step(struct book *b)
{
	if (b->tree_count == BOOK_VERSIONS)
		abort();
	b->trees[b->tree_count] = b->trees[b->tree_count - 1];
	return &b->trees[b->tree_count++];
}

void book_set_name(struct book_tree *t, const char *path, int file)
{
	int at = find_in(t, path);

	if (file < 0) {
		if (at >= 0)
			t->names[at] = t->names[--t->count];
		return;
	}
	if (at < 0) {
		if (t->count == BOOK_NAMES)
			abort();
		at = (int)t->count++;
		(void)snprintf(t->names[at].name, sizeof(t->names[at].name), "%s", path);
	}
	t->names[at].file = (unsigned)file;
}

bool book_same_tree(const struct book_tree *a, const struct book_tree *b)
{
	for (unsigned i = 0; i < a->count; i++) {
		int at = find_in(b, a->names[i].name);

		if (at < 0 || b->names[at].file != a->names[i].file)
			return false;
	}
	return a->count == b->count;
}

void book_keep(struct book_file *f)
{
	if (f->count == BOOK_VERSIONS)
		abort();
	hash(&f->versions[f->count++], f->size, f->bytes);
}

void book_write(struct book_file *f, uint64_t off, uint64_t len, const uint8_t *data)
{
	if (off + len > BOOK_BYTES)
		abort();
	memcpy(f->bytes + off, data, len);
	f->size = MAX(f->size, off + len);
}

void book_zero(struct book_file *f, uint64_t off, uint64_t len)
{
	uint64_t end = MIN(off + len, f->size);

	if (off < end)
		memset(f->bytes + off, 0, end - off);
}

void book_resize(struct book_file *f, uint64_t size)
{
	if (size > BOOK_BYTES)
		abort();
	if (size < f->size)
		memset(f->bytes + size, 0, f->size - size);
	f->size = size;
}

static bool fits_from(const struct book_file *f, unsigned from, const struct book_version *found)
{
	unsigned n = sectors_of(found->size);

	if (f->versions[from].size != found->size)
		return false;
	for (unsigned i = 0; i < n; i++) {
		unsigned v = from;

		while (v < f->count && f->versions[v].sectors[i] != found->sectors[i])
			v++;
		if (v == f->count)
			return false;
	}
	return true;
}

bool book_explains(const struct book_file *f, uint64_t size, const uint8_t *bytes)
{
	static struct book_version found;

	hash(&found, size, bytes);
	for (unsigned v = f->acked; v < f->count; v++)
		if (fits_from(f, v, &found))
			return true;
	return false;
}
