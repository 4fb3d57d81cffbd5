/*
 * tests/barrier/load.c: see load.h.
 */
#include "load.h"

#include "base/util.h"
#include "late_room.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TIMER_ROUNDS 100u  /* the daemon's timer commits everything every 5 seconds */
#define IDLE_MAX     2000u /* waits that bring nothing, while requests are in flight */

void load_fail(struct load *l, const char *fmt, ...)
{
	va_list ap;

	if (l->failed)
		return;
	l->failed = true;
	va_start(ap, fmt);
	(void)vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
}

/* ---- requests ---- */

struct load_request *load_begin(struct load *l, enum kind kind, struct load_file *f)
{
	struct load_request *r = l->requests;

	while (r->used)
		r++;
	*r = (struct load_request){.used = true,
				   .kind = kind,
				   .unique =
					   2 * (++l->ops * IN_FLIGHT + (uint64_t)(r - l->requests)),
				   .file = f,
				   .named = f->name[0] != 0};
	l->stats.kinds[kind]++;
	l->in_flight++;
	l->writes += kind == KIND_WRITE;
	l->finding += kind == KIND_LOOKUP;
	l->naming += kind == KIND_CREATE || kind == KIND_RENAME || kind == KIND_UNLINK;
	f->in_flight++;
	return r;
}

void load_end(struct load *l, struct load_request *r)
{
	l->in_flight--;
	l->writes -= r->kind == KIND_WRITE;
	l->finding -= r->kind == KIND_LOOKUP;
	l->naming -= r->kind == KIND_CREATE || r->kind == KIND_RENAME || r->kind == KIND_UNLINK;
	r->file->in_flight--;
	r->used = false;
	free(TAKE_PTR(r->view));
}

void load_send(struct load *l, const struct load_request *r, enum fuse_opcode opcode,
	       uint64_t nodeid, struct wire_part body, struct wire_part more)
{
	int rc = wire_send(&l->wire, opcode, r->unique, nodeid, body, more);

	if (rc != 0)
		load_fail(l, "a request was not taken: %d", rc);
}

void load_forget(struct load *l, struct load_file *f, uint64_t lookups)
{
	const struct fuse_forget_in in = {.nlookup = lookups};

	l->stats.forgets++;
	f->lookups -= lookups;
	if (wire_send(&l->wire, FUSE_FORGET, 2 * ++l->ops * IN_FLIGHT, f->ino,
		      (struct wire_part){&in, sizeof(in)}, (struct wire_part){0}) != 0)
		load_fail(l, "a forget was not taken");
}

void load_find(struct load *l, struct load_file *f)
{
	struct load_request *r = load_begin(l, KIND_LOOKUP, f);

	r->view = content_view(f->content, 0, 0);
	load_send(l, r, FUSE_LOOKUP, f->dir, (struct wire_part){f->name, strlen(f->name) + 1},
		  (struct wire_part){0});
}

/* ---- files that are not ready ---- */

static void release_all(struct load *l, struct load_file *f)
{
	while (f->handles > 0) {
		const struct fuse_release_in in = {.fh = f->handle};
		struct load_request *r = load_begin(l, KIND_RELEASE, f);

		f->handles--;
		load_send(l, r, FUSE_RELEASE, f->ino, (struct wire_part){&in, sizeof(in)},
			  (struct wire_part){0});
	}
	load_forget(l, f, f->lookups);
}

static void make(struct load *l, struct load_file *f)
{
	const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
	struct load_request *r;

	content_free(f->content);
	f->content = content_new(++l->salt, NULL, 0);
	(void)snprintf(f->name, sizeof(f->name), "new%" PRIu64, ++l->names_made);
	r = load_begin(l, KIND_CREATE, f);
	load_send(l, r, FUSE_CREATE, f->dir, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){f->name, strlen(f->name) + 1});
}

static void open_file(struct load *l, struct load_file *f)
{
	const struct fuse_open_in in = {.flags = O_RDWR};
	struct load_request *r = load_begin(l, KIND_OPEN, f);

	load_send(l, r, FUSE_OPEN, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

/* The kernel holds a directory's lock while it changes names: one change, or lookups. */
static void step(struct load *l, struct load_file *f)
{
	if (l->in_flight >= IN_FLIGHT)
		return;
	switch (f->state) {
	case FILE_DRAINS:
		if (f->in_flight > 0)
			break;
		release_all(l, f);
		f->state = f->name[0] != 0 ? FILE_TO_FIND : FILE_TO_MAKE;
		break;
	case FILE_TO_FIND:
		if (l->naming > 0)
			break;
		f->state = FILE_WAITS;
		load_find(l, f);
		break;
	case FILE_TO_OPEN:
		f->state = FILE_WAITS;
		open_file(l, f);
		break;
	case FILE_TO_MAKE:
		if (l->naming > 0 || l->finding > 0)
			break;
		f->state = FILE_WAITS;
		make(l, f);
		break;
	case FILE_READY:
	case FILE_WAITS:
		break;
	}
}

/* ---- the run ---- */

static void timer_done(struct overlay_sync *op)
{
	struct load *l = CONTAINER_OF(op, struct load, timer);

	l->timer_runs = false;
	if (op->result != 0)
		load_fail(l, "the timer's commit: %s", strerror(-op->result));
}

static void timer(struct load *l)
{
	if (l->timer_runs || l->stats.rounds % TIMER_ROUNDS != 0)
		return;
	l->timer_runs = true;
	l->timer = (struct overlay_sync){.all = true, .done = timer_done};
	overlay_sync(l->wire.core.ov, &l->timer);
}

/* The engine does something. */
static void let_work(struct load *l, unsigned *idle)
{
	late_room_wake();
	if (io_wait(l->wire.core.io, 100) > 0)
		*idle = 0;
	else if (++*idle > IDLE_MAX)
		load_fail(l, "%u requests are never answered", l->in_flight);
}

static bool all_ready(const struct load *l)
{
	for (unsigned i = 0; i < l->file_count; i++)
		if (l->files[i].state != FILE_READY)
			return false;
	return true;
}

static void steps(struct load *l)
{
	for (unsigned i = 0; i < l->file_count; i++)
		step(l, &l->files[i]);
}

void load_drain(struct load *l)
{
	unsigned idle = 0;

	while (!l->failed && (l->in_flight > 0 || l->timer_runs || !all_ready(l))) {
		steps(l);
		let_work(l, &idle);
	}
	if (!l->failed)
		core_drain(&l->wire.core);
}

static void read_back(struct load *l, struct load_file *f)
{
	const struct fuse_read_in in = {.fh = f->handle, .size = UNITS_MAX * UNIT};
	struct load_request *r = load_begin(l, KIND_READ, f);

	r->view = content_view(f->content, 0, UNITS_MAX);
	load_send(l, r, FUSE_READ, f->ino, (struct wire_part){&in, sizeof(in)},
		  (struct wire_part){0});
}

void load_run(struct load *l, uint64_t ops)
{
	unsigned idle = 0;

	while (!l->failed && l->ops < ops) {
		steps(l);
		while (!l->failed && l->in_flight < IN_FLIGHT && load_next(l))
			;
		l->stats.rounds++;
		l->stats.in_flight_sum += l->in_flight;
		timer(l);
		let_work(l, &idle);
	}
	load_drain(l);
	for (unsigned i = 0; i < l->file_count && !l->failed; i++)
		read_back(l, &l->files[i]);
	load_drain(l);
}

void load_add(struct load *l, uint64_t dir, const char *name, const uint8_t *base, uint32_t size)
{
	struct load_file *f = &l->files[l->file_count++];

	*f = (struct load_file){.state = base ? FILE_TO_FIND : FILE_TO_MAKE, .dir = dir};
	if (!base)
		return;
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	f->content = content_new(++l->salt, base, size);
}

void load_close(struct load *l)
{
	for (unsigned i = 0; i < l->file_count; i++)
		release_all(l, &l->files[i]);
}

void load_free(struct load *l)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		free(TAKE_PTR(l->requests[i].view));
	for (unsigned i = 0; i < l->file_count; i++)
		content_free(TAKE_PTR(l->files[i].content));
	free(TAKE_PTR(l->data));
}
