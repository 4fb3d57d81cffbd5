/*
 * tests/fault/book.h: what a script has done so far: every version of every file and of the names,
 * and which of them an fsync has acknowledged.
 *
 * As they are now, files and names must read back exactly. After the next open the names are those
 * of one version, whole, not older than the acknowledged one. A file has, for some version not
 * older than the acknowledged one, the size of that, and each sector is what that version or a
 * later one has there: blocks are overwritten in place, sizes and new blocks are recorded together.
 */
#ifndef FAULT_BOOK_H
#define FAULT_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOK_BLOCK    8192u
#define BOOK_SECTOR   512u
#define BOOK_BYTES    (64u * BOOK_BLOCK) /* no file grows over this */
#define BOOK_SECTORS  (BOOK_BYTES / BOOK_SECTOR)
#define BOOK_FILES    40u
#define BOOK_NAMES    40u
#define BOOK_VERSIONS 40u

struct book_version {
	uint64_t size;
	uint64_t sectors[BOOK_SECTORS]; /* hashes; 0: zeros, or behind the end */
};

struct book_file {
	uint32_t type; /* S_IFREG, S_IFDIR, S_IFLNK */
	uint64_t size;
	uint8_t *bytes; /* BOOK_BYTES, zeros behind the size */
	unsigned count, acked;
	bool failed; /* one of its syncs has failed */
	struct book_version *versions;
};

struct book_name {
	char name[32]; /* path */
	unsigned file;
};

struct book_tree {
	unsigned count;
	struct book_name names[BOOK_NAMES];
};

struct book {
	struct book_file files[BOOK_FILES];
	unsigned file_count;
	struct book_tree trees[BOOK_VERSIONS]; /* the last one is now */
	unsigned tree_count, tree_acked;
};

struct book *book_new(void);
void book_free(struct book *b);
/* Everything is as it is in from, and durable. */
void book_copy(struct book *b, const struct book *from);

struct book_tree *book_now(struct book *b);
int book_find(const struct book *b, const char *path); /* file, or -1 */
unsigned book_add_file(struct book *b, uint32_t type);

/* The names become another version: a copy to be changed. */
struct book_tree *book_step(struct book *b);
void book_set_name(struct book_tree *t, const char *path, int file); /* -1: takes it away */
bool book_same_tree(const struct book_tree *a, const struct book_tree *b);

/* What is in bytes and size is a version. */
void book_keep(struct book_file *f);
/* Sets the content as it is now; bytes in between become zeros. */
void book_write(struct book_file *f, uint64_t off, uint64_t len, const uint8_t *data);
void book_zero(struct book_file *f, uint64_t off, uint64_t len); /* the size stays */
void book_resize(struct book_file *f, uint64_t size);

/* True if a file found after an open may look like this. */
bool book_explains(const struct book_file *f, uint64_t size, const uint8_t *bytes);

#endif
