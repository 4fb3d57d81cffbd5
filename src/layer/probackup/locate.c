/*
 * layer/probackup/locate.c: the operations of a layer: where its pages lie, and how one is decoded.
 *
 * The header array of a file is read for each call and not kept: the overlay keeps what it asked
 * for. A plain file is read once as a whole, before its first byte is used: its list has a sum of
 * nothing less.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "pg/control.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>

#define CHECK_BUFFER (256 << 10)
#define CHECK_MAX    (64u << 20) /* larger plain files are not read whole before their first byte */

static struct probackup_layer *self(struct layer *layer)
{
	return CONTAINER_OF(layer, struct probackup_layer, base);
}

static const struct probackup_file *file_of(const struct layer *layer, uint32_t file)
{
	const struct probackup_layer *pl =
		(const struct probackup_layer *)(const void *)((const char *)layer -
							       offsetof(struct probackup_layer,
									base));

	return &pl->files[file];
}

/* Damage of the map can be made up for by the file itself; a lack of memory or an I/O error not. */
static bool may_scan(int rc)
{
	return rc == -EUCLEAN || rc == -EBADMSG || rc == -ENOENT;
}

static int scan_file(struct probackup_layer *pl, struct probackup_file *file, bool sums,
		     const char *map_problem, struct headers *ret, struct errmsg *e)
{
	_cleanup_close_ int fd =
		sys_open_beneath(pl->base.dirfd, file->name, O_RDONLY | O_NONBLOCK);
	const char *problem = NULL;
	int rc;

	if (fd < 0)
		return errmsg_set(e, fd, "backup %s: %s: %s", pl->base.id, file->name,
				  errmsg_text(NULL, fd));
	/* That the whole map is missing was said when the chain was opened. */
	if (pl->map_fd >= 0 && !__atomic_exchange_n(&file->scanned, true, __ATOMIC_RELAXED))
		log_warning("backup %s: %s: %s; reading the whole file instead", pl->base.id,
			    file->name, map_problem);
	if (sums)
		rc = headers_scan_pages(fd, &file->info, (enum codec)file->codec,
					file->segno * PG_SEGMENT_BLOCKS, ret, &problem);
	else
		rc = headers_scan(fd, &file->info, ret, &problem);
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: %s: %s (%s)", pl->base.id, file->name, problem,
				  map_problem);
	return LAYER_READ_DATA;
}

/* 0, or LAYER_READ_DATA. Without sums: what they are may stay unknown. */
static int load_headers(struct probackup_layer *pl, uint32_t number, bool sums,
			struct headers *ret, struct errmsg *e)
{
	struct probackup_file *file = &pl->files[number];
	const char *problem = NULL;
	int rc = headers_read(pl->map_fd, pl->map_size, &file->info, ret, &problem);

	if (rc < 0 && may_scan(rc))
		return scan_file(pl, file, sums, problem, ret, e);
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: %s: %s: %s", pl->base.id, file->name, problem,
				  errmsg_text(NULL, rc));
	return 0;
}

static int probackup_locate(struct layer *layer, uint32_t file, uint32_t first, uint32_t count,
			    struct layer_extent *out, struct errmsg *e)
{
	struct probackup_layer *pl = self(layer);
	uint32_t limit = pl->files[file].limit;
	struct headers h;
	int rc = load_headers(pl, file, true, &h, e);

	if (rc < 0)
		return rc;
	memset(out, 0, count * sizeof(*out)); /* LAYER_ABSENT, LAYER_NO_SUM */
	for (uint32_t i = headers_find(&h, first); i < h.count; i++) {
		uint32_t block = headers_block(&h, i);

		if (block - first >= count || block >= limit)
			break;
		out[block - first].off = headers_pos(&h, i);
		out[block - first].len = headers_len(&h, i);
		out[block - first].sum =
			layer_page_sum(headers_lsn(&h, i), headers_checksum(&h, i));
	}
	headers_free(&h);
	return rc;
}

static int probackup_highest(struct layer *layer, uint32_t file, uint32_t limit,
			     uint32_t *ret_count, struct errmsg *e)
{
	struct probackup_layer *pl = self(layer);
	struct headers h;
	uint32_t below;
	int rc = load_headers(pl, file, false, &h, e);

	if (rc < 0)
		return rc;
	below = headers_find(&h, MIN(limit, pl->files[file].limit));
	*ret_count = below > 0 ? headers_block(&h, below - 1) + 1 : 0;
	headers_free(&h);
	return 0;
}

static int probackup_decode(const struct layer *layer, uint32_t file, uint32_t block,
			    const void *record, uint32_t len, void *ret_block)
{
	const uint8_t *bytes = record;
	uint32_t payload;

	if (len <= HEADERS_RECORD_HEAD || len > HEADERS_RECORD_HEAD + LAYER_BLCKSZ)
		return -EUCLEAN;
	payload = len - HEADERS_RECORD_HEAD;
	if (get_le32(bytes) != block || get_le32(bytes + 4) != payload)
		return -ESTALE;
	return headers_decode_page((enum codec)file_of(layer, file)->codec,
				   bytes + HEADERS_RECORD_HEAD, payload, ret_block);
}

static const char *probackup_name(const struct layer *layer, uint32_t file)
{
	return file_of(layer, file)->name;
}

/* ---- plain files ---- */

/* The list has the crc that the control file itself has inside, not that of the file. */
static int check_pg_control(const struct probackup_file *file, int fd, struct errmsg *why)
{
	uint8_t data[PG_CONTROL_FILE_SIZE];
	struct pg_control control;
	int64_t n = sys_pread_full(fd, data, sizeof(data), 0);
	int rc = n < 0 ? (int)n : pg_control_parse(data, (size_t)n, &control, why);
	struct stat st;

	if (rc == 0)
		rc = sys_fstat(fd, &st);
	if (rc < 0)
		return rc;
	if (st.st_size != PG_CONTROL_FILE_SIZE)
		return errmsg_set(why, -EUCLEAN, "it is not as long as its list says");
	for (uint32_t i = control.used; i < PG_CONTROL_FILE_SIZE; i++) {
		if (data[i] != 0)
			return errmsg_set(why, -EUCLEAN, "its unused part is not zero");
	}
	if (control.crc != file->info.crc)
		return errmsg_set(why, -EBADMSG, "it does not match the crc of its list");
	return 0;
}

static int check_bytes(const struct probackup_file *file, int fd, struct errmsg *why)
{
	_cleanup_free_ uint8_t *buf = malloc(CHECK_BUFFER);
	uint32_t crc = 0;
	uint64_t off = 0;
	int64_t n;

	if (buf == NULL)
		return -ENOMEM;
	do {
		n = sys_pread_full(fd, buf, CHECK_BUFFER, off);
		if (n < 0)
			return (int)n;
		crc = crc32c(crc, buf, (size_t)n);
		off += (uint64_t)n;
	} while (n == CHECK_BUFFER && off <= file->info.size);
	if (off != file->info.size)
		return errmsg_set(why, -EUCLEAN, "it is not as long as its list says");
	if (crc != file->info.crc)
		return errmsg_set(why, -EBADMSG, "it does not match the crc of its list");
	return 0;
}

int locate_check_plain(const struct probackup_layer *pl, const struct probackup_file *file,
		       struct errmsg *why)
{
	_cleanup_close_ int fd = sys_open_beneath(pl->base.dirfd, file->name,
						  O_RDONLY | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return fd;
	if (strcmp(file->name, "database/global/pg_control") == 0)
		return check_pg_control(file, fd, why);
	return check_bytes(file, fd, why);
}

static int probackup_check(struct layer *layer, uint32_t number, struct errmsg *e)
{
	struct probackup_layer *pl = self(layer);
	const struct probackup_file *file = &pl->files[number];
	struct errmsg why = {""};
	int rc;

	if (file->info.size > CHECK_MAX)
		return 0;
	rc = locate_check_plain(pl, file, &why);
	return rc < 0 ? errmsg_set(e, rc, "backup %s: %s: %s", pl->base.id, file->name,
				   errmsg_text(&why, rc))
		      : 0;
}

static uint64_t probackup_stored(const struct layer *layer, uint32_t file)
{
	return file_of(layer, file)->info.size;
}

const struct layer_ops probackup_layer_ops = {
	.version = LAYER_OPS_VERSION,
	.locate = probackup_locate,
	.highest = probackup_highest,
	.decode = probackup_decode,
	.name = probackup_name,
	.check = probackup_check,
	.stored = probackup_stored,
	.verify = probackup_verify,
	.verify_begin = probackup_verify_begin,
	.verify_part = probackup_verify_part,
	.verify_end = probackup_verify_end,
};
