/*
 * layer/probackup/verify.c: one stored file, read once from its first to its last byte, against all that is
 * known of it.
 *
 * Of a data file: its crc and length in the list, its headers in page_header_map, and each page in its record.
 * Where its headers are damaged the records themselves say where the pages are.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define BUFFER (512u << 10)

struct verifying {
	struct probackup_layer *pl;
	const struct probackup_file *file;
	const struct layer_entry *entry;
	const struct layer_verify *v;
	bool damaged;
	uint32_t newer, first_newer; /* pages with an LSN behind the backup's stop */
	uint32_t pages;		     /* not told yet */
	/* A window on the file that moves on. */
	int fd;
	uint8_t *buf;
	uint64_t off; /* of its first byte */
	size_t len;
	uint32_t crc; /* of all bytes up to off + len */
	bool stopped;
};

static void found(struct verifying *f, uint32_t block, const char *reason)
{
	const struct layer_finding finding = {
		.backup = f->pl->base.id, .file = f->file->name, .block = block, .reason = reason};

	f->damaged = true;
	f->v->found(f->v->ctx, &finding);
}

/* Goes on to what follows; keeps the bytes from pos on. 0 at the end of the file. */
static int64_t move_on(struct verifying *f, uint64_t pos)
{
	uint64_t end = f->off + f->len;
	size_t kept = pos < end ? (size_t)(end - pos) : 0;
	int64_t n;

	memmove(f->buf, f->buf + f->len - kept, kept);
	n = sys_pread_full(f->fd, f->buf + kept, BUFFER - kept, end);
	f->off = end - kept;
	f->len = kept + (size_t)MAX(n, (int64_t)0);
	if (n > 0)
		f->crc = crc32c(f->crc, f->buf + kept, (size_t)n);
	if (!f->v->step(f->v->ctx, (uint64_t)MAX(n, (int64_t)0), f->pages))
		f->stopped = true;
	f->pages = 0;
	return n;
}

static void check_record(struct verifying *f, const struct headers *h, uint32_t i)
{
	uint32_t block = headers_block(h, i);
	const struct layer_extent x = {
		.off = headers_pos(h, i),
		.len = headers_len(h, i),
		.sum = h->unsummed ? LAYER_NO_SUM
				  : layer_page_sum(headers_lsn(h, i), headers_checksum(h, i))};
	uint64_t stop = f->pl->control.stop_lsn;
	uint8_t page[LAYER_BLCKSZ];
	const char *reason = NULL;

	f->pages++;
	if (layer_take_page(&f->pl->base, f->entry->file, block,
			    f->entry->segno * PG_SEGMENT_BLOCKS + block, &x,
			    f->buf + (x.off - f->off), true, page, &reason) < 0) {
		found(f, block, reason);
	} else if (stop > 0 && pg_page_lsn(page) > stop) {
		if (f->newer++ == 0)
			f->first_newer = block;
	}
}

/* -ENODATA: no more can be read of it. */
static int read_records(struct verifying *f, const struct headers *h)
{
	for (uint32_t i = 0; i < h->count && !f->stopped; i++) {
		uint64_t end = (uint64_t)headers_pos(h, i) + headers_len(h, i);

		while (end > f->off + f->len && !f->stopped) {
			int64_t n = move_on(f, headers_pos(h, i));

			if (n > 0)
				continue;
			found(f, headers_block(h, i),
			      n < 0 ? errmsg_text(NULL, (int)n)
				    : "the file is shorter than its list says");
			return -ENODATA;
		}
		if (!f->stopped)
			check_record(f, h, i);
	}
	return 0;
}

/* What the pages did not show: bytes behind them, or in a record what its page does not depend on. */
static void check_rest(struct verifying *f)
{
	int64_t n = 1;

	while (n > 0 && !f->stopped && f->off + f->len <= f->file->info.size)
		n = move_on(f, UINT64_MAX);
	if (f->stopped)
		return;
	if (n < 0)
		found(f, LAYER_NO_BLOCK, errmsg_text(NULL, (int)n));
	else if (f->off + f->len != f->file->info.size)
		found(f, LAYER_NO_BLOCK, "it is not as long as its list says");
	else if (f->crc != f->file->info.crc && !f->damaged)
		found(f, LAYER_NO_BLOCK, "it does not match the crc of its list");
}

static void report_newer(struct verifying *f)
{
	char reason[160];
	const struct layer_finding finding = {.backup = f->pl->base.id,
					      .file = f->file->name,
					      .block = f->first_newer,
					      .harmless = true,
					      .reason = reason};

	if (f->newer == 0)
		return;
	(void)snprintf(reason, sizeof(reason),
		       "its LSN is behind the end of the backup (%u such pages in this file)",
		       f->newer);
	f->v->found(f->v->ctx, &finding);
}

/* Damaged headers are damage, but no reason not to look at the pages. */
static int load_headers(struct verifying *f, struct headers *ret)
{
	const char *problem = NULL;
	char reason[160];
	int rc = headers_read(f->pl->map_fd, f->pl->map_size, &f->file->info, ret, &problem);

	if (rc == 0 || rc == -ENOMEM)
		return rc;
	(void)snprintf(reason, sizeof(reason), "page_header_map: %s", problem);
	found(f, LAYER_NO_BLOCK, reason);
	rc = headers_scan(f->fd, &f->file->info, ret, &problem);
	if (rc < 0 && rc != -ENOMEM)
		found(f, LAYER_NO_BLOCK, problem);
	return rc;
}

static int verify_pages(struct verifying *f)
{
	struct headers h = {0};
	int rc = load_headers(f, &h);

	if (rc < 0) {
		(void)f->v->step(f->v->ctx, f->file->info.size, 0);
		return rc == -ENOMEM ? rc : 0;
	}
	if (read_records(f, &h) == 0)
		check_rest(f);
	headers_free(&h);
	(void)f->v->step(f->v->ctx, 0, f->pages);
	report_newer(f);
	return 0;
}

static int verify_plain(struct verifying *f)
{
	struct errmsg why = {""};
	int rc = locate_check_plain(f->pl, f->file, &why);

	if (rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE)
		return rc;
	if (rc < 0)
		found(f, LAYER_NO_BLOCK, errmsg_text(&why, rc));
	(void)f->v->step(f->v->ctx, f->file->info.size, 0);
	return 0;
}

int probackup_verify(struct layer *layer, const struct layer_entry *entry,
		     const struct layer_verify *v)
{
	struct probackup_layer *pl = CONTAINER_OF(layer, struct probackup_layer, base);
	struct verifying f = {
		.pl = pl, .file = &pl->files[entry->file], .entry = entry, .v = v, .fd = -1};
	_cleanup_free_ uint8_t *buf = NULL;
	_cleanup_close_ int fd = -1;

	if (entry->kind != LAYER_BLOCKS)
		return verify_plain(&f);
	fd = sys_open_beneath(layer->dirfd, f.file->name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd == -ENOMEM || fd == -EMFILE || fd == -ENFILE)
		return fd;
	if (fd < 0) {
		found(&f, LAYER_NO_BLOCK, errmsg_text(NULL, fd));
		(void)v->step(v->ctx, f.file->info.size, 0);
		return 0;
	}
	buf = malloc(BUFFER);
	if (buf == NULL)
		return -ENOMEM;
	f.fd = fd;
	f.buf = buf;
	return verify_pages(&f);
}
