/*
 * tests/barrier/load_pick.c: which request comes next, and where. A quarter of the ranges overlap
 * one that is in flight on the same file, the others avoid that while there is room.
 */
#include "load.h"

#include "base/util.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#define RANGE_MAX (4u * BLOCK_UNITS)
#define TRIES	  8u
#define HOT_OPS	  500u

struct span {
	uint32_t from, count;
};

static bool overlaps_any(const struct load *l, const struct load_file *f, struct span s)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		const struct load_request *r = &l->requests[i];

		if (r->used && r->ranged && r->file == f && r->from < s.from + s.count &&
		    s.from < r->from + r->count)
			return true;
	}
	return false;
}

/* A range in flight on the file, or NULL. */
static const struct load_request *pick_neighbour(struct load *l, const struct load_file *f)
{
	unsigned first = (unsigned)rng_below(&l->rng, IN_FLIGHT);

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		const struct load_request *r = &l->requests[(first + i) % IN_FLIGHT];

		if (r->used && r->ranged && r->file == f)
			return r;
	}
	return NULL;
}

static struct span random_span(struct load *l, uint32_t limit)
{
	struct span s;

	switch (rng_below(&l->rng, 3)) {
	case 0: /* whole blocks */
		s.from = (uint32_t)(rng_below(&l->rng, limit) / BLOCK_UNITS * BLOCK_UNITS);
		s.count = (uint32_t)rng_range(&l->rng, 1, 4) * BLOCK_UNITS;
		break;
	case 1: /* a few bytes */
		s.from = (uint32_t)rng_below(&l->rng, limit);
		s.count = (uint32_t)rng_range(&l->rng, 1, 64);
		break;
	default:
		s.from = (uint32_t)rng_below(&l->rng, limit);
		s.count = (uint32_t)rng_range(&l->rng, 1, RANGE_MAX);
		break;
	}
	s.count = MIN(s.count, limit - s.from);
	return s;
}

/* Within the first limit units. */
static struct span pick_span(struct load *l, const struct load_file *f, uint32_t limit)
{
	const struct load_request *near = rng_one_in(&l->rng, 4) ? pick_neighbour(l, f) : NULL;
	struct span s = random_span(l, limit);

	if (near) {
		uint32_t low = near->from > s.count ? near->from - s.count + 1 : 0;
		uint32_t at = (uint32_t)rng_range(&l->rng, low, near->from + near->count - 1);

		s.from = MIN(at, limit - 1);
		s.count = MIN(s.count, limit - s.from);
		return s;
	}
	for (unsigned i = 0; i < TRIES && overlaps_any(l, f, s); i++)
		s = random_span(l, limit);
	return s;
}

static void set_range(struct load *l, struct load_request *r, struct span s)
{
	l->stats.ranged++;
	l->stats.overlapping += overlaps_any(l, r->file, s);
	r->ranged = true;
	r->from = s.from;
	r->count = s.count;
}

static void send_read(struct load *l, struct load_file *f)
{
	struct span s = pick_span(l, f, MIN(f->content->size + BLOCK_UNITS, UNITS_MAX));
	const struct fuse_read_in in = {
		.fh = f->handle, .offset = (uint64_t)s.from * UNIT, .size = s.count * UNIT};
	struct load_request *r = load_begin(l, KIND_READ, f);

	set_range(l, r, s);
	r->view = content_view(f->content, s.from, s.count);
	load_send(l, r, FUSE_READ, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

static void send_write(struct load *l, struct load_file *f)
{
	uint32_t size = f->content->size, value;
	struct fuse_write_in in = {.fh = f->handle};
	struct load_request *r;
	struct span s;

	if (size < UNITS_MAX && (size == 0 || rng_one_in(&l->rng, size < RANGE_MAX ? 3 : 14))) {
		s.from = (uint32_t)rng_range(&l->rng, size > 64 ? size - 64 : 0,
					     MIN(size + 2 * BLOCK_UNITS, UNITS_MAX - 1));
		if (rng_one_in(&l->rng, 2))
			s.from = size;
		s.count = (uint32_t)rng_range(&l->rng, 1, MIN(RANGE_MAX, UNITS_MAX - s.from));
	} else {
		s = pick_span(l, f, size);
	}
	r = load_begin(l, KIND_WRITE, f);
	set_range(l, r, s);
	in.offset = (uint64_t)s.from * UNIT;
	in.size = s.count * UNIT;
	value = content_write(f->content, s.from, s.count);
	content_fill(f->content, value, s.from, s.count, l->data);
	load_send(l, r, FUSE_WRITE, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){l->data, in.size});
}

static uint32_t pick_size(struct load *l, const struct load_file *f)
{
	uint32_t size = f->content->size, more = (uint32_t)rng_below(&l->rng, 2 * RANGE_MAX);

	switch (rng_below(&l->rng, 4)) {
	case 0:
		return (uint32_t)rng_below(&l->rng, UNITS_MAX + 1);
	case 1:
		return size - (uint32_t)rng_below(&l->rng, MIN(size, RANGE_MAX) + 1);
	default:
		return MIN(size + more, UNITS_MAX);
	}
}

static void send_setattr(struct load *l, struct load_file *f, bool resize)
{
	struct load_request *r = load_begin(l, resize ? KIND_TRUNCATE : KIND_CHMOD, f);
	struct fuse_setattr_in in = {.valid = FATTR_FH, .fh = f->handle};

	if (resize) {
		uint32_t size = pick_size(l, f);

		in.valid |= FATTR_SIZE;
		in.size = (uint64_t)size * UNIT;
		if (rng_one_in(&l->rng, 2))
			in.valid |= FATTR_MTIME | FATTR_MTIME_NOW;
		content_resize(f->content, size);
	} else {
		in.valid |= FATTR_MODE;
		in.mode = S_IFREG | (rng_one_in(&l->rng, 2) ? 0600 : 0640);
	}
	r->view = content_view(f->content, 0, 0);
	load_send(l, r, FUSE_SETATTR, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

static void send_fallocate(struct load *l, struct load_file *f)
{
	static const uint32_t modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	uint32_t mode = modes[rng_below(&l->rng, ARRAY_SIZE(modes))];
	struct span s = random_span(l, MIN(f->content->size + RANGE_MAX, UNITS_MAX));
	const struct fuse_fallocate_in in = {.fh = f->handle,
					     .offset = (uint64_t)s.from * UNIT,
					     .length = (uint64_t)s.count * UNIT,
					     .mode = mode};
	struct load_request *r = load_begin(l, KIND_FALLOCATE, f);

	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		content_zero(f->content, s.from, s.count, mode & FALLOC_FL_KEEP_SIZE);
	else
		content_allocate(f->content, s.from, s.count, mode & FALLOC_FL_KEEP_SIZE);
	load_send(l, r, FUSE_FALLOCATE, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

static void send_getattr(struct load *l, struct load_file *f)
{
	const struct fuse_getattr_in in = {0};
	struct load_request *r = load_begin(l, KIND_GETATTR, f);

	r->view = content_view(f->content, 0, 0);
	load_send(l, r, FUSE_GETATTR, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

static void send_fsync(struct load *l, struct load_file *f)
{
	const struct fuse_fsync_in in = {.fh = f->handle};
	struct load_request *r = load_begin(l, KIND_FSYNC, f);

	if (l->power && rng_one_in(&l->rng, (unsigned)l->power_every))
		r->view = content_view(f->content, 0, UNITS_MAX);
	load_send(l, r, FUSE_FSYNC, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

/* A second handle comes and goes; it has the same number as the first. */
static void send_open_or_release(struct load *l, struct load_file *f)
{
	const struct fuse_open_in open = {.flags = O_RDWR};
	const struct fuse_release_in release = {.fh = f->handle};
	bool opens = f->handles < 2;
	struct load_request *r = load_begin(l, opens ? KIND_OPEN : KIND_RELEASE, f);

	if (opens) {
		load_send(l, r, FUSE_OPEN, f->ino, (struct wire_part){&open, sizeof(open)},
			  (struct wire_part){0});
		return;
	}
	f->handles--;
	load_send(l, r, FUSE_RELEASE, f->ino, (struct wire_part){&release, sizeof(release)},
		  (struct wire_part){0});
}

static void send_unlink(struct load *l, struct load_file *f)
{
	struct load_request *r = load_begin(l, KIND_UNLINK, f);
	struct wire_part name = {f->name, strlen(f->name) + 1};

	load_send(l, r, FUSE_UNLINK, f->dir, name, (struct wire_part){0});
	f->name[0] = 0;
}

/* Over the name of another file, which stays open without one. */
static void send_rename(struct load *l, struct load_file *f)
{
	struct load_file *over = &l->files[rng_below(&l->rng, l->file_count)];
	struct fuse_rename2_in in = {.newdir = f->dir};
	struct load_request *r;
	char names[2 * sizeof(f->name)];
	size_t len = strlen(f->name) + 1;

	if (over == f || over->state != FILE_READY || over->fixed || over->name[0] == 0) {
		send_unlink(l, f);
		return;
	}
	r = load_begin(l, KIND_RENAME, f);
	memcpy(names, f->name, len);
	memcpy(names + len, over->name, strlen(over->name) + 1);
	len += strlen(over->name) + 1;
	memcpy(f->name, over->name, sizeof(f->name));
	over->name[0] = 0;
	load_send(l, r, FUSE_RENAME2, f->dir, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){names, len});
}

/* All lookups are given back while requests and handles are under way, or some. */
static void forget(struct load *l, struct load_file *f)
{
	if (f->lookups > 1 && (f->name[0] == 0 || rng_one_in(&l->rng, 2))) {
		load_forget(l, f, rng_range(&l->rng, 1, f->lookups - 1));
	} else if (f->name[0] != 0 && f->lookups > 0 && l->naming == 0) {
		load_forget(l, f, f->lookups);
		load_find(l, f);
	}
}

static bool change_names(struct load *l, struct load_file *f)
{
	if (l->naming > 0 || l->finding > 0 || f->fixed || f->name[0] == 0 ||
	    !rng_one_in(&l->rng, 2))
		return false;
	send_rename(l, f);
	return true;
}

/* Two files at a time get half of the requests. */
static struct load_file *pick_file(struct load *l)
{
	uint64_t n = rng_below(&l->rng, l->file_count);

	if (rng_one_in(&l->rng, 2))
		n = (l->ops / HOT_OPS + n % 2) % l->file_count;
	return &l->files[n];
}

bool load_next(struct load *l)
{
	struct load_file *f = pick_file(l);
	uint64_t lot = rng_below(&l->rng, 200);

	for (unsigned i = 0; f->state != FILE_READY && i < l->file_count; i++)
		f = f + 1 < l->files + l->file_count ? f + 1 : l->files;
	if (f->state != FILE_READY)
		return false;
	if (lot < 80 && l->writes < WRITES_MAX)
		send_write(l, f);
	else if (lot < 140)
		send_read(l, f);
	else if (lot < 152)
		send_getattr(l, f);
	else if (lot < 162)
		send_setattr(l, f, true);
	else if (lot < 174)
		send_fallocate(l, f);
	else if (lot < 184)
		send_fsync(l, f);
	else if (lot < 187)
		send_setattr(l, f, false);
	else if (lot < 190)
		send_open_or_release(l, f);
	else if (lot < 194)
		forget(l, f);
	else if (lot < 197 && l->naming == 0 && f->name[0] != 0)
		load_find(l, f);
	else if (lot < 199 && !change_names(l, f))
		send_getattr(l, f);
	else if (lot == 199 && rng_one_in(&l->rng, 2))
		f->state = FILE_DRAINS;
	return true;
}
