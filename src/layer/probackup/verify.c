/*
 * layer/probackup/verify.c: one stored file, read once from its first to its last byte, against all that is
 * known of it.
 *
 * Of a data file: its crc and length in the list, its headers in page_header_map, and each page in its record.
 * Where its headers are damaged the records themselves say where the pages are. A large file is cut into parts,
 * of whole records; each has a sum of its own, and the file's is made of them at the end.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define BUFFER	   (512u << 10)
#define PART_BYTES (16u << 20)

struct part {
	uint32_t first, count; /* records */
	uint64_t begin, end;   /* bytes */
	uint32_t crc;
	bool done; /* to its end, and nothing was damaged that the crc would only tell again */
	uint32_t newer, first_newer; /* pages with an LSN behind the backup's stop */
};

struct layer_verifying {
	struct probackup_layer *pl;
	const struct probackup_file *file;
	const struct layer_entry *entry;
	const struct layer_verify *v;
	int fd; /* -1: checked another way, or there is nothing to check */
	bool is_simple;
	uint64_t there; /* bytes that the file has */
	struct headers h; /* none of a plain file */
	struct part *parts;
	uint32_t part_count;
};

/* A window on a part that moves on. */
struct window {
	struct layer_verifying *f;
	struct part *part;
	bool last; /* what is behind the last part belongs to it */
	uint8_t *buf;
	uint64_t off; /* of its first byte */
	size_t len;
	uint32_t pages; /* not told yet */
	bool damaged, stopped;
};

static void found(const struct layer_verifying *f, uint32_t block, const char *reason)
{
	const struct layer_finding finding = {
		.backup = f->pl->base.id, .file = f->file->name, .block = block, .reason = reason};

	f->v->found(f->v->ctx, &finding);
}

static void damaged(struct window *w, uint32_t block, const char *reason)
{
	w->damaged = true;
	found(w->f, block, reason);
}

/* Goes on to what follows; keeps the bytes from pos on. 0 at the end of the file or of the part. */
static int64_t move_on(struct window *w, uint64_t pos)
{
	uint64_t end = w->off + w->len;
	size_t kept = pos < end ? (size_t)(end - pos) : 0, want = BUFFER - kept;
	int64_t n;

	if (!w->last)
		want = (size_t)MIN((uint64_t)want, w->part->end - end);
	memmove(w->buf, w->buf + w->len - kept, kept);
	n = sys_pread_full(w->f->fd, w->buf + kept, want, end);
	w->off = end - kept;
	w->len = kept + (size_t)MAX(n, (int64_t)0);
	if (n > 0)
		w->part->crc = crc32c(w->part->crc, w->buf + kept, (size_t)n);
	if (!w->f->v->step(w->f->v->ctx, (uint64_t)MAX(n, (int64_t)0), w->pages))
		w->stopped = true;
	w->pages = 0;
	return n;
}

static void check_record(struct window *w, uint32_t i)
{
	const struct layer_verifying *f = w->f;
	const struct headers *h = &f->h;
	uint32_t block = headers_block(h, i);
	const struct layer_extent x = {
		.off = headers_pos(h, i),
		.len = headers_len(h, i),
		.sum = h->unsummed ? LAYER_NO_SUM
				  : layer_page_sum(headers_lsn(h, i), headers_checksum(h, i))};
	uint64_t stop = f->pl->control.stop_lsn;
	uint8_t page[LAYER_BLCKSZ];
	const char *reason = NULL;

	w->pages++;
	if (layer_take_page(&f->pl->base, f->entry->file, block,
			    f->entry->segno * PG_SEGMENT_BLOCKS + block, &x,
			    w->buf + (x.off - w->off), true, page, &reason) < 0) {
		damaged(w, block, reason);
	} else if (stop > 0 && pg_page_lsn(page) > stop) {
		if (w->part->newer++ == 0)
			w->part->first_newer = block;
	}
}

/* -ENODATA: no more can be read of it. */
static int read_records(struct window *w)
{
	const struct headers *h = &w->f->h;

	for (uint32_t i = w->part->first; i < w->part->first + w->part->count && !w->stopped; i++) {
		uint64_t end = (uint64_t)headers_pos(h, i) + headers_len(h, i);

		while (end > w->off + w->len && !w->stopped) {
			int64_t n = move_on(w, headers_pos(h, i));

			if (n > 0)
				continue;
			damaged(w, headers_block(h, i),
				n < 0 ? errmsg_text(NULL, (int)n)
				      : "the file is shorter than its list says");
			return -ENODATA;
		}
		if (!w->stopped)
			check_record(w, i);
	}
	return 0;
}

/* What the pages did not show: bytes behind them, or in a record what its page does not depend on. */
static void read_rest(struct window *w)
{
	uint64_t end = w->last ? w->part->end + 1 : w->part->end;
	int64_t n = 1;

	while (n > 0 && !w->stopped && w->off + w->len < end)
		n = move_on(w, UINT64_MAX);
	if (w->stopped)
		return;
	if (n < 0)
		damaged(w, LAYER_NO_BLOCK, errmsg_text(NULL, (int)n));
	else if (w->off + w->len != w->part->end)
		damaged(w, LAYER_NO_BLOCK, "it is not as long as its list says");
	else
		w->part->done = !w->damaged;
}

/* Damaged headers are damage, but no reason not to look at the pages. 1: they are there. */
static int load_headers(struct layer_verifying *f)
{
	const char *problem = NULL;
	char reason[160];
	int rc = headers_read(f->pl->map_fd, f->pl->map_size, &f->file->info, &f->h, &problem);

	if (rc == 0 || rc == -ENOMEM)
		return rc == 0 ? 1 : rc;
	(void)snprintf(reason, sizeof(reason), "page_header_map: %s", problem);
	found(f, LAYER_NO_BLOCK, reason);
	rc = headers_scan(f->fd, &f->file->info, &f->h, &problem);
	if (rc < 0 && rc != -ENOMEM)
		found(f, LAYER_NO_BLOCK, problem);
	return rc == 0 ? 1 : rc == -ENOMEM ? rc : 0;
}

/* ---- parts ---- */

static struct part *add_part(struct layer_verifying *f, uint64_t begin, uint32_t first)
{
	struct part *part = &f->parts[f->part_count++];

	if (f->part_count > 1) {
		part[-1].end = begin;
		part[-1].count = first - part[-1].first;
	}
	*part = (struct part){.first = first,
			      .count = f->h.count - first,
			      .begin = begin,
			      .end = f->file->info.size};
	return part;
}

static int cut(struct layer_verifying *f)
{
	uint64_t size = f->file->info.size;
	const struct part *part;

	f->parts = calloc((size_t)(size / PART_BYTES) + 2, sizeof(*f->parts));
	if (f->parts == NULL)
		return -ENOMEM;
	part = add_part(f, 0, 0);
	if (f->entry->kind != LAYER_BLOCKS) {
		while (size - part->begin > PART_BYTES)
			part = add_part(f, part->begin + PART_BYTES, 0);
		return 0;
	}
	for (uint32_t i = 1; i < f->h.count; i++) {
		if (headers_pos(&f->h, i) - part->begin >= PART_BYTES)
			part = add_part(f, headers_pos(&f->h, i), i);
	}
	return 0;
}

/* Small ones, and the one whose crc is not of its bytes, are checked as every reader does. */
static bool is_simple(const struct layer_entry *entry, const struct probackup_file *file)
{
	return entry->kind != LAYER_BLOCKS && (file->info.size <= PART_BYTES ||
					       strcmp(file->name, "database/global/pg_control") == 0);
}

/* 0 also if it could not be looked at, which is damage; then there is no part to check. */
static int open_file(struct layer_verifying *f)
{
	struct stat st;
	int rc;

	if (f->is_simple)
		return 0;
	f->fd = sys_open_beneath(f->pl->base.dirfd, f->file->name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (f->fd == -ENOMEM || f->fd == -EMFILE || f->fd == -ENFILE)
		return f->fd;
	rc = f->fd < 0 ? f->fd : sys_fstat(f->fd, &st);
	if (rc < 0) {
		found(f, LAYER_NO_BLOCK, errmsg_text(NULL, rc));
		return 0;
	}
	f->there = (uint64_t)st.st_size;
	rc = f->entry->kind == LAYER_BLOCKS ? load_headers(f) : 1;
	return rc > 0 ? cut(f) : rc;
}

static void release(struct layer_verifying *f)
{
	util_closep(&f->fd);
	headers_free(&f->h);
	free(f->parts);
	free(f);
}

int probackup_verify_begin(struct layer *layer, const struct layer_entry *entry,
			   const struct layer_verify *v, struct layer_verifying **ret,
			   uint32_t *ret_parts)
{
	struct probackup_layer *pl = CONTAINER_OF(layer, struct probackup_layer, base);
	struct layer_verifying *f = calloc(1, sizeof(*f));
	int rc;

	if (f == NULL)
		return -ENOMEM;
	*f = (struct layer_verifying){
		.pl = pl, .file = &pl->files[entry->file], .entry = entry, .v = v, .fd = -1};
	f->is_simple = is_simple(entry, f->file);
	rc = open_file(f);
	if (rc < 0) {
		release(f);
		return rc;
	}
	*ret = f;
	*ret_parts = MAX(f->part_count, 1u);
	return 0;
}

static int verify_simple(struct layer_verifying *f)
{
	struct errmsg why = {""};
	int rc = f->is_simple ? locate_check_plain(f->pl, f->file, &why) : 0;

	if (rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE)
		return rc;
	if (rc < 0)
		found(f, LAYER_NO_BLOCK, errmsg_text(&why, rc));
	(void)f->v->step(f->v->ctx, f->file->info.size, 0);
	return 0;
}

int probackup_verify_part(struct layer_verifying *f, uint32_t part)
{
	struct window w = {.f = f, .last = part + 1 == f->part_count};
	_cleanup_free_ uint8_t *buf = NULL;

	if (f->part_count == 0)
		return verify_simple(f);
	w.part = &f->parts[part];
	w.off = w.part->begin;
	/* The part that the file ends in says so, once. */
	if (part > 0 && w.part->begin > f->there) {
		(void)f->v->step(f->v->ctx, w.part->end - w.part->begin, 0);
		return 0;
	}
	buf = malloc(BUFFER);
	if (buf == NULL)
		return -ENOMEM;
	w.buf = buf;
	if (read_records(&w) == 0)
		read_rest(&w);
	(void)f->v->step(f->v->ctx, 0, w.pages);
	return 0;
}

/* ---- the whole ---- */

static void report_newer(const struct layer_verifying *f)
{
	char reason[160];
	struct layer_finding finding = {.backup = f->pl->base.id,
					.file = f->file->name,
					.harmless = true,
					.reason = reason};
	uint32_t newer = 0;

	for (uint32_t i = 0; i < f->part_count; i++) {
		if (newer == 0)
			finding.block = f->parts[i].first_newer;
		newer += f->parts[i].newer;
	}
	(void)snprintf(reason, sizeof(reason),
		       "its LSN is behind the end of the backup (%u such pages in this file)", newer);
	if (newer > 0)
		f->v->found(f->v->ctx, &finding);
}

static void compare_crc(const struct layer_verifying *f)
{
	uint32_t crc = 0;

	for (uint32_t i = 0; i < f->part_count; i++) {
		const struct part *part = &f->parts[i];

		if (!part->done)
			return;
		crc = crc32c_join(crc, part->crc, part->end - part->begin);
	}
	if (crc != f->file->info.crc)
		found(f, LAYER_NO_BLOCK, "it does not match the crc of its list");
}

void probackup_verify_end(struct layer_verifying *f)
{
	if (f->part_count > 0) {
		compare_crc(f);
		report_newer(f);
	}
	release(f);
}

int probackup_verify(struct layer *layer, const struct layer_entry *entry,
		     const struct layer_verify *v)
{
	struct layer_verifying *f = NULL;
	uint32_t parts = 0;
	int rc = probackup_verify_begin(layer, entry, v, &f, &parts);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < parts && rc == 0; i++)
		rc = probackup_verify_part(f, i);
	probackup_verify_end(f);
	return rc;
}
