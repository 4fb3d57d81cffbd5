/*
 * overlay/changes.c: what a clone changed, by file and block: the tree compared with the manifest
 * of the target. Reads memory only.
 *
 * The id of a file of the chain is the hash of its path there, which is how a file is known again
 * under another name.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <stdio.h>

struct item {
	char *path;
	const struct file *file;	  /* NULL: removed */
	const struct layer_entry *origin; /* NULL: new */
};

struct origin {
	uint64_t id;
	const struct layer_entry *entry;
};

struct comparison {
	const struct overlay *ov;
	struct origin *origins; /* by id */
	size_t origin_count;
	struct item *items;
	size_t count, cap;
	bool failed;
};

/* ---- collecting ---- */

static int compare_origins(const void *a, const void *b)
{
	const struct origin *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void find_origins(struct comparison *c)
{
	const struct layer_chain *chain = c->ov->chain;
	const struct layer *target = chain->layers[chain->count - 1];

	c->origins = calloc(target->entry_count + 1, sizeof(*c->origins));
	if (!c->origins) {
		c->failed = true;
		return;
	}
	for (uint32_t i = 0; i < target->entry_count; i++)
		c->origins[c->origin_count++] =
			(struct origin){tree_base_id(target->entries[i].path), &target->entries[i]};
	qsort(c->origins, c->origin_count, sizeof(*c->origins), compare_origins);
}

static const struct layer_entry *origin_of(const struct comparison *c, uint64_t id)
{
	const struct origin key = {.id = id}, *found;

	found = bsearch(&key, c->origins, c->origin_count, sizeof(key), compare_origins);
	return found ? found->entry : NULL;
}

/* Takes the path over. */
static void add(struct comparison *c, char *path, const struct file *file,
		const struct layer_entry *origin)
{
	if (path && c->count == c->cap) {
		size_t cap = MAX(c->cap * 2, (size_t)256);
		struct item *items = reallocarray(c->items, cap, sizeof(*items));

		if (items) {
			c->items = items;
			c->cap = cap;
		}
	}
	if (!path || c->count == c->cap) {
		free(path);
		c->failed = true;
		return;
	}
	c->items[c->count++] = (struct item){path, file, origin};
}

static bool has_content_of_its_own(const struct file *f)
{
	uint64_t base = f->base ? f->base->size : 0;
	uint32_t n;

	if (!f->record)
		return false;
	if (diff_file_size(f->record) != base ||
	    diff_file_base_limit(f->record) < (base + BLCK - 1) / BLCK)
		return true;
	for (uint64_t block = 0; block * BLCK < base; block += n) {
		if (diff_file_run(f->record, (uint32_t)block, UINT32_MAX - (uint32_t)block, &n) !=
		    BLOCK_ABSENT)
			return true;
	}
	return false;
}

static void look_at(struct comparison *c, char *path, const struct file *f)
{
	const struct layer_entry *origin = origin_of(c, f->id);

	if (origin && strcmp(origin->path, path) == 0 && !f->attr_changed &&
	    !has_content_of_its_own(f))
		free(path);
	else
		add(c, path, f, origin);
}

static void walk(struct comparison *c, const struct file *dir, const char *prefix)
{
	for (const struct dirent *d = dir->first_child; d && !c->failed; d = d->next) {
		_cleanup_free_ char *below = NULL;
		char *path;

		if (asprintf(&path, "%s%s", prefix, d->name) < 0 ||
		    (file_is_dir(d->file) && asprintf(&below, "%s/", path) < 0)) {
			c->failed = true;
			return;
		}
		look_at(c, path, d->file);
		if (below)
			walk(c, d->file, below);
	}
}

static void find_removed(struct comparison *c)
{
	for (size_t i = 0; i < c->origin_count && !c->failed; i++) {
		const struct file *f = tree_file(c->ov, c->origins[i].id);

		if (!f || f->names == 0)
			add(c, strdup(c->origins[i].entry->path), NULL, c->origins[i].entry);
	}
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int rc = strcmp(x->path, y->path);

	return rc != 0 ? rc : (x->file != NULL) - (y->file != NULL);
}

/* ---- writing ---- */

static void put_string(FILE *out, const char *text)
{
	(void)putc('"', out);
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if (*s == '"' || *s == '\\')
			(void)fprintf(out, "\\%c", *s);
		else if (*s < ' ')
			(void)fprintf(out, "\\u%04x", *s);
		else
			(void)putc(*s, out);
	}
	(void)putc('"', out);
}

static void put_runs(FILE *out, const struct file *f, const char *key, enum block_state wanted)
{
	uint64_t end = (diff_file_size(f->record) + BLCK - 1) / BLCK;
	const char *between = "";
	uint32_t n;

	(void)fprintf(out, ",\"%s\":[", key);
	for (uint64_t block = 0; block < end; block += n) {
		enum block_state state =
			diff_file_run(f->record, (uint32_t)block, (uint32_t)(end - block), &n);

		if (state != wanted)
			continue;
		(void)fprintf(out, "%s[%llu,%u]", between, (unsigned long long)block, n);
		between = ",";
	}
	(void)fputs("]", out);
}

static const char *change_of(const struct item *i)
{
	if (!i->file)
		return "removed";
	if (!i->origin)
		return "new";
	if (strcmp(i->origin->path, i->path) != 0)
		return i->file->names > 1 ? "linked" : "renamed";
	return has_content_of_its_own(i->file) ? "modified" : "attributes";
}

static void put_content(FILE *out, const struct item *i)
{
	const struct file *f = i->file;
	uint64_t base = f->base ? f->base->size : 0;

	(void)fprintf(out, ",\"size\":%llu", (unsigned long long)file_size(f));
	if (i->origin)
		(void)fprintf(out, ",\"base_size\":%llu", (unsigned long long)base);
	if (!f->record)
		return;
	if (diff_file_base_limit(f->record) < (base + BLCK - 1) / BLCK)
		(void)fprintf(out, ",\"kept\":%llu",
			      (unsigned long long)diff_file_base_limit(f->record) * BLCK);
	put_runs(out, f, "blocks", BLOCK_DATA);
	put_runs(out, f, "zero", BLOCK_ZERO);
}

static void put_item(FILE *out, const struct item *i)
{
	uint32_t mode = i->file ? i->file->attr.mode : i->origin->mode;
	const char *change = change_of(i);

	(void)fputs("{\"path\":", out);
	put_string(out, i->path);
	(void)fprintf(out, ",\"type\":\"%s\",\"change\":\"%s\"",
		      S_ISREG(mode)   ? "file"
		      : S_ISDIR(mode) ? "directory"
		      : S_ISLNK(mode) ? "link"
				      : "other",
		      change);
	if (i->file && i->origin && strcmp(i->origin->path, i->path) != 0) {
		(void)fputs(",\"from\":", out);
		put_string(out, i->origin->path);
	}
	if (i->file && S_ISREG(mode))
		put_content(out, i);
	(void)fputs("}", out);
}

static char *write_out(const struct comparison *c)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	(void)fputs("{\"changes\":[", out);
	for (size_t i = 0; i < c->count; i++) {
		(void)fputs(i > 0 ? ",\n" : "\n", out);
		put_item(out, &c->items[i]);
	}
	(void)fputs("]}\n", out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *overlay_changes_json(const struct overlay *ov)
{
	struct comparison c = {.ov = ov};
	char *text = NULL;

	find_origins(&c);
	if (!c.failed)
		walk(&c, ov->root, "");
	if (!c.failed)
		find_removed(&c);
	if (!c.failed) {
		if (c.count > 0)
			qsort(c.items, c.count, sizeof(*c.items), compare_items);
		text = write_out(&c);
	}
	for (size_t i = 0; i < c.count; i++)
		free(c.items[i].path);
	free(c.items);
	free(c.origins);
	return text;
}
