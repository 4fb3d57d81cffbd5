/*
 * Small stores of three backups, with pages as a server writes them.
 */
#include "base/util.h"
#include "damage.h"
#include "layer_make.h"
#include "pg/page.h"
#include "unit.h"

#include <string.h>

#define PAGE	  8192u
#define BLOCKS	  24u
#define RELATIONS 4u

/* Far apart, so that one changed letter of a parent's id names no other backup. */
static const char *const ids[DAMAGE_BACKUPS] = {"TOSPO0", "TOSQ7K", "TOSRZ5"};

static const struct {
	const char *name;
	bool checksums;
	const char *algs[DAMAGE_BACKUPS];
} kinds[] = {
	{"zlib-checksums", true, {"zlib", "zlib", "zlib"}},
	{"raw-no-checksums", false, {"none", "none", "none"}},
	{"mixed-no-checksums", false, {"pglz", "zlib", "none"}},
	{"mixed-checksums", true, {"none", "lz4", "zstd"}},
};

static unsigned long long random_state;

static unsigned random_below(unsigned n)
{
	return unit_random(&random_state) % n;
}

/* A page of rows of words, or one that does not compress. */
static void fill_page(uint8_t *page, uint32_t block, bool checksums)
{
	static const char *const words[] = {"order ", "customer ", "invoice ", "paid ", "open "};
	bool noise = random_below(6) == 0;
	size_t at = 24 + random_below(400);

	memset(page, 0, PAGE);
	put_le32(page + 4, 0x1000000u + random_below(1u << 24));
	put_le16(page + 12, (uint16_t)at);
	put_le16(page + 14, (uint16_t)at);
	put_le16(page + 16, PAGE);
	put_le16(page + 18, PAGE | 4);
	while (at < PAGE) {
		const char *word = words[random_below(ARRAY_SIZE(words))];
		size_t len = MIN(strlen(word), PAGE - at);

		if (noise)
			page[at++] = (uint8_t)random_below(256);
		else
			memcpy(page + at, word, len);
		at += noise ? 0 : len;
	}
	if (checksums)
		put_le16(page + 8, pg_page_compute_checksum(page, block));
}

/* A FULL stores all blocks, an increment some. */
static void make_relation(struct made_backup *b, unsigned kind, unsigned member, unsigned relation)
{
	static uint8_t bytes[BLOCKS][PAGE];
	struct made_page pages[BLOCKS];
	uint32_t n_blocks = 3 + relation * 7, count = 0;
	char path[32];

	snprintf(path, sizeof(path), "base/5/%u", 16384 + relation);
	for (uint32_t block = 0; block < n_blocks; block++) {
		if (member > 0 && random_below(3) > 0)
			continue;
		if (random_below(8) == 0)
			memset(bytes[count], 0, PAGE);
		else
			fill_page(bytes[count], block, kinds[kind].checksums);
		pages[count] = (struct made_page){.block = block, .bytes = bytes[count]};
		count++;
	}
	if (count > 0)
		make_data(b, path, kinds[kind].algs[member], n_blocks, pages, count);
	else
		make_data_unchanged(b, path, n_blocks);
}

static void make_backup(unsigned kind, unsigned member)
{
	char wal[20000], label[64];
	struct made_backup b;

	make_cluster(&b, ids[member]);
	make_dir(&b, "pg_wal", 0700);
	make_dir(&b, "pg_tblspc", 0700);
	make_plain(&b, "PG_VERSION", "15\n", 3);
	if (member == 0)
		make_plain(&b, "postgresql.conf", "work_mem = '4MB'\n", 17);
	else
		make_plain_unchanged(&b, "postgresql.conf", 17);
	make_plain(&b, "postgresql.auto.conf", "# by hand\nport = 1\n", 19);
	snprintf(label, sizeof(label), "START WAL LOCATION: 0/%u000028\n", member + 2);
	make_plain(&b, "backup_label", label, strlen(label));
	make_plain(&b, "base/5/16384_fsm", NULL, 0);
	for (size_t i = 0; i < sizeof(wal); i++)
		wal[i] = (char)random_below(256);
	make_plain(&b, "pg_wal/000000010000000000000002", wal, sizeof(wal));
	for (unsigned relation = 0; relation < RELATIONS; relation++)
		make_relation(&b, kind, member, relation);
	make_data_empty(&b, "base/5/16400");
	make_end(&b, member == 0 ? "FULL" : member == 1 ? "DELTA" : "PAGE",
		 member == 0 ? NULL : ids[member - 1], "OK",
		 kinds[kind].checksums ? "checksum-version = 1\n" : NULL);
}

/* ---- what was made ---- */

static struct damage_store *collecting;

static enum damage_kind kind_of(const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	unsigned number, end = 0;

	if (strcmp(name, "backup.control") == 0)
		return DAMAGE_CONTROL;
	if (strcmp(name, "backup_content.control") == 0)
		return DAMAGE_LIST;
	if (strcmp(name, "page_header_map") == 0)
		return DAMAGE_MAP;
	if (sscanf(name, "%u%n", &number, &end) == 1 && name[end] == '\0' &&
	    strstr(path, "/base/") != NULL)
		return DAMAGE_PAGES;
	return DAMAGE_PLAIN;
}

static int collect_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	struct damage_store *s = collecting;
	struct damage_file *file;
	FILE *f;

	if (flag != FTW_F)
		return 0;
	s->files = reallocarray(s->files, s->count + 1, sizeof(*s->files));
	file = &s->files[s->count++];
	file->path = strdup(path + strlen(s->path) + 1);
	file->kind = kind_of(path);
	file->len = (size_t)st->st_size;
	file->bytes = malloc(file->len + 1);
	f = fopen(path, "rb");
	if (f == NULL || fread(file->bytes, 1, file->len, f) != file->len)
		abort();
	fclose(f);
	return 0;
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct damage_file *)a)->path, ((const struct damage_file *)b)->path);
}

unsigned damage_store_kinds(void)
{
	return ARRAY_SIZE(kinds);
}

struct damage_store *damage_store_new(unsigned number, const char *path, uint64_t seed)
{
	struct damage_store *s = calloc(1, sizeof(*s));

	random_state = seed * 7919 + number;
	for (unsigned member = 0; member < DAMAGE_BACKUPS; member++)
		make_backup(number, member);
	s->name = kinds[number].name;
	s->path = path;
	s->page_checksums = kinds[number].checksums;
	collecting = s;
	if (nftw(path, collect_file, 16, FTW_PHYS) != 0)
		abort();
	qsort(s->files, s->count, sizeof(*s->files), compare_files);
	for (unsigned i = 0; i < DAMAGE_BACKUPS; i++) {
		s->backups[i].id = ids[i];
		damage_read_contents(path, &s->backups[i]);
	}
	return s;
}

void damage_store_free(struct damage_store *store)
{
	for (size_t i = 0; i < store->count; i++) {
		free(store->files[i].path);
		free(store->files[i].bytes);
	}
	for (unsigned i = 0; i < DAMAGE_BACKUPS; i++) {
		for (size_t k = 0; k < store->backups[i].count; k++) {
			free(store->backups[i].contents[k].path);
			free(store->backups[i].contents[k].bytes);
		}
		free(store->backups[i].contents);
	}
	free(store->files);
	free(store);
}
