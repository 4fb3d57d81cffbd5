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

static int window_head(struct window *w, uint64_t pos, uint32_t *ret_block, uint32_t *ret_len)
{
	const uint8_t *head;

	while (pos + HEADERS_RECORD_HEAD > w->off + w->len) {
		int rc = window_next(w, pos);

		if (rc < 0)
			return rc;
		if (rc == 0)
			return -EUCLEAN;
	}
	head = w->buf + (pos - w->off);
	*ret_block = get_le32(head);
	*ret_len = get_le32(head + 4);
	return 0;
}

static int scan_records(struct window *w, const struct headers_info *info, const struct headers *h,
			const char **ret_problem)
{
	uint64_t pos = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		uint32_t block = 0, len = 0;
		int rc = window_head(w, pos, &block, &len);

		if (rc < 0) {
			*ret_problem =
				rc == -EUCLEAN ? "the file is cut off" : "the file cannot be read";
			return rc;
		}
		if (len == 0 || len > PG_BLCKSZ)
			return damaged(ret_problem, "a page has an impossible length");
		put_le32(h->raw + (size_t)i * HEADERS_ENTRY_SIZE + 8, block);
		put_le32(h->raw + (size_t)i * HEADERS_ENTRY_SIZE + 12, (uint32_t)pos);
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

int headers_scan(int data_fd, const struct headers_info *info, struct headers *ret,
		 const char **ret_problem)
{
	struct headers h = {.count = info->count, .scanned = true};
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
		rc = scan_records(&w, info, &h, ret_problem);
		if (rc == 0)
			rc = scan_rest(&w, info, ret_problem);
	}
	if (rc < 0)
		headers_free(&h);
	else
		*ret = h;
	return rc;
}

void headers_free(struct headers *h)
{
	free(h->raw);
	h->raw = NULL;
}
