/*
 * cmd/wal.h: a clone's native pg_wal.
 *
 * <diff>/wal-dir holds the path of the directory that has the clone's WAL since it was first
 * mounted with one; it is written after the directory was filled. From then on pg_wal inside the
 * diff is out of date, so such a diff is never mounted without its directory.
 */
#ifndef CMD_WAL_H
#define CMD_WAL_H

#include "base/err.h"
#include "overlay/overlay.h"

/*
 * The directory that the diff's WAL is in: the recorded one, else `wanted` (NULL: none). *ret_fill:
 * it must be filled first. -EINVAL: another one is recorded; -ENOENT: the recorded one is gone.
 */
int wal_place(struct diff *diff, const char *wanted, struct errmsg *e, char **ret_dir,
	      bool *ret_fill);

/*
 * Writes pg_wal as the overlay shows it (an overlay that was not started, made without wal_dir)
 * into the directory, durably. own: it is the clone's, so that the rest of an earlier attempt may
 * be removed; else it must be empty. Frees the overlay and closes its diff. Blocks.
 */
int wal_fill(struct overlay *ov, const char *dir, bool own, struct errmsg *e);

/* Records the directory; durable when it returns. */
int wal_record(struct diff *diff, const char *dir, struct errmsg *e);

#endif
