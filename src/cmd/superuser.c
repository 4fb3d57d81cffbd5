/*
 * cmd/superuser.c: see superuser.h. Layouts: PostgreSQL's relmapper.c, htup_details.h, itemid.h,
 * pg_authid.h.
 */
#include "cmd/superuser.h"

#include "base/sys.h"
#include "base/util.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>

#define MAP_MAGIC     0x592717u
#define MAP_MAX	      64u
#define AUTHID_OID    1260u
#define BOOTSTRAP_OID 10u
#define AUTHID_MAX    (64u << 20) /* bytes of pg_authid read at most */
#define PAGE_HEADER   24u
#define TUPLE_HEADER  23u
#define XMAX_INVALID  0x0800u
#define LP_NORMAL     1u

/* The file node of pg_authid, 0: unknown. */
static uint32_t authid_filenode(const char *data_dir)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	size_t len;
	uint32_t count;

	if (asprintf(&path, "%s/global/pg_filenode.map", data_dir) < 0) {
		path = NULL;
		return 0;
	}
	if (sys_read_file(AT_FDCWD, path, 8192, &data, &len) < 0 || len < 8 ||
	    get_le32(data) != MAP_MAGIC)
		return 0;
	count = get_le32(data + 4);
	for (uint32_t i = 0; i < MIN(count, MAP_MAX) && 16 + 8 * (size_t)i <= len; i++)
		if (get_le32(data + 8 + 8 * i) == AUTHID_OID)
			return get_le32(data + 12 + 8 * i);
	return 0;
}

/* From version 12 on the oid is the first column; before, it stands at the end of the tuple's
 * header. */
static void scan_tuple(const unsigned char *tuple, size_t len, unsigned major, unsigned *rank,
		       char *name)
{
	size_t data = len > TUPLE_HEADER ? tuple[22] : 0;
	size_t name_at = major >= 12 ? data + 4 : data;
	size_t oid_at = major >= 12 ? data : data - 4;
	unsigned score;

	if (data <= TUPLE_HEADER || name_at + SUPERUSER_NAME_SIZE + 5 > len)
		return;
	if (tuple[name_at] == '\0' || memchr(tuple + name_at, 0, SUPERUSER_NAME_SIZE) == NULL)
		return;
	score = 1;
	if (get_le32(tuple + oid_at) == BOOTSTRAP_OID)
		score += 4;
	if (tuple[name_at + SUPERUSER_NAME_SIZE] == 1) /* rolsuper */
		score += 8;
	if (tuple[name_at + SUPERUSER_NAME_SIZE + 4] == 1) /* rolcanlogin */
		score += 16;
	/* An older version of the row, unless nobody has replaced it. */
	if (get_le32(tuple + 4) == 0 || (get_le16(tuple + 20) & XMAX_INVALID) != 0)
		score += 2;
	if (score > *rank) {
		*rank = score;
		memcpy(name, tuple + name_at, SUPERUSER_NAME_SIZE);
	}
}

void superuser_scan_page(const unsigned char *page, size_t size, unsigned major, unsigned *rank,
			 char name[SUPERUSER_NAME_SIZE])
{
	unsigned lower = get_le16(page + 12);

	for (size_t at = PAGE_HEADER; at + 4 <= lower && at + 4 <= size; at += 4) {
		uint32_t pointer = get_le32(page + at);
		size_t off = pointer & 0x7fff, len = pointer >> 17;

		if (((pointer >> 15) & 3) == LP_NORMAL && off + len <= size)
			scan_tuple(page + off, len, major, rank, name);
	}
}

int superuser_find(const char *data_dir, unsigned major, char ret[SUPERUSER_NAME_SIZE])
{
	uint32_t filenode = authid_filenode(data_dir);
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	unsigned rank = 0;
	size_t len;
	int rc;

	if (filenode == 0)
		return -ENOENT;
	if (asprintf(&path, "%s/global/%u", data_dir, filenode) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	rc = sys_read_file(AT_FDCWD, path, AUTHID_MAX, &data, &len);
	if (rc < 0)
		return rc;
	for (size_t at = 0; at + PG_BLCKSZ <= len; at += PG_BLCKSZ)
		superuser_scan_page((const unsigned char *)data + at, PG_BLCKSZ, major, &rank, ret);
	return rank > 0 ? 0 : -ENOENT;
}
