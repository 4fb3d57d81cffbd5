/*
 * tests/unit/overlay_show.h: what an overlay shows of a store made with layer_make.h, read-only,
 * its indexes kept in cache_dir.
 */
#ifndef TESTS_UNIT_OVERLAY_SHOW_H
#define TESTS_UNIT_OVERLAY_SHOW_H

#include "overlay/overlay.h"

#include <stdbool.h>

extern struct overlay_options options; /* of the next show */
extern struct overlay *ov;
/* The cache, which is not made yet, and what it has of the chain shown last. */
extern char cache_dir[300], chain_dir[350];

void show_setup(void); /* with unit_setup; check_teardown ends it */
void show(const char *backup);
void hide(void);

struct file *find(const char *path);
/* The first byte of each block, '0' for a zero; returns bytes or the error. */
int64_t read_blocks(const char *path, uint32_t first, uint32_t count, char *letters);
struct overlay_stats stats(void);

/* FULL and two increments of a small relation, whose length no list says, and of LARGE, three pieces of an
 * index of 1,024 blocks; map: with header maps. */
#define CONTENT "abaacb0c"
#define LARGE	"base/5/16390.1"
#define PARTS	2500u /* blocks of LARGE: "a" to "c" for each thousand, and 1700 is "y" */
void make_store(bool map);
/* Reads of both; the cache has them then. */
void fill(void);
/* Of the small relation, as CONTENT. */
const char *small(void);

void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
