/*
 * tests/model/run.c: what is in flight and what it may see, the trace, and the loop.
 */
#include "run.h"

#include "base/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

void run_log(struct run *r, const struct mnode *node, const char *fmt, ...)
{
	struct run_trace *t = &r->trace[r->ops % RUN_TRACE];
	va_list ap;

	t->op = r->ops;
	t->serial = node ? node->serial : 0;
	va_start(ap, fmt);
	(void)vsnprintf(t->text, sizeof(t->text), fmt, ap);
	va_end(ap);
}

static void print_trace(const struct run *r, const struct mnode *node)
{
	uint64_t from = r->ops >= RUN_TRACE ? r->ops - RUN_TRACE + 1 : 1;
	unsigned lines = 0;

	for (uint64_t op = r->ops; op >= from && lines < 40; op--) {
		const struct run_trace *t = &r->trace[op % RUN_TRACE];
		bool mine = !node || t->serial == node->serial || r->ops - op < 8;

		if (t->op != op || !mine)
			continue;
		(void)fprintf(stderr, "  %" PRIu64 ": [%" PRIu64 "] %s\n", op, t->serial, t->text);
		lines++;
	}
}

void run_fail(struct run *r, const struct mnode *node, const char *fmt, ...)
{
	va_list ap;

	if (r->failed)
		return;
	r->failed = true;
	(void)fprintf(stderr,
		      "DIFFERENCE seed %" PRIu64 " operation %" PRIu64 ", file [%" PRIu64 "]: ",
		      r->seed, r->ops, node ? node->serial : 0);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\nlast operations on it, newest first:\n");
	print_trace(r, node);
}

bool run_same(struct run *r, const struct mnode *node, const char *what, int64_t got, int64_t want)
{
	r->checks++;
	if (got == want)
		return true;
	run_fail(r, node, "%s: got %" PRId64 " (%s), model %" PRId64 " (%s)", what, got,
		 got < 0 ? strerror((int)-got) : "", want, want < 0 ? strerror((int)-want) : "");
	return false;
}

static void add_view(struct pending *p)
{
	struct view *v;

	p->views = need(reallocarray(p->views, p->view_count + 1, sizeof(*p->views)));
	v = &p->views[p->view_count++];
	*v = (struct view){.size = p->node->size, .nlink = p->node->nlink};
	if (p->op.code != CONTENT_STAT && p->op.len > 0) {
		v->data = need(malloc(p->op.len));
		v->len = memfs_read(p->node, p->op.off, p->op.len, v->data);
	}
}

static bool is_look(const struct pending *p)
{
	return p->op.code == CONTENT_READ || p->op.code == CONTENT_STAT ||
	       p->op.code == CONTENT_MMAP_READ;
}

void run_changed(struct run *r, const struct mnode *node)
{
	for (unsigned i = 0; i < RUN_PENDING; i++) {
		struct pending *p = &r->pending[i];

		if (!p->used || p->node != node || !is_look(p))
			continue;
		add_view(p);
		p->stat.times_known = false;
	}
}

struct pending *run_pending(struct run *r, enum content_code code, unsigned handle)
{
	struct pending *p = NULL;

	for (unsigned i = 0; i < r->max_pending && !p; i++)
		if (!r->pending[i].used)
			p = &r->pending[i];
	if (!p) {
		run_drain(r);
		p = &r->pending[0];
	}
	*p = (struct pending){.op = {.code = code, .handle = handle},
			      .node = r->handles[handle].node,
			      .used = true};
	return p;
}

void run_submit(struct run *r, struct pending *p)
{
	if (is_look(p)) {
		p->stat = *p->node;
		add_view(p);
	}
	r->be->ops->submit(r->be, &p->op);
	if (!(r->be->caps & BACKEND_ASYNC))
		run_drain(r);
}

/* Every byte is what one of the views has at its place; beyond the end of a view it counts as zero.
 */
static bool bytes_match(const struct pending *p, size_t len, size_t *ret_at)
{
	const uint8_t *got = p->op.buf;

	if (p->views[0].len >= len && memcmp(got, p->views[0].data, len) == 0)
		return true;
	for (size_t i = 0; i < len; i++) {
		bool match = false;

		for (unsigned v = 0; v < p->view_count && !match; v++)
			match = got[i] == (i < p->views[v].len ? p->views[v].data[i] : 0);
		if (!match) {
			*ret_at = i;
			return false;
		}
	}
	return true;
}

static void check_read(struct run *r, struct pending *p)
{
	size_t least = SIZE_MAX, most = 0, at = 0;
	int64_t got = p->op.result;

	for (unsigned v = 0; v < p->view_count; v++) {
		least = MIN(least, p->views[v].len);
		most = MAX(most, p->views[v].len);
	}
	if (got < (int64_t)least || got > (int64_t)most) {
		run_fail(r, p->node,
			 "read of %" PRIu64 " bytes at %" PRIu64 ": got %" PRId64
			 ", model %zu%s%zu",
			 p->op.len, p->op.off, got, least, least == most ? " = " : " .. ", most);
		return;
	}
	if (bytes_match(p, (size_t)got, &at))
		return;
	run_fail(r, p->node,
		 "read of %" PRIu64 " bytes at %" PRIu64 ": first difference at byte %" PRIu64
		 " (block %" PRIu64 "+%" PRIu64 "): got %02x, model %02x, %u views",
		 p->op.len, p->op.off, p->op.off + at, (p->op.off + at) / 8192,
		 (p->op.off + at) % 8192, ((uint8_t *)p->op.buf)[at],
		 at < p->views[0].len ? p->views[0].data[at] : 0, p->view_count);
}

static void check_look_stat(struct run *r, struct pending *p)
{
	uint64_t least = UINT64_MAX, most = 0, size = (uint64_t)p->op.st.st_size;
	uint32_t links = 0, links_max = 0;

	for (unsigned v = 0; v < p->view_count; v++) {
		least = MIN(least, p->views[v].size);
		most = MAX(most, p->views[v].size);
		links = v ? MIN(links, p->views[v].nlink) : p->views[v].nlink;
		links_max = MAX(links_max, p->views[v].nlink);
	}
	if (size < least || size > most)
		run_fail(r, p->node, "size: got %" PRIu64 ", model %" PRIu64 " .. %" PRIu64, size,
			 least, most);
	if (p->op.st.st_nlink < links || p->op.st.st_nlink > links_max)
		run_fail(r, p->node, "nlink: got %lu, model %u .. %u",
			 (unsigned long)p->op.st.st_nlink, links, links_max);
	p->stat.size = size;
	p->stat.nlink = (uint32_t)p->op.st.st_nlink;
	run_check_stat(r, &p->stat, &p->op.st, "(handle)");
}

static void check_pending(struct run *r, struct pending *p)
{
	r->checks++;
	if (is_look(p) && p->op.result < 0) {
		run_fail(r, p->node, "read or getattr: %s", strerror((int)-p->op.result));
	} else if (p->op.code == CONTENT_STAT) {
		check_look_stat(r, p);
	} else if (is_look(p)) {
		check_read(r, p);
	} else {
		(void)run_same(r, p->node, "result of a change", p->op.result, p->expected);
		if (p->op.code == CONTENT_APPEND)
			(void)run_same(r, p->node, "offset of an append", (int64_t)p->op.off,
				       (int64_t)p->expected_off);
	}
}

void run_drain(struct run *r)
{
	if (!r->be->ops->drain(r->be)) {
		run_fail(r, NULL, "an operation never completed");
		for (unsigned i = 0; i < RUN_PENDING; i++)
			if (r->pending[i].used && !r->pending[i].op.done)
				(void)fprintf(stderr,
					      "  lost: code %d handle %u off %" PRIu64
					      " len %" PRIu64 "\n",
					      (int)r->pending[i].op.code, r->pending[i].op.handle,
					      r->pending[i].op.off, r->pending[i].op.len);
		abort();
	}
	for (unsigned i = 0; i < RUN_PENDING; i++) {
		struct pending *p = &r->pending[i];

		if (!p->used)
			continue;
		check_pending(r, p);
		for (unsigned v = 0; v < p->view_count; v++)
			free(p->views[v].data);
		free(p->views);
		free(p->buf);
		*p = (struct pending){0};
	}
}

void run_init(struct run *r, uint64_t seed, struct memfs *fs, struct backend *be)
{
	*r = (struct run){.seed = seed,
			  .rng = {.state = rng_mix(seed + 77)},
			  .fs = fs,
			  .be = be,
			  .max_pending = 1,
			  .max_blocks = 200,
			  .ino_cap = 1u << 14};
	r->inos = need(calloc(r->ino_cap, sizeof(*r->inos)));
	r->handles_used = BACKEND_HANDLES >> rng_below(&r->rng, 4);
	r->small = rng_one_in(&r->rng, 2);
	if (r->small)
		r->max_blocks = 6;
	if (be->caps & BACKEND_ASYNC)
		r->max_pending = (unsigned)rng_range(&r->rng, 1, RUN_PENDING);
	for (unsigned i = 0; i < RUN_HOT; i++)
		while (!r->hot[i][0])
			run_refresh_hot(r);
}

void run_free(struct run *r)
{
	for (unsigned i = 0; i < BACKEND_HANDLES; i++)
		if (r->handles[i].node)
			r->be->ops->close(r->be, i);
	free(r->inos);
	r->inos = NULL;
}

static void one_op(struct run *r)
{
	unsigned handle = (unsigned)rng_below(&r->rng, r->handles_used);
	uint64_t content = r->handles_used < BACKEND_HANDLES ? 88 : 72;

	r->ops++;
	if (r->reopen_every && rng_one_in(&r->rng, r->reopen_every)) {
		run_reopen_op(r);
		return;
	}
	if (rng_one_in(&r->rng, 40))
		run_refresh_hot(r);
	if (rng_one_in(&r->rng, 2) && r->handles[r->near_handle].node)
		handle = r->near_handle;
	if (rng_below(&r->rng, 100) < content && r->handles[handle].node)
		run_content_op(r, handle);
	else if (rng_below(&r->rng, 100) < 45)
		run_open_op(r);
	else
		run_name_op(r);
}

bool run_go(struct run *r, uint64_t ops)
{
	for (uint64_t i = 0; i < ops && !r->failed; i++)
		one_op(r);
	run_drain(r);
	if (!r->failed)
		run_check_all(r, true);
	if (!r->failed && (r->be->caps & BACKEND_REOPEN)) {
		r->ops++;
		run_reopen_op(r);
		if (!r->failed)
			run_check_all(r, true);
	}
	return !r->failed;
}
