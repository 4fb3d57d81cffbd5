/*
 * tests/crash/record.c: see record.h. Inode numbers are given here, in the order of creation.
 */
#include "record.h"

#include "base/sys.h"
#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FDS    4096
#define SECTOR 512u

struct recording {
	char root[256];
	struct sim *sim;
	struct trace *trace;
	uint32_t fds[FDS]; /* inode, SIM_NONE: not ours */
	uint8_t *data;	   /* of the write that is running */
	uint64_t len;
};

static struct recording *rec;

static void add(struct trace_op *op)
{
	sim_apply(rec->sim, op);
	trace_add(rec->trace, op);
}

static uint32_t fd_inode(int fd)
{
	return fd >= 0 && fd < FDS ? rec->fds[fd] : SIM_NONE;
}

/* The directory of a path and its last name; false when it is not below the root. The root itself
 * has no name. */
static bool resolve(int dirfd, const char *path, uint32_t *ret_dir, const char **ret_name)
{
	size_t root_len = strlen(rec->root);
	uint32_t at;

	if (path[0] == '/') {
		if (strncmp(path, rec->root, root_len) != 0 ||
		    (path[root_len] != '/' && path[root_len]))
			return false;
		path += root_len;
		at = 0;
	} else {
		at = fd_inode(dirfd);
	}
	*ret_name = NULL;
	for (;;) {
		size_t len;

		while (*path == '/')
			path++;
		len = strcspn(path, "/");
		if (len == 0 || at == SIM_NONE)
			break;
		/* the directory the diff was made in */
		if (len == 2 && path[0] == '.' && path[1] == '.')
			return false;
		if (*ret_name) {
			at = sim_lookup(rec->sim, at, *ret_name);
			*ret_name = NULL;
			continue;
		}
		if (!(len == 1 && path[0] == '.'))
			*ret_name = sim_intern(path, len);
		path += len;
	}
	*ret_dir = at;
	return at != SIM_NONE;
}

static bool is_lock(uint32_t ino)
{
	return sim_lookup(rec->sim, 0, sim_intern("lock", 4)) == ino;
}

static void after_open(const struct sys_event *ev, int fd)
{
	struct trace_op op = {.code = TRACE_CREATE};
	uint32_t ino = 0;

	if (fd >= FDS)
		abort();
	rec->fds[fd] = SIM_NONE;
	if (!resolve(ev->fd, ev->path, &op.dir, &op.name))
		return;
	if (!op.name) {
		rec->fds[fd] = op.dir;
		return;
	}
	ino = sim_lookup(rec->sim, op.dir, op.name);
	if (ino == SIM_NONE) {
		if (!(ev->flags & O_CREAT)) {
			(void)fprintf(stderr, "crash: the recorder has lost '%s'\n", ev->path);
			abort();
		}
		op.ino = ino = rec->sim->count;
		op.lock = op.dir == 0 && op.name == sim_intern("lock", 4);
		add(&op);
	} else if ((ev->flags & O_TRUNC) && rec->sim->inodes[ino]->size > 0) {
		add(&(struct trace_op){
			.code = TRACE_TRUNCATE, .ino = ino, .dir = SIM_NONE, .lock = is_lock(ino)});
	}
	rec->fds[fd] = ino;
}

static void after_name(const struct sys_event *ev)
{
	struct trace_op op = {.code = TRACE_UNLINK};
	uint32_t dir2;

	if (!resolve(ev->fd, ev->path, &op.dir, &op.name) || !op.name)
		return;
	op.ino = sim_lookup(rec->sim, op.dir, op.name);
	if (ev->call == SYS_CALL_MKDIR) {
		op.code = TRACE_MKDIR;
		op.ino = rec->sim->count;
	}
	if (ev->call == SYS_CALL_RENAME) {
		op.code = TRACE_RENAME;
		/* within one directory: what a crash leaves of a move between two is not simulated
		 */
		if (!resolve(ev->fd2, ev->path2, &dir2, &op.name2) || dir2 != op.dir)
			abort();
	}
	if (op.ino == SIM_NONE)
		abort();
	add(&op);
}

/*
 * A disk takes whole sectors from the cache: a write arrives with what the cache holds around it,
 * even if the write that brought that is lost elsewhere.
 */
static void widen(struct trace_op *op)
{
	uint64_t from = op->off / SECTOR * SECTOR,
		 to = (op->off + op->len + SECTOR - 1) / SECTOR * SECTOR;
	uint8_t *data;

	sim_write(rec->sim, op->ino, op->off, op->len, op->data);
	to = MIN(to, rec->sim->inodes[op->ino]->size);
	data = malloc(to - from + 1);
	if (!data)
		abort();
	sim_read(rec->sim, op->ino, from, to - from, data);
	free(op->data);
	op->data = data;
	op->off = from;
	op->len = to - from;
}

static int before(void *ctx, const struct sys_event *ev)
{
	uint64_t len = 0;

	if (ev->call != SYS_CALL_WRITE || fd_inode(ev->fd) == SIM_NONE)
		return 0;
	/* the vector changes while a short count is resumed */
	for (unsigned i = 0; i < ev->iovcnt; i++)
		len += ev->iov[i].iov_len;
	rec->data = malloc(len + 1);
	if (!rec->data)
		abort();
	rec->len = 0;
	for (unsigned i = 0; i < ev->iovcnt; i++) {
		memcpy(rec->data + rec->len, ev->iov[i].iov_base, ev->iov[i].iov_len);
		rec->len += ev->iov[i].iov_len;
	}
	return 0;
}

static void after_content(const struct sys_event *ev)
{
	struct trace_op op = {
		.ino = fd_inode(ev->fd), .dir = SIM_NONE, .off = ev->off, .len = ev->len};

	if (op.ino == SIM_NONE)
		return;
	op.lock = is_lock(op.ino);
	if (ev->call == SYS_CALL_WRITE) {
		op.code = TRACE_WRITE;
		op.len = rec->len;
		op.data = TAKE_PTR(rec->data);
		widen(&op);
	} else if (ev->call == SYS_CALL_FALLOCATE) {
		op.code = TRACE_FALLOCATE;
		op.mode = ev->flags;
	} else {
		op.code = ev->call == SYS_CALL_TRUNCATE ? TRACE_TRUNCATE : TRACE_SYNC;
	}
	add(&op);
}

static void after(void *ctx, const struct sys_event *ev, int64_t result)
{
	if (ev->call == SYS_CALL_CLOSE && ev->fd >= 0 && ev->fd < FDS)
		rec->fds[ev->fd] = SIM_NONE;
	if (result < 0) {
		free(rec->data);
		rec->data = NULL;
		return;
	}
	switch ((int)ev->call) {
	case SYS_CALL_OPEN:
		after_open(ev, (int)result);
		break;
	case SYS_CALL_RENAME:
	case SYS_CALL_UNLINK:
	case SYS_CALL_MKDIR:
		after_name(ev);
		break;
	case SYS_CALL_WRITE:
	case SYS_CALL_FSYNC:
	case SYS_CALL_FDATASYNC:
	case SYS_CALL_FALLOCATE:
	case SYS_CALL_TRUNCATE:
		after_content(ev);
		break;
	default:
		break;
	}
}

static const struct sys_hook hook = {.before = before, .after = after};

void record_start(const char *root, struct sim *sim, struct trace *trace)
{
	rec = calloc(1, sizeof(*rec));
	if (!rec)
		abort();
	(void)snprintf(rec->root, sizeof(rec->root), "%s", root);
	rec->sim = sim;
	rec->trace = trace;
	for (unsigned i = 0; i < FDS; i++)
		rec->fds[i] = SIM_NONE;
	sys_set_hook(&hook);
}

void record_stop(void)
{
	sys_set_hook(NULL);
	free(TAKE_PTR(rec));
}

struct recording *record_suspend(void)
{
	sys_set_hook(NULL);
	return TAKE_PTR(rec);
}

void record_resume(struct recording *recording)
{
	rec = recording;
	sys_set_hook(&hook);
}
