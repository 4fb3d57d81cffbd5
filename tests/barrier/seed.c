/*
 * tests/barrier/seed.c: see seed.h.
 *
 * The files are few, and yet more than the descriptors: relations stored in three layers, a plain
 * file, new files. In a third of the seeds there is global/pg_control, where each write commits
 * everything first.
 */
#include "seed.h"

#include "base/util.h"
#include "late_room.h"
#include "naive.h"
#include "scratch.h"
#include "synth.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LAYERS	  3u
#define RELATIONS 4u
#define NEW_FILES 5u
#define SLOTS	  8u

struct place {
	char scratch[200], chain[256], diff[256], cut[256];
	struct synth *synth;
	struct layer_chain *layers;
	bool control;
};

static void add_relation(struct synth *s, struct rng *g, const char *path)
{
	uint32_t blocks = (uint32_t)rng_range(g, 6, 40);
	uint8_t flags[48];

	for (unsigned i = 0; i < LAYERS; i++) {
		struct synth_blocks b = {.origin = i ? LAYER_ORIGIN_NEAREST : LAYER_ORIGIN_NONE,
					 .size = (uint64_t)blocks * LAYER_BLCKSZ,
					 .base_limit = LAYER_NO_LIMIT,
					 .count = blocks,
					 .stored = flags};

		for (uint32_t n = 0; n < blocks; n++)
			flags[n] = i == 0 || rng_one_in(g, 3) ? (rng_one_in(g, 9) ? 2 : 1) : 0;
		synth_add_blocks(s, i, path, &b);
	}
}

static void make_dir(char *ret, size_t size, const char *scratch, const char *name)
{
	(void)snprintf(ret, size, "%.200s/%s", scratch, name);
	if (mkdir(ret, 0700) < 0)
		abort();
}

static void make_chain(struct place *p, struct rng *g)
{
	char name[16];

	p->synth = synth_new(p->chain, LAYERS, rng_u64(g));
	for (unsigned i = 0; i < RELATIONS; i++) {
		(void)snprintf(name, sizeof(name), "rel%u", i);
		add_relation(p->synth, g, name);
	}
	p->control = rng_one_in(g, 3);
	for (unsigned i = 0; i < LAYERS; i++) {
		synth_add_plain(p->synth, i, "plain", 100000, i == 1);
		synth_add_dir(p->synth, i, "global", 0700);
		if (p->control)
			synth_add_plain(p->synth, i, "global/pg_control", 8192, i == 2);
	}
	p->layers = synth_chain(p->synth);
}

static void add_file(struct load *l, const struct layer_chain *chain, uint64_t dir,
		     const char *path)
{
	const char *slash = strrchr(path, '/');
	uint64_t len;
	uint8_t *bytes;

	if (naive_read(chain, naive_find(chain, path), &bytes, &len) < 0 || len % UNIT != 0)
		abort();
	load_add(l, dir, slash ? slash + 1 : path, bytes, (uint32_t)(len / UNIT));
	free(bytes);
}

static void add_files(struct load *l, const struct place *p)
{
	char name[16];
	struct file *dir;

	for (unsigned i = 0; i < RELATIONS; i++) {
		(void)snprintf(name, sizeof(name), "rel%u", i);
		add_file(l, p->layers, FUSE_ROOT_ID, name);
	}
	add_file(l, p->layers, FUSE_ROOT_ID, "plain");
	for (unsigned i = 0; i < NEW_FILES; i++)
		load_add(l, FUSE_ROOT_ID, "", NULL, 0);
	if (!p->control)
		return;
	/* The directory stays unknown to this kernel: its number is enough. */
	if (core_find(&l->wire.core, "global", &dir) < 0)
		abort();
	add_file(l, p->layers, overlay_file_id(dir), "global/pg_control");
	l->files[l->file_count - 1].fixed = true;
}

static void choose(const struct seed_options *o, struct rng *g, struct core_options *ret)
{
	static const uint64_t limits[] = {0, 1, 20000, 200000};

	*ret = (struct core_options){
		.kind = IO_KIND_SYNC,
		.journal_limit = limits[rng_below(g, ARRAY_SIZE(limits))],
		.slots = SLOTS,
		.buffer_bytes = (rng_one_in(g, 2) ? 3 : 16) * (size_t)BUFPOOL_LARGE,
		.index_memory = rng_one_in(g, 2) ? 16384 : 64u << 20,
	};
	if (strcmp(o->engine, "threads") == 0)
		ret->kind = IO_KIND_THREADS;
	else if (strcmp(o->engine, "uring") == 0)
		ret->kind = IO_KIND_URING;
	else if (strcmp(o->engine, "auto") == 0)
		ret->kind = IO_KIND_AUTO;
	else
		ret->shuffle_seed = rng_u64(g) | 1;
}

/* ---- what stays ---- */

static void check_file(struct load *l, struct core *c, const struct load_file *f)
{
	struct view *view = content_view(f->content, 0, UNITS_MAX);
	struct file *file = overlay_find(c->ov, f->ino);
	uint8_t *bytes = malloc(UNITS_MAX * UNIT);
	struct verdict v = {0};
	int64_t n;

	if (!bytes)
		abort();
	if (f->name[0] == 0) {
		if (file)
			load_fail(l, "after reopening: a removed file is there");
	} else if (!file) {
		load_fail(l, "after reopening: '%s' is not there", f->name);
	} else {
		n = core_read(c, file, 0, UNITS_MAX * UNIT, bytes);
		if (n >= 0)
			view_check(f->content, view, bytes, (size_t)n, &v);
		if (!v.good)
			load_fail(l, "after reopening: '%s': %s", f->name, n < 0 ? "error" : v.why);
	}
	free(bytes);
	free(view);
}

/* Closes everything in order, opens the diff once more, and looks at all files. */
static void reopen(struct load *l, const struct core_options *options, const struct place *p)
{
	struct core c;
	struct errmsg e = {0};
	int rc;

	load_close(l);
	if (wire_nodes(&l->wire) != 1)
		load_fail(l, "%llu nodes are left", (unsigned long long)wire_nodes(&l->wire));
	rc = core_sync(&l->wire.core, NULL, true);
	if (rc < 0)
		load_fail(l, "the last commit: %s", strerror(-rc));
	core_drain(&l->wire.core);
	wire_close(&l->wire);
	if (core_new(&c, options, &e) < 0)
		abort();
	rc = core_open(&c, p->layers, p->diff, &e);
	if (rc < 0)
		load_fail(l, "the diff cannot be opened again: %s", errmsg_text(&e, rc));
	for (unsigned i = 0; i < l->file_count && rc == 0 && !l->failed; i++)
		check_file(l, &c, &l->files[i]);
	core_close(&c);
	core_free(&c);
}

static void collect(struct load *l, struct seed_result *ret)
{
	struct session_stats stats;

	session_get_stats(l->wire.session, &stats);
	vfd_cache_stats(l->wire.core.vfds, &ret->vfd);
	diff_get_stats(l->wire.core.diff, &ret->diff);
	ret->ops = l->ops;
	ret->load = l->stats;
	ret->parked = stats.parked;
	ret->refused = late_room_count();
	ret->cuts = l->power ? l->power->cuts : 0;
}

static void run(const struct seed_options *o, struct rng *g, struct load *l, const struct place *p,
		struct seed_result *ret)
{
	struct power power;
	struct core_options options;
	struct errmsg e = {0};
	int rc;

	choose(o, g, &options);
	if (o->power_cuts > 0 && options.kind == IO_KIND_SYNC) {
		l->power = &power;
		if (power_start(&power, p->layers, p->diff, p->cut) < 0)
			abort();
	}
	rc = wire_open(&l->wire, &options, p->layers, p->diff, &e);
	if (rc < 0) {
		load_fail(l, "%s", errmsg_text(&e, rc));
		return;
	}
	l->wire.answer = load_answer;
	l->wire.ctx = l;
	l->power_every = o->power_cuts;
	add_files(l, p);
	late_room_start(rng_u64(g));
	load_run(l, o->ops);
	late_room_stop();
	collect(l, ret);
	if (l->power)
		power_stop(TAKE_PTR(l->power));
	if (!l->failed)
		reopen(l, &options, p);
}

void seed_run(const struct seed_options *o, uint64_t seed, const char *scratch,
	      struct seed_result *ret)
{
	struct load *l = calloc(1, sizeof(*l));
	struct rng g = {.state = rng_mix(seed)};
	struct place p;

	*ret = (struct seed_result){0};
	(void)snprintf(p.scratch, sizeof(p.scratch), "%s", scratch);
	make_dir(p.chain, sizeof(p.chain), scratch, "chain");
	make_dir(p.diff, sizeof(p.diff), scratch, "diff");
	make_dir(p.cut, sizeof(p.cut), scratch, "cut");
	make_chain(&p, &g);
	if (!l || !(l->data = malloc(UNITS_MAX * UNIT)))
		abort();
	l->rng.state = rng_u64(&g);
	run(o, &g, l, &p, ret);
	ret->good = !l->failed;
	memcpy(ret->why, l->why, sizeof(ret->why));
	if (!ret->good)
		return;
	load_free(l);
	free(l);
	synth_free(p.synth);
	scratch_remove(p.chain);
	scratch_remove(p.diff);
	scratch_remove(p.cut);
}
