/*
 * fuse/dirty_limit.h: how much of a mount's writes the kernel may hold back (write-back).
 *
 * The kernel bounds the dirty pages of each mount by a part of what it bounds all dirty memory by.
 * Any thread; reads /proc and /sys, never the mount.
 */
#ifndef FUSE_DIRTY_LIMIT_H
#define FUSE_DIRTY_LIMIT_H

#include <stdint.h>

/*
 * Lowers the bound of the FUSE mount at mountpoint to `bytes` where that is possible (root, Linux
 * 6.2), and says in *ret_held what the kernel holds at most, whatever becomes of the free memory, as
 * long as vm.dirty_ratio and vm.dirty_bytes are not raised. -errno: it cannot be told.
 */
int dirty_limit_set(const char *mountpoint, uint64_t bytes, uint64_t *ret_held);

/* Parts of a million of `threshold` bytes that are at most `bytes`, at least 1. Pure. */
uint64_t dirty_limit_part(uint64_t bytes, uint64_t threshold);

#endif
