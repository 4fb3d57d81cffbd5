/*
 * tests/model/synth_random.c: random chains for the model test: the shapes that increments leave
 * behind.
 */
#include "synth.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAX_BLOCKS 640u

struct maker {
	struct synth *s;
	struct rng rng;
	unsigned layers;
	uint8_t flags[MAX_BLOCKS];
};

static uint32_t random_length(struct rng *r)
{
	switch (rng_below(r, 8)) {
	case 0:
		return (uint32_t)rng_range(r, 1, 3);
	case 1:
		return (uint32_t)rng_range(r, 100, MAX_BLOCKS);
	default:
		return (uint32_t)rng_range(r, 1, 40);
	}
}

/* Runs of absent, stored and zero blocks. */
static void random_flags(struct maker *m, uint32_t count, unsigned absent_weight)
{
	uint32_t i = 0;

	while (i < count) {
		uint32_t run = (uint32_t)rng_range(&m->rng, 1, 9);
		uint8_t flag = rng_below(&m->rng, 4 + absent_weight) < absent_weight ? 0 : 1;

		if (flag == 1 && rng_one_in(&m->rng, 6))
			flag = 2;
		while (run-- > 0 && i < count)
			m->flags[i++] = flag;
	}
}

static void set_all(struct maker *m, uint32_t count, uint8_t flag)
{
	for (uint32_t i = 0; i < count; i++)
		m->flags[i] = flag;
}

/* The relation as the oldest layers have it: stored whole, stored in parts, unchanged, or not
 * there. */
static void add_older(struct maker *m, const char *path)
{
	for (unsigned i = 0; i + 1 < m->layers; i++) {
		struct synth_blocks b = {.origin = LAYER_ORIGIN_NEAREST,
					 .size = LAYER_SIZE_UNKNOWN,
					 .base_limit = LAYER_NO_LIMIT,
					 .stored = m->flags};

		if (rng_one_in(&m->rng, 6))
			continue;
		if (i == 0)
			b.origin = LAYER_ORIGIN_NONE;
		b.count = rng_one_in(&m->rng, 5) ? 0 : random_length(&m->rng);
		if (i == 0 && rng_one_in(&m->rng, 2))
			set_all(m, b.count, 1);
		else
			random_flags(m, b.count, 2 + 3 * i);
		/* a limit of a middle layer counts for nothing */
		if (rng_one_in(&m->rng, 3))
			b.base_limit = random_length(&m->rng);
		synth_add_blocks(m->s, i, path, &b);
	}
}

static void add_relation(struct maker *m, const char *path)
{
	struct synth_blocks b = {.origin = LAYER_ORIGIN_NEAREST,
				 .size = LAYER_SIZE_UNKNOWN,
				 .base_limit = LAYER_NO_LIMIT,
				 .stored = m->flags};
	unsigned target = m->layers - 1;
	uint32_t n = random_length(&m->rng);

	add_older(m, path);
	switch (rng_below(&m->rng, 8)) {
	case 0: /* emptied */
		b.size = 0;
		b.origin = LAYER_ORIGIN_NONE;
		break;
	case 1: /* new here */
		b.origin = LAYER_ORIGIN_NONE;
		b.count = n;
		set_all(m, n, 1);
		break;
	case 2: /* unchanged */
		break;
	case 3: /* the size is known, and may lie beyond what anyone stores */
		b.count = n;
		random_flags(m, n, 6);
		b.base_limit = (uint32_t)rng_range(&m->rng, 0, n);
		b.size = (uint64_t)n * LAYER_BLCKSZ;
		break;
	default: /* some blocks changed, below a limit */
		b.count = rng_one_in(&m->rng, 6) ? 0 : n;
		random_flags(m, b.count, 8);
		if (rng_one_in(&m->rng, 3))
			break;
		b.base_limit = n + (uint32_t)rng_below(&m->rng, 3);
		break;
	}
	synth_add_blocks(m->s, target, path, &b);
}

static void add_plain(struct maker *m, const char *path)
{
	unsigned target = m->layers - 1;
	uint64_t size =
		rng_one_in(&m->rng, 4) ? rng_below(&m->rng, 1200000) : rng_below(&m->rng, 60000);
	bool below = m->layers > 1 && rng_one_in(&m->rng, 2);

	if (rng_one_in(&m->rng, 5))
		size = 0;
	if (below) {
		unsigned at = (unsigned)rng_below(&m->rng, target);

		synth_add_plain(m->s, at, path, size, true);
		for (unsigned i = at + 1; i < target; i++)
			if (!rng_one_in(&m->rng, 3))
				synth_add_plain(m->s, i, path, size, false);
	}
	synth_add_plain(m->s, target, path, size, !below);
}

static void add_some(struct maker *m, const char *dir)
{
	char path[256];

	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%s%s%u", dir, "rel", i);
		add_relation(m, path);
	}
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s%s%u", dir, "plain", i);
		add_plain(m, path);
	}
	(void)snprintf(path, sizeof(path), "%s%s", dir, "made");
	synth_add_inline(m->s, m->layers - 1, path, rng_below(&m->rng, 3000));
	(void)snprintf(path, sizeof(path), "%s%s", dir, "link");
	synth_add_symlink(m->s, m->layers - 1, path, "somewhere/else");
}

struct layer_chain *synth_random(const char *dir, uint64_t seed, struct synth **ret)
{
	struct maker m = {.rng = {.state = seed}};
	char path[64];

	m.layers = (unsigned)rng_range(&m.rng, 1, 4);
	m.s = synth_new(dir, m.layers, seed);
	add_some(&m, "");
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "d%u", i);
		for (unsigned l = 0; l < m.layers; l++)
			synth_add_dir(m.s, l, path, 0700);
		(void)snprintf(path, sizeof(path), "d%u/", i);
		add_some(&m, path);
	}
	synth_add_dir(m.s, m.layers - 1, "d0/sub", 0750);
	synth_add_dir(m.s, m.layers - 1, "empty", 0700);
	*ret = m.s;
	return synth_chain(m.s);
}
