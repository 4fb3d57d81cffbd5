/*
 * fuse/session.h: the front end: one mount, its event loop and its control socket.
 *
 * Called by src/cmd (and tests): session_new and session_mount while the process still has its
 * rights, session_start and session_serve after they were dropped. One thread, the core thread,
 * does it all; no locks. The loop reads requests until there are none, hands the engine what they
 * need, and sleeps in one place for the kernel, the engine, the timer, signals and the control
 * socket. It blocks nowhere else.
 *
 * The transport is /dev/fuse, or a pair of functions in the same process (session_attach,
 * session_feed).
 */
#ifndef FUSE_SESSION_H
#define FUSE_SESSION_H

#include "base/err.h"
#include "fuse/helper.h"
#include "io/vfd.h"
#include "overlay/overlay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct session;

#define SESSION_SUBTYPE "pgoverlay"
#define SESSION_FSTYPE	"fuse.pgoverlay"
#define SESSION_CONTROL "control" /* name of the control socket */

struct session_options {
	const char *store; /* shown as the source of the mount */
	bool read_only;
	bool allow_other;
	bool noexec;
};

/* Prepares a session; the overlay comes with session_start. */
int session_new(const struct session_options *options, struct errmsg *e, struct session **ret);
/* Mounts. The kernel's first request is answered by session_serve. */
int session_mount(struct session *session, const char *mountpoint, struct errmsg *e);
/* Unmounts at once unless somebody else did: the way back when a later step of mounting fails. */
void session_unmount(struct session *session);
/* Nothing may be in flight. NULL is fine. Drops every reference to files that is left. */
void session_free(struct session *session);

/* What the session works on; all of it outlives the session. */
struct session_parts {
	struct overlay *overlay;
	struct layer_chain *chain;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct helper *helper; /* NULL: nobody to unmount for us */
	int run_dirfd;	       /* the control socket is made here; -1: none */
	bool write_back;       /* the kernel may keep writes until fsync, close, or when it likes */
	const char *facts;     /* a JSON object that status answers begin with */
	void (*serving)(void *ctx); /* called once, when the first request was answered */
	void *ctx;
};
int session_start(struct session *session, const struct session_parts *parts, struct errmsg *e);

/*
 * Serves until the mount is gone, SIGTERM or SIGINT comes, or the control socket asks. Then waits
 * for what is in flight and commits everything; with write_back, what the kernel keeps is fetched
 * before. SIGHUP reopens the log. SIGTERM, SIGINT and SIGHUP
 * must be blocked (session_block_signals) before threads exist. 0, or the -errno of the last
 * commit.
 */
int session_serve(struct session *session);
void session_block_signals(void);

/* ---- the transport inside a process, for tests ---- */

struct session_pipe {
	void (*reply)(void *ctx, const struct iovec *iov,
		      int count); /* a message in the kernel's format */
	void *ctx;
};
int session_attach(struct session *session, const struct session_pipe *pipe);
/* One request in the kernel's format. -EAGAIN: no receive buffer is free, finish something first.
 */
int session_feed(struct session *session, const void *message, size_t len);

/* ---- figures ---- */

struct session_stats {
	uint64_t nodes;	    /* kernel references held, the root among them */
	uint64_t in_flight; /* requests not answered yet */
	uint64_t parked;    /* times a request waited for room in the journal */
	uint64_t held_back; /* times the loop stopped reading for lack of a buffer */
};
void session_get_stats(const struct session *session, struct session_stats *ret);

#endif
