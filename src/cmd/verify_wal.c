/*
 * cmd/verify_wal.c: the WAL that a backup needs: all of it is there, and it leads from the backup's start to its
 * stop. Read once, in its order; a STREAM backup has it inside, the other ones in the archive.
 */
#include "base/sys.h"
#include "base/util.h"
#include "cmd/verify.h"
#include "pg/wal_records.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define SEGMENTS_MAX (1u << 20) /* of one backup's WAL; more is a damaged LSN */
#define BUFFER	     (256u << 10)

struct walking {
	struct pg_wal_walk walk;
	uint64_t at;	/* LSN of the next byte that is read */
	uint64_t first; /* page; what is before it is not needed */
	bool lacks;	/* something is missing or damaged, and has been said */
	uint8_t page[PG_WAL_PAGE];
	uint8_t buf[BUFFER];
};

static int take_bytes(void *ctx, const void *data, size_t len)
{
	struct walking *w = ctx;
	const uint8_t *from = data;

	while (len > 0) {
		size_t filled = (size_t)(w->at % PG_WAL_PAGE);
		size_t n = MIN(len, PG_WAL_PAGE - filled);

		memcpy(w->page + filled, from, n);
		w->at += n;
		from += n;
		len -= n;
		if (filled + n == PG_WAL_PAGE && w->at > w->first && !w->lacks)
			pg_wal_walk_page(&w->walk, w->at - PG_WAL_PAGE, w->page);
	}
	return verify_is_stopped() ? -EINTR : 0;
}

/* ---- one segment ---- */

/* 0 also if it cannot be read: reading the file itself says so. */
static int read_inside(struct verify_facts *f, int fd, struct walking *w)
{
	for (uint64_t off = 0; off < f->segment_size;) {
		int64_t n = sys_pread_full(fd, w->buf, MIN((uint64_t)BUFFER, f->segment_size - off), off);
		int rc;

		if (n <= 0) {
			w->lacks = true;
			return 0;
		}
		rc = take_bytes(w, w->buf, (size_t)n);
		if (rc < 0)
			return rc;
		off += (uint64_t)n;
	}
	return 0;
}

/* A segment inside of the backup. -ENOENT: it is not there; 0 also if it is damaged. */
static int check_inside(struct verify_facts *f, const char *name, uint64_t segment, struct walking *w)
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
	entry = verify_find_entry(f->target, path);
	if (entry == NULL)
		return -ENOENT;
	fd = verify_open_entry(f->target, entry);
	if (fd >= 0 && entry->size != f->segment_size)
		rc = errmsg_set(&why, -EUCLEAN, "it has %" PRIu64 " bytes, not %u", entry->size,
				f->segment_size);
	else if (fd >= 0 && sys_pread_full(fd, head, sizeof(head), 0) == (int64_t)sizeof(head))
		rc = pg_wal_check_first_page(head, &expect, &why);
	if (rc < 0)
		verify_say(f->v, f->info->id, false, "WAL segment %s: %s", name,
			   errmsg_text(&why, rc));
	w->lacks = w->lacks || fd < 0 || rc < 0;
	return w->lacks ? 0 : read_inside(f, fd, w);
}

/* The same in the archive. */
static int check_archived(struct verify_facts *f, const char *name, struct walking *w)
{
	const struct wal_sink sink = {.write = take_bytes, .ctx = w};
	struct errmsg why = {""};
	int rc;

	if (!f->has_archive)
		return -ENOENT;
	rc = f->v->store->driver->wal_read(f->v->store, f->chain->instance, name, &sink, &why);
	if (rc == -ENOENT || rc == -ENOMEM || rc == -EINTR || rc == 0)
		return rc;
	verify_say(f->v, f->info->id, false, "%s", errmsg_text(&why, rc));
	w->lacks = true;
	return 0;
}

static void say_missing(struct verify_facts *f, uint64_t first, uint64_t count)
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

/* ---- where it leads ---- */

/*
 * On a standby nobody writes the end of the backup into WAL, and the stop was looked for by pg_probackup: it may
 * be the begin of a record.
 */
static void judge(struct verify_facts *f, const struct pg_wal_walk *walk)
{
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];

	if (walk->state != PG_WAL_STOPPED) {
		verify_say(f->v, f->info->id, false,
			   "its WAL ends before its stop at %s: the WAL record at %s %s",
			   pg_lsn_text(f->info->stop_lsn, a), pg_lsn_text(walk->at, b),
			   walk->state == PG_WAL_BROKEN ? walk->reason : "is not whole");
	} else if (f->of_primary && (walk->at != walk->stop || walk->backup_start != f->info->start_lsn)) {
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it stops at %s, where its WAL has no end of a "
			   "backup that starts at %s",
			   pg_lsn_text(f->info->stop_lsn, a), pg_lsn_text(f->info->start_lsn, b));
	}
}

static int check_segments(struct verify_facts *f, uint64_t first, uint64_t last, struct walking *w)
{
	char name[PG_WAL_NAME_SIZE];
	uint64_t missing = 0;
	int rc = 0;

	for (uint64_t i = first; i <= last && (rc == 0 || rc == -ENOENT); i++) {
		pg_wal_segment_name(f->info->timeline, i, f->segment_size, name);
		w->at = i * f->segment_size;
		rc = f->info->stream ? check_inside(f, name, i, w) : check_archived(f, name, w);
		if (rc == -ENOENT) {
			missing++;
			w->lacks = true;
		} else {
			say_missing(f, i - missing, missing);
			missing = 0;
		}
	}
	say_missing(f, last + 1 - missing, missing);
	return rc == -ENOENT ? 0 : rc;
}

int verify_wal(struct verify_facts *f)
{
	uint64_t start = f->info->start_lsn, stop = f->info->stop_lsn;
	uint64_t first = start / f->segment_size, last = (stop - 1) / f->segment_size;
	_cleanup_free_ struct walking *w = calloc(1, sizeof(*w));
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];
	int rc;

	if (w == NULL)
		return -ENOMEM;
	if (start == 0 || stop <= start || last - first >= SEGMENTS_MAX ||
	    f->info->timeline == 0) {
		verify_say(f->v, f->info->id, false,
			   "no WAL can be from %s to %s on timeline %u, as backup.control says",
			   pg_lsn_text(start, a), pg_lsn_text(stop, b), f->info->timeline);
		return 0;
	}
	pg_wal_walk_init(&w->walk, start, stop, f->segment_size);
	w->first = round_down_u64(start, PG_WAL_PAGE);
	rc = check_segments(f, first, last, w);
	if (rc == 0 && (!w->lacks || w->walk.state == PG_WAL_BROKEN))
		judge(f, &w->walk);
	return rc;
}
