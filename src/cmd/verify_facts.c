/*
 * cmd/verify_facts.c: no sum covers backup.control, but others know most of what it says: backup_label, the
 * control file, the other members of the chain, the settings of the instance, and the WAL, which must be there
 * from the backup's start to its stop.
 */
#include "base/sys.h"
#include "base/util.h"
#include "cmd/verify.h"
#include "pg/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define LABEL_MAX	(64u << 10)
#define SEGMENTS_MAX	(1u << 20) /* of one backup's WAL; more is a damaged LSN */
#define SEGMENT_DEFAULT (16u << 20)
#define OFF_ADDRESS	8u /* of a WAL page: its LSN */

struct facts {
	struct verify *v;
	const struct layer_chain *chain;
	const struct layer *target;
	const struct backup_info *info;
	bool has_control, has_archive;
	struct pg_control control;
	uint32_t segment_size;
	uint64_t system_identifier; /* 0: not known */
};

static const struct layer_entry *find_entry(const struct layer *layer, const char *path)
{
	uint32_t from = 0, to = layer->entry_count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		int order = strcmp(layer->entries[middle].path, path);

		if (order == 0)
			return layer->entries[middle].file != LAYER_NO_FILE ? &layer->entries[middle]
									    : NULL;
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

static int open_entry(const struct layer *layer, const struct layer_entry *entry)
{
	return sys_open_beneath(layer->dirfd, layer->ops->name(layer, entry->file),
				O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/* ---- backup_label ---- */

static void compare_start(struct facts *f, const char *text)
{
	const char *line = strstr(text, "START WAL LOCATION: ");
	unsigned high, low, timeline = 0;
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];
	uint64_t lsn;

	if (line == NULL || sscanf(line, "START WAL LOCATION: %8X/%8X (file %8X", &high, &low,
				   &timeline) < 2) {
		verify_say(f->v, f->info->id, false, "backup_label has no start of WAL");
		return;
	}
	lsn = (uint64_t)high << 32 | low;
	if (lsn != f->info->start_lsn)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it starts at %s, backup_label at %s",
			   pg_lsn_text(f->info->start_lsn, a), pg_lsn_text(lsn, b));
	line = strstr(text, "START TIMELINE: ");
	if (line != NULL)
		(void)sscanf(line, "START TIMELINE: %u", &timeline);
	if (timeline != 0 && timeline != f->info->timeline)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it is of timeline %u, backup_label of %u",
			   f->info->timeline, timeline);
}

static int check_label(struct facts *f)
{
	const struct layer_entry *entry = find_entry(f->target, "backup_label");
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	int64_t n;

	if (entry == NULL) {
		verify_say(f->v, f->info->id, false, "it has no backup_label");
		return 0;
	}
	text = calloc(1, LABEL_MAX + 1);
	if (text == NULL)
		return -ENOMEM;
	fd = open_entry(f->target, entry);
	n = fd < 0 ? fd : sys_pread_full(fd, text, LABEL_MAX, 0);
	if (n >= 0) /* else reading the file itself will say so */
		compare_start(f, text);
	return 0;
}

/* ---- the control file ---- */

static void read_control(struct facts *f)
{
	const struct layer_entry *entry = find_entry(f->target, "global/pg_control");
	uint8_t data[PG_CONTROL_FILE_SIZE];
	struct errmsg why = {""};
	_cleanup_close_ int fd = -1;
	int64_t n;

	if (entry == NULL) {
		verify_say(f->v, f->info->id, false, "it has no global/pg_control");
		return;
	}
	fd = open_entry(f->target, entry);
	n = fd < 0 ? fd : sys_pread_full(fd, data, sizeof(data), 0);
	f->has_control = n >= 0 && pg_control_parse(data, (size_t)n, &f->control, &why) == 0;
}

static void compare_control(struct facts *f)
{
	const struct pg_control *c = &f->control;
	unsigned major = pg_major_of_catalog(c->catalog_version);

	for (unsigned i = 0; i < f->chain->count; i++) {
		if (f->chain->layers[i]->page_checksums == (c->checksum_version != 0))
			continue;
		verify_say(f->v, f->chain->layers[i]->id, false,
			   "backup.control says that its pages have %schecksums, pg_control of backup "
			   "%s that they have %s",
			   f->chain->layers[i]->page_checksums ? "" : "no ", f->info->id,
			   c->checksum_version != 0 ? "them" : "none");
	}
	if (major != 0 && f->chain->pg_version != 0 && major != f->chain->pg_version)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it is of PostgreSQL %u, pg_control of %u",
			   f->chain->pg_version, major);
}

/* ---- the other members, the settings of the instance ---- */

static const struct backup_info *find_info(const struct facts *f, const char *id)
{
	for (size_t i = 0; i < f->v->list.count; i++) {
		const struct backup_info *info = &f->v->list.items[i];

		if (strcmp(info->instance, f->chain->instance) == 0 && strcmp(info->id, id) == 0)
			return info;
	}
	return NULL;
}

static void compare_members(struct facts *f)
{
	const struct backup_info *older = NULL;
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];

	for (unsigned i = 0; i < f->chain->count; i++) {
		const struct backup_info *info = find_info(f, f->chain->layers[i]->id);

		if (older != NULL && info != NULL && info->start_lsn < older->start_lsn)
			verify_say(f->v, info->id, false,
				   "it starts at %s, before backup %s that it is made on (%s)",
				   pg_lsn_text(info->start_lsn, a), older->id,
				   pg_lsn_text(older->start_lsn, b));
		older = info;
	}
}

static int compare_instance(struct facts *f)
{
	struct wal_list list = {0};
	struct errmsg e = {""};
	int rc = -ENOTDIR;

	if (f->v->store->driver->wal_list != NULL)
		rc = f->v->store->driver->wal_list(f->v->store, f->chain->instance, &e, &list);
	if (rc == -ENOTDIR || rc == -ENOMEM)
		return rc == -ENOMEM ? rc : 0;
	if (rc < 0) {
		verify_say(f->v, f->info->id, false, "%s", errmsg_text(&e, rc));
		return 0;
	}
	f->has_archive = true;
	if (f->has_control && list.system_identifier != 0 &&
	    list.system_identifier != f->control.system_identifier)
		verify_say(f->v, f->info->id, false,
			   "it is of another cluster than its instance: system identifier %" PRIu64
			   ", not %" PRIu64,
			   f->control.system_identifier, list.system_identifier);
	if (f->has_control && list.segment_size != f->control.wal_segment_size)
		verify_say(f->v, f->info->id, false,
			   "its WAL segments have %u bytes, those of its instance %u",
			   f->control.wal_segment_size, list.segment_size);
	if (!f->has_control) {
		f->system_identifier = list.system_identifier;
		f->segment_size = list.segment_size;
	}
	wal_list_free(&list);
	return 0;
}

/* ---- WAL ---- */

/* The page that the last byte of the backup's WAL is in. */
struct stop_page {
	uint64_t segment, lsn;
	uint8_t page[PG_WAL_PAGE];
	uint64_t at; /* bytes of the segment that have gone by */
};

static int take_bytes(void *ctx, const void *data, size_t len)
{
	struct stop_page *s = ctx;
	uint64_t done = 0;

	while (done < len) {
		uint64_t at = s->at + done, page = at / PG_WAL_PAGE * PG_WAL_PAGE;
		size_t n = (size_t)MIN(len - done, page + PG_WAL_PAGE - at);

		/* s->lsn is relative to the segment here. */
		if (page == s->lsn)
			memcpy(s->page + (at - page), (const uint8_t *)data + done, n);
		done += n;
	}
	s->at += len;
	return 0;
}

static void check_stop(struct facts *f, const struct stop_page *s, const char *name)
{
	uint64_t lsn = s->segment * f->segment_size + s->lsn;
	char a[PG_LSN_TEXT_SIZE];

	if ((get_le16(s->page) & 0xfe00u) != 0xd000u || get_le64(s->page + OFF_ADDRESS) != lsn)
		verify_say(f->v, f->info->id, false,
			   "its WAL ends before its stop at %s: segment %s holds nothing there",
			   pg_lsn_text(f->info->stop_lsn, a), name);
}

/* A segment inside of the backup. -ENOENT: it is not there; 0 also if it is damaged. */
static int check_inside(struct facts *f, const char *name, uint64_t segment, struct stop_page *s)
{
	const struct pg_wal_expect expect = {.timeline = f->info->timeline,
					     .segment = segment,
					     .segment_size = f->segment_size,
					     .system_identifier = f->system_identifier};
	const bool old = f->chain->pg_version != 0 && f->chain->pg_version < 10;
	const struct layer_entry *entry;
	struct errmsg why = {""};
	uint8_t head[PG_WAL_HEADER_BYTES];
	_cleanup_close_ int fd = -1;
	char path[64];
	int rc = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", old ? "pg_xlog" : "pg_wal", name);
	entry = find_entry(f->target, path);
	if (entry == NULL)
		return -ENOENT;
	fd = open_entry(f->target, entry);
	if (fd < 0)
		return 0; /* reading the file itself says so, as of what is too short */
	if (entry->size != f->segment_size)
		rc = errmsg_set(&why, -EUCLEAN, "it has %" PRIu64 " bytes, not %u", entry->size,
				f->segment_size);
	else if (sys_pread_full(fd, head, sizeof(head), 0) == (int64_t)sizeof(head))
		rc = pg_wal_check_first_page(head, &expect, &why);
	if (rc < 0)
		verify_say(f->v, f->info->id, false, "WAL segment %s: %s", name,
			   errmsg_text(&why, rc));
	else if (segment == s->segment &&
		 sys_pread_full(fd, s->page, PG_WAL_PAGE, s->lsn) == PG_WAL_PAGE)
		check_stop(f, s, name);
	return 0;
}

/* The same in the archive, of which all bytes are read. */
static int check_archived(struct facts *f, const char *name, uint64_t segment, struct stop_page *s)
{
	const struct wal_sink sink = {.write = take_bytes, .ctx = s};
	struct errmsg why = {""};
	int rc;

	s->at = 0;
	if (!f->has_archive)
		return -ENOENT;
	rc = f->v->store->driver->wal_read(f->v->store, f->chain->instance, name, &sink, &why);
	if (rc == -ENOENT || rc == -ENOMEM)
		return rc;
	if (rc < 0)
		verify_say(f->v, f->info->id, false, "%s", errmsg_text(&why, rc));
	else if (segment == s->segment)
		check_stop(f, s, name);
	return 0;
}

static void say_missing(struct facts *f, uint64_t first, uint64_t count)
{
	char from[PG_WAL_NAME_SIZE], to[PG_WAL_NAME_SIZE];

	if (count == 0)
		return;
	pg_wal_segment_name(f->info->timeline, first, f->segment_size, from);
	pg_wal_segment_name(f->info->timeline, first + count - 1, f->segment_size, to);
	if (count == 1)
		verify_say(f->v, f->info->id, false, "WAL segment %s is missing %s", from,
			   f->info->stream ? "in it" : "in the archive");
	else
		verify_say(f->v, f->info->id, false,
			   "WAL segments %s to %s are missing %s (%" PRIu64 ")", from, to,
			   f->info->stream ? "in it" : "in the archive", count);
}

static int check_wal(struct facts *f)
{
	uint64_t start = f->info->start_lsn, stop = f->info->stop_lsn, missing = 0;
	uint64_t first = start / f->segment_size, last = (stop - 1) / f->segment_size;
	_cleanup_free_ struct stop_page *s = calloc(1, sizeof(*s));
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE], name[PG_WAL_NAME_SIZE];
	int rc = 0;

	if (s == NULL)
		return -ENOMEM;
	if (start == 0 || stop <= start || last - first >= SEGMENTS_MAX ||
	    f->info->timeline == 0) {
		verify_say(f->v, f->info->id, false,
			   "no WAL can be from %s to %s on timeline %u, as backup.control says",
			   pg_lsn_text(start, a), pg_lsn_text(stop, b), f->info->timeline);
		return 0;
	}
	s->segment = last;
	s->lsn = (stop - 1) % f->segment_size / PG_WAL_PAGE * PG_WAL_PAGE;
	for (uint64_t i = first; i <= last && (rc == 0 || rc == -ENOENT); i++) {
		pg_wal_segment_name(f->info->timeline, i, f->segment_size, name);
		rc = f->info->stream ? check_inside(f, name, i, s) : check_archived(f, name, i, s);
		if (rc == -ENOENT) {
			missing++;
		} else {
			say_missing(f, i - missing, missing);
			missing = 0;
		}
	}
	say_missing(f, last + 1 - missing, missing);
	return rc == -ENOENT ? 0 : rc;
}

int verify_facts(struct verify *v, const struct layer_chain *chain, const struct backup_info *info)
{
	struct facts f = {.v = v,
			  .chain = chain,
			  .target = chain->layers[chain->count - 1],
			  .info = info,
			  .segment_size = SEGMENT_DEFAULT};
	int rc = check_label(&f);

	read_control(&f);
	if (f.has_control) {
		compare_control(&f);
		f.system_identifier = f.control.system_identifier;
		if (pg_wal_segment_size_is_valid(f.control.wal_segment_size))
			f.segment_size = f.control.wal_segment_size;
	}
	compare_members(&f);
	if (rc == 0)
		rc = compare_instance(&f);
	if (rc == 0)
		rc = check_wal(&f);
	return rc;
}
