/*
 * tests/crash/sim.h: a simulated disk: the directory tree of a diff as it could be found after a
 * power cut.
 *
 * Images share what they have in common (inodes and pages are counted and copied on change), so
 * that one more image costs little. Inode 0 is the root. Names are interned: equal names are equal
 * pointers. Single-threaded.
 */
#ifndef CRASH_SIM_H
#define CRASH_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE 4096u
#define SIM_NONE UINT32_MAX

struct sim_page {
	unsigned refs;
	uint64_t hash; /* 0: not known */
	uint8_t data[SIM_PAGE];
};

struct sim_entry {
	const char *name;
	uint32_t ino;
};

struct sim_inode {
	unsigned refs;
	bool dir;
	bool hashed;
	uint64_t hash; /* of a file's content */
	uint64_t size;
	struct sim_page **pages; /* NULL: zeros */
	uint32_t page_count;
	struct sim_entry *entries;
	uint32_t entry_count;
};

struct sim {
	struct sim_inode **inodes; /* by number; NULL: not made in this image */
	uint32_t count, cap;
};

/* Operations on the disk; what a trace consists of. */
enum trace_code {
	TRACE_CREATE, /* dir/name is a new file ino */
	TRACE_MKDIR,
	TRACE_RENAME, /* dir/name becomes dir/name2, replacing it; ino: which file that was */
	TRACE_UNLINK,
	TRACE_WRITE,
	TRACE_FALLOCATE,
	TRACE_TRUNCATE,
	TRACE_SYNC, /* of a file's content or of a directory's names */
};

struct trace_op {
	enum trace_code code;
	bool lock;    /* on the lock file, which every mount writes */
	uint32_t ino; /* the file worked on, or what the name leads to */
	uint32_t dir; /* SIM_NONE unless the operation is on names */
	const char *name, *name2;
	uint64_t off, len;
	int mode;
	uint8_t *data;
};

struct trace {
	struct trace_op *ops;
	size_t count, cap;
};

const char *sim_intern(const char *name, size_t len);

struct sim *sim_new(void);
struct sim *sim_clone(const struct sim *s);
void sim_free(struct sim *s); /* NULL is fine */

void sim_apply(struct sim *s, const struct trace_op *op);
/* One part of a write only. */
void sim_write(struct sim *s, uint32_t ino, uint64_t off, uint64_t len, const uint8_t *data);
/* Bytes within the file's size. */
void sim_read(const struct sim *s, uint32_t ino, uint64_t off, uint64_t len, uint8_t *ret);
void sim_resize(struct sim *s, uint32_t ino, uint64_t size);

/* The inode a name leads to, or SIM_NONE. */
uint32_t sim_lookup(const struct sim *s, uint32_t dir, const char *name);
/* Equal trees have equal hashes. */
uint64_t sim_hash(const struct sim *s);
uint64_t sim_page_hash(struct sim_page *page);

/* Takes over op->data. */
void trace_add(struct trace *t, const struct trace_op *op);
/* Drops everything from there on. */
void trace_cut(struct trace *t, size_t count);
void trace_print(const struct trace *t, const struct sim *names, size_t from, size_t to);

#endif
