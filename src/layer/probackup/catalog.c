/*
 * layer/probackup/catalog.c: see catalog.h.
 */
#include "layer/probackup/catalog.h"
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "codec/codec.h"
#include "pg/page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>

#define THREAD_LEAST 16u /* backups, for a thread to pay */
#define GONE	     1	 /* of a catalog_backup's rc: the directory is gone, or none */

struct collect {
	struct catalog catalog;
	size_t cap;
	int instance_dirfd;
};

/* Directories whose names are no ids are not pg_probackup's backups, whatever they hold. */
static int collect_name(void *ctx, const char *name, unsigned char d_type)
{
	struct collect *c = ctx;
	struct catalog_backup *item;
	uint64_t number;

	if (probackup_id_parse(name, &number) < 0 ||
	    (d_type != DT_DIR && d_type != DT_LNK && d_type != DT_UNKNOWN))
		return 0;
	if (c->catalog.count == c->cap) {
		size_t cap = MAX(c->cap * 2, (size_t)32);
		void *items = reallocarray(c->catalog.items, cap, sizeof(*item));

		if (items == NULL)
			return -ENOMEM;
		c->catalog.items = items;
		c->cap = cap;
	}
	item = &c->catalog.items[c->catalog.count++];
	*item = (struct catalog_backup){.number = number};
	(void)snprintf(item->id, sizeof(item->id), "%s", name);
	return 0;
}

/* By time; ids that are the same number (leading zeros) by name. */
static int compare_backups(const void *a, const void *b)
{
	const struct catalog_backup *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* Is the directory of a backup without a backup.control gone, or none? */
static int look_at_dir(int instance_dirfd, const char *id)
{
	_cleanup_close_ int dirfd = -1;

	dirfd = sys_open_beneath(instance_dirfd, id, O_RDONLY | O_DIRECTORY);
	return dirfd == -ENOENT || dirfd == -ENOTDIR ? GONE : MIN(dirfd, 0);
}

/* Of many backups on several threads. */
static int read_control(void *ctx, unsigned i, struct errmsg *e)
{
	const struct collect *c = ctx;
	struct catalog_backup *item = &c->catalog.items[i];
	char name[sizeof(item->id) + sizeof("/backup.control")];
	struct errmsg why = {""};
	int rc = 0;

	(void)e;
	(void)snprintf(name, sizeof(name), "%s/backup.control", item->id);
	item->rc = probackup_control_read(c->instance_dirfd, name, item->id, &item->control, &why);
	if (item->rc < 0)
		rc = look_at_dir(c->instance_dirfd, item->id);
	if (rc == GONE)
		item->rc = GONE;
	else if (rc < 0) {
		why.text[0] = '\0'; /* the directory's error says more */
		item->rc = errmsg_set(&why, rc, "backup %s: %s", item->id, probackup_open_text(rc));
	}
	if (item->rc < 0) {
		item->problem = strdup(errmsg_text(&why, item->rc));
		if (item->problem == NULL)
			return -ENOMEM;
	}
	return 0;
}

int catalog_load(int instance_dirfd, struct catalog *ret, struct errmsg *e)
{
	struct collect c = {.instance_dirfd = instance_dirfd};
	size_t kept = 0;
	int rc;

	rc = sys_readdir(instance_dirfd, ".", collect_name, &c);
	if (rc == 0)
		rc = parallel_for((unsigned)c.catalog.count, THREAD_LEAST, read_control, &c, e);
	for (size_t i = 0; i < c.catalog.count && rc == 0; i++) {
		if (c.catalog.items[i].rc != GONE)
			c.catalog.items[kept++] = c.catalog.items[i];
	}
	if (rc < 0) {
		catalog_free(&c.catalog);
		return errmsg_set(e, rc, "cannot list the backups: %s", errmsg_text(NULL, rc));
	}
	c.catalog.count = kept;
	if (kept > 0)
		qsort(c.catalog.items, kept, sizeof(*c.catalog.items), compare_backups);
	*ret = c.catalog;
	return 0;
}

void catalog_free(struct catalog *catalog)
{
	for (size_t i = 0; i < catalog->count; i++)
		free(catalog->items[i].problem);
	free(catalog->items);
	*catalog = (struct catalog){0};
}

const struct catalog_backup *catalog_find(const struct catalog *catalog, const char *id)
{
	for (size_t i = 0; i < catalog->count; i++) {
		if (strcasecmp(catalog->items[i].id, id) == 0)
			return &catalog->items[i];
	}
	return NULL;
}

static int check_version(const char *id, const struct probackup_control *control, struct errmsg *e)
{
	if (control->program_version == 0)
		return errmsg_set(e, -ENOTSUP, "backup %s does not say which pg_probackup made it",
				  id);
	if (control->program_version < PROBACKUP_VERSION_MIN)
		return errmsg_set(e, -ENOTSUP,
				  "backup %s was made by pg_probackup %s: only backups of 2.4.1 "
				  "and later can "
				  "be read; make a new full backup",
				  id, control->program_text);
	if (control->program_version > PROBACKUP_VERSION_MAX)
		return errmsg_set(e, -ENOTSUP,
				  "backup %s was made by pg_probackup %s: not known yet", id,
				  control->program_text);
	if (control->program_version > PROBACKUP_VERSION_KNOW && control->unknown_key[0] != '\0')
		return errmsg_set(
			e, -ENOTSUP,
			"backup %s was made by pg_probackup %s, and its backup.control has the key "
			"%s, which is not known here",
			id, control->program_text, control->unknown_key);
	return 0;
}

int catalog_check_member(const char *id, const struct probackup_control *control,
			 const char *target, bool force, struct errmsg *e)
{
	const char *refusal = probackup_status_refusal(control->status);
	const char *status = probackup_status_name(control->status);

	if (force && probackup_status_is_suspect(control->status))
		refusal = NULL;
	if (refusal != NULL && strcmp(id, target) == 0)
		return errmsg_set(e, -ENOTSUP, "backup %s has status %s: %s", id, status, refusal);
	if (refusal != NULL)
		return errmsg_set(e, -ENOTSUP, "backup %s, which %s needs, has status %s: %s", id,
				  target, status, refusal);
	if (control->block_size != PG_BLCKSZ || control->xlog_block_size != PG_BLCKSZ)
		return errmsg_set(
			e, -ENOTSUP,
			"backup %s has blocks of %u bytes and WAL blocks of %u: both must be %u",
			id, control->block_size, control->xlog_block_size, PG_BLCKSZ);
	return check_version(id, control, e);
}

static int check_backup(const struct catalog_backup *item, const struct catalog_backup *target,
			bool force, struct errmsg *e)
{
	if (item->rc < 0)
		return errmsg_set(e, item->rc, "%s", item->problem);
	return catalog_check_member(item->id, &item->control, target->id, force, e);
}

static const struct catalog_backup *find_exact(const struct catalog *catalog, const char *id)
{
	struct catalog_backup key;

	if (probackup_id_parse(id, &key.number) < 0)
		return NULL;
	(void)snprintf(key.id, sizeof(key.id), "%s", id);
	return bsearch(&key, catalog->items, catalog->count, sizeof(key), compare_backups);
}

/* The next member down, NULL for a FULL. */
static int find_parent(const struct catalog *catalog, const struct catalog_backup *item,
		       const struct catalog_backup *target, const struct catalog_backup **ret,
		       struct errmsg *e)
{
	const char *mode = probackup_mode_name(item->control.mode);

	*ret = NULL;
	if (item->control.mode == PROBACKUP_MODE_FULL)
		return 0;
	if (item->control.parent[0] == '\0')
		return errmsg_set(e, -EUCLEAN,
				  "backup %s: its chain has no full backup: %s is a %s backup "
				  "without a parent",
				  target->id, item->id, mode);
	*ret = find_exact(catalog, item->control.parent);
	if (*ret == NULL)
		return errmsg_set(
			e, -EUCLEAN,
			"backup %s: its chain has no full backup: %s, the parent of %s, is missing",
			target->id, item->control.parent, item->id);
	return 0;
}

int catalog_resolve(const struct catalog *catalog, const struct catalog_backup *target, bool force,
		    struct catalog_chain *ret, struct errmsg *e)
{
	_cleanup_free_ const struct catalog_backup **items = NULL;
	const struct catalog_backup *at = target;
	unsigned count = 0;

	items = calloc(catalog->count, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	/* From the target down, filled from the end. */
	while (at != NULL) {
		int rc = check_backup(at, target, force, e);

		if (rc < 0)
			return rc;
		if (count == catalog->count)
			return errmsg_set(e, -EUCLEAN,
					  "backup %s: its chain has no full backup: its parents go "
					  "round in a "
					  "circle",
					  target->id);
		count++;
		items[catalog->count - count] = at;
		rc = find_parent(catalog, at, target, &at, e);
		if (rc < 0)
			return rc;
	}
	memmove(items, items + (catalog->count - count), count * sizeof(*items));
	ret->items = TAKE_PTR(items);
	ret->count = count;
	return 0;
}

void catalog_chain_free(struct catalog_chain *chain)
{
	free(chain->items);
	*chain = (struct catalog_chain){0};
}

bool catalog_is_unverified(int codec)
{
	return codec == CODEC_LZ4 || codec == CODEC_ZSTD;
}

void catalog_caution_codec(FILE *out, const char *id, const char *name)
{
	(void)fprintf(out,
		      "backup %s has pages compressed with %s, as only commercial builds of "
		      "pg_probackup write them: read as they are said to be, but unverified\n",
		      id, name);
}

void catalog_caution(FILE *out, const char *id, const struct probackup_control *control)
{
	if (control->status == PROBACKUP_STATUS_DONE)
		(void)fprintf(out,
			      "backup %s has status DONE (not validated): while it is mounted, "
			      "pg_probackup "
			      "validate and restore with validation fail for it; run pg_probackup "
			      "validate "
			      "first, or restore --no-validate\n",
			      id);
	if (probackup_status_is_suspect(control->status))
		(void)fprintf(out,
			      "backup %s has status %s and was opened by force: what is damaged in it "
			      "is an error when it is read\n",
			      id, probackup_status_name(control->status));
	if (control->mode == PROBACKUP_MODE_PTRACK)
		(void)fprintf(out,
			      "backup %s is a PTRACK backup: read by the rules of PAGE backups, "
			      "but untested\n",
			      id);
	if (catalog_is_unverified(codec_from_name(control->compress_alg)))
		catalog_caution_codec(out, id, control->compress_alg);
	if (control->program_version > PROBACKUP_VERSION_KNOW)
		(void)fprintf(
			out,
			"backup %s was made by pg_probackup %s: versions above 2.5 are untested\n",
			id, control->program_text);
}
