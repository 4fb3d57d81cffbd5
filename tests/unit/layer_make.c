/*
 * tests/unit/layer_make.c: see layer_make.h.
 */
#include "layer_make.h"
#include "base/util.h"
#include "layer/probackup/headers.h"
#include "page_encode.h"
#include "pg/page.h"
#include "unit.h"

#include <libdeflate.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE 8192u

static void make_parents(const char *path)
{
	char dir[1024];

	for (const char *slash = strchr(path + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		(void)mkdir(dir, 0700);
	}
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f;

	make_parents(path);
	f = fopen(path, "wb");
	ck_assert_msg(f != NULL, "cannot write '%s'", path);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

void make_file(const char *path, const void *data, size_t len)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s/%s", unit_path, path);
	write_file(full, data, len);
}

void make_begin(struct made_backup *b, const char *id)
{
	char path[400];

	*b = (struct made_backup){0};
	snprintf(b->id, sizeof(b->id), "%s", id);
	snprintf(b->path, sizeof(b->path), "%s/backups/main/%s", unit_path, id);
	snprintf(path, sizeof(path), "%s/wal/main/", unit_path);
	make_parents(path);
	snprintf(path, sizeof(path), "%s/database/", b->path);
	make_parents(path);
	snprintf(path, sizeof(path), "%s/backup_content.control", b->path);
	b->list = fopen(path, "w+b");
	snprintf(path, sizeof(path), "%s/page_header_map", b->path);
	b->map = fopen(path, "wb");
	ck_assert(b->list != NULL && b->map != NULL);
}

void make_line(struct made_backup *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	ck_assert_int_ge(vfprintf(b->list, fmt, args), 0);
	va_end(args);
	fputc('\n', b->list);
}

void make_dir(struct made_backup *b, const char *path, unsigned mode)
{
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"0\", \"mode\":\"%u\", \"is_datafile\":\"0\", "
		  "\"is_cfs\":\"0\", \"crc\":\"0\", \"compress_alg\":\"none\", "
		  "\"external_dir_num\":\"0\", \"dbOid\":\"0\"}",
		  path, S_IFDIR | mode);
}

static void store_file(struct made_backup *b, const char *path, const void *data, size_t len)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s/database/%s", b->path, path);
	write_file(full, data, len);
}

static void plain_line(struct made_backup *b, const char *path, size_t len, uint32_t crc)
{
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"%zu\", \"mode\":\"33152\", \"is_datafile\":\"0\", "
		  "\"is_cfs\":\"0\", \"crc\":\"%u\", \"compress_alg\":\"none\", "
		  "\"external_dir_num\":\"0\", \"dbOid\":\"0\"}",
		  path, len, crc);
}

void make_plain(struct made_backup *b, const char *path, const void *data, size_t len)
{
	if (len > 0)
		store_file(b, path, data, len);
	plain_line(b, path, len, len > 0 ? crc32c(0, data, len) : 0);
}

void make_plain_unchanged(struct made_backup *b, const char *path, uint64_t full_size)
{
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"-1\", \"mode\":\"33152\", \"is_datafile\":\"0\", "
		  "\"is_cfs\":\"0\", \"crc\":\"1\", \"compress_alg\":\"none\", "
		  "\"external_dir_num\":\"0\", \"dbOid\":\"0\",\"full_size\":\"%llu\"}",
		  path, (unsigned long long)full_size);
}

static uint32_t segno_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL ? (uint32_t)strtoul(dot + 1, NULL, 10) : 0;
}

/* Appends the record of one page to the stream; returns its length. header is its entry in the map. */
static size_t put_page(uint8_t *to, const struct made_page *page, enum codec codec, uint32_t segno,
		       uint8_t *header)
{
	uint8_t bytes[PAGE];
	size_t len;

	if (page->bytes != NULL)
		memcpy(bytes, page->bytes, sizeof(bytes));
	else
		memset(bytes, page->fill, sizeof(bytes));
	put_le64(header, pg_page_lsn(bytes));
	put_le32(header + 8, page->block);
	put_le16(header + 16, pg_page_is_zero(bytes)
				      ? 0
				      : pg_page_compute_checksum(bytes, segno * PG_SEGMENT_BLOCKS +
									     page->block));
	len = encode_page(page->raw ? CODEC_NONE : codec, bytes, to + 8);
	put_le32(to, page->block);
	put_le32(to + 4, (uint32_t)len);
	return len + 8;
}

/* Returns the bytes of the blob that went to the map. */
static size_t put_blob(struct made_backup *b, const uint8_t *raw, size_t len)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	size_t bound = libdeflate_zlib_compress_bound(c, len);
	uint8_t *blob = malloc(bound);

	len = libdeflate_zlib_compress(c, raw, len, blob, bound);
	ck_assert_uint_eq(fwrite(blob, 1, len, b->map), len);
	b->map_len += len;
	free(blob);
	libdeflate_free_compressor(c);
	return len;
}

void make_data(struct made_backup *b, const char *path, const char *compress_alg, uint32_t n_blocks,
	       const struct made_page *pages, uint32_t count)
{
	size_t raw_len = ((size_t)count + 1) * HEADERS_ENTRY_SIZE, len = 0, blob;
	uint8_t *raw = calloc(1, raw_len), *stream = malloc((size_t)count * (PAGE + 8) + 1);
	uint64_t off = b->map_len;
	char blocks[32] = "";
	uint32_t segno = segno_of(path);
	int codec = codec_from_name(compress_alg);

	ck_assert_int_ge(codec, 0);
	for (uint32_t i = 0; i < count; i++) {
		put_le32(raw + i * HEADERS_ENTRY_SIZE + 12, (uint32_t)len);
		len += put_page(stream + len, &pages[i], (enum codec)codec, segno,
				raw + i * HEADERS_ENTRY_SIZE);
	}
	put_le32(raw + count * HEADERS_ENTRY_SIZE + 12, (uint32_t)len);
	store_file(b, path, stream, len);
	blob = put_blob(b, raw, raw_len);
	if (n_blocks > 0)
		snprintf(blocks, sizeof(blocks), ",\"n_blocks\":\"%u\"", n_blocks);
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"%zu\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
		  "\"is_cfs\":\"0\", \"crc\":\"%u\", \"compress_alg\":\"%s\", "
		  "\"external_dir_num\":\"0\", "
		  "\"dbOid\":\"5\",\"full_size\":\"%u\",\"segno\":\"%u\"%s,"
		  "\"n_headers\":\"%u\",\"hdr_crc\":\"%u\",\"hdr_off\":\"%llu\",\"hdr_size\":\"%"
		  "zu\"}",
		  path, len, crc32c(0, stream, len), compress_alg, count * PAGE, segno, blocks,
		  count,
		  crc32c(0, raw, raw_len), (unsigned long long)off, blob);
	free(raw);
	free(stream);
}

void make_data_unchanged(struct made_backup *b, const char *path, uint32_t n_blocks)
{
	char blocks[32] = "";

	if (n_blocks > 0)
		snprintf(blocks, sizeof(blocks), ",\"n_blocks\":\"%u\"", n_blocks);
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"-1\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
		  "\"is_cfs\":\"0\", \"crc\":\"0\", \"compress_alg\":\"none\", "
		  "\"external_dir_num\":\"0\", \"dbOid\":\"5\",\"segno\":\"%u\"%s}",
		  path, segno_of(path), blocks);
}

void make_data_empty(struct made_backup *b, const char *path)
{
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"0\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
		  "\"is_cfs\":\"0\", \"crc\":\"0\", \"compress_alg\":\"none\", "
		  "\"external_dir_num\":\"0\", \"dbOid\":\"5\",\"segno\":\"%u\"}",
		  path, segno_of(path));
}

/* Of a cluster of version 15 that was shut down. */
static void make_pg_control(struct made_backup *b)
{
	uint8_t control[PAGE] = {0};

	put_le64(control, 7000000000000000001u);
	put_le32(control + 8, 1300);
	put_le32(control + 12, 202209061);
	put_le32(control + 16, 1);
	put_le32(control + 48, 1);
	put_le32(control + 180, 100);
	put_le32(control + 184, 8);
	put_le32(control + 192, 0);
	put_le32(control + 196, 64);
	put_le32(control + 204, 8); /* maxAlign */
	put_le32(control + 216, 8192);
	put_le32(control + 220, 131072);
	put_le32(control + 224, 8192);
	put_le32(control + 228, 1048576);
	put_le32(control + 288, crc32c(0, control, 288));
	store_file(b, "global/pg_control", control, sizeof(control));
	plain_line(b, "global/pg_control", sizeof(control), crc32c(0, control, 288));
}

void make_cluster(struct made_backup *b, const char *id)
{
	make_begin(b, id);
	make_dir(b, "base", 0700);
	make_dir(b, "base/5", 0700);
	make_dir(b, "global", 0700);
	make_pg_control(b);
}

static uint32_t list_crc(FILE *list)
{
	char buf[4096];
	uint32_t crc = 0;
	size_t n;

	ck_assert_int_eq(fflush(list), 0);
	rewind(list);
	while ((n = fread(buf, 1, sizeof(buf), list)) > 0)
		crc = crc32c(crc, buf, n);
	return crc;
}

static void write_control(struct made_backup *b, const char *mode, const char *parent,
			  const char *status, const char *compatibility, const char *extra)
{
	char path[400];
	uint32_t crc = list_crc(b->list);
	FILE *f;

	ck_assert_int_eq(fclose(b->list), 0);
	ck_assert_int_eq(fclose(b->map), 0);
	snprintf(path, sizeof(path), "%s/backup.control", b->path);
	f = fopen(path, "wb");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "#Configuration\nbackup-mode = %s\nstream = true\ncompress-alg = zlib\n", mode);
	fprintf(f, "\n#Compatibility\n%schecksum-version = 0\nserver-version = 15\n",
		compatibility);
	fprintf(f, "\n#Result backup info\ntimelineid = 1\nstart-lsn = 0/2000028\nstop-lsn = "
		   "1/2000100\n");
	fprintf(f, "start-time = '2026-11-20 10:38:24+00'\nstatus = %s\n", status);
	if (parent != NULL)
		fprintf(f, "parent-backup-id = '%s'\n", parent);
	fprintf(f, "content-crc = %u\n%s", crc, extra != NULL ? extra : "");
	ck_assert_int_eq(fclose(f), 0);
}

#define USUAL "block-size = 8192\nxlog-block-size = 8192\nprogram-version = 2.5.16\n"

void make_end(struct made_backup *b, const char *mode, const char *parent, const char *status,
	      const char *extra)
{
	write_control(b, mode, parent, status, USUAL, extra);
}

void make_end_as(struct made_backup *b, const char *mode, const char *parent, const char *status,
		 const char *compatibility)
{
	write_control(b, mode, parent, status, compatibility, NULL);
}
