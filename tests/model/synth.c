/*
 * tests/model/synth.c: see synth.h. One stored file a layer entry, named by its number; blocks
 * follow each other as records of 8 bytes of header (block number, payload length) and payload.
 */
#include "synth.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER 8u

struct synth_file {
	char name[16];
	uint32_t count; /* blocks described */
	struct layer_extent *extents;
};

struct synth_layer {
	struct layer layer; /* first */
	struct synth *synth;
	unsigned number;
	char id[8];
	struct synth_file *files;
	uint32_t file_count;
};

struct synth {
	struct layer_chain chain;
	struct layer *pointers[SYNTH_MAX_LAYERS];
	struct synth_layer layers[SYNTH_MAX_LAYERS];
	uint64_t seed;
};

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct synth_layer *layer_of(const struct layer *layer)
{
	return CONTAINER_OF((struct layer *)(uintptr_t)layer, struct synth_layer, layer);
}

static uint64_t content_seed(const struct synth_layer *l, uint32_t file, uint32_t block)
{
	return rng_mix(l->synth->seed + l->number * UINT64_C(1000003)) ^
	       rng_mix(((uint64_t)file << 32) | block);
}

static int synth_locate(struct layer *layer, uint32_t file, uint32_t first, uint32_t count,
			struct layer_extent *out, struct errmsg *e)
{
	const struct synth_file *f = &layer_of(layer)->files[file];

	for (uint32_t i = 0; i < count; i++) {
		out[i] = (struct layer_extent){.len = LAYER_ABSENT};
		if (first + i < f->count)
			out[i] = f->extents[first + i];
	}
	return 0;
}

static int synth_highest(struct layer *layer, uint32_t file, uint32_t limit, uint32_t *ret_count,
			 struct errmsg *e)
{
	const struct synth_file *f = &layer_of(layer)->files[file];
	uint32_t n = MIN(f->count, limit);

	while (n > 0 && f->extents[n - 1].len == LAYER_ABSENT)
		n--;
	*ret_count = n;
	return 0;
}

static int synth_decode(const struct layer *layer, uint32_t file, uint32_t block,
			const void *record, uint32_t len, void *ret_block)
{
	const uint8_t *p = record;

	if (len < HEADER || get_le32(p) != block || get_le32(p + 4) != len - HEADER)
		return -EUCLEAN;
	if (len == HEADER + 8)
		rng_fill(get_le64(p + HEADER), ret_block, LAYER_BLCKSZ);
	else if (len == HEADER + LAYER_BLCKSZ)
		memcpy(ret_block, p + HEADER, LAYER_BLCKSZ);
	else
		return -EUCLEAN;
	return 0;
}

static const char *synth_name(const struct layer *layer, uint32_t file)
{
	return layer_of(layer)->files[file].name;
}

static const struct layer_ops synth_ops = {
	.version = LAYER_OPS_VERSION,
	.locate = synth_locate,
	.highest = synth_highest,
	.decode = synth_decode,
	.name = synth_name,
};

/* Of the chain alone: there is no store. */
static const struct store_driver synth_driver = {.version = STORE_DRIVER_VERSION, .name = "synth"};

struct synth *synth_new(const char *dir, unsigned layers, uint64_t seed)
{
	struct synth *s = need(calloc(1, sizeof(*s)));
	char path[4096];

	s->seed = seed;
	for (unsigned i = 0; i < layers; i++) {
		struct synth_layer *l = &s->layers[i];

		l->synth = s;
		l->number = i;
		(void)snprintf(l->id, sizeof(l->id), "L%u", i % SYNTH_MAX_LAYERS);
		(void)snprintf(path, sizeof(path), "%s/%s", dir, l->id);
		if (mkdir(path, 0700) < 0)
			abort();
		l->layer.ops = &synth_ops;
		l->layer.id = l->id;
		l->layer.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (l->layer.dirfd < 0)
			abort();
		s->pointers[i] = &l->layer;
	}
	s->chain = (struct layer_chain){
		.driver = &synth_driver, .layers = s->pointers, .count = layers};
	s->chain.store_path = need(strdup(dir));
	s->chain.instance = need(strdup("synth"));
	s->chain.warnings = need(strdup(""));
	s->chain.start_time = 1700000000;
	rng_fill(seed, s->chain.content_hash, sizeof(s->chain.content_hash));
	return s;
}

void synth_free(struct synth *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->chain.count; i++) {
		struct synth_layer *l = &s->layers[i];

		for (uint32_t n = 0; n < l->layer.entry_count; n++) {
			free((void *)(uintptr_t)l->layer.entries[n].path);
			free((void *)(uintptr_t)l->layer.entries[n].target);
			free((void *)(uintptr_t)l->layer.entries[n].data);
		}
		for (uint32_t n = 0; n < l->file_count; n++)
			free(l->files[n].extents);
		free(l->layer.entries);
		free(l->files);
		(void)close(l->layer.dirfd);
	}
	free(s->chain.store_path);
	free(s->chain.instance);
	free(s->chain.warnings);
	free(s);
}

static struct layer_entry *add(struct synth *s, unsigned layer, const char *path, uint32_t mode,
			       enum layer_kind kind)
{
	struct layer *l = &s->layers[layer].layer;
	struct layer_entry *e;

	l->entries = need(reallocarray(l->entries, l->entry_count + 1, sizeof(*l->entries)));
	e = &l->entries[l->entry_count++];
	*e = (struct layer_entry){.path = need(strdup(path)),
				  .mode = mode,
				  .kind = kind,
				  .origin = LAYER_ORIGIN_NONE,
				  .file = LAYER_NO_FILE,
				  .base_limit = LAYER_NO_LIMIT};
	return e;
}

static uint32_t add_file(struct synth_layer *l)
{
	struct synth_file *f;

	l->files = need(reallocarray(l->files, l->file_count + 1, sizeof(*l->files)));
	f = &l->files[l->file_count];
	*f = (struct synth_file){0};
	(void)snprintf(f->name, sizeof(f->name), "f%u", l->file_count);
	return l->file_count++;
}

void synth_add_dir(struct synth *s, unsigned layer, const char *path, uint32_t mode)
{
	add(s, layer, path, S_IFDIR | mode, LAYER_DIR);
}

void synth_add_symlink(struct synth *s, unsigned layer, const char *path, const char *target)
{
	struct layer_entry *e = add(s, layer, path, S_IFLNK | 0777, LAYER_SYMLINK);

	e->target = need(strdup(target));
}

void synth_add_inline(struct synth *s, unsigned layer, const char *path, uint64_t size)
{
	struct layer_entry *e = add(s, layer, path, S_IFREG | 0600, LAYER_INLINE);
	uint8_t *data = need(malloc(size + 1));

	rng_fill(s->seed ^ size, data, size);
	e->data = data;
	e->size = size;
}

static void write_stored(const struct synth_layer *l, uint32_t file, const void *data, size_t len)
{
	int fd = openat(l->layer.dirfd, l->files[file].name,
			O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len || close(fd) < 0)
		abort();
}

void synth_add_plain(struct synth *s, unsigned layer, const char *path, uint64_t size, bool stored)
{
	struct synth_layer *l = &s->layers[layer];
	struct layer_entry *e = add(s, layer, path, S_IFREG | 0600, LAYER_PLAIN);

	e->size = stored ? size : LAYER_SIZE_UNKNOWN;
	e->origin = stored ? LAYER_ORIGIN_NONE : LAYER_ORIGIN_NEAREST;
	if (stored && size > 0) {
		_cleanup_free_ uint8_t *data = need(malloc(size));

		e->file = add_file(l);
		rng_fill(content_seed(l, e->file, 0), data, size);
		write_stored(l, e->file, data, size);
	}
}

/* Appends one block's record; every third is raw. */
static size_t put_record(const struct synth_layer *l, uint32_t file, uint32_t block, uint8_t *out)
{
	uint64_t seed = content_seed(l, file, block);
	uint32_t len = seed % 3 == 0 ? LAYER_BLCKSZ : 8;

	put_le32(out, block);
	put_le32(out + 4, len);
	if (len == 8)
		put_le64(out + HEADER, seed);
	else
		rng_fill(seed, out + HEADER, LAYER_BLCKSZ);
	return HEADER + len;
}

static void store_blocks(struct synth_layer *l, uint32_t file, const struct synth_blocks *what)
{
	struct synth_file *f = &l->files[file];
	_cleanup_free_ uint8_t *data =
		need(malloc((size_t)what->count * (LAYER_BLCKSZ + HEADER) + 1));
	size_t len = 0;

	f->count = what->count;
	f->extents = need(calloc(what->count + 1, sizeof(*f->extents)));
	for (uint32_t i = 0; i < what->count; i++) {
		if (what->stored[i] == 2)
			f->extents[i].len = LAYER_ZERO;
		if (what->stored[i] != 1)
			continue;
		f->extents[i].off = len;
		f->extents[i].len = (uint32_t)put_record(l, file, i, data + len);
		len += f->extents[i].len;
	}
	write_stored(l, file, data, len);
}

void synth_add_blocks(struct synth *s, unsigned layer, const char *path,
		      const struct synth_blocks *what)
{
	struct synth_layer *l = &s->layers[layer];
	struct layer_entry *e = add(s, layer, path, S_IFREG | 0600, LAYER_BLOCKS);

	e->origin = what->origin;
	e->size = what->size;
	e->base_limit = what->base_limit;
	if (what->count == 0)
		return;
	e->file = add_file(l);
	while (e->stored_prefix < what->count && what->stored[e->stored_prefix] == 1)
		e->stored_prefix++;
	store_blocks(l, e->file, what);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct layer_entry *)a)->path, ((const struct layer_entry *)b)->path);
}

struct layer_chain *synth_chain(struct synth *s)
{
	for (unsigned i = 0; i < s->chain.count; i++) {
		struct layer *l = &s->layers[i].layer;

		if (l->entry_count > 0)
			qsort(l->entries, l->entry_count, sizeof(*l->entries), compare_entries);
	}
	return &s->chain;
}
