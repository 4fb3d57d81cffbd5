/*
 * tests/barrier/barrier_main.c: 64 requests in flight on few files, answered late and in random
 * order, against a model.
 *
 *	barrier [-s first_seed] [-n seeds] [-o operations_a_seed]
 *		[-e shuffle|threads|uring|auto] [-p n] [-q]
 *
 * -p: the power is cut after one in n fsyncs; 0: never. A build with a defect (DEFECT, see
 * defects.c) has to fail: in each seed, within these operations.
 */
#include "base/util.h"
#include "scratch.h"
#include "seed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef DEFECT_NAME
static const char *const defect = DEFECT_NAME;
#else
static const char *const defect;
#endif

struct options {
	struct seed_options seed;
	uint64_t first, seeds;
	bool quiet;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void add_up(struct seed_result *total, const struct seed_result *r)
{
	total->ops += r->ops;
	for (unsigned i = 0; i < KIND_MAX_; i++)
		total->load.kinds[i] += r->load.kinds[i];
	total->load.forgets += r->load.forgets;
	total->load.ranged += r->load.ranged;
	total->load.overlapping += r->load.overlapping;
	total->load.reads_of_later += r->load.reads_of_later;
	total->load.in_flight_sum += r->load.in_flight_sum;
	total->load.rounds += r->load.rounds;
	total->vfd.open_after_replace += r->vfd.open_after_replace;
	total->vfd.close_by_replace += r->vfd.close_by_replace;
	total->diff.commits += r->diff.commits;
	total->diff.states += r->diff.states;
	total->parked += r->parked;
	total->refused += r->refused;
	total->cuts += r->cuts;
}

static void say(const struct seed_result *r)
{
	const struct load_stats *s = &r->load;

	printf("  ");
	for (unsigned i = 0; i < KIND_MAX_; i++)
		printf("%s %" PRIu64 ", ", kind_name(i), s->kinds[i]);
	printf("forget %" PRIu64 "\n", s->forgets);
	printf("  %.1f in flight, %.0f %% of %" PRIu64 " ranges overlap, %" PRIu64
	       " reads saw a later write; %" PRIu64 " commits, %" PRIu64 " states, %" PRIu64
	       " records had no room, %" PRIu64 " requests parked, %" PRIu64
	       " closes by replace, %" PRIu64 " power cuts\n",
	       (double)s->in_flight_sum / (double)MAX(s->rounds, 1u),
	       100.0 * (double)s->overlapping / (double)MAX(s->ranged, 1u), s->ranged,
	       s->reads_of_later, r->diff.commits, r->diff.states, r->refused, r->parked,
	       r->vfd.close_by_replace, r->cuts);
}

static bool run_seed(const struct options *o, uint64_t seed, const char *scratch,
		     struct seed_result *total)
{
	struct seed_result r;

	seed_run(&o->seed, seed, scratch, &r);
	add_up(total, &r);
	if (!r.good && !(o->quiet && defect))
		printf("seed %" PRIu64 ": after %" PRIu64 " operations: %s\n", seed, r.ops, r.why);
	else if (!o->quiet)
		printf("seed %" PRIu64 ": %" PRIu64 " operations\n", seed, r.ops);
	(void)fflush(stdout);
	return r.good;
}

#define FOUND                                                                                      \
	3 /* exit status: an answer differs from the model; no crash and no sanitizer ends so */

/* In a child: what a defect breaks may be the program itself, which does not count. */
static bool find_defect(const struct options *o, uint64_t seed, const char *scratch)
{
	struct seed_result total = {0};
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run_seed(o, seed, scratch, &total) ? 0 : FOUND);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFEXITED(status) && WEXITSTATUS(status) == FOUND)
		return true;
	printf("seed %" PRIu64 ": NOT FOUND, status %#x\n", seed, (unsigned)status);
	(void)fflush(stdout);
	return false;
}

static int search(const struct options *o)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < o->seeds; i++) {
		char scratch[200];

		scratch_new("barrier", scratch, sizeof(scratch));
		found += find_defect(o, o->first + i, scratch);
		scratch_remove(scratch);
	}
	printf("barrier: defect '%s' found in %" PRIu64 " of %" PRIu64 " seeds from %" PRIu64 "\n",
	       defect, found, o->seeds, o->first);
	return found == o->seeds ? 0 : 1;
}

static int prove(const struct options *o)
{
	struct seed_result total = {0};
	double start = now();
	char scratch[200];
	bool good = true;
	uint64_t i;

	scratch_new("barrier", scratch, sizeof(scratch));
	for (i = 0; i < o->seeds && good; i++)
		good = run_seed(o, o->first + i, scratch, &total);
	say(&total);
	printf("barrier: %" PRIu64 " seeds from %" PRIu64 ", engine %s, %" PRIu64
	       " operations, %.0f s: %s\n",
	       i, o->first, o->seed.engine, total.ops, now() - start,
	       good ? "no difference" : "DIFFERENT");
	(void)fflush(NULL);
	scratch_remove(scratch);
	if (!good)
		_exit(1); /* what failed is left as it is */
	return 0;
}

static int parse(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){
		.seed = {.engine = "shuffle", .ops = defect ? 10000 : 20000, .power_cuts = 16},
		.first = 1,
		.seeds = defect ? 5 : 50};
	while ((c = getopt(argc, argv, "s:n:o:e:p:q")) != -1) {
		switch (c) {
		case 's':
			o->first = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->seeds = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			o->seed.ops = strtoull(optarg, NULL, 0);
			break;
		case 'e':
			o->seed.engine = optarg;
			break;
		case 'p':
			o->seed.power_cuts = strtoull(optarg, NULL, 0);
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

	if (parse(&o, argc, argv) < 0) {
		(void)fprintf(stderr, "usage: barrier [-s first_seed] [-n seeds] [-o operations] "
				      "[-e shuffle|threads|uring|auto] [-p n] [-q]\n");
		return 2;
	}
	return defect ? search(&o) : prove(&o);
}
