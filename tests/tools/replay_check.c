/*
 * tests/tools/replay_check.c: one state of a disk: opens the diff on it and compares.
 */
#include "replay.h"

#include "ledger.h"

#include "base/util.h"
#include "cmd/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (256u << 10)

struct copy {
	struct overlay_read read;
	int fd;
	bool done;
};

static void copied(struct overlay_read *op)
{
	struct copy *c = CONTAINER_OF(op, struct copy, read);

	if (op->result > 0 &&
	    pwrite(c->fd, op->data, (size_t)op->result, (off_t)op->off) != (ssize_t)op->result)
		op->result = -EIO;
	c->done = true;
}

static int64_t copy_file(struct offline *o, struct file *file, const char *path)
{
	struct copy c = {.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
	int64_t rc = c.fd < 0 ? -errno : 1;

	for (uint64_t off = 0; rc > 0; off += (uint64_t)rc) {
		c.read = (struct overlay_read){
			.file = file, .off = off, .len = PIECE, .done = copied};
		c.done = false;
		overlay_read(o->ov, &c.read);
		offline_wait(o, &c.done);
		rc = c.read.result;
	}
	if (c.fd >= 0)
		(void)close(c.fd);
	return rc;
}

static const char *in(const char *dir, const char *name)
{
	static char path[8192];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		abort();
	return path;
}

/* The files of a directory, as the clone would show them; those of the state before go. */
static int64_t copy_directory(struct offline *o, struct file *from, const char *to)
{
	struct overlay_dir list;
	int64_t rc;

	for (unsigned n = 0; n < NAMES; n++) {
		(void)unlink(in(to, ledger_names[n]));
	}
	rc = overlay_list(o->ov, from, &list);
	if (rc < 0)
		return rc;
	for (size_t i = 2; i < list.count && rc >= 0; i++) {
		rc = copy_file(o, list.entries[i].file, in(to, list.entries[i].name));
		if (rc < 0)
			(void)printf("LOST: %s: %s\n", list.entries[i].name, strerror((int)-rc));
	}
	overlay_list_free(&list);
	return rc;
}

static int64_t copy_thread(struct offline *o, const struct place *p, struct file *top, unsigned t)
{
	_cleanup_free_ char *path = NULL;
	struct file *dir;
	char name[32];
	int rc;

	(void)snprintf(name, sizeof(name), "t%u", t);
	rc = overlay_lookup(o->ov, top, name, &dir);
	if (rc < 0)
		return rc;
	path = strdup(in(p->dump, name));
	if (path == NULL || (mkdir(path, 0700) < 0 && errno != EEXIST))
		return -errno;
	return copy_directory(o, dir, path);
}

static bool copy_all(struct offline *o, const struct place *p, unsigned threads)
{
	struct file *top;
	int64_t rc = overlay_lookup(o->ov, overlay_root(o->ov), "ledger", &top);

	for (unsigned t = 0; t < threads && rc >= 0; t++)
		rc = copy_thread(o, p, top, t);
	if (rc < 0)
		(void)printf("LOST: directories: %s\n", strerror((int)-rc));
	return rc >= 0;
}

static int open_diff(const struct place *p, struct errmsg *e, struct diff **ret)
{
	const struct diff_options options = {.reserve = 0};
	const struct layer_chain *chain = p->chain;
	const char **backups = must_alloc(NULL, chain->count * sizeof(*backups));
	struct diff_binding binding = {.kind = chain->driver->name,
				       .store = chain->store_path,
				       .instance = chain->instance,
				       .backups = backups,
				       .backup_count = chain->count};
	char path[4096];
	int rc;

	for (unsigned i = 0; i < chain->count; i++)
		backups[i] = chain->layers[i]->id;
	memcpy(binding.content_hash, chain->content_hash, sizeof(binding.content_hash));
	(void)snprintf(path, sizeof(path), "%s/diff", p->mnt);
	rc = diff_open(path, false, &binding, &options, e, ret);
	free(backups);
	return rc;
}

static bool compare(const struct place *p, uint64_t until, struct offline *o)
{
	static struct owner owners[THREADS_MAX];
	unsigned threads;
	FILE *out = fopen("/dev/null", "we");
	bool good = out != NULL && ledger_read(p->ledger, until, owners, &threads) &&
		    copy_all(o, p, threads);

	for (unsigned t = 0; good && t < threads; t++)
		good = owner_load_base(&owners[t], p->base) &&
		       ledger_check(&owners[t], p->dump, out);
	if (out != NULL)
		(void)fclose(out);
	return good;
}

bool replay_check(const struct place *p, uint64_t until)
{
	const struct overlay_options options = {.index_memory = 64u << 20, .verify_reads = true};
	struct overlay *ov = NULL;
	struct diff *diff = NULL;
	struct offline o = {0};
	struct errmsg e = {0};
	bool good;
	int rc;

	rc = open_diff(p, &e, &diff);
	if (rc == 0)
		rc = overlay_new(p->chain, diff, &options, &e, &ov);
	if (rc == 0)
		rc = offline_start(ov, &e, &o);
	if (rc < 0)
		(void)printf("LOST: the diff does not open: %s\n", e.text);
	good = rc == 0 && compare(p, until, &o);
	(void)fflush(stdout);
	return good;
}
