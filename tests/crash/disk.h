/*
 * tests/crash/disk.h: puts an image of the simulated disk into a real directory, changing only what
 * differs from what is there.
 */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include "sim.h"

struct disk {
	char path[256];
	int dirfd;
	struct sim *now; /* what the directory holds; the recorder keeps it current while the diff
			    is in use */
};

/* path: an empty directory. */
void disk_init(struct disk *d, const char *path);
void disk_free(struct disk *d);
/* Makes the directory hold the image; now becomes a clone of it. */
void disk_set(struct disk *d, const struct sim *image);
/* Compares the directory with now, byte by byte; prints and returns false where they differ. */
bool disk_check(const struct disk *d);

#endif
