/*
 * tests/perf/oldrestore.c: what `restore` is measured against, on the same store with as many
 * threads.
 *
 *	oldrestore restore|zlib STORE DIRECTORY JOBS
 *		pg_probackup's work: every member's pages in order, oldest first, each written,
 *		overwritten by the next; then an fsync of each file, one after the other, as version
 *		2.5 does. "zlib" decodes with zlib as it does, "restore" with our own decoder.
 *	oldrestore plain STORE - JOBS
 *		reads the stored files and inflates the pages a restore needs, and no more
 *
 * Reading and writing go through stdio with buffers of 64 KiB. It is a measure, not a tool: nothing
 * is checked.
 */
#include "base/util.h"
#include "layer/layer.h"
#include "layer/probackup/headers.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define PAGE   LAYER_BLCKSZ
#define BUFFER (64 << 10)

enum mode { RESTORE, ZLIB, PLAIN };

static enum mode mode;
static const char *directory;
static struct layer_chain *chain;
static uint32_t next_entry;
static uint64_t sum; /* so that no work is left out by the compiler */

static const struct layer *target(void)
{
	return chain->layers[chain->count - 1];
}

static const struct layer_entry *entry_of(const struct layer *layer, const char *path)
{
	uint32_t from = 0, to = layer->entry_count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		int order = strcmp(layer->entries[middle].path, path);

		if (order == 0)
			return &layer->entries[middle];
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

static FILE *open_stored(const struct layer *layer, const struct layer_entry *entry)
{
	int fd = openat(layer->dirfd, layer->ops->name(layer, entry->file), O_RDONLY);
	FILE *f = fd >= 0 ? fdopen(fd, "rb") : NULL;

	if (!f)
		err(1, "%s", entry->path);
	(void)setvbuf(f, NULL, _IOFBF, BUFFER);
	return f;
}

static void decode(const struct layer *layer, const struct layer_entry *entry, uint32_t block,
		   const uint8_t *record, uint32_t len, uint8_t *page)
{
	uLongf size = PAGE;

	if (mode == ZLIB && len != PAGE) {
		if (uncompress(page, &size, record + 8, len) != Z_OK || size != PAGE)
			errx(1, "%s: page %u", entry->path, block);
		return;
	}
	if (layer->ops->decode(layer, entry->file, block, record, len + 8, page) < 0)
		errx(1, "%s: page %u", entry->path, block);
}

/* One member's pages: to out, or only inflated where no newer one had the block (seen). */
static void member(const struct layer *layer, const struct layer_entry *entry, uint32_t limit,
		   FILE *out, uint8_t *seen)
{
	uint8_t record[8 + PAGE], page[PAGE];
	FILE *in = open_stored(layer, entry);

	while (fread(record, 8, 1, in) == 1) {
		uint32_t block = get_le32(record), len = get_le32(record + 4);

		if (len > PAGE || fread(record + 8, 1, len, in) != len || block >= limit)
			break;
		if (seen && seen[block])
			continue;
		decode(layer, entry, block, record, len, page);
		if (seen) {
			seen[block] = 1;
			__atomic_fetch_add(&sum, page[PAGE - 1], __ATOMIC_RELAXED);
		} else if (fseeko(out, (off_t)block * PAGE, SEEK_SET) < 0 ||
			   fwrite(page, PAGE, 1, out) != 1) {
			err(1, "%s", entry->path);
		}
	}
	(void)fclose(in);
}

static FILE *create(const char *path)
{
	char full[4096];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s/%s", directory, path);
	f = fopen(full, "wb");
	if (!f)
		err(1, "%s", full);
	(void)setvbuf(f, NULL, _IOFBF, BUFFER);
	return f;
}

static void blocks(const struct layer_entry *entry)
{
	uint8_t *seen = mode == PLAIN ? calloc(1, 131072) : NULL;
	FILE *out = mode == PLAIN ? NULL : create(entry->path);

	for (unsigned k = 0; k < chain->count && entry->size != 0; k++) {
		const struct layer *layer = chain->layers[mode == PLAIN ? chain->count - 1 - k : k];
		const struct layer_entry *e = entry_of(layer, entry->path);

		if (e && e->file != LAYER_NO_FILE)
			member(layer, e, entry->base_limit, out, seen);
	}
	if (out && fclose(out) != 0)
		err(1, "%s", entry->path);
	free(seen);
}

static void plain(const struct layer_entry *entry)
{
	FILE *out = mode == PLAIN ? NULL : create(entry->path);
	char buf[BUFFER];
	size_t n;

	for (unsigned k = chain->count; k-- > 0;) {
		const struct layer_entry *e = entry_of(chain->layers[k], entry->path);
		FILE *in;

		if (!e || e->file == LAYER_NO_FILE)
			continue;
		in = open_stored(chain->layers[k], e);
		while ((n = fread(buf, 1, sizeof(buf), in)) > 0) {
			if (out && fwrite(buf, 1, n, out) != n)
				err(1, "%s", entry->path);
		}
		(void)fclose(in);
		break;
	}
	if (out && fclose(out) != 0)
		err(1, "%s", entry->path);
}

static void *work(void *arg)
{
	uint32_t i;

	(void)arg;
	while ((i = __atomic_fetch_add(&next_entry, 1, __ATOMIC_RELAXED)) < target()->entry_count) {
		const struct layer_entry *entry = &target()->entries[i];

		if (entry->kind == LAYER_BLOCKS)
			blocks(entry);
		else if (entry->kind == LAYER_PLAIN)
			plain(entry);
	}
	return NULL;
}

static void make_dirs(void)
{
	char full[4096];

	(void)mkdir(directory, 0700);
	for (uint32_t i = 0; i < target()->entry_count; i++) {
		if (target()->entries[i].kind != LAYER_DIR)
			continue;
		(void)snprintf(full, sizeof(full), "%s/%s", directory, target()->entries[i].path);
		if (mkdir(full, 0700) < 0 && errno != EEXIST)
			err(1, "%s", full);
	}
}

static void sync_all(void)
{
	char full[4096];

	for (uint32_t i = 0; i < target()->entry_count; i++) {
		int fd;

		if (target()->entries[i].kind != LAYER_BLOCKS &&
		    target()->entries[i].kind != LAYER_PLAIN)
			continue;
		(void)snprintf(full, sizeof(full), "%s/%s", directory, target()->entries[i].path);
		fd = open(full, O_RDWR);
		if (fd < 0 || fsync(fd) < 0)
			err(1, "%s", full);
		(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	unsigned jobs = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	struct errmsg e = {""};
	struct store *store;
	pthread_t *threads;

	if (jobs == 0)
		errx(2, "restore|zlib|plain STORE DIRECTORY JOBS");
	mode = strcmp(argv[1], "plain") == 0  ? PLAIN
	       : strcmp(argv[1], "zlib") == 0 ? ZLIB
					      : RESTORE;
	directory = argv[3];
	threads = calloc(jobs, sizeof(*threads));
	if (!threads || store_open(argv[2], &e, &store) < 0 ||
	    store->driver->open_chain(store, NULL, NULL, 0, &e, &chain) < 0)
		errx(1, "%s", e.text);
	if (mode != PLAIN)
		make_dirs();
	for (unsigned i = 0; i < jobs; i++) {
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			errx(1, "threads");
	}
	for (unsigned i = 0; i < jobs; i++)
		(void)pthread_join(threads[i], NULL);
	if (mode != PLAIN)
		sync_all();
	chain->driver->close_chain(chain);
	store_close(store);
	free(threads);
	return 0;
}
