/*
 * cmd/wal_path.h: the way of a recovery through the timelines of an archive, and which segments
 * lie on it. Pure functions on a wal_list.
 */
#ifndef CMD_WAL_PATH_H
#define CMD_WAL_PATH_H

#include "layer/layer.h"

/* From the oldest ancestor to `timeline`; what a history does not name is not on it. */
struct wal_path {
	const struct wal_list *list;
	uint32_t timeline;
	const struct pg_wal_switch *ancestors; /* oldest first; the list's */
	size_t count;
};

/* The timeline recovery follows from `from` on by default: as PostgreSQL finds the latest. */
uint32_t wal_path_latest(const struct wal_list *list, uint32_t from);
/* -ENOENT: it needs the history of that timeline, and the archive has none, or a damaged one. */
int wal_path_make(const struct wal_list *list, uint32_t timeline, struct wal_path *ret);
/* Does the path lead through this point, so that a backup that ended there can take it? */
bool wal_path_has(const struct wal_path *path, uint32_t timeline, uint64_t lsn);

/* The timeline whose file of this segment recovery can read, or 0. */
uint32_t wal_path_find(const struct wal_path *path, uint64_t segment);
/* The first segment from `first` on that is missing. */
uint64_t wal_path_missing(const struct wal_path *path, uint64_t first);
/* 1 + the last segment on the path, or 0. */
uint64_t wal_path_end(const struct wal_path *path);
/* What the missing segment would be called. */
void wal_path_name(const struct wal_path *path, uint64_t segment, char ret[PG_WAL_NAME_SIZE]);

#endif
