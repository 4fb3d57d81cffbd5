/*
 * tests/tools/mkstore_write.c: one backup as pg_probackup 2.5.16 lays it down.
 */
#include "mkstore.h"

#include "base/util.h"
#include "pg/page.h"

#include <err.h>
#include <libdeflate.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIRST_START 1795169551 /* TOSPOV */
#define HEADER	    24u
#define LINK_LEAST  (1u << 20) /* bytes */

/* What --same takes once more for the next file. */
struct copy {
	uint8_t *bytes, *raw, *blob;
	char *path; /* where it was written last, for links */
	uint64_t size;
	size_t blob_size;
	uint32_t count, crc, blocks, segno;
	bool made_up;
};

struct backup {
	const struct options *o;
	struct copy last;
	char path[600];
	char id[16], parent[16];
	FILE *list, *map;
	uint64_t map_len, data_bytes;
	uint32_t list_crc;
	struct libdeflate_compressor *compressor, *map_compressor;
};

static void backup_id(unsigned number, char ret[16])
{
	uint64_t n = FIRST_START + (uint64_t)number * 3600;
	char digits[16];
	int len = 0;

	for (; n > 0; n /= 36)
		digits[len++] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[n % 36];
	for (int i = 0; i < len; i++)
		ret[i] = digits[len - 1 - i];
	ret[len] = '\0';
}

static void make_parents(const char *path)
{
	char dir[1400];

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		(void)mkdir(dir, 0700);
	}
}

static FILE *create(const char *path)
{
	FILE *f;

	make_parents(path);
	f = fopen(path, "wb");
	if (!f)
		err(1, "%s", path);
	(void)setvbuf(f, NULL, _IOFBF, 1 << 18);
	return f;
}

static void finish(FILE *f, const char *what)
{
	if (ferror(f) || fclose(f) != 0)
		err(1, "%s", what);
}

static void __attribute__((format(printf, 2, 3))) line(struct backup *b, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text) - 1, fmt, args);
	va_end(args);
	text[len++] = '\n';
	b->list_crc = crc32c(b->list_crc, text, (size_t)len);
	(void)fwrite(text, 1, (size_t)len, b->list);
}

static unsigned database_of(const char *path)
{
	return strncmp(path, "base/", 5) == 0 ? (unsigned)strtoul(path + 5, NULL, 10) : 0;
}

/* ---- plain files ---- */

static void put_plain(struct backup *b, const struct plain_file *file, bool unchanged)
{
	uint32_t crc = file->size > 0
			       ? crc32c(0, file->bytes, file->crc_len ? file->crc_len : file->size)
			       : 0;
	char path[1400], size[24], full[64] = "";

	if (unchanged && file->size > 0) {
		(void)snprintf(full, sizeof(full), ",\"full_size\":\"%zu\"", file->size);
		(void)snprintf(size, sizeof(size), "-1");
	} else {
		(void)snprintf(size, sizeof(size), "%zu", file->size);
	}
	line(b,
	     "{\"path\":\"%s\", \"size\":\"%s\", \"mode\":\"%u\", \"is_datafile\":\"0\", "
	     "\"is_cfs\":\"0\", "
	     "\"crc\":\"%u\", \"compress_alg\":\"none\", \"external_dir_num\":\"0\", "
	     "\"dbOid\":\"%u\"%s}",
	     file->path, size, file->mode, crc, database_of(file->path), full);
	if (size[0] == '-' || file->size == 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/database/%s", b->path, file->path);
	FILE *f = create(path);

	(void)fwrite(file->bytes, 1, file->size, f);
	finish(f, path);
	b->data_bytes += file->size;
}

/* ---- data files ---- */

#define PGLZ_SLOTS 4096u

/* A plain greedy form of PostgreSQL's pglz; 0 if it does not get below max. */
static size_t pglz(const uint8_t *in, size_t len, uint8_t *out, size_t max)
{
	uint16_t slots[PGLZ_SLOTS];
	size_t at = 0, n = 0, control = 0;
	unsigned bit = 8;

	memset(slots, 0xff, sizeof(slots));
	while (at < len) {
		size_t match = 0, off = 0;

		if (bit == 8) {
			control = n++;
			bit = 0;
			if (n + 25 > max)
				return 0;
			out[control] = 0;
		}
		if (at + 4 <= len) {
			uint32_t slot = get_le32(in + at) * 2654435761u >> 20;
			size_t seen = slots[slot];

			slots[slot] = (uint16_t)at;
			off = at - seen;
			if (seen != 0xffff && off > 0 && off <= 4095)
				while (at + match < len && match < 273 &&
				       in[seen + match] == in[at + match])
					match++;
		}
		if (match >= 3) {
			out[control] |= (uint8_t)(1u << bit);
			out[n++] = (uint8_t)((off & 0xf00) >> 4 | (match > 17 ? 15 : match - 3));
			out[n++] = (uint8_t)off;
			if (match > 17)
				out[n++] = (uint8_t)(match - 18);
			at += match;
		} else {
			out[n++] = in[at++];
		}
		bit++;
	}
	return n;
}

/* Payload of the page behind to; PG_BLCKSZ: raw. */
static size_t compress_page(const struct backup *b, const uint8_t *page, uint8_t *to)
{
	size_t len = 0;

	if (strcmp(b->o->codec, "zlib") == 0)
		len = libdeflate_zlib_compress(b->compressor, page, PG_BLCKSZ, to, PG_BLCKSZ - 1);
	else if (strcmp(b->o->codec, "pglz") == 0)
		len = pglz(page, PG_BLCKSZ, to, PG_BLCKSZ - 1);
	if (len == 0) {
		memcpy(to, page, PG_BLCKSZ);
		len = PG_BLCKSZ;
	}
	return len;
}

static void put_header(uint8_t *h, const uint8_t *page, const struct data_file *file,
		       uint32_t block, uint32_t pos)
{
	bool zero = pg_page_is_zero(page);

	put_le64(h, zero ? 0 : pg_page_lsn(page));
	put_le32(h + 8, block);
	put_le32(h + 12, pos);
	put_le16(h + 16,
		 zero ? 0
		      : pg_page_compute_checksum(page, file->segno * PG_SEGMENT_BLOCKS + block));
}

static void make_blob(struct backup *b)
{
	size_t len = ((size_t)b->last.count + 1) * HEADER;
	size_t bound = libdeflate_zlib_compress_bound(b->map_compressor, len);

	b->last.blob = malloc(bound);
	if (!b->last.blob)
		err(1, "memory");
	b->last.blob_size =
		libdeflate_zlib_compress(b->map_compressor, b->last.raw, len, b->last.blob, bound);
}

/* Writes the stream of the pages; returns how many, their headers in raw. */
static uint32_t make_pages(const struct backup *b, const struct data_file *file, unsigned number,
			   bool (*is_changed)(unsigned, const struct data_file *, uint32_t),
			   uint8_t *raw, uint32_t *ret_crc, uint64_t *ret_size, FILE *f)
{
	uint8_t page[PG_BLCKSZ], record[8 + PG_BLCKSZ];
	uint32_t count = 0, crc = 0;
	uint64_t pos = 0;

	for (uint32_t block = 0; block < file->blocks; block++) {
		size_t len;

		if (!is_changed(number, file, block))
			continue;
		page_of(file, block, number, page);
		len = compress_page(b, page, record + 8);
		put_le32(record, block);
		put_le32(record + 4, (uint32_t)len);
		put_header(raw + (size_t)count * HEADER, page, file, block, (uint32_t)pos);
		(void)fwrite(record, 1, len + 8, f);
		crc = crc32c(crc, record, len + 8);
		pos += len + 8;
		count++;
	}
	put_le32(raw + (size_t)count * HEADER + 12, (uint32_t)pos);
	*ret_crc = crc;
	*ret_size = pos;
	return count;
}

static bool is_last(const struct backup *b, const struct data_file *file)
{
	return b->o->same && b->last.made_up && !file->bytes && b->last.blocks == file->blocks &&
	       b->last.segno == file->segno;
}

static void forget_copy(struct backup *b)
{
	free(b->last.raw);
	free(b->last.bytes);
	free(b->last.blob);
	free(b->last.path);
	b->last = (struct copy){0};
}

/* The pages of the file into b->last. */
static void take_pages(struct backup *b, const struct data_file *file, unsigned number,
		       bool (*is_changed)(unsigned, const struct data_file *, uint32_t))
{
	size_t raw_len = ((size_t)file->blocks + 1) * HEADER, len;
	char *bytes = NULL;
	FILE *f = open_memstream(&bytes, &len);

	forget_copy(b);
	b->last = (struct copy){
		.raw = calloc(1, raw_len), .blocks = file->blocks, .segno = file->segno};
	if (!f || !b->last.raw)
		err(1, "memory");
	b->last.count = make_pages(b, file, number, is_changed, b->last.raw, &b->last.crc,
				   &b->last.size, f);
	finish(f, "memory");
	b->last.bytes = (uint8_t *)bytes;
	b->last.made_up = file->bytes == NULL;
	make_blob(b);
}

/* Large files that are the same are links of one: a terabyte then takes the place of one of them. */
static bool link_pages(const struct backup *b, const char *path)
{
	if (!b->last.path || b->last.size < LINK_LEAST)
		return false;
	make_parents(path);
	(void)unlink(path);
	return link(b->last.path, path) == 0;
}

static void put_pages(struct backup *b, const struct data_file *file)
{
	char path[1400];
	FILE *f;

	b->data_bytes += b->last.size;
	(void)snprintf(path, sizeof(path), "%s/database/%s", b->path, file->path);
	if (link_pages(b, path))
		return;
	f = create(path);
	(void)fwrite(b->last.bytes, 1, b->last.size, f);
	finish(f, path);
	free(b->last.path);
	b->last.path = strdup(path);
}

static void put_data(struct backup *b, const struct data_file *file, unsigned number,
		     bool (*is_changed)(unsigned, const struct data_file *, uint32_t))
{
	char rest[256] = "", full[64] = "", blocks[64] = "";
	uint64_t off = b->map_len;
	uint32_t count;

	if (!is_last(b, file))
		take_pages(b, file, number, is_changed);
	count = b->last.count;
	if (count > 0) {
		put_pages(b, file);
		(void)fwrite(b->last.blob, 1, b->last.blob_size, b->map);
		b->map_len += b->last.blob_size;
		(void)snprintf(rest, sizeof(rest),
			       ",\"n_headers\":\"%u\",\"hdr_crc\":\"%u\",\"hdr_off\":\"%llu\","
			       "\"hdr_size\":\"%zu\"",
			       count, crc32c(0, b->last.raw, ((size_t)count + 1) * HEADER),
			       (unsigned long long)off, b->last.blob_size);
	}
	if (count > 0)
		(void)snprintf(full, sizeof(full), ",\"full_size\":\"%llu\"",
			       (unsigned long long)count * PG_BLCKSZ);
	if (file->blocks > 0)
		(void)snprintf(blocks, sizeof(blocks), ",\"n_blocks\":\"%u\"", file->blocks);
	line(b,
	     "{\"path\":\"%s\", \"size\":\"%lld\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
	     "\"is_cfs\":\"0\", "
	     "\"crc\":\"%u\", \"compress_alg\":\"%s\", \"external_dir_num\":\"0\", "
	     "\"dbOid\":\"%u\"%s,"
	     "\"segno\":\"%u\"%s%s}",
	     file->path,
	     count > 0		? (long long)b->last.size
	     : file->blocks > 0 ? -1LL
				: 0LL,
	     b->last.crc, count > 0 ? b->o->codec : "none", database_of(file->path), full,
	     file->segno, blocks, rest);
}

/* ---- the backup ---- */

static void put_control(struct backup *b, unsigned number)
{
	time_t start = (time_t)(FIRST_START + (int64_t)number * 3600);
	uint64_t lsn = START_LSN + ((uint64_t)number << 24);
	char path[700], text[64];
	struct tm tm;
	FILE *f;

	(void)gmtime_r(&start, &tm);
	(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S+00", &tm);
	(void)snprintf(path, sizeof(path), "%s/backup.control", b->path);
	f = create(path);
	(void)fprintf(f,
		      "#Configuration\nbackup-mode = %s\nstream = true\ncompress-alg = "
		      "%s\ncompress-level = %u\n"
		      "from-replica = false\n\n",
		      number == 0 ? "FULL" : "DELTA", b->o->codec, b->o->level);
	(void)fprintf(
		f,
		"#Compatibility\nblock-size = 8192\nxlog-block-size = 8192\nchecksum-version = %d\n"
		"program-version = 2.5.16\nserver-version = 15\n\n",
		b->o->checksums);
	(void)fprintf(
		f, "#Result backup info\ntimelineid = 1\nstart-lsn = %X/%X\nstop-lsn = %X/%X\n",
		(unsigned)(lsn >> 32), (unsigned)lsn, (unsigned)(lsn >> 32), (unsigned)lsn + 0x100);
	(void)fprintf(f,
		      "start-time = '%s'\nend-time = '%s'\nrecovery-xid = 0\nrecovery-time = '%s'\n"
		      "data-bytes = %llu\nwal-bytes = 0\nstatus = OK\n",
		      text, text, text, (unsigned long long)b->data_bytes);
	if (number > 0)
		(void)fprintf(f, "parent-backup-id = '%s'\n", b->parent);
	(void)fprintf(f, "content-crc = %u\n", b->list_crc);
	finish(f, path);
}

void store_backup(const struct options *o, const struct tree *tree, unsigned number,
		  bool (*is_changed)(unsigned backup, const struct data_file *file, uint32_t block))
{
	struct backup b = {.o = o,
			   .compressor = libdeflate_alloc_compressor((int)o->level),
			   .map_compressor = libdeflate_alloc_compressor(1)};
	char path[700];

	backup_id(number, b.id);
	if (number > 0)
		backup_id(number - 1, b.parent);
	(void)snprintf(b.path, sizeof(b.path), "%s/backups/%s/%s", o->store, o->instance, b.id);
	(void)snprintf(path, sizeof(path), "%s/backup_content.control", b.path);
	b.list = create(path);
	(void)snprintf(path, sizeof(path), "%s/page_header_map", b.path);
	b.map = create(path);
	for (size_t i = 0; i < tree->dir_count; i++)
		line(&b,
		     "{\"path\":\"%s\", \"size\":\"0\", \"mode\":\"%u\", \"is_datafile\":\"0\", "
		     "\"is_cfs\":\"0\", "
		     "\"crc\":\"0\", \"compress_alg\":\"none\", \"external_dir_num\":\"0\", "
		     "\"dbOid\":\"0\"}",
		     tree->dirs[i].path, tree->dirs[i].mode);
	for (size_t i = 0; i < tree->plain_count; i++)
		put_plain(&b, &tree->plains[i], number > 0 && tree->plains[i].crc_len == 0);
	for (size_t i = 0; i < tree->data_count; i++)
		put_data(&b, &tree->datas[i], number, is_changed);
	finish(b.list, b.path);
	finish(b.map, b.path);
	put_control(&b, number);
	forget_copy(&b);
	libdeflate_free_compressor(b.compressor);
	libdeflate_free_compressor(b.map_compressor);
	(void)printf("%s %llu\n", b.id, (unsigned long long)b.data_bytes);
}

void store_begin(const struct options *o)
{
	char path[700];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/wal/%s/.keep", o->store, o->instance);
	(void)fclose(create(path));
	(void)remove(path);
	(void)snprintf(path, sizeof(path), "%s/backups/%s/pg_probackup.conf", o->store,
		       o->instance);
	f = create(path);
	(void)fprintf(f, "# Backup instance information\npgdata = /nowhere\nsystem-identifier = "
			 "7000000000000000001\n"
			 "xlog-seg-size = 1048576\n");
	finish(f, path);
}
