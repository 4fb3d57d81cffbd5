/*
 * tests/model/model_main.c: random operations on the core without kernel against the model.
 *
 *	model [-s first_seed] [-n seeds] [-o operations_a_seed]
 *	      [-e sync|shuffle|threads|uring|mixed] [-f directory of stores] [-q]
 *
 * A seed decides chain, engine, sizes of cache and journal, and every operation. One line a seed; a
 * difference is printed with the last operations on that file, and ends the run with status 1.
 */
#include "backend_core.h"
#include "base/util.h"
#include "run.h"
#include "scratch.h"
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
	uint64_t first, seeds, ops;
	const char *engine, *stores;
	bool quiet;
};

struct totals {
	uint64_t seeds, ops, checks, reopens, states, commits, fixtures;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void choose_engine(const struct options *o, struct rng *g, struct core_options *c)
{
	static const char *const mixed[] = {"sync", "shuffle", "shuffle", "threads"};
	const char *engine = o->engine;

	if (strcmp(engine, "mixed") == 0)
		engine = mixed[rng_below(g, ARRAY_SIZE(mixed))];
	c->kind = IO_KIND_SYNC;
	if (strcmp(engine, "threads") == 0)
		c->kind = IO_KIND_THREADS;
	if (strcmp(engine, "uring") == 0)
		c->kind = IO_KIND_URING;
	c->shuffle_seed = strcmp(engine, "shuffle") == 0 ? rng_u64(g) | 1 : 0;
}

/* Small limits on purpose: evictions, waiting for buffers, checkpoints all the time. */
static void choose(const struct options *o, uint64_t seed, struct core_options *c)
{
	static const uint64_t limits[] = {0, 1, 3000, 20000, 200000};
	static const unsigned slots[] = {8, 8, 20, 100};
	struct rng g = {.state = rng_mix(seed ^ 0x5eed)};

	*c = (struct core_options){0};
	choose_engine(o, &g, c);
	c->journal_limit = limits[rng_below(&g, ARRAY_SIZE(limits))];
	c->reserve = rng_one_in(&g, 2) ? 1u << 20 : 0;
	c->slots = slots[rng_below(&g, ARRAY_SIZE(slots))];
	c->buffer_bytes =
		rng_one_in(&g, 2) ? 3 * (size_t)BUFPOOL_LARGE : 16 * (size_t)BUFPOOL_LARGE;
	c->index_memory = rng_one_in(&g, 2) ? 16384 : 64u << 20;
}

static bool run_seed(const struct options *o, struct source *source, const char *scratch,
		     uint64_t seed, struct totals *t)
{
	struct core_options options;
	struct backend_core backend;
	struct diff_stats stats = {0};
	struct memfs *fs;
	struct run run;
	char desc[200], diff[300];
	struct layer_chain *chain = source_get(source, seed, desc, sizeof(desc), &fs);
	double start = now();
	bool good = false;

	if (!chain)
		return false;
	choose(o, seed, &options);
	(void)snprintf(diff, sizeof(diff), "%s/diff", scratch);
	if (backend_core_open(&backend, chain, diff, &options) == 0) {
		run_init(&run, seed, fs, &backend.backend);
		run.reopen_every = 500;
		good = run_go(&run, o->ops);
		if (good)
			run_free(&run);
		diff_get_stats(backend.core.diff, &stats);
		t->ops += run.ops;
		t->checks += run.checks;
		t->reopens += run.reopens;
		t->commits += stats.commits;
		t->states += stats.states;
		t->fixtures += chain->driver != NULL;
		if (!o->quiet || !good)
			printf("seed %" PRIu64 ": %s, %s%s, journal limit %" PRIu64
			       ", slots %u: %" PRIu64 " operations, %" PRIu64 " checks, %" PRIu64
			       " reopens, %.1f s%s\n",
			       seed, desc, io_engine_name(backend.core.io),
			       options.shuffle_seed ? " shuffled" : "", options.journal_limit,
			       options.slots, run.ops, run.checks, run.reopens, now() - start,
			       good ? "" : ": DIFFERENT");
		if (good)
			backend_core_close(&backend);
	}
	(void)fflush(stdout);
	t->seeds++;
	if (good) {
		memfs_free(fs);
		scratch_remove(diff);
	}
	return good;
}

static const char *default_stores(void)
{
	static const char *const places[] = {MODEL_SOURCE_ROOT "/../shared/fixtures/pg_probackup",
					     MODEL_SOURCE_ROOT "/tests/fixtures"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (access(places[i], R_OK) == 0)
			return places[i];
	return NULL;
}

static int parse(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){.first = 1, .seeds = 200, .ops = 5000, .engine = "mixed"};
	o->stores = default_stores();
	while ((c = getopt(argc, argv, "s:n:o:e:f:q")) != -1) {
		switch (c) {
		case 's':
			o->first = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->seeds = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			o->ops = strtoull(optarg, NULL, 0);
			break;
		case 'e':
			o->engine = optarg;
			break;
		case 'f':
			o->stores = optarg[0] ? optarg : NULL;
			break;
		case 'q':
			o->quiet = true;
			break;
		default:
			return -1;
		}
	}
	return optind == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options o;
	struct totals t = {0};
	struct source *source;
	char scratch[200];
	double start = now();
	bool good = true;

	if (parse(&o, argc, argv) < 0) {
		(void)fprintf(stderr, "usage: model [-s first_seed] [-n seeds] [-o operations] [-e "
				      "engine] [-f stores] [-q]\n");
		return 2;
	}
	scratch_new("model", scratch, sizeof(scratch));
	source = source_new(scratch, o.stores);
	for (uint64_t i = 0; i < o.seeds && good; i++)
		good = run_seed(&o, source, scratch, o.first + i, &t);
	if (good)
		source_free(source);
	scratch_remove(scratch);
	printf("model: %" PRIu64 " seeds from %" PRIu64 " (%" PRIu64 " on backups), %" PRIu64
	       " operations, %" PRIu64 " checks, %" PRIu64 " reopens, %.0f s: %s\n",
	       t.seeds, o.first, t.fixtures, t.ops, t.checks, t.reopens, now() - start,
	       good ? "no difference" : "DIFFERENT");
	(void)fflush(NULL);
	if (!good)
		_exit(1); /* what failed is left as it is */
	return 0;
}
