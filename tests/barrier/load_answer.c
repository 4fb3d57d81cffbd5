/*
 * tests/barrier/load_answer.c: is each answer what the model says?
 */
#include "load.h"

#include "base/util.h"

#include <inttypes.h>
#include <string.h>

static const char *const names[KIND_MAX_] = {
	[KIND_READ] = "read",	    [KIND_WRITE] = "write",	  [KIND_GETATTR] = "getattr",
	[KIND_CHMOD] = "chmod",	    [KIND_TRUNCATE] = "truncate", [KIND_FALLOCATE] = "fallocate",
	[KIND_FSYNC] = "fsync",	    [KIND_LOOKUP] = "lookup",	  [KIND_OPEN] = "open",
	[KIND_RELEASE] = "release", [KIND_CREATE] = "create",	  [KIND_RENAME] = "rename",
	[KIND_UNLINK] = "unlink",
};

const char *kind_name(enum kind kind)
{
	return names[kind];
}

static uint64_t number_of(const struct load_request *r)
{
	return r->unique / 2 / IN_FLIGHT;
}

static void judge(struct load *l, const struct load_request *r, const struct verdict *v)
{
	if (!v->good)
		load_fail(l, "request %" PRIu64 ", %s of node %#" PRIx64 ": %s", number_of(r),
			  kind_name(r->kind), r->file->ino, v->why);
}

/* Copies the head of an answer that must have at least that length. */
static void take(struct load *l, const struct load_request *r, const void *data, size_t len,
		 size_t at, void *ret, size_t size)
{
	memset(ret, 0, size);
	if (at + size > len)
		load_fail(l, "request %" PRIu64 ", %s: an answer of %zu bytes", number_of(r),
			  kind_name(r->kind), len);
	else
		memcpy(ret, (const uint8_t *)data + at, size);
}

static void check_read(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct verdict v;

	view_check(r->file->content, r->view, data, len, &v);
	l->stats.reads_of_later += v.later > 0;
	judge(l, r, &v);
}

static void check_write(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct fuse_write_out out;

	take(l, r, data, len, 0, &out, sizeof(out));
	if (out.size != r->count * UNIT)
		load_fail(l, "request %" PRIu64 ", write: %u of %u bytes", number_of(r), out.size,
			  r->count * UNIT);
}

/* A chmod that finds no room in the journal is answered when there is some. */
static void check_attr(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct fuse_attr_out out;
	struct verdict v;

	take(l, r, data, len, 0, &out, sizeof(out));
	view_check_size(r->file->content, r->view, out.attr.size, r->kind != KIND_CHMOD, &v);
	judge(l, r, &v);
}

static void check_sync(struct load *l, const struct load_request *r)
{
	bool must_be = r->named && r->file->name[0] != 0;
	struct verdict v;

	if (!r->view)
		return;
	power_check(l->power, r->file->ino, must_be, r->file->content, r->view, &v);
	judge(l, r, &v);
}

static void found(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct load_file *f = r->file;
	struct fuse_entry_out out;
	struct verdict v;

	take(l, r, data, len, 0, &out, sizeof(out));
	view_check_size(f->content, r->view, out.attr.size, true, &v);
	judge(l, r, &v);
	if (f->ino != 0 && out.nodeid != f->ino)
		load_fail(l,
			  "request %" PRIu64 ", lookup: '%s' is node %#" PRIx64
			  " instead of %#" PRIx64,
			  number_of(r), f->name, (uint64_t)out.nodeid, f->ino);
	f->ino = out.nodeid;
	f->lookups++;
	if (f->state == FILE_WAITS)
		f->state = FILE_TO_OPEN;
}

static void opened(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct load_file *f = r->file;
	struct fuse_open_out out;

	take(l, r, data, len, 0, &out, sizeof(out));
	f->handle = out.fh;
	f->handles++;
	if (f->state == FILE_WAITS)
		f->state = FILE_READY;
}

static void made(struct load *l, const struct load_request *r, const void *data, size_t len)
{
	struct load_file *f = r->file;
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	take(l, r, data, len, 0, &entry, sizeof(entry));
	take(l, r, data, len, sizeof(entry), &out, sizeof(out));
	f->ino = entry.nodeid;
	f->lookups = 1;
	f->handle = out.fh;
	f->handles = 1;
	f->state = FILE_READY;
}

void load_answer(void *ctx, uint64_t unique, int error, const void *data, size_t len)
{
	struct load *l = ctx;
	struct load_request *r = &l->requests[unique / 2 % IN_FLIGHT];

	if (!r->used || r->unique != unique) {
		load_fail(l, "request %" PRIu64 " was answered twice", unique / 2 / IN_FLIGHT);
		return;
	}
	if (error != 0)
		load_fail(l, "request %" PRIu64 ", %s: %s", number_of(r), kind_name(r->kind),
			  strerror(-error));
	else if (r->kind == KIND_READ)
		check_read(l, r, data, len);
	else if (r->kind == KIND_WRITE)
		check_write(l, r, data, len);
	else if (r->kind == KIND_GETATTR || r->kind == KIND_CHMOD || r->kind == KIND_TRUNCATE)
		check_attr(l, r, data, len);
	else if (r->kind == KIND_FSYNC)
		check_sync(l, r);
	else if (r->kind == KIND_LOOKUP)
		found(l, r, data, len);
	else if (r->kind == KIND_OPEN)
		opened(l, r, data, len);
	else if (r->kind == KIND_CREATE)
		made(l, r, data, len);
	load_end(l, r);
}
