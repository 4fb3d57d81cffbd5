/*
 * tests/unit/layer_make.h: makes small pg_probackup stores, line by line, right or wrong on
 * purpose.
 *
 * A store is made in the directory of the test (unit.h): backups/main/<id>/...
 */
#ifndef TESTS_UNIT_LAYER_MAKE_H
#define TESTS_UNIT_LAYER_MAKE_H

#include "layer/probackup/control.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A stored page: these bytes, or 8192 of value fill; compressed as the file is, unless raw. */
struct made_page {
	uint32_t block;
	uint8_t fill;
	bool raw;
	const uint8_t *bytes; /* NULL: fill */
};

struct made_backup {
	char id[PROBACKUP_ID_MAX + 1];
	char path[300]; /* absolute */
	FILE *list, *map;
	uint64_t map_len;
};

/* Makes backups/main and wal/main; begins the backup. */
void make_begin(struct made_backup *b, const char *id);
/* begin, the directories base, base/5, global, and a global/pg_control that checks. */
void make_cluster(struct made_backup *b, const char *id);

/* One line of the list, written as it is, with a newline. */
void make_line(struct made_backup *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void make_dir(struct made_backup *b, const char *path, unsigned mode);
/* A plain file with its content and line. */
void make_plain(struct made_backup *b, const char *path, const void *data, size_t len);
/* Its line with size -1. */
void make_plain_unchanged(struct made_backup *b, const char *path, uint64_t full_size);

/* A data file with these pages, its header blob and its line; n_blocks 0: left out. compress_alg
 * as the list names it. A path that ends in ".N" is segment N. */
void make_data(struct made_backup *b, const char *path, const char *compress_alg, uint32_t n_blocks,
	       const struct made_page *pages, uint32_t count);
void make_data_unchanged(struct made_backup *b, const char *path, uint32_t n_blocks);
void make_data_empty(struct made_backup *b, const char *path);

/* Writes list and map; then backup.control with mode, parent (or NULL), status, and extra lines (or
 * NULL). */
void make_end(struct made_backup *b, const char *mode, const char *parent, const char *status,
	      const char *extra);
/* The same, with these lines instead of the usual block sizes and program version. */
void make_end_as(struct made_backup *b, const char *mode, const char *parent, const char *status,
		 const char *compatibility);

/* Writes a file below the test's directory, parents made. */
void make_file(const char *path, const void *data, size_t len);

#endif
