/*
 * layer/probackup/extras.c: what a restore makes and a mount does not show: where tablespaces were,
 * the external directories, and a few words of backup.control.
 *
 * Read when a restore asks for it: a mount needs none of it. The files were checked against their
 * list when the chain was opened, or are checked here.
 */
#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define SMALL_FILE (1u << 20)
#define NUMBER_MAX 4096u /* external directories */

/* One line of an external directory while lists are read. */
struct outside_item {
	struct layer_outside_entry entry;
	bool wanted; /* unchanged since an older backup, whose list has not been read yet */
};

struct extras {
	struct probackup_chain *chain;
	struct layer_extras *ret;
	struct errmsg *e;
	unsigned member;
	struct outside_item *items; /* sorted by number and path, once the target's list is read */
	size_t count, cap;
	size_t wanted;
};

static const struct probackup_layer *target_of(const struct extras *x)
{
	return &x->chain->members[x->chain->base.count - 1];
}

static const char *keep(struct extras *x, const char *text)
{
	return arena_strndup(x->chain->arena, text, strlen(text));
}

/* ---- tablespaces ---- */

/* The path ends at the newline; a newline that belongs to it has a backslash before it. */
static size_t take_path(const char *text, const char *end, char *ret, size_t size)
{
	const char *at = text;
	size_t len = 0;

	while (at < end && *at != '\n' && len + 1 < size) {
		if (*at == '\\' && at + 1 < end)
			at++;
		ret[len++] = *at++;
	}
	ret[len] = '\0';
	if (at < end && *at != '\n')
		return 0;
	return (size_t)(at - text) + (at < end);
}

int extras_parse_spaces(const char *text, size_t len,
			int (*fn)(void *ctx, const char *oid, const char *path), void *ctx)
{
	const char *end = text + len;
	char oid[11], path[CONTENT_PATH_MAX + 1];

	while (text < end) {
		size_t digits = 0, n;
		int rc;

		while (text + digits < end && text[digits] >= '0' && text[digits] <= '9')
			digits++;
		if (digits == 0 || digits >= sizeof(oid) || text + digits == end ||
		    (text[digits] != ' ' && text[digits] != '\t'))
			return -EUCLEAN;
		memcpy(oid, text, digits);
		oid[digits] = '\0';
		text += digits;
		while (text < end && (*text == ' ' || *text == '\t'))
			text++;
		n = take_path(text, end, path, sizeof(path));
		if (n == 0 || path[0] != '/')
			return -EUCLEAN;
		rc = fn(ctx, oid, path);
		if (rc < 0)
			return rc;
		text += n;
	}
	return 0;
}

/* Those the mount shows; the map may name others, whose directory is not in the list. */
static bool is_shown(const struct extras *x, const char *link)
{
	const struct layer *target = &target_of(x)->base;

	for (uint32_t i = 0; i < target->entry_count; i++) {
		if (target->entries[i].kind == LAYER_SYMLINK &&
		    strcmp(target->entries[i].path, link) == 0)
			return true;
	}
	return false;
}

static int take_space(void *ctx, const char *oid, const char *path)
{
	struct extras *x = ctx;
	struct layer_space *spaces;
	char link[64], shown[64];

	(void)snprintf(link, sizeof(link), "pg_tblspc/%s", oid);
	(void)snprintf(shown, sizeof(shown), ".pgoverlay/tblspc/%s", oid);
	if (!is_shown(x, link))
		return 0;
	spaces = reallocarray(x->ret->spaces, x->ret->space_count + 1, sizeof(*spaces));
	if (spaces == NULL)
		return -ENOMEM;
	x->ret->spaces = spaces;
	spaces[x->ret->space_count] = (struct layer_space){
		.link = keep(x, link), .shown = keep(x, shown), .path = keep(x, path)};
	if (spaces[x->ret->space_count].path == NULL)
		return -ENOMEM;
	x->ret->space_count++;
	return 0;
}

/* A small file of the target's database/, "" if it is not there. */
static int read_small(const struct extras *x, const char *name, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = sys_open_beneath(target_of(x)->base.dirfd, name, O_RDONLY);
	_cleanup_free_ char *text = calloc(1, SMALL_FILE + 1);
	int64_t n;

	if (fd < 0 && fd != -ENOENT)
		return errmsg_set(x->e, fd, "backup %s: %s: %s", target_of(x)->base.id, name,
				  errmsg_text(NULL, fd));
	if (text == NULL)
		return -ENOMEM;
	n = fd >= 0 ? sys_pread_full(fd, text, SMALL_FILE, 0) : 0;
	if (n < 0)
		return errmsg_set(x->e, (int)n, "backup %s: %s: %s", target_of(x)->base.id, name,
				  errmsg_text(NULL, (int)n));
	text[n] = '\0';
	*ret_len = (size_t)n;
	*ret = TAKE_PTR(text);
	return 0;
}

static int find_spaces(struct extras *x)
{
	const struct layer *target = &target_of(x)->base;
	_cleanup_free_ char *text = NULL;
	size_t len, links = 0;
	int rc;

	for (uint32_t i = 0; i < target->entry_count; i++)
		links += target->entries[i].kind == LAYER_SYMLINK;
	if (links == 0)
		return 0;
	rc = read_small(x, "database/tablespace_map", &text, &len);
	if (rc == 0)
		rc = extras_parse_spaces(text, len, take_space, x);
	if (rc == 0 && x->ret->space_count != links)
		rc = -EUCLEAN;
	if (rc == -EUCLEAN)
		return errmsg_set(x->e, rc, "backup %s: tablespace_map is damaged", target->id);
	return rc;
}

/* ---- backup.control ---- */

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Their numbers are their places in the sorted list, from 1. */
static int take_outsides(struct extras *x, const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	const char **paths = calloc(NUMBER_MAX, sizeof(*paths));
	size_t count = 0;
	char *save = NULL;

	x->ret->outsides = calloc(NUMBER_MAX, sizeof(*x->ret->outsides));
	if (copy == NULL || paths == NULL || x->ret->outsides == NULL) {
		free(paths);
		return -ENOMEM;
	}
	for (char *p = strtok_r(copy, ":", &save); p && count < NUMBER_MAX;
	     p = strtok_r(NULL, ":", &save))
		paths[count++] = p;
	qsort(paths, count, sizeof(*paths), compare_strings);
	for (size_t i = 0; i < count; i++)
		x->ret->outsides[i] = (struct layer_outside){.number = (unsigned)i + 1,
							     .path = keep(x, paths[i])};
	x->ret->outside_count = count;
	free(paths);
	return 0;
}

static int take_pair(void *ctx, const char *key, const char *value)
{
	struct extras *x = ctx;

	if (strcmp(key, "primary-conninfo") == 0) {
		x->ret->primary_conninfo = keep(x, value);
		return x->ret->primary_conninfo != NULL ? 0 : -ENOMEM;
	}
	if (strcmp(key, "external-dirs") == 0 && x->ret->outsides == NULL)
		return take_outsides(x, value);
	return 0;
}

static int read_control(struct extras *x)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int rc = sys_read_file(target_of(x)->base.dirfd, "backup.control", PROBACKUP_CONTROL_MAX,
			       &data, &len);

	if (rc == 0)
		rc = ini_parse(data, len, take_pair, x, NULL);
	if (rc < 0)
		return errmsg_set(x->e, rc, "backup %s: backup.control: %s", target_of(x)->base.id,
				  errmsg_text(NULL, rc));
	return 0;
}

/* ---- external directories ---- */

static int compare_items(const void *a, const void *b)
{
	const struct layer_outside_entry *x = &((const struct outside_item *)a)->entry;
	const struct layer_outside_entry *y = &((const struct outside_item *)b)->entry;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return strcmp(x->path, y->path);
}

static int set_stored(struct extras *x, struct outside_item *item, uint64_t size)
{
	char name[CONTENT_PATH_MAX + 64];

	item->entry.size = size;
	item->wanted = false;
	if (size == 0)
		return 0;
	(void)snprintf(name, sizeof(name), "external_directories/externaldir%u/%s",
		       item->entry.number, item->entry.path);
	item->entry.layer = &x->chain->members[x->member].base;
	item->entry.name = keep(x, name);
	return item->entry.name != NULL ? 0 : -ENOMEM;
}

static int take_target_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct extras *x = ctx;
	struct outside_item *item;

	if (line->external_dir_num == 0)
		return 0;
	if (line->external_dir_num > x->ret->outside_count || line->is_datafile ||
	    (!S_ISDIR(line->mode) && !S_ISREG(line->mode)))
		return errmsg_set(e, -EUCLEAN, "'%s' is in external directory %u of %zu",
				  line->path, line->external_dir_num, x->ret->outside_count);
	if (x->count == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 256;
		struct outside_item *items = reallocarray(x->items, cap, sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		x->items = items;
		x->cap = cap;
	}
	item = &x->items[x->count++];
	*item = (struct outside_item){.entry = {.number = line->external_dir_num,
						.path = keep(x, line->path),
						.mode = line->mode}};
	if (item->entry.path == NULL)
		return -ENOMEM;
	if (S_ISREG(line->mode) && line->size < 0) {
		item->wanted = true;
		x->wanted++;
		return 0;
	}
	return set_stored(x, item, S_ISREG(line->mode) ? (uint64_t)line->size : 0);
}

static int take_older_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct extras *x = ctx;
	struct outside_item key = {.entry = {.number = line->external_dir_num, .path = line->path}};
	struct outside_item *item;

	if (line->external_dir_num == 0 || line->size < 0)
		return 0;
	item = bsearch(&key, x->items, x->count, sizeof(*x->items), compare_items);
	if (item == NULL || !item->wanted)
		return 0;
	x->wanted--;
	return set_stored(x, item, (uint64_t)line->size);
}

static int find_outsides(struct extras *x)
{
	struct content_sums sums;
	int rc = 0;

	x->member = x->chain->base.count - 1;
	rc = content_read(target_of(x)->base.dirfd, target_of(x)->base.id, take_target_line, x,
			  &sums, x->e);
	if (rc == 0 && x->count > 0)
		qsort(x->items, x->count, sizeof(*x->items), compare_items);
	while (rc == 0 && x->wanted > 0 && x->member > 0) {
		const struct probackup_layer *member = &x->chain->members[--x->member];

		rc = content_read(member->base.dirfd, member->base.id, take_older_line, x, &sums,
				  x->e);
	}
	if (rc == 0 && x->wanted > 0)
		rc = errmsg_set(x->e, -EUCLEAN,
				"backup %s: %zu files of external directories are unchanged since "
				"an older backup, but no backup of the chain has them",
				target_of(x)->base.id, x->wanted);
	x->ret->entries = calloc(MAX(x->count, (size_t)1), sizeof(*x->ret->entries));
	if (rc == 0 && x->ret->entries == NULL)
		rc = -ENOMEM;
	for (size_t i = 0; i < x->count && rc == 0; i++) {
		if (i > 0 && compare_items(&x->items[i - 1], &x->items[i]) == 0)
			rc = errmsg_set(x->e, -EUCLEAN, "backup %s: '%s' is listed twice",
					target_of(x)->base.id, x->items[i].entry.path);
		x->ret->entries[i] = x->items[i].entry;
	}
	x->ret->entry_count = x->count;
	return rc;
}

int probackup_extras(struct layer_chain *chain, struct errmsg *e, struct layer_extras *ret)
{
	struct layer_extras extras = {.primary_conninfo = "", .databases = ""};
	struct extras x = {
		.chain = CONTAINER_OF(chain, struct probackup_chain, base), .ret = &extras, .e = e};
	_cleanup_free_ char *databases = NULL;
	size_t len;
	int rc = read_control(&x);

	if (rc == 0)
		rc = find_spaces(&x);
	if (rc == 0 && extras.outside_count > 0)
		rc = find_outsides(&x);
	if (rc == 0)
		rc = read_small(&x, "database/database_map", &databases, &len);
	if (rc == 0) {
		extras.databases = keep(&x, databases);
		rc = extras.databases != NULL ? 0 : -ENOMEM;
	}
	free(x.items);
	if (rc < 0) {
		layer_extras_free(&extras);
		return errmsg_set(e, rc, "%s", errmsg_text(NULL, rc));
	}
	*ret = extras;
	return 0;
}
