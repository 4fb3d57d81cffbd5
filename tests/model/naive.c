/*
 * tests/model/naive.c: see naive.h.
 */
#include "naive.h"

#include "base/util.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct layer_entry *find_in(const struct layer *layer, const char *path)
{
	uint32_t lo = 0, hi = layer->entry_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int order = strcmp(layer->entries[mid].path, path);

		if (order == 0)
			return &layer->entries[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct layer_entry *naive_find(const struct layer_chain *chain, const char *path)
{
	return find_in(chain->layers[chain->count - 1], path);
}

/* A buffer that grows with zeros. */
struct content {
	uint8_t *data;
	uint8_t *placed; /* a flag a block */
	uint32_t blocks; /* 1 + the highest placed */
	uint32_t cap;
	uint32_t segno;
};

static int content_reserve(struct content *c, uint32_t blocks)
{
	uint32_t cap = MAX(blocks, c->cap * 2);
	uint8_t *p;

	if (blocks <= c->cap)
		return 0;
	p = realloc(c->data, (size_t)cap * LAYER_BLCKSZ);
	if (!p)
		return -ENOMEM;
	memset(p + (size_t)c->cap * LAYER_BLCKSZ, 0, (size_t)(cap - c->cap) * LAYER_BLCKSZ);
	c->data = p;
	p = realloc(c->placed, cap);
	if (!p)
		return -ENOMEM;
	memset(p + c->cap, 0, cap - c->cap);
	c->placed = p;
	c->cap = cap;
	return 0;
}

static int place(struct content *c, struct layer *layer, uint32_t file, int fd, uint32_t block,
		 const struct layer_extent *x)
{
	uint8_t record[LAYER_BLCKSZ * 2];
	const char *reason;
	int rc = content_reserve(c, block + 1);

	if (rc < 0)
		return rc;
	c->placed[block] = 1;
	c->blocks = MAX(c->blocks, block + 1);
	if (x->len == LAYER_ZERO)
		return 0;
	if (x->len > sizeof(record) || pread(fd, record, x->len, (off_t)x->off) != (ssize_t)x->len)
		return -EIO;
	return layer_take_page(layer, file, block, c->segno * PG_SEGMENT_BLOCKS + block, x, record,
			       true, c->data + (size_t)block * LAYER_BLCKSZ, &reason);
}

/* Takes from one layer what no newer one has placed. */
static int take_layer(struct content *c, struct layer *layer, uint32_t file, uint32_t limit)
{
	_cleanup_free_ struct layer_extent *x = NULL;
	_cleanup_close_ int fd = -1;
	uint32_t count;
	int rc = layer->ops->highest(layer, file, limit, &count, NULL);

	if (rc < 0 || count == 0)
		return rc;
	x = calloc(count, sizeof(*x));
	if (!x)
		return -ENOMEM;
	rc = layer->ops->locate(layer, file, 0, count, x, NULL);
	rc = MIN(rc, 0);
	fd = openat(layer->dirfd, layer->ops->name(layer, file), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (uint32_t b = 0; b < count && rc == 0; b++)
		if (x[b].len != LAYER_ABSENT && !(b < c->cap && c->placed[b]))
			rc = place(c, layer, file, fd, b, &x[b]);
	return rc;
}

static int read_blocks(const struct layer_chain *chain, const struct layer_entry *entry,
		       struct content *c, uint64_t *ret_len)
{
	bool known = entry->size != LAYER_SIZE_UNKNOWN;
	uint32_t own = known ? LAYER_NO_LIMIT : entry->base_limit;
	int rc = 0;

	if (entry->size == 0)
		return 0;
	if (entry->file != LAYER_NO_FILE)
		rc = take_layer(c, chain->layers[chain->count - 1], entry->file, own);
	for (unsigned i = chain->count - 1;
	     i-- > 0 && rc == 0 && entry->origin != LAYER_ORIGIN_NONE;) {
		const struct layer_entry *e = find_in(chain->layers[i], entry->path);

		if (e && e->file != LAYER_NO_FILE)
			rc = take_layer(c, chain->layers[i], e->file, entry->base_limit);
	}
	*ret_len = known ? entry->size : (uint64_t)c->blocks * LAYER_BLCKSZ;
	if (rc == 0)
		rc = content_reserve(c, (uint32_t)((*ret_len + LAYER_BLCKSZ - 1) / LAYER_BLCKSZ));
	return rc;
}

static int read_file(struct layer *layer, uint32_t file, struct content *c, uint64_t *ret_len)
{
	_cleanup_close_ int fd =
		openat(layer->dirfd, layer->ops->name(layer, file), O_RDONLY | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (layer->ops->check) {
		rc = layer->ops->check(layer, file, NULL);
		if (rc < 0)
			return rc;
	}
	rc = content_reserve(c, (uint32_t)((uint64_t)st.st_size / LAYER_BLCKSZ + 1));
	if (rc < 0)
		return rc;
	*ret_len = (uint64_t)st.st_size;
	return pread(fd, c->data, *ret_len, 0) == st.st_size ? 0 : -EIO;
}

static int read_plain(const struct layer_chain *chain, const struct layer_entry *entry,
		      struct content *c, uint64_t *ret_len)
{
	unsigned i = chain->count - 1;

	while (entry->origin != LAYER_ORIGIN_NONE) {
		const struct layer_entry *e = NULL;

		while (i > 0 && !e)
			e = find_in(chain->layers[--i], entry->path);
		if (!e || e->kind != LAYER_PLAIN)
			return -EUCLEAN;
		entry = e;
	}
	return entry->file == LAYER_NO_FILE ? 0
					    : read_file(chain->layers[i], entry->file, c, ret_len);
}

static int blocks_size(const struct layer_chain *chain, const struct layer_entry *entry,
		       uint64_t *ret)
{
	uint32_t most = 0, count;
	int rc = 0;

	for (unsigned i = chain->count; i-- > 0 && rc == 0;) {
		struct layer *layer = chain->layers[i];
		const struct layer_entry *e = find_in(layer, entry->path);

		if (!e || e->file == LAYER_NO_FILE ||
		    (e != entry && entry->origin == LAYER_ORIGIN_NONE))
			continue;
		rc = layer->ops->highest(layer, e->file, entry->base_limit, &count, NULL);
		if (rc == 0)
			most = MAX(most, count);
	}
	*ret = (uint64_t)most * LAYER_BLCKSZ;
	return rc;
}

int naive_size(const struct layer_chain *chain, const struct layer_entry *entry, uint64_t *ret)
{
	_cleanup_free_ uint8_t *data = NULL;

	*ret = entry->size;
	if (entry->size != LAYER_SIZE_UNKNOWN)
		return 0;
	if (entry->kind == LAYER_BLOCKS)
		return blocks_size(chain, entry, ret);
	return naive_read(chain, entry, &data, ret);
}

int naive_read(const struct layer_chain *chain, const struct layer_entry *entry, uint8_t **ret_data,
	       uint64_t *ret_len)
{
	struct content c = {.segno = entry->segno};
	int rc = content_reserve(&c, 1);

	*ret_len = 0;
	if (rc == 0 && entry->kind == LAYER_BLOCKS) {
		rc = read_blocks(chain, entry, &c, ret_len);
	} else if (rc == 0 && entry->kind == LAYER_PLAIN) {
		rc = read_plain(chain, entry, &c, ret_len);
	} else if (rc == 0 && entry->kind == LAYER_INLINE) {
		*ret_len = entry->size;
		rc = content_reserve(&c, (uint32_t)(entry->size / LAYER_BLCKSZ + 1));
		if (rc == 0)
			memcpy(c.data, entry->data, entry->size);
	}
	free(c.placed);
	if (rc < 0)
		free(c.data);
	else
		*ret_data = c.data;
	return rc;
}
