/*
 * layer/probackup/headers.c: see headers.h.
 */
#include "layer/probackup/headers.h"
#include "base/sys.h"
#include "codec/codec.h"
#include "pg/page.h"

#include <errno.h>

#define SCAN_BUFFER (256u << 10)

uint32_t headers_find(const struct headers *h, uint32_t block)
{
	uint32_t from = 0, to = h->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;

		if (headers_block(h, middle) < block)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static int damaged(const char **ret_problem, const char *problem)
{
	*ret_problem = problem;
	return -EUCLEAN;
}

static int check_info(const struct headers_info *info, const char **ret_problem)
{
	if (info->count == 0 || info->count > PG_SEGMENT_BLOCKS)
		return damaged(ret_problem, "the number of pages is not possible");
	if (info->size > (uint64_t)info->count * (HEADERS_RECORD_HEAD + PG_BLCKSZ))
		return damaged(ret_problem, "the file is too large for its pages");
	return 0;
}

/* Whatever is wrong here would make us read other bytes than those of the page. */
static int check_entries(const struct headers *h, const struct headers_info *info,
			 const char **ret_problem)
{
	if (headers_pos(h, 0) != 0)
		return damaged(ret_problem, "the first page is not at the start of the file");
	if (headers_pos(h, h->count) != info->size)
		return damaged(ret_problem, "the pages do not fill the file");
	for (uint32_t i = 0; i < h->count; i++) {
		uint32_t block = headers_block(h, i), pos = headers_pos(h, i);
		uint32_t next = headers_pos(h, i + 1);

		if (block >= PG_SEGMENT_BLOCKS || (i > 0 && block <= headers_block(h, i - 1)))
			return damaged(ret_problem, "the block numbers do not ascend");
		if (info->whole && block != i)
			return damaged(ret_problem, "a block is missing in a file stored whole");
		if (next <= pos || next - pos <= HEADERS_RECORD_HEAD ||
		    next - pos > HEADERS_RECORD_HEAD + PG_BLCKSZ)
			return damaged(ret_problem, "a page has an impossible length");
	}
	return 0;
}

int headers_decode(const void *blob, const struct headers_info *info, struct headers *ret,
		   const char **ret_problem)
{
	struct headers h = {.count = info->count};
	size_t len = ((size_t)info->count + 1) * HEADERS_ENTRY_SIZE;
	int rc = check_info(info, ret_problem);

	if (rc < 0)
		return rc;
	h.raw = malloc(len);
	if (h.raw == NULL) {
		*ret_problem = "out of memory";
		return -ENOMEM;
	}
	rc = codec_decode(CODEC_ZLIB, blob, info->hdr_size, h.raw, len);
	if (rc < 0) {
		*ret_problem = "the page headers cannot be inflated";
	} else if (crc32c(0, h.raw, len) != info->hdr_crc) {
		*ret_problem = "the page headers do not match hdr_crc";
		rc = -EBADMSG;
	} else {
		rc = check_entries(&h, info, ret_problem);
	}
	if (rc < 0)
		headers_free(&h);
	else
		*ret = h;
	return rc;
}

int headers_read(int map_fd, uint64_t map_size, const struct headers_info *info,
		 struct headers *ret, const char **ret_problem)
{
	_cleanup_free_ void *blob = NULL;
	int rc = check_info(info, ret_problem);
	int64_t n;

	if (rc < 0)
		return rc;
	if (map_fd < 0) {
		*ret_problem = "page_header_map is missing";
		return -ENOENT;
	}
	if (info->hdr_off > map_size || info->hdr_size > map_size - info->hdr_off ||
	    info->hdr_size == 0)
		return damaged(ret_problem, "the page headers lie outside of page_header_map");
	/* An array that does not shrink grows by a few bytes; anything larger is not of this
	 * format. */
	if (info->hdr_size > ((uint64_t)info->count + 1) * HEADERS_ENTRY_SIZE * 2 + 64)
		return damaged(ret_problem, "the page headers are too large");
	blob = malloc(info->hdr_size);
	if (blob == NULL) {
		*ret_problem = "out of memory";
		return -ENOMEM;
	}
	n = sys_pread_full(map_fd, blob, info->hdr_size, info->hdr_off);
	if (n < 0) {
		*ret_problem = "page_header_map cannot be read";
		return (int)n;
	}
	if (n != info->hdr_size)
		return damaged(ret_problem, "page_header_map is cut off");
	return headers_decode(blob, info, ret, ret_problem);
}

/* A window on the data file that only moves on. */
struct window {
	int fd;
	uint64_t off;
	size_t len;
	uint8_t *buf;
	uint32_t crc; /* of all bytes up to off + len */
};

/* What is wanted of the pages; page NULL: nothing. */
struct scan_pages {
	uint8_t *page;
	enum codec codec;
	uint32_t blkno;
};

/* Goes on to what follows; keeps the bytes from pos on. 0 at the end of the file. */
static int window_next(struct window *w, uint64_t pos)
{
	uint64_t end = w->off + w->len;
	size_t kept = pos < end ? (size_t)(end - pos) : 0;
	int64_t n;

	memmove(w->buf, w->buf + w->len - kept, kept);
	n = sys_pread_full(w->fd, w->buf + kept, SCAN_BUFFER - kept, end);
	if (n < 0)
		return (int)n;
	w->crc = crc32c(w->crc, w->buf + kept, (size_t)n);
	w->off = end - kept;
	w->len = kept + (size_t)n;
	return n > 0;
}

/* The bytes at pos; they are good until the next call. */
static int window_get(struct window *w, uint64_t pos, size_t len, const uint8_t **ret)
{
	while (pos + len > w->off + w->len) {
		int rc = window_next(w, pos);

		if (rc < 0)
			return rc;
		if (rc == 0)
			return -EUCLEAN;
	}
	*ret = w->buf + (pos - w->off);
	return 0;
}

int headers_decode_page(enum codec codec, const void *payload, uint32_t len, void *ret_page)
{
	/* The writer stores a page raw whenever compressing it does not pay, whatever the
	 * algorithm. */
	if (len == PG_BLCKSZ) {
		memcpy(ret_page, payload, PG_BLCKSZ);
		return 0;
	}
	return codec_decode(codec, payload, len, ret_page, PG_BLCKSZ);
}

/* A page that cannot be decoded here cannot be when it is read either, and then that is said. */
static int note_page(const struct scan_pages *pages, const uint8_t *payload, uint32_t len,
		     uint32_t block, uint8_t *entry)
{
	int rc = headers_decode_page(pages->codec, payload, len, pages->page);

	if (rc < 0)
		return rc == -ENOMEM ? rc : 0;
	put_le64(entry, pg_page_lsn(pages->page));
	if (!pg_page_is_zero(pages->page))
		put_le16(entry + 16, pg_page_compute_checksum(pages->page, pages->blkno + block));
	return 0;
}

static int scan_record(struct window *w, const struct scan_pages *pages, uint64_t pos,
		       uint8_t *entry, uint32_t *ret_len)
{
	const uint8_t *bytes;
	uint32_t block, len;
	int rc = window_get(w, pos, HEADERS_RECORD_HEAD, &bytes);

	if (rc < 0)
		return rc;
	block = get_le32(bytes);
	len = get_le32(bytes + 4);
	put_le32(entry + 8, block);
	put_le32(entry + 12, (uint32_t)pos);
	*ret_len = len;
	if (pages->page == NULL || len == 0 || len > PG_BLCKSZ)
		return 0;
	rc = window_get(w, pos, HEADERS_RECORD_HEAD + len, &bytes);
	return rc < 0 ? rc : note_page(pages, bytes + HEADERS_RECORD_HEAD, len, block, entry);
}

static const char *scan_problem(int rc)
{
	if (rc == -ENOMEM)
		return "out of memory";
	return rc == -EUCLEAN ? "the file is cut off" : "the file cannot be read";
}

static int scan_records(struct window *w, const struct headers_info *info,
			const struct scan_pages *pages, const struct headers *h,
			const char **ret_problem)
{
	uint64_t pos = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		uint32_t len = 0;
		int rc = scan_record(w, pages, pos, h->raw + (size_t)i * HEADERS_ENTRY_SIZE, &len);

		if (rc < 0) {
			*ret_problem = scan_problem(rc);
			return rc;
		}
		if (len == 0 || len > PG_BLCKSZ)
			return damaged(ret_problem, "a page has an impossible length");
		pos += HEADERS_RECORD_HEAD + len;
		if (pos > info->size)
			return damaged(ret_problem, "a page reaches behind the end of the file");
	}
	put_le32(h->raw + (size_t)h->count * HEADERS_ENTRY_SIZE + 12, (uint32_t)pos);
	return check_entries(h, info, ret_problem);
}

/* The records are in order: is the file the one that the list has the crc of? */
static int scan_rest(struct window *w, const struct headers_info *info, const char **ret_problem)
{
	int rc;

	do
		rc = window_next(w, UINT64_MAX);
	while (rc > 0);
	if (rc < 0) {
		*ret_problem = "the file cannot be read";
		return rc;
	}
	if (w->off != info->size)
		return damaged(ret_problem, "the file is longer than its pages");
	if (w->crc != info->crc) {
		*ret_problem = "the file does not match the crc of its list";
		return -EBADMSG;
	}
	return 0;
}

static int scan(int data_fd, const struct headers_info *info, const struct scan_pages *pages,
		struct headers *ret, const char **ret_problem)
{
	struct headers h = {.count = info->count, .unsummed = pages->page == NULL};
	_cleanup_free_ uint8_t *buf = NULL;
	struct window w = {.fd = data_fd};
	int rc = check_info(info, ret_problem);

	if (rc < 0)
		return rc;
	h.raw = calloc((size_t)info->count + 1, HEADERS_ENTRY_SIZE);
	buf = malloc(SCAN_BUFFER);
	w.buf = buf;
	if (h.raw == NULL || buf == NULL) {
		*ret_problem = "out of memory";
		rc = -ENOMEM;
	} else {
		rc = scan_records(&w, info, pages, &h, ret_problem);
		if (rc == 0)
			rc = scan_rest(&w, info, ret_problem);
	}
	if (rc < 0)
		headers_free(&h);
	else
		*ret = h;
	return rc;
}

int headers_scan(int data_fd, const struct headers_info *info, struct headers *ret,
		 const char **ret_problem)
{
	const struct scan_pages none = {.page = NULL};

	return scan(data_fd, info, &none, ret, ret_problem);
}

int headers_scan_pages(int data_fd, const struct headers_info *info, enum codec codec,
		       uint32_t blkno, struct headers *ret, const char **ret_problem)
{
	uint8_t page[PG_BLCKSZ];
	const struct scan_pages pages = {.page = page, .codec = codec, .blkno = blkno};

	return scan(data_fd, info, &pages, ret, ret_problem);
}

void headers_free(struct headers *h)
{
	free(h->raw);
	h->raw = NULL;
}
