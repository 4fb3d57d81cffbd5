/*
 * tests/model/run_check.c: attributes of one file, and the whole tree against the model.
 */
#include "run.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int64_t to_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

static void inos_grow(struct run *r)
{
	struct run old = *r;

	r->ino_cap *= 2;
	r->inos = calloc(r->ino_cap, sizeof(*r->inos));
	if (!r->inos)
		abort();
	for (size_t i = 0; i < old.ino_cap; i++) {
		size_t at = rng_mix(old.inos[i].ino) % r->ino_cap;

		while (old.inos[i].ino && r->inos[at].ino)
			at = (at + 1) % r->ino_cap;
		if (old.inos[i].ino)
			r->inos[at] = old.inos[i];
	}
	free(old.inos);
}

/* A number belongs to one file for ever. */
static void check_ino(struct run *r, struct mnode *n, uint64_t ino, const char *path)
{
	size_t at = rng_mix(ino) % r->ino_cap;

	if (n->ino && n->ino != ino)
		run_fail(r, n, "'%s' had number %" PRIu64 " and has %" PRIu64, path, n->ino, ino);
	if (n->ino == ino)
		return;
	for (; r->inos[at].ino; at = (at + 1) % r->ino_cap)
		if (r->inos[at].ino == ino && r->inos[at].serial != n->serial && !r->foreign)
			run_fail(r, n, "'%s' has number %" PRIu64 ", which file [%" PRIu64 "] had",
				 path, ino, r->inos[at].serial);
	r->inos[at].ino = ino;
	r->inos[at].serial = n->serial;
	if (++r->ino_count > r->ino_cap / 2)
		inos_grow(r);
	n->ino = ino;
}

void run_check_stat(struct run *r, struct mnode *n, const struct stat *st, const char *path)
{
	r->checks++;
	if (st->st_mode != n->mode)
		run_fail(r, n, "'%s': mode %o, model %o", path, st->st_mode, n->mode);
	if (!S_ISDIR(n->mode) && (uint64_t)st->st_size != n->size)
		run_fail(r, n, "'%s': size %" PRIu64 ", model %" PRIu64, path,
			 (uint64_t)st->st_size, n->size);
	if (st->st_nlink != n->nlink)
		run_fail(r, n, "'%s': nlink %lu, model %u", path, (unsigned long)st->st_nlink,
			 n->nlink);
	if (n->times_known &&
	    (llabs(to_ns(&st->st_mtim) - n->mtime) > r->slack || (to_ns(&st->st_atim) != n->atime && !r->foreign)))
		run_fail(r, n,
			 "'%s': mtime %" PRId64 " atime %" PRId64 ", model %" PRId64
			 " and %" PRId64,
			 path, to_ns(&st->st_mtim), to_ns(&st->st_atim), n->mtime, n->atime);
	check_ino(r, n, st->st_ino, path);
}

static void each_below(struct run *r, struct mnode *dir, const char *prefix,
		       void (*fn)(struct run *r, const char *path, struct mnode *node, void *ctx),
		       void *ctx)
{
	for (size_t i = 0; i < dir->name_count && !r->failed; i++) {
		struct mnode *n = dir->names[i].node;
		char path[4096];

		(void)snprintf(path, sizeof(path), "%.3800s%s%s", prefix, prefix[0] ? "/" : "",
			       dir->names[i].name);
		fn(r, path, n, ctx);
		if (S_ISDIR(n->mode))
			each_below(r, n, path, fn, ctx);
	}
}

void run_each_path(struct run *r,
		   void (*fn)(struct run *r, const char *path, struct mnode *node, void *ctx),
		   void *ctx)
{
	each_below(r, r->fs->root, "", fn, ctx);
}

static void check_content(struct run *r, const char *path, struct mnode *n)
{
	uint32_t chunk = (uint32_t)rng_range(&r->rng, 1, 20) * 50000;
	_cleanup_free_ uint8_t *buf = malloc(chunk), *want = malloc(chunk);
	struct content_op op = {.code = CONTENT_READ, .len = chunk, .buf = buf};
	int rc = memfs_load(r->fs, n);

	if (rc == 0 && run_same(r, n, "open", r->be->ops->open(r->be, 0, path, O_RDWR, 0), 0)) {
		for (op.off = 0; op.off < n->size && !r->failed; op.off += chunk) {
			size_t len = memfs_read(n, op.off, chunk, want);

			r->be->ops->submit(r->be, &op);
			if (!r->be->ops->drain(r->be) || op.result != (int64_t)len ||
			    memcmp(buf, want, len) != 0)
				run_fail(r, n,
					 "'%s' differs in bytes %" PRIu64 " +%zu: got %" PRId64
					 " bytes",
					 path, op.off, len, op.result);
		}
		r->be->ops->close(r->be, 0);
	}
	if (rc < 0)
		run_fail(r, n, "content of '%s' in the chain: %s", path, strerror(-rc));
}

struct check {
	bool content;
};

static void check_path(struct run *r, const char *path, struct mnode *n, void *ctx)
{
	const struct check *check = ctx;
	struct stat st;
	int rc = r->be->ops->stat(r->be, path, &st);

	if (rc < 0) {
		run_fail(r, n, "'%s' is lost: %s", path, strerror(-rc));
		return;
	}
	run_check_stat(r, n, &st, path);
	if (S_ISREG(n->mode) && check->content && (n->touched || rng_one_in(&r->rng, 40)))
		check_content(r, path, n);
}

void run_check_all(struct run *r, bool content)
{
	struct check check = {.content = content};
	struct mnode *node = r->handles[0].node;

	/* handle 0 is used for reading */
	if (content && node) {
		r->be->ops->close(r->be, 0);
		r->handles[0].node = NULL;
		memfs_release(r->fs, node);
	}
	run_each_path(r, check_path, &check);
}
