/*
 * io/engine.h: the I/O engine: asynchronous operations on descriptors, and jobs on threads.
 *
 * Called by the core thread only (the one that runs the event loop, or a test). Three engines, one
 * interface: io_uring, a thread pool, and `sync`, which runs everything on the calling thread and is for
 * tests. The ring carries read, write, fdatasync and fallocate; jobs (open, rename, unlink, building an
 * index, decoding) run on the engine's threads in every engine but `sync`.
 *
 * Locking: none for the caller. `done` callbacks run on the core thread inside io_reap only, never inside
 * io_submit, so a caller may change its state after io_submit without surprise. A full queue holds
 * operations back, it never fails them. Nothing submitted may outlive its buffer, iovec or descriptor:
 * the owner keeps them until `done`. Short counts are resumed, EINTR and EAGAIN retried.
 * Every submission passes the hook of base/sys.h.
 */
#ifndef IO_ENGINE_H
#define IO_ENGINE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct io_engine;
struct io_op;

enum io_code { IO_READ, IO_WRITE, IO_FDATASYNC, IO_FSYNC, IO_FALLOCATE, IO_JOB, IO_CODE_MAX_ };

enum io_kind {
	IO_KIND_AUTO,    /* the ring where it works, else threads, with one log line */
	IO_KIND_URING,   /* or fail */
	IO_KIND_THREADS,
	IO_KIND_SYNC,    /* tests: runs in io_reap on the calling thread */
};

/* The caller fills code and what it needs, submits, and keeps the struct until done is called. */
struct io_op {
	enum io_code code;
	int fd;
	int mode;          /* IO_FALLOCATE: as for the system call */
	uint64_t off;      /* IO_READ, IO_WRITE, IO_FALLOCATE: bytes */
	uint64_t len;      /* IO_FALLOCATE: bytes */
	struct iovec *iov; /* IO_READ, IO_WRITE: at most IO_IOV_MAX; the engine changes it while resuming */
	unsigned iovcnt;
	int64_t (*job)(struct io_op *op); /* IO_JOB: runs on an engine thread, may block; its value is the result */
	void (*done)(struct io_op *op);
	int64_t result; /* IO_READ: bytes, short only at end of file; others 0 or more; -errno on failure */

	/* the engine's own */
	struct io_op *next;
	uint64_t progress;
};

#define IO_IOV_MAX 512

struct io_engine_options {
	enum io_kind kind;
	unsigned threads;      /* 0: a default from the number of CPUs */
	unsigned depth;        /* operations in flight in the ring; 0: default 256 */
	uint64_t shuffle_seed; /* IO_KIND_SYNC: not 0 runs and completes pending operations late and in random order */
};

struct io_stats {
	uint64_t submitted[IO_CODE_MAX_];
	uint64_t completed[IO_CODE_MAX_];
	uint64_t in_flight;
};

/* Starts threads and ring: call it after the last fork and after privileges are dropped. */
int io_engine_new(const struct io_engine_options *options, struct errmsg *e, struct io_engine **ret);
/* Everything submitted must have been reaped. NULL is fine. */
void io_engine_free(struct io_engine *engine);

const char *io_engine_name(const struct io_engine *engine); /* "uring", "threads", "sync" */
void io_engine_stats(const struct io_engine *engine, struct io_stats *ret);

void io_submit(struct io_engine *engine, struct io_op *op);
/* Hands what io_submit collected to the kernel; io_reap and io_wait do it too. */
void io_flush(struct io_engine *engine);
/* Runs done for what has completed; returns how many. Never blocks. */
unsigned io_reap(struct io_engine *engine);
/* Like io_reap, but waits for at least one completion when something is in flight (timeout_ms -1: for ever). */
unsigned io_wait(struct io_engine *engine, int timeout_ms);
/* Operations complete on their own, not when the caller looks (IO_KIND_SYNC). */
bool io_completes_apart(const struct io_engine *engine);
/* A descriptor that polls readable when io_reap has something to do. Belongs to the engine. */
int io_poll_fd(const struct io_engine *engine);
bool io_idle(const struct io_engine *engine); /* nothing in flight */

#endif
