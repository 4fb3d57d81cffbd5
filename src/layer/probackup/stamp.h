/*
 * layer/probackup/stamp.h: is a file that was read still the same? By its inode number, size and
 * times, as long as a change would show in them. pg_probackup replaces its files by a rename.
 */
#ifndef LAYER_PROBACKUP_STAMP_H
#define LAYER_PROBACKUP_STAMP_H

#include <stdbool.h>
#include <stdint.h>

struct stat;

struct stamp {
	uint64_t ino, size;
	int64_t mtime_ns, ctime_ns;
};

/*
 * Of a file that st was taken of just now, before it was read. False: it is no regular file, or it has
 * just been written and a change might not show.
 */
bool stamp_make(const struct stat *st, struct stamp *ret);
/* The same of dirfd/name. False also: it cannot be looked at. */
bool stamp_take(int dirfd, const char *name, struct stamp *ret);
/* Is dirfd/name the file of the stamp, and unchanged since then? */
bool stamp_same(int dirfd, const char *name, const struct stamp *stamp);

#endif
