/*
 * What a mount would serve, through libpgoverlay: names, modes, sizes, and every block by itself.
 */
#include "base/util.h"
#include "damage.h"
#include "layer/layer.h"
#include "pg/page.h"
#include "pgoverlay/pgoverlay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLCK PGOVERLAY_BLOCK_SIZE

struct walk {
	const struct damage_case *c;
	struct pgoverlay_chain *chain;
	size_t at;
	enum damage_result result;
	char *why;
};

static void say(struct walk *w, enum damage_result result, const char *path, const char *what)
{
	if (result > w->result || w->result == DAMAGE_UNSEEN)
		w->result = result;
	if (result == DAMAGE_WRONG)
		(void)snprintf(w->why, 512, "%s: %s", path, what);
}

/* Another page with the same LSN and checksum: the header map has no more to say. */
static bool sums_agree(const struct walk *w, const uint8_t *page, const uint8_t *right,
		       uint32_t block)
{
	uint8_t copy[BLCK];

	memcpy(copy, page, BLCK);
	memcpy(copy + 8, right + 8, 2);
	/* The sum leaves pd_checksum out: where the cluster has none, nobody else looks at it. */
	if (!w->c->store->page_checksums && memcmp(copy, right, BLCK) == 0)
		return true;
	return pg_page_lsn(page) == pg_page_lsn(right) && !pg_page_is_zero(page) &&
	       !pg_page_is_zero(right) &&
	       pg_page_compute_checksum(page, block) == pg_page_compute_checksum(right, block);
}

static void compare_block(struct walk *w, const struct damage_content *content, const uint8_t *got,
			  size_t off, size_t len)
{
	const uint8_t *right = content->bytes + off;

	if (memcmp(got, right, len) == 0)
		return;
	if (content->is_relation && w->c->file->kind == DAMAGE_PAGES &&
	    sums_agree(w, got, right, (uint32_t)(off / BLCK)))
		say(w, DAMAGE_BEYOND, content->path, "");
	else
		say(w, DAMAGE_WRONG, content->path, "wrong bytes");
}

static void read_file(struct walk *w, const struct damage_content *content)
{
	struct pgoverlay_file *file;
	uint8_t buf[BLCK];

	if (pgoverlay_open(w->chain, content->path, &file) < 0) {
		say(w, DAMAGE_WRONG, content->path, "it cannot be opened");
		return;
	}
	for (size_t off = 0; off < content->len; off += BLCK) {
		size_t len = MIN(content->len - off, (size_t)BLCK);
		int64_t n = pgoverlay_pread(file, buf, len, off);

		if (n < 0)
			say(w, DAMAGE_FOUND, content->path, "");
		else if ((size_t)n != len)
			say(w, DAMAGE_WRONG, content->path, "it ends early");
		else
			compare_block(w, content, buf, off, len);
	}
	pgoverlay_close(file);
}

static int compare_entry(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	struct walk *w = ctx;
	const struct damage_content *content = &w->c->backup->contents[w->at++];

	if (w->at > w->c->backup->count || strcmp(path, content->path) != 0 ||
	    st->mode != content->mode || (S_ISREG(st->mode) && st->size != content->len)) {
		say(w, DAMAGE_WRONG, path, "another name, mode or size");
		return 1;
	}
	if (S_ISREG(st->mode))
		read_file(w, content);
	return 0;
}

static void chain_ids(const struct pgoverlay_chain *chain, char *ret, size_t size)
{
	size_t len = 0;

	ret[0] = '\0';
	for (unsigned i = 0; i < pgoverlay_chain_count(chain); i++)
		len += (size_t)snprintf(ret + len, size - len, "%s ", pgoverlay_chain_id(chain, i));
}

static int open_chain(const char *path, const char *backup, struct pgoverlay_store **ret_store,
		      struct pgoverlay_chain **ret)
{
	struct pgoverlay_options options = {
		.size = sizeof(options), .backup = backup, .no_lock = 1};
	int rc = pgoverlay_store_open(path, NULL, ret_store);

	if (rc < 0)
		return rc;
	rc = pgoverlay_chain_open(*ret_store, &options, NULL, ret);
	if (rc < 0)
		pgoverlay_store_close(*ret_store);
	return rc;
}

enum damage_result damage_read_mount(const struct damage_case *c, char *why)
{
	struct walk w = {.c = c, .result = DAMAGE_UNSEEN, .why = why};
	struct pgoverlay_store *store;
	char ids[64];

	if (open_chain(c->store->path, c->backup->id, &store, &w.chain) < 0)
		return DAMAGE_REFUSED;
	chain_ids(w.chain, ids, sizeof(ids));
	if (strcmp(ids, c->backup->chain) != 0) {
		w.result = DAMAGE_OTHER;
	} else {
		(void)pgoverlay_walk(w.chain, compare_entry, &w);
		if (w.at < c->backup->count)
			say(&w, DAMAGE_WRONG, c->backup->contents[w.at].path, "it is missing");
	}
	pgoverlay_chain_close(w.chain);
	pgoverlay_store_close(store);
	return w.result;
}

/* ---- the undamaged store ---- */

struct collect {
	struct pgoverlay_chain *chain;
	struct damage_backup *backup;
};

static int collect_entry(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	struct collect *k = ctx;
	struct damage_backup *b = k->backup;
	struct pgoverlay_file *file;
	struct damage_content *content;

	b->contents = reallocarray(b->contents, b->count + 1, sizeof(*b->contents));
	content = &b->contents[b->count++];
	*content = (struct damage_content){
		.path = strdup(path), .mode = st->mode, .is_relation = st->is_relation};
	if (!S_ISREG(st->mode))
		return 0;
	content->len = st->size;
	content->bytes = malloc(st->size + 1);
	if (pgoverlay_open(k->chain, path, &file) < 0)
		return -1;
	if (pgoverlay_pread(file, content->bytes, st->size, 0) != (int64_t)st->size)
		abort();
	pgoverlay_close(file);
	return 0;
}

void damage_read_contents(const char *path, struct damage_backup *backup)
{
	struct collect k = {.backup = backup};
	struct pgoverlay_store *store;

	if (open_chain(path, backup->id, &store, &k.chain) < 0 ||
	    pgoverlay_walk(k.chain, collect_entry, &k) != 0)
		abort();
	chain_ids(k.chain, backup->chain, sizeof(backup->chain));
	pgoverlay_chain_close(k.chain);
	pgoverlay_store_close(store);
}
