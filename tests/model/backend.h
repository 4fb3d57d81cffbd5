/*
 * tests/model/backend.h: what is compared with the model: the core without kernel, or a mount.
 *
 * Paths are relative to the root of the tree. Handles are small numbers that the caller chooses.
 * Operations on content may be in flight together where the backend says so; they take effect in
 * the order of submission.
 */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define BACKEND_HANDLES 12u

#define BACKEND_ASYNC  1u /* several operations on content may be in flight */
#define BACKEND_KERNEL 2u /* mmap, O_DIRECT */
#define BACKEND_REOPEN 4u

enum content_code {
	CONTENT_READ,
	CONTENT_WRITE,
	CONTENT_APPEND, /* off is set */
	CONTENT_TRUNCATE,
	CONTENT_FALLOCATE,
	CONTENT_SYNC,
	CONTENT_SYNC_ALL, /* handle is not used */
	CONTENT_STAT,
	CONTENT_MMAP_READ,
	CONTENT_MMAP_WRITE,
};

struct content_op {
	enum content_code code;
	unsigned handle;
	uint64_t off, len;
	int mode;	/* FALLOCATE */
	void *buf;	/* bytes to write, or where to put what is read */
	int64_t result; /* READ: bytes; else 0; -errno */
	struct stat st; /* STAT */
	bool done;
	void *state; /* the backend's */
};

struct backend_attr {
	bool set_mode, set_times;
	uint32_t mode;
	int64_t atime, mtime; /* nanoseconds */
};

typedef int backend_name_fn(void *ctx, const char *name, uint32_t type, uint64_t ino);

struct backend;

struct backend_ops {
	/* flags of open(2): O_RDWR with O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECT */
	int (*open)(struct backend *b, unsigned handle, const char *path, int flags, uint32_t mode);
	void (*close)(struct backend *b, unsigned handle);
	void (*submit)(struct backend *b, struct content_op *op);
	bool (*drain)(struct backend *b); /* false: an operation never completed */
	int (*mkdir)(struct backend *b, const char *path, uint32_t mode);
	int (*rmdir)(struct backend *b, const char *path);
	int (*unlink)(struct backend *b, const char *path);
	int (*symlink)(struct backend *b, const char *target, const char *path);
	int (*link)(struct backend *b, const char *from, const char *to);
	int (*rename)(struct backend *b, const char *from, const char *to, unsigned flags);
	int (*readlink)(struct backend *b, const char *path, char *ret, size_t size);
	int (*setattr)(struct backend *b, const char *path, const struct backend_attr *attr);
	int (*stat)(struct backend *b, const char *path, struct stat *ret);
	int (*list)(struct backend *b, const char *path, backend_name_fn *fn, void *ctx);
	int (*sync_dir)(struct backend *b, const char *path);
	int (*reopen)(struct backend *
			      b); /* all handles are closed; what was synced or not must be there */
	void (*disturb)(struct backend *b); /* caches are dropped; may do nothing */
};

struct backend {
	const struct backend_ops *ops;
	unsigned caps;
};

#endif
