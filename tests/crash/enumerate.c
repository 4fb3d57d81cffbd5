/*
 * tests/crash/enumerate.c: see enumerate.h.
 */
#include "enumerate.h"

#include "base/util.h"

#define SECTOR 512u

/* Operations that no sync has made durable yet. */
struct unsynced {
	const struct trace *trace;
	size_t *ops;
	size_t count;
};

static bool is_names(const struct trace_op *op)
{
	return op->dir != SIM_NONE;
}

/* Applies what the sync covers and takes it off the list. */
static void sync_one(struct unsynced *u, struct sim *durable, const struct trace_op *sync)
{
	size_t kept = 0;

	for (size_t i = 0; i < u->count; i++) {
		const struct trace_op *op = &u->trace->ops[u->ops[i]];
		bool covered = is_names(op) ? op->dir == sync->ino : op->ino == sync->ino;

		if (covered)
			sim_apply(durable, op);
		else
			u->ops[kept++] = u->ops[i];
	}
	u->count = kept;
}

/* False when it changes nothing: a sync of what is durable already. */
static bool advance(struct unsynced *u, struct sim *durable, size_t at)
{
	const struct trace_op *op = &u->trace->ops[at];
	size_t before = u->count;

	if (op->code == TRACE_SYNC)
		sync_one(u, durable, op);
	else
		u->ops[u->count++] = at;
	return u->count != before;
}

struct emitter {
	struct enumeration *e;
	const struct unsynced *u;
	const struct sim *durable;
	size_t at;
	bool go;
};

static void emit(struct emitter *m, struct sim *image)
{
	if (m->go)
		m->go = m->e->fn(m->e->ctx, m->at, image);
	sim_free(image);
}

static const struct trace_op *op_at(const struct emitter *m, size_t i)
{
	return &m->u->trace->ops[m->u->ops[i]];
}

/* Applies the unsynced operations from .. to-1. */
static void apply_range(const struct emitter *m, struct sim *image, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		sim_apply(image, op_at(m, i));
}

static void emit_prefix(struct emitter *m, size_t count)
{
	struct sim *image = sim_clone(m->durable);

	apply_range(m, image, 0, count);
	emit(m, image);
}

static void emit_drop(struct emitter *m, size_t drop)
{
	struct sim *image = sim_clone(m->durable);

	apply_range(m, image, 0, drop);
	apply_range(m, image, drop + 1, m->u->count);
	emit(m, image);
}

static void emit_alone(struct emitter *m, size_t one)
{
	struct sim *image = sim_clone(m->durable);

	apply_range(m, image, one, one + 1);
	emit(m, image);
}

static void emit_random(struct emitter *m)
{
	struct sim *image = sim_clone(m->durable);

	for (size_t i = 0; i < m->u->count; i++)
		if (rng_one_in(&m->e->rng, 2))
			sim_apply(image, op_at(m, i));
	emit(m, image);
}

/* The write arrives but for the bytes from skip_from to skip_to (within it); what is around it as
 * told. */
static void emit_torn(struct emitter *m, size_t torn, uint64_t skip_from, uint64_t skip_to,
		      bool rest)
{
	const struct trace_op *op = op_at(m, torn);
	struct sim *image = sim_clone(m->durable);

	apply_range(m, image, 0, torn);
	/* the size comes with the write, whichever part of it arrives */
	if (op->ino >= image->count || !image->inodes[op->ino] ||
	    image->inodes[op->ino]->size < op->off + op->len)
		sim_resize(image, op->ino, op->off + op->len);
	sim_write(image, op->ino, op->off, skip_from, op->data);
	sim_write(image, op->ino, op->off + skip_to, op->len - skip_to, op->data + skip_to);
	if (rest)
		apply_range(m, image, torn + 1, m->u->count);
	emit(m, image);
}

/* n: offset of the next boundary after the i-th one, in bytes from the start of the write */
static uint64_t boundary(const struct trace_op *op, uint64_t unit, uint64_t i)
{
	uint64_t first = unit - op->off % unit;

	return i == 0 ? 0 : MIN(first + (i - 1) * unit, op->len);
}

static void tear(struct emitter *m, size_t i)
{
	const struct trace_op *op = op_at(m, i);
	uint64_t pages = (op->off % SIM_PAGE + op->len + SIM_PAGE - 1) / SIM_PAGE;
	uint64_t sectors = (op->off % SECTOR + op->len + SECTOR - 1) / SECTOR;
	bool rest = rng_one_in(&m->e->rng, 2);

	emit_torn(m, i, 0, op->len, true); /* the size without the bytes */
	for (uint64_t p = 1; p < MIN(pages, 4); p++) {
		uint64_t at = boundary(op, SIM_PAGE,
				       pages <= 4 ? p : rng_range(&m->e->rng, 1, pages - 1));

		emit_torn(m, i, at, op->len, true);
		emit_torn(m, i, 0, at, rest);
	}
	for (unsigned n = 0; n < 2 && sectors > 1; n++) {
		uint64_t s = rng_below(&m->e->rng, sectors);
		uint64_t from = boundary(op, SECTOR, s), to = boundary(op, SECTOR, s + 1);

		emit_torn(m, i, from, n == 0 ? op->len : to, n == 0 ? rest : true);
	}
}

#define MANY 24u

/* Making a diff leaves hundreds of names unsynced: of so many a sample will do. */
static bool chosen(struct emitter *m)
{
	return m->go && (m->u->count <= MANY || rng_below(&m->e->rng, m->u->count) < MANY / 4);
}

/* All states of a crash at one point. */
static bool emit_all(struct enumeration *e, const struct unsynced *u, const struct sim *durable,
		     size_t at)
{
	struct emitter m = {.e = e, .u = u, .durable = durable, .at = at, .go = true};

	for (size_t i = 0; i <= u->count; i++)
		if (i == u->count || chosen(&m))
			emit_prefix(&m, i);
	for (size_t i = 0; i + 1 < u->count; i++)
		if (chosen(&m))
			emit_drop(&m, i);
	for (size_t i = 1; i < u->count; i++)
		if (chosen(&m))
			emit_alone(&m, i);
	for (size_t i = 0; i < u->count && m.go; i++)
		if (op_at(&m, i)->code == TRACE_WRITE)
			tear(&m, i);
	for (unsigned i = 0; i < 2 && u->count > 3 && m.go; i++)
		emit_random(&m);
	return m.go;
}

bool enumerate(struct enumeration *e)
{
	struct unsynced u = {.trace = e->trace, .ops = calloc(e->trace->count + 1, sizeof(*u.ops))};
	struct sim *durable = sim_clone(e->start);
	bool go = true, changed = true;

	if (!u.ops)
		abort();
	for (size_t at = 0; at <= e->trace->count && go; at++) {
		/* in a row of calls that change nothing, the first and the last moment will do */
		if (at >= e->from && (changed || at == e->trace->count))
			go = emit_all(e, &u, durable, at);
		if (at < e->trace->count)
			changed = advance(&u, durable, at);
	}
	free(u.ops);
	sim_free(durable);
	return go;
}
