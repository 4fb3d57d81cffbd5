/*
 * tests/model/source.c: see source.h. Stores are unpacked when first used and stay open.
 */
#include "source.h"

#include "base/util.h"
#include "naive.h"
#include "scratch.h"
#include "synth.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORES_MAX  16u
#define BACKUPS_MAX 32u

struct source_backup {
	char instance[64], id[32];
	struct layer_chain *chain; /* NULL: not opened yet */
	uint64_t *sizes;
};

struct source_store {
	char name[64];
	struct store *store; /* NULL: not unpacked yet */
	struct source_backup backups[BACKUPS_MAX];
	unsigned backup_count;
};

struct source {
	char scratch[200], stores_dir[1000];
	struct source_store stores[STORES_MAX];
	unsigned store_count;
	struct synth *synth;
	char synth_dir[256];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct source_store *)a)->name,
		      ((const struct source_store *)b)->name);
}

struct source *source_new(const char *scratch, const char *stores)
{
	struct source *s = calloc(1, sizeof(*s));
	struct dirent *d;
	DIR *dir;
	char path[1400];

	if (!s)
		abort();
	(void)snprintf(s->scratch, sizeof(s->scratch), "%s", scratch);
	if (!stores || !(dir = opendir(stores)))
		return s;
	(void)snprintf(s->stores_dir, sizeof(s->stores_dir), "%s", stores);
	while ((d = readdir(dir)) && s->store_count < STORES_MAX) {
		(void)snprintf(path, sizeof(path), "%s/%s/store.tar.zst", stores, d->d_name);
		/* the damaged one is for the tests of damage */
		if (access(path, R_OK) == 0 && strcmp(d->d_name, "corrupt") != 0)
			(void)snprintf(s->stores[s->store_count++].name, sizeof(s->stores[0].name),
				       "%.60s", d->d_name);
	}
	(void)closedir(dir);
	qsort(s->stores, s->store_count, sizeof(s->stores[0]), by_name);
	return s;
}

static void drop_synth(struct source *s)
{
	if (!s->synth)
		return;
	synth_free(s->synth);
	s->synth = NULL;
	scratch_remove(s->synth_dir);
}

void source_free(struct source *s)
{
	if (!s)
		return;
	drop_synth(s);
	for (unsigned i = 0; i < s->store_count; i++) {
		struct source_store *store = &s->stores[i];

		for (unsigned b = 0; b < store->backup_count; b++) {
			if (store->backups[b].chain)
				store->store->driver->close_chain(store->backups[b].chain);
			free(store->backups[b].sizes);
		}
		store_close(store->store);
	}
	free(s);
}

static int unpack(struct source *s, struct source_store *store)
{
	char command[2400], path[600];
	struct backup_list list = {0};
	struct errmsg e = {0};
	int rc;

	(void)snprintf(path, sizeof(path), "%s/%s", s->scratch, store->name);
	(void)snprintf(command, sizeof(command),
		       "mkdir -p '%s' && zstd -dcq '%s/%s/store.tar.zst' | tar -C '%s' -xf -", path,
		       s->stores_dir, store->name, path);
	if (system(command) != 0)
		return -EIO;
	strcat(path, "/store");
	rc = store_open(path, &e, &store->store);
	if (rc == 0)
		rc = store->store->driver->list(store->store, NULL, &e, &list);
	for (size_t i = 0; rc == 0 && i < list.count && store->backup_count < BACKUPS_MAX; i++) {
		struct source_backup *b = &store->backups[store->backup_count];

		if (!list.items[i].mountable)
			continue;
		(void)snprintf(b->instance, sizeof(b->instance), "%s", list.items[i].instance);
		(void)snprintf(b->id, sizeof(b->id), "%s", list.items[i].id);
		store->backup_count++;
	}
	if (rc == 0) {
		store->store->driver->list_free(&list);
		rc = store->backup_count > 0 ? 0 : -ENOENT;
	}
	if (rc < 0)
		(void)fprintf(stderr, "model: store %s: %s\n", path, errmsg_text(&e, rc));
	return rc;
}

static int load(void *ctx, const char *path, uint8_t **ret_data, uint64_t *ret_len)
{
	const struct layer_entry *e = naive_find(ctx, path);

	return e ? naive_read(ctx, e, ret_data, ret_len) : -ENOENT;
}

static int entry_size(const struct layer_chain *chain, const struct layer_entry *e, uint64_t *ret)
{
	*ret = 0;
	return e->kind == LAYER_DIR || e->kind == LAYER_SYMLINK ? 0 : naive_size(chain, e, ret);
}

static struct memfs *make_model(struct layer_chain *chain, const uint64_t *sizes)
{
	const struct layer *target = chain->layers[chain->count - 1];
	struct memfs *fs = memfs_new(load, chain);

	for (uint32_t i = 0; i < target->entry_count; i++) {
		const struct layer_entry *e = &target->entries[i];

		memfs_add_base(fs, e->path, e->mode, sizes[i], e->target);
	}
	return fs;
}

static uint64_t *make_sizes(const struct layer_chain *chain)
{
	const struct layer *target = chain->layers[chain->count - 1];
	uint64_t *sizes = calloc(target->entry_count + 1, sizeof(*sizes));

	for (uint32_t i = 0; sizes && i < target->entry_count; i++) {
		int rc = entry_size(chain, &target->entries[i], &sizes[i]);

		if (rc < 0) {
			(void)fprintf(stderr, "model: '%s': %s\n", target->entries[i].path,
				      strerror(-rc));
			abort();
		}
	}
	return sizes;
}

static struct layer_chain *get_fixture(struct source *s, uint64_t n, char *desc, size_t size,
				       struct memfs **ret_fs)
{
	struct source_store *store = &s->stores[n % s->store_count];
	struct source_backup *b;
	struct errmsg e = {0};
	int rc = store->store ? 0 : unpack(s, store);

	if (rc < 0)
		return NULL;
	b = &store->backups[n / s->store_count % store->backup_count];
	(void)snprintf(desc, size, "%s/%s/%s", store->name, b->instance, b->id);
	if (!b->chain)
		rc = store->store->driver->open_chain(store->store, b->instance, b->id, 0, &e,
						      &b->chain);
	if (rc < 0) {
		(void)fprintf(stderr, "model: %s: %s\n", desc, errmsg_text(&e, rc));
		return NULL;
	}
	if (!b->sizes)
		b->sizes = make_sizes(b->chain);
	*ret_fs = make_model(b->chain, b->sizes);
	return b->chain;
}

struct layer_chain *source_get(struct source *s, uint64_t seed, char *desc, size_t size,
			       struct memfs **ret_fs)
{
	struct layer_chain *chain;
	uint64_t *sizes;

	drop_synth(s);
	if (s->store_count > 0 && seed % 2 == 1)
		return get_fixture(s, seed / 2, desc, size, ret_fs);
	(void)snprintf(s->synth_dir, sizeof(s->synth_dir), "%s/synth", s->scratch);
	if (mkdir(s->synth_dir, 0700) < 0)
		abort();
	chain = synth_random(s->synth_dir, seed, &s->synth);
	(void)snprintf(desc, size, "random chain of %u", chain->count);
	sizes = make_sizes(chain);
	*ret_fs = make_model(chain, sizes);
	free(sizes);
	return chain;
}
