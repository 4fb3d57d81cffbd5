/*
 * tests/model/memfs.h: the model: a file system in memory that does what POSIX says, as simply as
 * possible.
 *
 * Content is kept in pages of 4 KiB, on purpose not the block size of what is tested. Files of a
 * chain get their content through a loader when they are first looked into. Single-threaded; aborts
 * when out of memory.
 */
#ifndef MODEL_MEMFS_H
#define MODEL_MEMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMFS_PAGE     4096u
#define MEMFS_NAME_MAX 255u

struct mnode;

struct mname {
	char *name;
	struct mnode *node;
};

struct mnode {
	uint32_t mode; /* with type bits */
	uint32_t nlink;
	uint64_t serial;
	uint64_t ino; /* what the tested side calls it; 0: not asked yet */
	uint64_t size;
	uint8_t **pages; /* NULL: zeros */
	size_t page_count;
	char *origin; /* path of a file of the chain, as it was in the beginning */
	bool loaded;  /* its content is here */
	bool touched; /* changed or looked into: compared at the end */
	bool times_known;
	bool mapped;	      /* pages may be dirty: their write-back sets the time */
	bool wal;	      /* has, or had, the name of a WAL segment */
	int64_t atime, mtime; /* nanoseconds, if known */
	char *target;
	struct mname *names; /* directories; unsorted */
	size_t name_count, name_cap;
	struct mnode *parent; /* directories */
	unsigned handles;
	size_t index; /* in memfs.nodes */
};

/* malloc'ed content of a file as the chain has it, or -errno */
typedef int memfs_loader(void *ctx, const char *path, uint8_t **ret_data, uint64_t *ret_len);

struct memfs {
	struct mnode *root;
	struct mnode **nodes;
	size_t node_count, node_cap;
	uint64_t serials;
	memfs_loader *load;
	void *ctx;
};

struct memfs *memfs_new(memfs_loader *load, void *ctx);
void memfs_free(struct memfs *fs);

/* Adds what a chain has; parents exist. size is what getattr shall say; content comes later through
 * the loader. */
void memfs_add_base(struct memfs *fs, const char *path, uint32_t mode, uint64_t size,
		    const char *target);

/* All of these return 0 or the -errno that the system call would give. */
int memfs_find(struct memfs *fs, const char *path, struct mnode **ret);
int memfs_create(struct memfs *fs, const char *path, uint32_t mode, const char *target,
		 struct mnode **ret);
int memfs_link(struct memfs *fs, const char *from, const char *to);
int memfs_unlink(struct memfs *fs, const char *path);
int memfs_rmdir(struct memfs *fs, const char *path);
int memfs_rename(struct memfs *fs, const char *from, const char *to, unsigned flags);

void memfs_hold(struct mnode *node);
void memfs_release(struct memfs *fs, struct mnode *node);

/* Content; the node is a regular file. Loading may fail: -errno. */
int memfs_load(struct memfs *fs, struct mnode *node);
size_t memfs_read(struct mnode *node, uint64_t off, size_t len, void *buf); /* loaded before */
void memfs_write(struct mnode *node, uint64_t off, size_t len, const void *buf);
void memfs_resize(struct mnode *node, uint64_t size);
void memfs_zero(struct mnode *node, uint64_t off, uint64_t len); /* the size stays */

#endif
