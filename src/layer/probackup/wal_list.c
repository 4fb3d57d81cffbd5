/*
 * layer/probackup/wal_list.c: what an archive has, by the names of its files; see wal.h.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/wal.h"

#include <errno.h>
#include <stdio.h>

struct collect {
	const struct wal_archive *archive;
	struct wal_list list;
	size_t cap, history_cap;
};

static int grow(void **items, size_t count, size_t *cap, size_t size)
{
	void *bigger;

	if (count < *cap)
		return 0;
	bigger = reallocarray(*items, MAX(*cap * 2, (size_t)64), size);
	if (bigger == NULL)
		return -ENOMEM;
	*cap = MAX(*cap * 2, (size_t)64);
	*items = bigger;
	return 0;
}

static int add_history(struct collect *c, const struct pg_wal_name *name)
{
	void *items = c->list.histories;
	int rc = grow(&items, c->list.history_count, &c->history_cap, sizeof(struct wal_history));

	c->list.histories = items;
	if (rc == 0)
		c->list.histories[c->list.history_count++] =
			(struct wal_history){.timeline = name->timeline};
	return rc;
}

static int add_segment(struct collect *c, const struct pg_wal_name *name, bool partial)
{
	void *items = c->list.segments;
	int rc = grow(&items, c->list.count, &c->cap, sizeof(struct wal_segment));

	c->list.segments = items;
	if (rc == 0)
		c->list.segments[c->list.count++] = (struct wal_segment){
			.timeline = name->timeline, .partial = partial, .number = name->segment};
	return rc;
}

/* The name without the ending, if it has that. */
static bool cut(char *name, const char *ending)
{
	size_t len = strlen(name), end = strlen(ending);

	if (len <= end || strcmp(name + len - end, ending) != 0)
		return false;
	name[len - end] = '\0';
	return true;
}

static int collect_name(void *ctx, const char *name, unsigned char d_type)
{
	struct collect *c = ctx;
	struct pg_wal_name parsed;
	bool partial, gzip;
	char base[64];

	(void)d_type;
	if (strlen(name) >= sizeof(base))
		return 0;
	(void)snprintf(base, sizeof(base), "%s", name);
	partial = cut(base, ".partial");
	gzip = cut(base, ".gz");
	if (!pg_wal_name_parse(base, c->archive->segment_size, &parsed))
		return 0;
	if (parsed.kind == PG_WAL_SEGMENT)
		return add_segment(c, &parsed, partial);
	return parsed.kind == PG_WAL_HISTORY && !partial && !gzip ? add_history(c, &parsed) : 0;
}

/* A whole one before a partial one. */
static int compare_segments(const void *a, const void *b)
{
	const struct wal_segment *x = a, *y = b;

	if (x->timeline != y->timeline)
		return x->timeline < y->timeline ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)x->partial - (int)y->partial;
}

static int compare_histories(const void *a, const void *b)
{
	const struct wal_history *x = a, *y = b;

	return x->timeline < y->timeline ? -1 : x->timeline > y->timeline;
}

static void sort(struct wal_list *list)
{
	size_t kept = 0;

	if (list->count > 0)
		qsort(list->segments, list->count, sizeof(*list->segments), compare_segments);
	if (list->history_count > 0)
		qsort(list->histories, list->history_count, sizeof(*list->histories),
		      compare_histories);
	for (size_t i = 0; i < list->count; i++) {
		const struct wal_segment *s = &list->segments[i];

		if (kept == 0 || list->segments[kept - 1].timeline != s->timeline ||
		    list->segments[kept - 1].number != s->number)
			list->segments[kept++] = *s;
	}
	list->count = kept;
}

static int read_histories(struct collect *c)
{
	for (size_t i = 0; i < c->list.history_count; i++) {
		struct wal_history *h = &c->list.histories[i];
		_cleanup_free_ char *data = NULL;
		char name[24];
		size_t len;
		int rc;

		(void)snprintf(name, sizeof(name), "%08X.history", h->timeline);
		rc = wal_read_small(c->archive->dirfd, name, WAL_SMALL_MAX, &data, &len);
		if (rc == 0)
			rc = pg_wal_history_parse(data, len, h->timeline, &h->ancestors, &h->count,
						  NULL);
		if (rc == -ENOMEM)
			return rc;
	}
	return 0;
}

int probackup_wal_list(struct store *store, const char *instance, struct errmsg *e,
		       struct wal_list *ret)
{
	struct wal_archive archive;
	struct collect c = {.archive = &archive};
	int rc = wal_archive_open(store, instance, e, &archive);

	if (rc < 0)
		return rc;
	c.list.segment_size = archive.segment_size;
	c.list.system_identifier = archive.system_identifier;
	rc = sys_readdir(archive.dirfd, ".", collect_name, &c);
	if (rc == 0) {
		sort(&c.list);
		rc = read_histories(&c);
	}
	if (rc < 0) {
		(void)errmsg_set(e, rc, "%s/wal/%s: %s", store->path, archive.instance,
				 errmsg_text(NULL, rc));
		wal_list_free(&c.list);
	} else {
		*ret = c.list;
	}
	wal_archive_close(&archive);
	return rc;
}
