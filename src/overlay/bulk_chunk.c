/*
 * overlay/bulk_chunk.c: one chunk of a file: few large reads, decoding, and what comes out to the
 * sink.
 *
 * A chunk of a relation that increments have touched is many short segments, taking turns between
 * layers. In the stored file of one layer they follow each other with small gaps (records that a
 * newer layer replaces), so they are read at once, gaps and all.
 */
#include "overlay/bulk_internal.h"

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>

#define GAP_MAX (32u << 10) /* bytes that may be read for nothing between two segments */

struct bulk_read {
	uint32_t part;
	uint64_t off, len, raw_off;
	int64_t got;
};

struct bulk_read *bulk_reads_new(uint32_t count)
{
	return calloc(count, sizeof(struct bulk_read));
}

/* ---- opening ---- */

static int open_stored(const struct layer *layer, const char *name)
{
	int fd = sys_open_beneath(layer->dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && fd != -EMFILE && fd != -ENFILE && fd != -ENOMEM)
		log_error("backup %s: file '%s': %s", layer->id, name, errmsg_text(NULL, fd));
	return fd;
}

static const struct layer *part_layer(const struct bulk *bulk, const struct base *base,
				      uint32_t part)
{
	return bulk->ov->chain->layers[base->parts[part].layer];
}

/* Which parts hold a block of the file. Returns how many blocks they hold. */
static uint32_t mark_used(const struct base *base, int *fds)
{
	uint32_t count = index_count(base), held = 0;

	if (base->kind == LAYER_PLAIN)
		fds[0] = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (index_entry(base, i)->part == INDEX_NO_PART)
			continue;
		fds[index_entry(base, i)->part] = 0;
		held++;
	}
	return held;
}

static int open_part_fds(const struct bulk *bulk, struct bulk_state *state, const struct base *base)
{
	uint32_t held = mark_used(base, state->fds);

	state->file->whole = base->kind != LAYER_BLOCKS || held >= state->blocks;
	for (uint32_t i = 0; i < base->part_count; i++) {
		const struct layer *layer = part_layer(bulk, base, i);
		int fd;

		if (state->fds[i] < 0)
			continue;
		state->fds[i] = -1;
		fd = open_stored(layer, layer->ops->name(layer, base->parts[i].file));
		if (fd < 0)
			return fd;
		state->fds[i] = fd;
	}
	return 0;
}

static int open_base(struct bulk *bulk, struct bulk_state *state, struct base *base)
{
	struct errmsg e = {""};
	int rc;

	if (base->kind == LAYER_INLINE) {
		state->file->whole = true;
		return 0;
	}
	rc = index_build(bulk->ov, base, &e);
	if (rc == 0)
		return open_part_fds(bulk, state, base);
	if (rc != -ENOMEM)
		log_error("file '%s': %s", state->file->entry->path, errmsg_text(&e, rc));
	return rc;
}

int bulk_open_parts(struct bulk *bulk, struct bulk_state *state)
{
	struct base *base = state->node ? state->node->base : NULL;
	uint32_t parts = base ? MAX(base->part_count, 1u) : 1;
	int rc;

	if (state->blocks == 0)
		return 0;
	state->fds = malloc(parts * sizeof(*state->fds));
	if (!state->fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < parts; i++)
		state->fds[i] = -1;
	if (base) {
		rc = open_base(bulk, state, base);
	} else {
		rc = open_stored(state->layer, state->name);
		state->fds[0] = rc;
		state->file->whole = true;
	}
	if (rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE)
		return rc;
	if (rc < 0)
		bulk_damage(bulk, state, 1);
	return 0;
}

void bulk_close_parts(struct bulk_state *state)
{
	struct base *base = state->node ? state->node->base : NULL;
	uint32_t parts = base ? MAX(base->part_count, 1u) : 1;

	for (uint32_t i = 0; i < parts && state->fds; i++)
		util_closep(&state->fds[i]);
	free(TAKE_PTR(state->fds));
	if (base && base->index)
		index_drop(base);
}

/* ---- reading ---- */

/* Puts the segment into the last read of its part if that ends near its beginning, else into a new
 * one. */
static struct bulk_read *place_segment(struct bulk_worker *w, const struct segment *s,
				       uint64_t *spare)
{
	struct bulk_read *r = NULL;
	uint64_t gap;

	for (uint32_t i = w->read_count; i-- > 0 && !r;) {
		if (w->reads[i].part == s->part)
			r = &w->reads[i];
	}
	gap = r && s->off >= r->off + r->len ? s->off - (r->off + r->len) : UINT64_MAX;
	if (gap <= GAP_MAX && gap <= *spare) {
		*spare -= gap;
		r->len += gap + s->len;
		return r;
	}
	r = &w->reads[w->read_count++];
	*r = (struct bulk_read){.part = s->part, .off = s->off, .len = s->len};
	return r;
}

static void share_reads(struct bulk_worker *w, struct fetch *fetch)
{
	uint64_t spare = (uint64_t)w->bulk->chunk_blocks * BLCK / 4; /* all gaps together */

	w->read_count = 0;
	for (unsigned i = 0; i < fetch->segment_count; i++) {
		struct segment *s = &fetch->segments[i];

		if (s->kind == SEGMENT_STORED)
			s->group = (unsigned)(place_segment(w, s, &spare) - w->reads);
	}
}

static int read_groups(struct bulk_worker *w, const struct bulk_state *state)
{
	uint64_t need = 0;

	for (uint32_t i = 0; i < w->read_count; i++) {
		w->reads[i].raw_off = need;
		need += w->reads[i].len;
	}
	if (need > w->raw_size) {
		free(w->raw);
		w->raw = malloc(need);
		w->raw_size = w->raw ? need : 0;
		if (!w->raw)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < w->read_count; i++) {
		struct bulk_read *r = &w->reads[i];

		r->got = sys_pread_full(state->fds[r->part], w->raw + r->raw_off, r->len, r->off);
		if (r->got > 0)
			__atomic_fetch_add(&w->bulk->counters.stored_bytes, (uint64_t)r->got,
					   __ATOMIC_RELAXED);
	}
	return 0;
}

/* ---- one kind of segment each ---- */

static void report_read(const struct bulk *bulk, const struct base *base, const struct segment *s,
			uint32_t block, int64_t got)
{
	const struct layer *layer = part_layer(bulk, base, s->part);

	log_error("backup %s: file '%s', block %u: %s", layer->id,
		  layer->ops->name(layer, base->parts[s->part].file), block,
		  got < 0 ? errmsg_text(NULL, (int)got)
			  : "the file is shorter than its backup says");
}

/* Blocks of the segment whose records lie whole in what was read. */
static uint32_t count_whole(const struct segment *s, const struct bulk_read *r)
{
	uint32_t n = 0;

	for (; n < s->count && r->got >= 0; n++) {
		const struct index_entry *entry = index_entry(s->fetch->file->base, s->first + n);

		if (entry->off + entry->len > r->off + (uint64_t)r->got)
			break;
	}
	return n;
}

/* Returns how many blocks are bad. */
static uint32_t decode_stored(struct bulk_worker *w, struct segment *s)
{
	const struct bulk_read *r = &w->reads[s->group];
	uint32_t whole = count_whole(s, r), bad = s->count - whole;

	if (bad > 0)
		report_read(w->bulk, s->fetch->file->base, s, s->first + whole, r->got);
	for (uint32_t i = 0; i < whole; i++)
		bad += decode_segment(s, w->raw + r->raw_off + (s->off - r->off), i, 1) < 0;
	return bad;
}

static uint32_t read_plain(struct bulk_worker *w, const struct bulk_state *state, struct segment *s)
{
	struct fetch *fetch = s->fetch;
	uint64_t want = MIN(s->len, state->file->size - s->off);
	int64_t got = sys_pread_full(
		state->fds[0], fetch->buf + (size_t)(s->first - fetch->first) * BLCK, want, s->off);

	if (got >= 0 && (uint64_t)got == want) {
		__atomic_fetch_add(&w->bulk->counters.stored_bytes, want, __ATOMIC_RELAXED);
		return 0;
	}
	report_read(w->bulk, fetch->file->base, s, s->first, got);
	return s->count;
}

static uint32_t fill_segment(struct bulk_worker *w, const struct bulk_state *state,
			     struct segment *s)
{
	const struct base *base = s->fetch->file->base;

	switch (s->kind) {
	case SEGMENT_STORED:
		return decode_stored(w, s);
	case SEGMENT_PLAIN:
		return read_plain(w, state, s);
	case SEGMENT_INLINE:
		memcpy(s->fetch->buf, (const uint8_t *)base->data + (uint64_t)s->first * BLCK,
		       MIN(base->size - (uint64_t)s->first * BLCK, (uint64_t)s->count * BLCK));
		return 0;
	case SEGMENT_ZERO:
	case SEGMENT_DIFF:
		break;
	}
	return 0;
}

/* ---- out ---- */

static int write_run(struct bulk_worker *w, const struct bulk_state *state, uint32_t first,
		     uint32_t from, uint32_t to)
{
	uint64_t off = (uint64_t)from * BLCK;
	uint64_t end = MIN((uint64_t)to * BLCK, state->file->size);

	if (off >= end)
		return 0;
	__atomic_fetch_add(&w->bulk->counters.bytes, end - off, __ATOMIC_RELAXED);
	return w->bulk->sink->write(w->bulk->sink->ctx, state->file, off,
				    w->out + (size_t)(from - first) * BLCK, end - off);
}

/* What lies between zeros that no backup stores goes out with one call each. */
static int write_out(struct bulk_worker *w, const struct bulk_state *state,
		     const struct fetch *fetch)
{
	uint32_t from = fetch->first;
	int rc = 0;

	for (unsigned i = 0; i < fetch->segment_count && rc == 0; i++) {
		const struct segment *s = &fetch->segments[i];

		if (s->kind != SEGMENT_ZERO)
			continue;
		rc = write_run(w, state, fetch->first, from, s->first);
		__atomic_fetch_add(&w->bulk->counters.bytes, (uint64_t)s->count * BLCK,
				   __ATOMIC_RELAXED);
		from = s->first + s->count;
	}
	if (rc == 0)
		rc = write_run(w, state, fetch->first, from, fetch->first + fetch->count);
	return rc;
}

static int chunk_of_base(struct bulk_worker *w, struct bulk_state *state, uint32_t first,
			 uint32_t count)
{
	struct fetch fetch = {.ov = w->bulk->ov,
			      .file = state->node,
			      .first = first,
			      .count = count,
			      .buf = w->out};
	uint32_t bad = 0;
	int rc = plan_segments(&fetch);

	if (rc == 0) {
		share_reads(w, &fetch);
		rc = read_groups(w, state);
	}
	for (unsigned i = 0; i < fetch.segment_count && rc == 0; i++)
		bad += fill_segment(w, state, &fetch.segments[i]);
	if (bad > 0)
		bulk_damage(w->bulk, state, bad);
	else if (rc == 0)
		rc = write_out(w, state, &fetch);
	free(fetch.segments);
	return rc;
}

static int chunk_of_stored(struct bulk_worker *w, struct bulk_state *state, uint32_t first,
			   uint32_t count)
{
	uint64_t off = (uint64_t)first * BLCK;
	uint64_t want = MIN(state->file->size - off, (uint64_t)count * BLCK);
	int64_t got = sys_pread_full(state->fds[0], w->out, want, off);

	if (got < 0 || (uint64_t)got < want) {
		log_error("backup %s: file '%s': %s", state->layer->id, state->name,
			  got < 0 ? errmsg_text(NULL, (int)got)
				  : "the file is shorter than its backup says");
		bulk_damage(w->bulk, state, 1);
		return 0;
	}
	__atomic_fetch_add(&w->bulk->counters.stored_bytes, want, __ATOMIC_RELAXED);
	return write_run(w, state, first, first, first + count);
}

int bulk_chunk(struct bulk_worker *w, struct bulk_state *state, uint32_t first, uint32_t count)
{
	if (state->node)
		return chunk_of_base(w, state, first, count);
	return chunk_of_stored(w, state, first, count);
}
