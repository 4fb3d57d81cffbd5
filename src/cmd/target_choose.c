/*
 * cmd/target_choose.c: which backup a target is reached from, and whether its WAL is there.
 *
 * Whether a target lies behind the end of a backup is known for an LSN, a time and (nearly) a
 * transaction from backup.control; a restore point is looked for in the WAL, from the newest on.
 */
#include "cmd/target.h"
#include "cmd/wal_path.h"

#include "base/util.h"
#include "pg/wal_scan.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define SECOND 1000000

struct choosing {
	struct store *store;
	const char *instance, *named;
	const struct target *target;
	struct errmsg *e;
	struct backup_list backups;
	struct wal_list wal; /* empty: no archive */
	bool has_archive;
	struct wal_path path;		 /* of the backup looked at */
	const struct backup_info *found; /* by search: the newest before the restore point */
};

/* ---- does the target lie behind the backup? ---- */

/* Beyond doubt: the time of a backup is known in whole seconds. */
static bool is_behind(const struct choosing *c, const struct backup_info *b)
{
	const struct target *t = c->target;

	switch (t->kind) {
	case TARGET_LSN:
		return b->stop_lsn != 0 && t->lsn >= b->stop_lsn;
	case TARGET_TIME:
		return b->recovery_time != 0 && t->time >= (b->recovery_time + 1) * SECOND;
	case TARGET_XID:
		return b->recovery_xid != 0 && t->xid >= b->recovery_xid;
	case TARGET_NAME:
		return b == c->found;
	default:
		return true;
	}
}

static bool is_surely_before(const struct choosing *c, const struct backup_info *b)
{
	const struct target *t = c->target;

	return (t->kind == TARGET_LSN && t->lsn < b->stop_lsn) ||
	       (t->kind == TARGET_TIME && t->time < b->recovery_time * SECOND);
}

/* ---- timelines ---- */

/* The path of a recovery from this backup, or why there is none. */
static int find_path(struct choosing *c, const struct backup_info *b, struct errmsg *e)
{
	const char *wanted = c->target->timeline;
	uint32_t timeline = b->timeline;
	int rc;

	if (wanted != NULL && *wanted >= '0' && *wanted <= '9')
		timeline = (uint32_t)strtoul(wanted, NULL, 10);
	else if (wanted != NULL ? strcmp(wanted, "latest") == 0
				: c->target->kind != TARGET_IMMEDIATE)
		timeline = wal_path_latest(&c->wal, b->timeline);
	rc = wal_path_make(&c->wal, timeline, &c->path);
	/* The timeline of the backup itself needs no history, if recovery does not leave it. */
	if (rc == -ENOENT && timeline == b->timeline) {
		c->path = (struct wal_path){.list = &c->wal, .timeline = timeline};
		rc = 0;
	}
	if (rc < 0)
		return errmsg_set(e, rc,
				  "timeline %u cannot be followed: the archive has no history of "
				  "it, or a damaged one",
				  timeline);
	if (!wal_path_has(&c->path, b->timeline, b->stop_lsn))
		return errmsg_set(
			e, -EINVAL,
			"timeline %u does not come by the end of backup %s (timeline %u): "
			"say --target-timeline current to stay on that of the backup",
			timeline, b->id, b->timeline);
	return 0;
}

/* ---- WAL ---- */

/* The first segment that must come from the archive. A backup with its WAL holds all up to its end,
 * but its last segment may have been filled after that. */
static uint64_t first_needed(const struct choosing *c, const struct backup_info *b)
{
	uint64_t lsn = b->stream ? b->stop_lsn - 1 : b->start_lsn;

	return lsn / c->wal.segment_size;
}

static int lacks(const struct choosing *c, const struct backup_info *b, uint64_t segment,
		 struct errmsg *e)
{
	char name[PG_WAL_NAME_SIZE], lsn[PG_LSN_TEXT_SIZE];

	wal_path_name(&c->path, segment, name);
	return errmsg_set(e, -ENODATA,
			  "backup %s cannot be recovered: the archive lacks %s (WAL from %s on)",
			  b->id, name, pg_lsn_text(segment * c->wal.segment_size, lsn));
}

/* The target lies behind the end of the archive, or behind a hole in it. */
static int check_reach(const struct choosing *c, const struct backup_info *b, uint64_t missing,
		       uint64_t end, struct errmsg *e)
{
	char lsn[PG_LSN_TEXT_SIZE], lsn2[PG_LSN_TEXT_SIZE];
	uint64_t reached = missing * c->wal.segment_size;

	if (c->target->kind == TARGET_LATEST && missing < end)
		return lacks(c, b, missing, e);
	if (c->target->kind != TARGET_LSN || c->target->lsn < reached)
		return 0;
	if (missing < end)
		return lacks(c, b, missing, e);
	return errmsg_set(e, -ENODATA, "LSN %s is not in the archive, which ends at %s",
			  pg_lsn_text(c->target->lsn, lsn), pg_lsn_text(reached, lsn2));
}

static int note_gap(const struct choosing *c, uint64_t missing, uint64_t end,
		    struct target_choice *ret)
{
	char name[PG_WAL_NAME_SIZE];

	if (missing >= end || c->target->kind < TARGET_TIME || c->target->kind == TARGET_LSN)
		return 0;
	wal_path_name(&c->path, missing, name);
	return asprintf(&ret->gap, "the archive lacks %s: recovery cannot go beyond it", name) < 0
		       ? -ENOMEM
		       : 0;
}

/* Everything a recovery from this backup surely needs; fills what is known of the way. */
static int check_wal(const struct choosing *c, const struct backup_info *b, struct errmsg *e,
		     struct target_choice *ret)
{
	uint64_t first, last, missing, end;
	int rc;

	if (b->stop_lsn == 0 || b->start_lsn == 0)
		return errmsg_set(e, -EUCLEAN,
				  "backup %s does not say where its WAL begins and ends", b->id);
	if (!c->has_archive)
		return b->stream && c->target->kind == TARGET_IMMEDIATE
			       ? 0
			       : errmsg_set(e, -ENODATA,
					    "backup %s cannot be recovered: the store has no WAL "
					    "archive of its instance",
					    b->id);
	first = first_needed(c, b);
	last = (b->stop_lsn - 1) / c->wal.segment_size;
	missing = wal_path_missing(&c->path, first);
	end = wal_path_end(&c->path);
	if (missing <= last && !(b->stream && c->target->kind <= TARGET_IMMEDIATE))
		return lacks(c, b, missing, e);
	rc = check_reach(c, b, missing, end, e);
	if (rc < 0)
		return rc;
	ret->end_lsn = MIN(missing, end) * c->wal.segment_size;
	if (c->target->kind == TARGET_IMMEDIATE)
		ret->end_lsn = b->stop_lsn;
	else if (c->target->kind == TARGET_LSN)
		ret->end_lsn = c->target->lsn;
	return note_gap(c, missing, end, ret);
}

/* ---- restore points ---- */

struct scanning {
	struct pg_wal_scan scan;
	uint8_t page[PG_WAL_PAGE];
	size_t filled;
};

static int scan_part(void *ctx, const void *data, size_t len)
{
	struct scanning *s = ctx;

	for (const uint8_t *p = data; len > 0;) {
		size_t part = MIN(len, PG_WAL_PAGE - s->filled);

		memcpy(s->page + s->filled, p, part);
		s->filled += part;
		p += part;
		len -= part;
		if (s->filled == PG_WAL_PAGE) {
			pg_wal_scan_page(&s->scan, s->page);
			s->filled = 0;
		}
	}
	return 0;
}

/* Is there such a restore point in segments [first, end), at or behind lsn? 1, 0. */
static int search(const struct choosing *c, uint64_t first, uint64_t end, uint64_t lsn)
{
	_cleanup_free_ struct scanning *s = calloc(1, sizeof(*s));
	const struct wal_sink sink = {scan_part, s};

	if (s == NULL)
		return -ENOMEM;
	pg_wal_scan_init(&s->scan, c->target->name);
	for (uint64_t at = first; at < end; at++) {
		uint32_t timeline = wal_path_find(&c->path, at);
		char name[PG_WAL_NAME_SIZE];
		int rc;

		if (timeline == 0)
			break;
		s->filled = 0;
		pg_wal_segment_name(timeline, at, c->wal.segment_size, name);
		rc = c->store->driver->wal_read(c->store, c->instance, name, &sink, c->e);
		if (rc < 0)
			return rc;
	}
	return s->scan.found && s->scan.lsn >= lsn;
}

/* From the newest backup on; each segment is read once. */
static int find_restore_point(struct choosing *c)
{
	uint64_t end = UINT64_MAX;

	for (size_t i = c->backups.count; i-- > 0;) {
		const struct backup_info *b = &c->backups.items[i];
		uint64_t first;
		int rc;

		if (!b->mountable || b->stop_lsn == 0 || find_path(c, b, NULL) < 0)
			continue;
		first = (b->stop_lsn - 1) / c->wal.segment_size;
		rc = search(c, first, end, b->stop_lsn);
		if (rc < 0)
			return rc;
		if (rc > 0) {
			c->found = b;
			return 0;
		}
		end = first + 1;
	}
	return 0;
}

/* ---- choosing ---- */

/* The newest that the target can be reached from; the reason of the newest that fails is kept. */
static const struct backup_info *newest_before(struct choosing *c, const struct backup_info *but,
					       struct errmsg *why, struct target_choice *ret)
{
	for (size_t i = c->backups.count; i-- > 0;) {
		const struct backup_info *b = &c->backups.items[i];

		if (b != but && b->mountable && is_behind(c, b) && find_path(c, b, why) == 0 &&
		    check_wal(c, b, why, ret) == 0)
			return b;
	}
	return NULL;
}

static int take_named(struct choosing *c, const struct backup_info **ret_backup,
		      struct target_choice *ret)
{
	struct target_choice other = {0};
	const struct backup_info *b = NULL, *better;
	char text[TARGET_TEXT_SIZE];
	int rc;

	for (size_t i = 0; i < c->backups.count; i++) {
		if (strcasecmp(c->backups.items[i].id, c->named) == 0)
			b = &c->backups.items[i];
	}
	if (b == NULL)
		return errmsg_set(c->e, -ENOENT, "the store has no backup '%s'", c->named);
	if (is_surely_before(c, b)) {
		better = newest_before(c, b, NULL, &other);
		target_choice_free(&other);
		return errmsg_set(c->e, -EINVAL,
				  "%s lies before the end of backup %s: recovery only goes "
				  "forward; %s%s",
				  target_text(c->target, text), b->id,
				  better != NULL ? "use --backup "
						 : "there is no older backup that "
						   "could serve",
				  better != NULL ? better->id : "");
	}
	rc = find_path(c, b, c->e);
	if (rc == 0)
		rc = check_wal(c, b, c->e, ret);
	*ret_backup = b;
	return rc;
}

static int take_newest(struct choosing *c, const struct backup_info **ret_backup,
		       struct target_choice *ret)
{
	struct errmsg why = {""};
	char text[TARGET_TEXT_SIZE];
	int rc = c->target->kind == TARGET_NAME && c->has_archive ? find_restore_point(c) : 0;

	if (rc < 0)
		return rc;
	*ret_backup = newest_before(c, NULL, &why, ret);
	if (*ret_backup != NULL)
		return 0;
	return errmsg_set(c->e, -ENODATA, "no backup can be recovered to %s: %s",
			  target_text(c->target, text),
			  why.text[0] != '\0' ? why.text
			  : c->target->kind == TARGET_NAME
				  ? "it is not in the archive behind a "
				    "backup that can be mounted"
				  : "none that can be mounted ended before "
				    "it");
}

/* The names of instances and the only one: what the listing says. */
static int only_one_instance(struct choosing *c)
{
	for (size_t i = 0; i < c->backups.count; i++) {
		if (strcmp(c->backups.items[i].instance, c->backups.items[0].instance) != 0)
			return errmsg_set(c->e, -EINVAL,
					  "the store has several instances ('%s', '%s', ...); name "
					  "one with --instance",
					  c->backups.items[0].instance,
					  c->backups.items[i].instance);
	}
	return 0;
}

static int look(struct choosing *c)
{
	const struct store_driver *driver = c->store->driver;
	int rc = driver->list(c->store, c->instance, c->e, &c->backups);

	if (rc == 0 && c->instance == NULL)
		rc = only_one_instance(c);
	if (rc < 0 || driver->wal_list == NULL)
		return rc;
	rc = driver->wal_list(c->store, c->instance, c->e, &c->wal);
	c->has_archive = rc == 0;
	if (rc == -ENOTDIR) {
		c->e->text[0] = '\0';
		rc = 0;
	}
	return rc;
}

int target_choose(struct store *store, const char *instance, const char *backup,
		  const struct target *target, struct errmsg *e, struct target_choice *ret)
{
	struct choosing c = {
		.store = store, .instance = instance, .named = backup, .target = target, .e = e};
	struct target_choice choice = {0};
	const struct backup_info *b = NULL;
	int rc = look(&c);

	if (rc == 0)
		rc = backup != NULL ? take_named(&c, &b, &choice) : take_newest(&c, &b, &choice);
	if (rc == 0) {
		choice.backup = strdup(b->id);
		choice.stream = b->stream;
		choice.timeline = c.path.timeline;
		choice.start_lsn = b->start_lsn;
		choice.segment_size = c.wal.segment_size;
		choice.has_archive = c.has_archive;
		rc = choice.backup != NULL ? 0 : -ENOMEM;
	}
	wal_list_free(&c.wal);
	store->driver->list_free(&c.backups);
	if (rc < 0)
		target_choice_free(&choice);
	else
		*ret = choice;
	return rc;
}

void target_choice_free(struct target_choice *choice)
{
	free(choice->backup);
	free(choice->gap);
	*choice = (struct target_choice){0};
}
