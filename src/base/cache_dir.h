/*
 * base/cache_dir.h: a directory for what can be made again. Anybody may remove it at any time; mounts
 * share it without knowing of each other.
 *
 * Only what is the owner's alone is used: a directory that somebody else can write to is not.
 */
#ifndef BASE_CACHE_DIR_H
#define BASE_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A descriptor of dirfd/path, the caller's. make: with what is missing above it. -EPERM: it is not the
 * owner's alone. May block.
 */
int cache_dir_open(int dirfd, const char *path, bool make);

/*
 * A whole new file in the place of name: written as temp, which nobody else must use, then renamed.
 * Nothing is synced: after a power cut the file may be torn, and must say so itself. -ENOSPC also
 * where little room would be left for others. May block.
 */
int cache_dir_put(int fd, const char *temp, const char *name, const void *data, size_t len);

#endif
