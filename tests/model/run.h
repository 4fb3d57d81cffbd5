/*
 * tests/model/run.h: one run of random operations: a seed, a model, a backend, and what is
 * compared.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include "backend.h"
#include "memfs.h"
#include "rng.h"

#define RUN_PATH    600u
#define RUN_HOT	    28u
#define RUN_PENDING 8u
#define RUN_TRACE   512u
#define RUN_MAX_IO  (1u << 20)

struct run_handle {
	struct mnode *node; /* NULL: closed */
	bool append;
};

/* What the model says of a file at one moment, as far as a read or a getattr in flight may see it.
 */
struct view {
	uint64_t size;
	uint32_t nlink;
	size_t len;
	uint8_t *data;
};

/*
 * An operation in flight. A look (read, getattr) sees the file as it was when it was submitted, or
 * any later moment until it is answered, byte by byte: later operations do not wait for it.
 */
struct pending {
	struct content_op op;
	struct mnode *node;
	bool used;
	int64_t expected;
	uint64_t expected_off; /* APPEND */
	struct mnode stat;     /* STAT: attributes expected */
	struct view *views;
	unsigned view_count;
	uint8_t *buf;
};

struct run_trace {
	uint64_t op;
	uint64_t serial; /* of the file; 0: names only */
	char text[200];
};

struct run {
	uint64_t seed;
	struct rng rng;
	struct memfs *fs;
	struct backend *be;
	struct run_handle handles[BACKEND_HANDLES];
	struct pending pending[RUN_PENDING];
	char hot[RUN_HOT][RUN_PATH];
	struct run_trace trace[RUN_TRACE];
	uint64_t ops;
	uint64_t checks;
	uint64_t reopens;
	unsigned near_handle; /* the last one used, and where: neighbours meet in one block */
	uint64_t near_off;
	unsigned max_pending;
	unsigned handles_used; /* few: the same files again and again */
	bool small;	       /* a few blocks, short transfers */
	unsigned reopen_every; /* once in so many operations; 0 never */
	uint64_t max_blocks;   /* files rarely grow over this */
	bool foreign; /* another file system: numbers come back, atimes move, O_DIRECT wants
			 alignment */
	int64_t slack;	 /* nanoseconds that an mtime may be off */
	bool failed;
	struct {
		uint64_t ino, serial;
	} * inos; /* which file had which number */
	size_t ino_cap, ino_count;
};

/* Makes the run of a seed; fs and be stay the caller's. */
void run_init(struct run *r, uint64_t seed, struct memfs *fs, struct backend *be);
void run_free(struct run *r);
/* Runs so many operations, then compares everything. False after a difference, which is printed. */
bool run_go(struct run *r, uint64_t ops);

/* ---- for the files of the generator ---- */

void run_log(struct run *r, const struct mnode *node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Prints the difference with the last operations on that file. */
void run_fail(struct run *r, const struct mnode *node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* True if both are the same; else the run has failed. */
bool run_same(struct run *r, const struct mnode *node, const char *what, int64_t got, int64_t want);

/* A free place for an operation; drains when all are in use. */
struct pending *run_pending(struct run *r, enum content_code code, unsigned handle);
void run_submit(struct run *r, struct pending *p);
/* To be called after the model's file was changed: what is in flight may see it. */
void run_changed(struct run *r, const struct mnode *node);
/* Waits for everything in flight and compares it. */
void run_drain(struct run *r);

void run_content_op(struct run *r, unsigned handle);
void run_name_op(struct run *r);
void run_open_op(struct run *r);
void run_reopen_op(struct run *r);
void run_refresh_hot(struct run *r);

/* Compares the attributes with the model's. */
void run_check_stat(struct run *r, struct mnode *node, const struct stat *st, const char *path);
/* Compares names, attributes and content of the whole tree, and content of touched files. */
void run_check_all(struct run *r, bool content);
/* Calls fn with a path of every name in the model. */
void run_each_path(struct run *r,
		   void (*fn)(struct run *r, const char *path, struct mnode *node, void *ctx),
		   void *ctx);

#endif
