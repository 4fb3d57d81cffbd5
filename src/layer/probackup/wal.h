/*
 * layer/probackup/wal.h: the WAL archive of an instance, <store>/wal/<instance>/, a flat directory.
 *
 * A segment is there as SEG.gz, SEG, SEG.gz.partial or SEG.partial, and is taken in that order;
 * histories and backup files have no other form. Files that are still being written (*.part) have
 * names of their own and are never read.
 */
#ifndef LAYER_PROBACKUP_WAL_H
#define LAYER_PROBACKUP_WAL_H

#include "layer/layer.h"

/* ---- driver.c ---- */

/*
 * A directory of the store's own: backups, wal, or an instance's in one of them. A descriptor; -ENOENT
 * and -ENOTDIR without a message, and for the rest one: it names the very link that is in the way.
 */
int probackup_open_dir(const struct store *store, const char *path, struct errmsg *e);
/* The one to take if none was named: malloc'ed. */
int probackup_only_instance(const struct store *store, struct errmsg *e, char **ret);

/* ---- wal.c: the driver's functions (layer.h) ---- */

int probackup_wal_read(struct store *store, const char *instance, const char *name,
		       const struct wal_sink *sink, struct errmsg *e);
int probackup_wal_list(struct store *store, const char *instance, struct errmsg *e,
		       struct wal_list *ret);

/* ---- shared by wal.c and wal_list.c ---- */

#define WAL_SMALL_MAX (1u << 20) /* bytes of a history or backup file */

struct wal_archive {
	const struct store *store;
	char *instance;
	int dirfd; /* of wal/<instance> */
	uint32_t segment_size;
	uint64_t system_identifier;
};

/* -ENOTDIR: there is no such directory. wal_archive_close is for the successful one. */
int wal_archive_open(const struct store *store, const char *instance, struct errmsg *e,
		     struct wal_archive *ret);
void wal_archive_close(struct wal_archive *archive);
/* A whole small file below the store, with a NUL behind it; follows no link. -EFBIG above max. */
int wal_read_small(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

#endif
