/*
 * tests/crash/sim_hash.c: hashes of images, and the trace.
 */
#include "sim.h"

#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t pair[2] = {a, b};

	return XXH3_64bits(pair, sizeof(pair));
}

uint64_t sim_page_hash(struct sim_page *page)
{
	static const uint8_t zeros[SIM_PAGE];

	if (page->hash == 0) {
		page->hash = XXH3_64bits(page->data, SIM_PAGE) | 1;
		if (memcmp(page->data, zeros, SIM_PAGE) == 0)
			page->hash = 2; /* as no page at all */
	}
	return page->hash;
}

static uint64_t file_hash(struct sim_inode *n)
{
	if (n->hashed)
		return n->hash;
	n->hash = mix(n->size, 7);
	for (uint32_t i = 0; i < n->page_count; i++) {
		uint64_t h = n->pages[i] ? sim_page_hash(n->pages[i]) : 2;

		if (h != 2)
			n->hash = mix(n->hash + i, h);
	}
	n->hashed = true;
	return n->hash;
}

/* Directories do not nest deeply; the order of entries does not count. */
static uint64_t tree_hash(const struct sim *s, uint32_t ino)
{
	struct sim_inode *n = s->inodes[ino];
	uint64_t sum = 0;

	if (!n)
		return 1;
	if (!n->dir)
		return file_hash(n);
	for (uint32_t i = 0; i < n->entry_count; i++)
		sum += mix(XXH3_64bits(n->entries[i].name, strlen(n->entries[i].name)),
			   tree_hash(s, n->entries[i].ino));
	return mix(sum, n->entry_count);
}

uint64_t sim_hash(const struct sim *s)
{
	return tree_hash(s, 0);
}

void trace_add(struct trace *t, const struct trace_op *op)
{
	if (t->count == t->cap) {
		t->cap = t->cap * 2 + 64;
		t->ops = reallocarray(t->ops, t->cap, sizeof(*t->ops));
		if (!t->ops)
			abort();
	}
	t->ops[t->count++] = *op;
}

void trace_cut(struct trace *t, size_t count)
{
	while (t->count > count)
		free(t->ops[--t->count].data);
	if (count == 0) {
		free(t->ops);
		*t = (struct trace){0};
	}
}

/* Some path of an inode, found by looking through the tree. */
static bool find_path(const struct sim *s, uint32_t dir, uint32_t ino, char *ret, size_t size)
{
	const struct sim_inode *n = s->inodes[dir];
	char rest[200];

	for (uint32_t i = 0; n && i < n->entry_count; i++) {
		uint32_t at = n->entries[i].ino;

		(void)snprintf(ret, size, "%s", n->entries[i].name);
		if (at == ino)
			return true;
		if (s->inodes[at] && s->inodes[at]->dir &&
		    find_path(s, at, ino, rest, sizeof(rest))) {
			(void)snprintf(ret, size, "%s/%s", n->entries[i].name, rest);
			return true;
		}
	}
	return false;
}

void trace_print(const struct trace *t, const struct sim *names, size_t from, size_t to)
{
	static const char *const codes[] = {"create", "mkdir",	   "rename",   "unlink",
					    "write",  "fallocate", "truncate", "sync"};

	for (size_t i = from; i < to && i < t->count; i++) {
		const struct trace_op *op = &t->ops[i];
		char path[256] = "";

		if (op->ino != 0 && !find_path(names, 0, op->ino, path, sizeof(path)))
			(void)snprintf(path, sizeof(path), "(inode %u)", op->ino);
		(void)fprintf(
			stderr, "    %3zu %-9s %s %s%s%s off %" PRIu64 " len %" PRIu64 " mode %d\n",
			i, codes[op->code], path, op->name ? op->name : "", op->name2 ? " -> " : "",
			op->name2 ? op->name2 : "", op->off, op->len, op->mode);
	}
}
