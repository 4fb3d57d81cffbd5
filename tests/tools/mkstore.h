/*
 * tests/tools/mkstore.h: what mkstore.c (what there is to back up) and mkstore_write.c (the store)
 * share.
 */
#ifndef TESTS_TOOLS_MKSTORE_H
#define TESTS_TOOLS_MKSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define START_LSN UINT64_C(0x100000000)

struct options {
	const char *store, *from, *codec, *instance;
	unsigned files, more, blocks, increments, changed, level, random, plain;
	uint64_t seed;
	bool checksums; /* the cluster has them */
	bool same;	/* the relations of one length that are made up have the same pages */
};

struct dir {
	char *path;
	unsigned mode;
};

struct plain_file {
	char *path;
	unsigned mode;
	uint8_t *bytes;
	size_t size;
	size_t crc_len; /* pg_control: its own sum covers so many bytes; else 0 */
};

struct data_file {
	char *path;
	uint32_t number, blocks, segno;
	uint8_t *bytes; /* NULL: pages are made up */
	uint64_t top_lsn;
};

struct tree {
	struct dir *dirs;
	size_t dir_count;
	struct plain_file *plains;
	size_t plain_count;
	struct data_file *datas;
	size_t data_count;
};

/* The page as the backup of that number (0: the FULL) sees it. */
void page_of(const struct data_file *file, uint32_t block, unsigned backup, uint8_t *ret);

void store_begin(const struct options *o);
void store_backup(const struct options *o, const struct tree *tree, unsigned number,
		  bool (*is_changed)(unsigned backup, const struct data_file *file,
				     uint32_t block));

#endif
