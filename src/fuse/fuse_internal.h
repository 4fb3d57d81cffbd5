/*
 * fuse/fuse_internal.h: what the files of this room share.
 *
 * A request comes in on a receive buffer and becomes a struct request (request.c). An operation
 * (ops_*.c) starts what it needs of the overlay and answers in a done callback, once. A node
 * (node.c) counts the kernel's references to a file. loop.c waits, control.c and status.c talk to
 * other commands.
 */
#ifndef FUSE_INTERNAL_H
#define FUSE_INTERNAL_H

#include "fuse/session.h"

#include <fuse_lowlevel.h>

/* Out of memory leaves the element out of the table: its hh.tbl is NULL then. */
#define HASH_NONFATAL_OOM	     1
#define uthash_nonfatal_oom(element) ((element)->hh.tbl = NULL)
#include <uthash.h>

/* The mount is the only writer: what the kernel knows stays true until it changes it itself. */
#define CACHE_SECONDS	  31536000.0
#define REQUEST_MAX_WRITE (1u << 20)
#define RECEIVE_BUFFERS	  64
#define REQUESTS_MAX	  1024
#define COMMIT_SECONDS	  5
#define STUCK_SECONDS	  30

enum request_type {
	REQUEST_LOOKUP,
	REQUEST_GETATTR,
	REQUEST_SETATTR,
	REQUEST_READLINK,
	REQUEST_MKNOD,
	REQUEST_MKDIR,
	REQUEST_UNLINK,
	REQUEST_RMDIR,
	REQUEST_SYMLINK,
	REQUEST_RENAME,
	REQUEST_LINK,
	REQUEST_OPEN,
	REQUEST_CREATE,
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_RELEASE,
	REQUEST_FSYNC,
	REQUEST_OPENDIR,
	REQUEST_READDIR,
	REQUEST_READDIRPLUS,
	REQUEST_RELEASEDIR,
	REQUEST_FSYNCDIR,
	REQUEST_STATFS,
	REQUEST_ACCESS,
	REQUEST_FALLOCATE,
	REQUEST_FORGET,
	REQUEST_MAX_
};

struct receive_buffer {
	struct fuse_buf buf;
	struct receive_buffer *next;
};

/* A file the kernel knows: freed when it forgets it. */
struct node {
	struct file *file; /* holds a reference */
	uint64_t lookups;
	struct node *prev, *next;
};

/* Arguments of a request on names: strings lie in the receive buffer, in the request's own memory
 * once it is parked. */
struct name_args {
	const char *name, *name2;
	char *own_name, *own_name2, *own_target;
	struct overlay_create what;
	unsigned flags;
};

struct request {
	struct session *session;
	fuse_req_t fuse;
	enum request_type type;
	uint64_t begun;			 /* ns, monotonic */
	struct file *file;		 /* referenced; directory of requests on names */
	struct file *file2;		 /* referenced; NULL unless used */
	struct file *result;		 /* referenced; what the reply tells of */
	struct receive_buffer *buffer;	 /* the data of a write lies here */
	int (*run)(struct request *req); /* what a parked request does again */
	struct diff_room_wait room;
	struct name_args names;
	struct fuse_file_info fi;
	struct diff_attr attr; /* setattr */
	unsigned set;
	uint64_t new_size; /* setattr */
	uint32_t written;  /* write: bytes, while it waits for its sync */
	bool write_syncs;  /* write: answered when it is durable */
	bool warned;	   /* was reported as stuck */
	union {
		struct overlay_wait wait;
		struct overlay_read read;
		struct overlay_write write;
		struct overlay_resize resize;
		struct overlay_sync sync;
	} op;
	struct request *next_open;   /* admission.c */
	struct request *prev, *next; /* in flight, oldest first; or the free list */
};

/*
 * Bucket i counts what took less than LATENCY_FIRST << i nanoseconds and not less than half of it;
 * the last one all that took longer.
 */
#define LATENCY_FIRST	1024u
#define LATENCY_BUCKETS 25u /* the last but one ends at 8.6 s */

struct request_stats {
	uint64_t count[REQUEST_MAX_], errors[REQUEST_MAX_], ns[REQUEST_MAX_];
	uint64_t latency[REQUEST_MAX_][LATENCY_BUCKETS];
	uint64_t read_bytes, write_bytes;
};

/* The bucket of so many nanoseconds. Pure. */
static inline unsigned latency_bucket(uint64_t ns)
{
	unsigned bits = ns < LATENCY_FIRST ? 0 : 64 - (unsigned)__builtin_clzll(ns / LATENCY_FIRST);

	return bits < LATENCY_BUCKETS ? bits : LATENCY_BUCKETS - 1;
}

/* Something the loop waits for. */
struct loop_source {
	int fd;
	void (*ready)(struct loop_source *source, unsigned events);
};

struct control; /* control.c */

/* A file that is open for writing. */
struct writer {
	struct file *file; /* the handles hold it */
	fuse_ino_t ino;
	unsigned handles;
	unsigned first_writes;
	bool revoke; /* the kernel knows attributes that it shall not go by */
	UT_hash_handle hh;
};

struct admission {
	struct writer *writers;
	bool tight;
	bool wanted, running; /* the job that takes attributes back */
	struct io_op op;
	fuse_ino_t *inos; /* of the job */
	size_t count, cap;
	struct request *opening, *answering; /* wait for the next job, for the one that runs */
	uint64_t refused;
};

enum session_end {
	SESSION_RUNS,
	SESSION_UNMOUNTED, /* the kernel says that the mount is gone */
	SESSION_STOPPED,   /* a signal, or the control socket with force: unmount lazily */
};

struct session {
	struct fuse_session *fuse;
	struct session_options options;
	char *store;
	char *mountpoint;
	struct session_parts parts;
	char *facts;
	struct overlay *ov;
	struct session_pipe pipe;
	bool mounted;
	bool initialised; /* INIT was answered */
	bool write_back;  /* agreed with the kernel */
	bool told;	  /* parts.serving was called */
	enum session_end end;

	struct node *nodes;
	uint64_t node_count;
	struct request *oldest, *newest, *free_requests;
	uint64_t in_flight, free_count;
	struct receive_buffer *receiving, *free_buffers;
	unsigned buffer_count, free_buffer_count;
	unsigned idle_buffers; /* the fewest free ones since they were trimmed */
	uint64_t parked, held_back;
	struct request_stats stats;
	void *dir_buffer;
	size_t dir_size;

	int epoll_fd;
	bool fuse_polled; /* epoll looks at /dev/fuse */
	bool fuse_ready;  /* there may be requests to read */
	bool flushing;	  /* the helper makes the kernel send what it keeps; then comes the end */
	bool flushed;	  /* it has sent it: what still lies in /dev/fuse is the last */
	struct loop_source fuse_source, engine_source, timer_source, signal_source, helper_source;
	struct control *control;
	struct admission admission;
	struct overlay_sync timer_sync;
	bool timer_sync_runs;
	int timer_result; /* of the last commit, so that an error is logged once */
};

/* ---- request.c ---- */

/* file (or NULL) is referenced for the life of the request. NULL: out of memory, already answered.
 */
struct request *request_new(fuse_req_t fuse, enum request_type type, struct file *file);
/* The same for the file of a node; answers -ESTALE itself where there is none. */
struct request *request_for(fuse_req_t fuse, enum request_type type, fuse_ino_t ino);
/* Answers with an error or, for rc 0, with success; and frees. */
void request_reply(struct request *req, int rc);
/* Was answered by the caller: counts it, frees. rc is for the statistics. */
void request_done(struct request *req, int rc);
/* Replies with entry or attributes of req->result behind the barrier; takes one more lookup of its
 * node. */
void request_reply_entry(struct request *req);
void request_reply_attr(struct request *req);
/* Runs run(req); where the journal has no room waits for it and runs it again. run answers unless
 * it returns non-zero. */
void request_run(struct request *req, int (*run)(struct request *req));
/* -errno of the overlay as the positive errno of a reply; the one place where they are turned. */
int request_errno(int rc);
void request_free_all(struct session *session);
/* Logs requests that have waited long. */
void request_log_stuck(struct session *session);
const char *request_type_name(enum request_type type);
uint64_t request_now(void);

/* ---- node.c ---- */

/* The file of a node id, NULL if the kernel should not know it. */
struct file *node_find(struct session *session, fuse_ino_t ino);
/* One more lookup: the kernel holds the file until it forgets it. */
int node_get(struct session *session, struct file *file);
void node_forget(struct session *session, fuse_ino_t ino, uint64_t lookups);
int node_add_root(struct session *session);
void node_free_all(struct session *session);

/* ---- ops_*.c: each fills its part of the table ---- */

void ops_name_fill(struct fuse_lowlevel_ops *ops);
void ops_attr_fill(struct fuse_lowlevel_ops *ops);
void ops_data_fill(struct fuse_lowlevel_ops *ops);
/* How the kernel shall treat a file that it opens. */
void open_flags(const struct session *session, const struct file *file, struct fuse_file_info *fi);
/* Answers an OPEN whose file is ready. */
void open_answer(struct request *req);
void ops_dir_fill(struct fuse_lowlevel_ops *ops);
void ops_sync_fill(struct fuse_lowlevel_ops *ops);
/* The entry parameters of a file: 0, or -ENOMEM; counts one lookup. */
int entry_fill(struct session *session, struct file *file, struct fuse_entry_param *ret);

/* ---- admission.c: all do nothing without write-back ---- */

/* A handle of the file with these flags of open(2) was given, or has been released. */
void admission_opened(struct session *session, struct file *file, int flags);
void admission_released(struct session *session, const struct file *file, int flags);
/* What the kernel had accepted has taken space: refuses from now on, or no more. */
void admission_written(struct session *session, const struct file *file);
/* Time has passed: the same, and what was taken back is taken back again. */
void admission_tick(struct session *session);
/* A reply is about to tell the kernel attributes of the file, good for as many seconds as this
 * returns; admission_told after the reply. */
double admission_mark(struct session *session, const struct file *file);
void admission_told(struct session *session);
/* True if a GETATTR from a descriptor is to be answered ENOSPC, which the write then is. */
bool admission_refuses(struct session *session, const struct file *file);
/* True if an OPEN has to wait: open_answer is called when it may be answered. */
bool admission_delays(struct request *req);
void admission_free(struct session *session);

/* ---- loop.c ---- */

int loop_open(struct session *session);
/* As SIGTERM: what the kernel keeps of writes is fetched first. Asked a second time: at once. */
void loop_stop(struct session *session);
void loop_close(struct session *session);
int loop_add(struct session *session, struct loop_source *source);
void loop_remove(struct session *session, struct loop_source *source);
/* From now on wait until the source can be written. */
int loop_want_write(struct session *session, struct loop_source *source);
/* A receive buffer for the next request is there (made if the bound allows). */
bool loop_take_buffer(struct session *session);
void loop_put_buffer(struct session *session, struct receive_buffer *buffer);
/* Frees those that nobody has needed since the last call. */
void loop_trim_buffers(struct session *session);

/* ---- control.c ---- */

int control_open(struct session *session, int dirfd, struct errmsg *e);
void control_close(struct session *session);
/* Frees connections that have ended; outside of their own callbacks. */
void control_sweep(struct session *session);
/* The helper has answered an unmount. */
void control_unmounted(struct session *session, int rc);
/* Now and then: an unmount that was done and has ended nothing is answered. */
void control_tick(struct session *session);
/* The session has ended and rc is its last word: tells whoever asked for it. */
void control_finish(struct session *session, int rc);

/*
 * NULL but in programs that tests link with code of their own: what no command of ours is goes
 * there, on the core thread. The answer is malloc'ed.
 */
extern char *(*control_test_command)(struct session *session, const char *line);

/* ---- status.c ---- */

char *status_json(struct session *session); /* malloc'ed */
void status_reset(struct session *session);

#endif
