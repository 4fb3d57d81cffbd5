/*
 * tests/tools/ledger_write.c: the writer: threads that change their files, and say so first.
 */
#include "ledger.h"
#include "recorder.h"

#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct worker {
	const struct run *run;
	struct owner *o;
	struct rng rng;
	pthread_t thread;
	int dirfd;
	int fds[NAMES];
	int error;
	const char *what;
};

/* Into the ledger first, or the model would not know of a call that was cut off. */
static void note(struct worker *w, struct entry e)
{
	e.thread = w->o->index;
	e.when = recorder_now();
	if (write(w->run->ledger, &e, sizeof(e)) != sizeof(e)) {
		(void)fprintf(stderr, "ledger: its own file cannot be written\n");
		exit(2);
	}
	if (!owner_apply(w->o, &e))
		abort();
}

static int failed(struct worker *w, const char *what)
{
	w->error = errno != 0 ? errno : EIO;
	w->what = what;
	return -1;
}

static int open_name(struct worker *w, unsigned n)
{
	if (w->fds[n] < 0)
		w->fds[n] = openat(w->dirfd, ledger_names[n],
				   O_RDWR | O_CLOEXEC | (n == NAME_STREAM ? O_APPEND : 0));
	return w->fds[n] < 0 ? failed(w, "open") : w->fds[n];
}

static void close_name(struct worker *w, unsigned n)
{
	if (w->fds[n] >= 0)
		(void)close(w->fds[n]);
	w->fds[n] = -1;
}

static struct object *object_of(struct worker *w, unsigned n)
{
	return owner_object(w->o, w->o->names[n]);
}

static int put(struct worker *w, int fd, const uint8_t *buf, size_t len, uint64_t off)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n <= 0)
			return failed(w, "write");
		buf += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* Blocks of 8 KiB for the most part, as PostgreSQL writes; else any sectors. */
static int do_write(struct worker *w, unsigned n)
{
	struct object *ob = object_of(w, n);
	uint32_t there = (uint32_t)(ob->size / SECTOR), version = w->o->next_version;
	uint32_t first = (uint32_t)rng_below(&w->rng, there + 24);
	uint32_t count = 1 + (uint32_t)rng_below(&w->rng, 40);
	int fd = open_name(w, n);
	uint8_t *buf;
	int rc;

	if (!rng_one_in(&w->rng, 3)) {
		first &= ~15u;
		count = (count + 15) & ~15u;
	}
	if (fd < 0 || first + count > SECTORS_MAX)
		return fd < 0 ? -1 : 0;
	note(w, (struct entry){.kind = ENTRY_WRITE,
			       .object = ob->id,
			       .first = first,
			       .count = count,
			       .version = version});
	buf = must_alloc(NULL, (size_t)count * SECTOR);
	for (uint32_t i = 0; i < count; i++)
		sector_fill(ob, first + i, version, buf + (size_t)i * SECTOR);
	rc = put(w, fd, buf, (size_t)count * SECTOR, (uint64_t)first * SECTOR);
	free(buf);
	return rc;
}

static int do_append(struct worker *w)
{
	struct object *ob = object_of(w, NAME_STREAM);
	uint64_t size = ob->size, len = rng_range(&w->rng, 1, 9000);
	int fd = open_name(w, NAME_STREAM);
	uint8_t buf[9000];

	if (fd < 0)
		return -1;
	note(w, (struct entry){.kind = ENTRY_APPEND, .object = ob->id, .size = size + len});
	stream_fill(ob, size, buf, len);
	errno = 0;
	return write(fd, buf, len) == (ssize_t)len ? 0 : failed(w, "append");
}

static int do_truncate(struct worker *w, unsigned n)
{
	struct object *ob = object_of(w, n);
	uint64_t size = rng_below(&w->rng, ob->size / SECTOR + 32);
	int fd = open_name(w, n);

	if (fd < 0)
		return -1;
	size = size < SECTORS_MAX ? size * SECTOR : 0;
	note(w, (struct entry){.kind = ENTRY_TRUNCATE, .object = ob->id, .size = size});
	return ftruncate(fd, (off_t)size) == 0 ? 0 : failed(w, "truncate");
}

static int do_sync(struct worker *w, unsigned n)
{
	uint32_t id = w->o->names[n];
	int fd = open_name(w, n);

	if (fd < 0)
		return -1;
	if ((rng_one_in(&w->rng, 2) ? fsync(fd) : fdatasync(fd)) < 0)
		return failed(w, "fsync");
	note(w, (struct entry){.kind = ENTRY_SYNCED, .object = id});
	return 0;
}

static int sync_dir(struct worker *w)
{
	if (fsync(w->dirfd) < 0)
		return failed(w, "fsync of the directory");
	note(w, (struct entry){.kind = ENTRY_DIR_SYNCED});
	return 0;
}

static int do_create(struct worker *w, unsigned n)
{
	note(w,
	     (struct entry){.kind = ENTRY_CREATE, .name = (uint8_t)n, .object = w->o->next_object});
	close_name(w, n);
	w->fds[n] = openat(
		w->dirfd, ledger_names[n],
		O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | (n == NAME_STREAM ? O_APPEND : 0), 0600);
	if (w->fds[n] < 0)
		return failed(w, "create");
	return n == NAME_STREAM ? do_append(w) : do_write(w, n);
}

static int do_unlink(struct worker *w, unsigned n)
{
	note(w, (struct entry){.kind = ENTRY_UNLINK, .name = (uint8_t)n});
	if (unlinkat(w->dirfd, ledger_names[n], 0) < 0)
		return failed(w, "unlink");
	close_name(w, n);
	return rng_one_in(&w->rng, 2) ? sync_dir(w) : 0;
}

/* A new version of a file, as a whole: what PostgreSQL calls a durable rename. */
static int do_replace(struct worker *w, unsigned n)
{
	int rc = w->o->names[NAME_TEMP] != 0 ? 0 : do_create(w, NAME_TEMP);

	for (uint64_t i = rng_below(&w->rng, 4); i > 0 && rc == 0; i--)
		rc = do_write(w, NAME_TEMP);
	if (rc == 0)
		rc = do_sync(w, NAME_TEMP);
	if (rc < 0)
		return rc;
	note(w, (struct entry){.kind = ENTRY_RENAME, .name = NAME_TEMP, .first = n});
	if (renameat(w->dirfd, ledger_names[NAME_TEMP], w->dirfd, ledger_names[n]) < 0)
		return failed(w, "rename");
	close_name(w, n);
	w->fds[n] = w->fds[NAME_TEMP];
	w->fds[NAME_TEMP] = -1;
	if (rng_one_in(&w->rng, 4))
		return 0;
	return rng_one_in(&w->rng, 3) ? do_sync(w, n) : sync_dir(w);
}

/* All of them one after the other, as at a checkpoint. */
static int sync_all(struct worker *w)
{
	for (unsigned n = 0; n < NAMES; n++)
		if (w->o->names[n] != 0 && do_sync(w, n) < 0)
			return -1;
	return rng_one_in(&w->rng, 2) ? sync_dir(w) : 0;
}

static int step_stream(struct worker *w)
{
	const struct object *ob = object_of(w, NAME_STREAM);

	if (ob == NULL)
		return do_create(w, NAME_STREAM);
	if (ob->size > STREAM_MAX)
		return do_unlink(w, NAME_STREAM);
	if (do_append(w) < 0)
		return -1;
	return rng_one_in(&w->rng, 2) ? do_sync(w, NAME_STREAM) : 0;
}

static int step(struct worker *w)
{
	uint64_t dice = rng_below(&w->rng, 100);
	unsigned n = (unsigned)rng_below(&w->rng, NAMES);

	if (n == NAME_TEMP)
		return do_replace(w, (unsigned)rng_below(&w->rng, NAME_TEMP));
	if (n == NAME_STREAM)
		return step_stream(w);
	if (rng_one_in(&w->rng, 20))
		close_name(w, n);
	if (w->o->names[n] == 0)
		return do_create(w, n);
	if (dice < 58)
		return do_write(w, n);
	if (dice < 85)
		return do_sync(w, n);
	if (dice < 92)
		return do_truncate(w, n);
	if (dice < 95)
		return sync_dir(w);
	if (dice < 97)
		return sync_all(w);
	/* The backup's files are worth more than new ones. */
	return n < NAME_CHAIN || rng_one_in(&w->rng, 10) ? do_unlink(w, n) : do_write(w, n);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char dir[4096];

	for (unsigned n = 0; n < NAMES; n++)
		w->fds[n] = -1;
	(void)snprintf(dir, sizeof(dir), "%s/t%u", w->run->dir, w->o->index);
	w->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dirfd < 0)
		(void)failed(w, "open of the directory");
	for (uint64_t i = 0; w->error == 0 && (w->run->ops == 0 || i < w->run->ops); i++)
		if (step(w) < 0)
			break;
	for (unsigned n = 0; n < NAMES; n++)
		close_name(w, n);
	if (w->dirfd >= 0)
		(void)close(w->dirfd);
	return NULL;
}

uint64_t ledger_write(const struct run *run, struct owner *owners, int *ret_error,
		      char ret_what[128])
{
	struct worker workers[THREADS_MAX];
	uint64_t acknowledged = 0;

	for (unsigned i = 0; i < run->threads; i++) {
		workers[i] = (struct worker){.run = run, .o = &owners[i]};
		workers[i].rng.state = rng_mix(run->seed * THREADS_MAX + i);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	*ret_error = 0;
	for (unsigned i = 0; i < run->threads; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		acknowledged += owners[i].acknowledged;
		if (workers[i].error != 0) {
			*ret_error = workers[i].error;
			(void)snprintf(ret_what, 128, "%s", workers[i].what);
		}
	}
	return acknowledged;
}
