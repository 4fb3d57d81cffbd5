/*
 * layer/probackup/content.h: backup_content.control, the list of a backup's files: one JSON-like
 * line each, in which nothing is escaped. The parser is pure; the reader reads by pieces, so that
 * memory does not grow with the list.
 */
#ifndef LAYER_PROBACKUP_CONTENT_H
#define LAYER_PROBACKUP_CONTENT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_LINE_MAX 8192u /* bytes of a line without its newline */
#define CONTENT_PATH_MAX 1023u /* pg_probackup's MAXPGPATH without the NUL */
#define CONTENT_NAME_MAX 255u  /* bytes of one component */

struct content_line {
	char path[CONTENT_PATH_MAX + 1]; /* safe (path_is_safe) */
	uint32_t path_len;
	int64_t size; /* stored bytes; 0 nothing stored; -1 unchanged since the parent */
	uint32_t mode;
	bool is_datafile, is_cfs;
	bool has_full_size;
	char compress_alg[16];
	uint32_t external_dir_num;
	uint32_t crc;
	uint32_t segno;
	uint32_t n_blocks, n_headers; /* 0: not given */
	uint32_t hdr_crc, hdr_size;
	uint64_t hdr_off;
	uint64_t full_size;
	/* The first key this program does not know, "" if none; last, because it nearly always is. */
	char unknown_key[32];
};

/* Parses one line without its newline. -EUCLEAN with a phrase like "no mode" in *ret_problem. */
int content_parse_line(const char *line, size_t len, struct content_line *ret,
		       const char **ret_problem);

struct content_sums {
	uint32_t crc;	    /* CRC-32C of the file's bytes */
	uint8_t digest[16]; /* XXH3-128 of them */
	uint64_t lines;
};

/*
 * Calls fn for each line of dirfd/backup_content.control. Stops at fn's first negative value and
 * returns it with "backup ID: backup_content.control, line N: " before the message fn has set.
 * Damage: -EUCLEAN with the line's number.
 */
int content_read(int dirfd, const char *id,
		 int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e), void *ctx,
		 struct content_sums *ret, struct errmsg *e);

/* "backup ID: backup_content.control, line N: why" of what a line is refused for. Returns rc. */
int content_line_error(const char *id, uint64_t line, int rc, const struct errmsg *why,
		       struct errmsg *e);

#endif
