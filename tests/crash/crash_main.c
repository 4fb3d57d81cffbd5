/*
 * tests/crash/crash_main.c: crash-state enumeration of the diff, in process.
 *
 *	crash [-q] [-j workers] [-n nest_every] [-w workload] [-x one_in] [-d defect] [-D] [-v]
 *
 * -q: the quick form (single operations). -w: one workload, with its trace when -v is given. -x:
 * only every so many-th workload. -d: with that deliberate defect (1 .. 5). -D: only the defects.
 * Without -w and -d the sound protocol is tested first, then each defect must be found. Status 0: no
 * violation, all defects found.
 */
#include "base/util.h"
#include "explore.h"
#include "scratch.h"
#include "synth.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 16

struct options {
	bool quick, only_defects;
	unsigned workers;
	long workload;
	size_t one_in;
	struct explore_options explore;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void add(struct explore_counts *to, const struct explore_counts *c)
{
	to->workloads += c->workloads;
	to->skipped += c->skipped;
	to->failed += c->failed;
	to->states += c->states;
	to->recoveries += c->recoveries;
	to->nested += c->nested;
	to->violations += c->violations;
}

/* What the workers share. */
struct shared {
	_Atomic size_t next; /* workload */
	struct explore_counts counts[WORKERS_MAX];
};

static void worker(const struct options *o, struct shared *shared, struct explore_counts *counts)
{
	struct layer_chain *chain;
	struct recovery r = {0};
	struct synth *synth;
	char scratch[200], path[300];
	size_t count = workload_count(o->quick);

	scratch_new("crash", scratch, sizeof(scratch));
	(void)snprintf(path, sizeof(path), "%s/chain", scratch);
	if (mkdir(path, 0700) < 0)
		abort();
	chain = workload_chain(path, &synth);
	(void)snprintf(path, sizeof(path), "%s/found", scratch);
	if (mkdir(path, 0700) < 0 || recovery_init(&r, chain, path) < 0)
		abort();
	for (;;) {
		size_t n = atomic_fetch_add(&shared->next, o->one_in);
		struct workload w;

		if (n >= count)
			break;
		if (o->workload >= 0 && n != (size_t)o->workload)
			continue;
		workload_get(n, o->quick, &w);
		explore(n, &w, chain, &r, scratch, &o->explore, counts);
		if (o->explore.max_violations && counts->violations >= o->explore.max_violations)
			break;
	}
	recovery_free(&r);
	synth_free(synth);
	scratch_remove(scratch);
}

/* Runs the workers as processes: each has a recorder of its own. False when one died. */
static bool run(const struct options *o, struct explore_counts *total)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool good = true;
	pid_t pids[WORKERS_MAX];

	if (shared == MAP_FAILED)
		abort();
	(void)fflush(NULL);
	for (unsigned i = 0; i < o->workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			abort();
		if (pids[i] == 0) {
			worker(o, shared, &shared->counts[i]);
			exit(0);
		}
	}
	*total = (struct explore_counts){0};
	for (unsigned i = 0; i < o->workers; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			good = false;
		add(total, &shared->counts[i]);
	}
	(void)munmap(shared, sizeof(*shared));
	return good;
}

static bool run_sound(const struct options *o)
{
	struct explore_counts c;
	double start = now();
	bool good = run(o, &c);

	printf("crash: %" PRIu64 " workloads (%" PRIu64
	       " without a second operation to do, %" PRIu64 " failed), %" PRIu64
	       " states (%" PRIu64 " of crashes during recovery), %" PRIu64
	       " distinct recoveries, %" PRIu64 " violations, %.0f s%s\n",
	       c.workloads, c.skipped, c.failed, c.states, c.nested, c.recoveries, c.violations,
	       now() - start, good ? "" : "; a worker died");
	return good && c.violations == 0 && c.failed == 0;
}

static bool run_defect(const struct options *from, enum diff_defect defect)
{
	static const char *const names[] = {"none",
					    "journal before data",
					    "no sync of the journal",
					    "no sync of directories",
					    "space freed before the commit",
					    "base limit kept"};
	struct options o = *from;
	struct explore_counts c;

	o.explore.defect = defect;
	o.explore.max_violations = 1;
	o.explore.print = o.explore.verbose ? 1 : 0;
	(void)run(&o, &c);
	printf("crash: defect '%s': %s after %" PRIu64 " states\n", names[defect],
	       c.violations ? "found" : "NOT FOUND", c.states);
	return c.violations > 0;
}

static int parse(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){.workers = 2, .workload = -1, .one_in = 1};
	o->explore = (struct explore_options){.nest_every = 50, .print = 5};
	while ((c = getopt(argc, argv, "qj:n:w:x:d:Dv")) != -1) {
		unsigned long n = optarg ? strtoul(optarg, NULL, 0) : 0;

		switch (c) {
		case 'q':
			o->quick = true;
			break;
		case 'j':
			o->workers = (unsigned)n;
			break;
		case 'n':
			o->explore.nest_every = (unsigned)n;
			break;
		case 'w':
			o->workload = (long)n;
			break;
		case 'x':
			o->one_in = n;
			break;
		case 'd':
			o->explore.defect = (enum diff_defect)n;
			break;
		case 'D':
			o->only_defects = true;
			break;
		case 'v':
			o->explore.verbose = true;
			break;
		default:
			return -1;
		}
	}
	return optind == argc && o->workers >= 1 && o->workers <= WORKERS_MAX && o->one_in ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options o;
	bool good = true;

	if (parse(&o, argc, argv) < 0) {
		(void)fprintf(stderr, "usage: crash [-q] [-j workers] [-n nest_every] [-w "
				      "workload] [-x one_in] [-d defect] [-D] [-v]\n");
		return 2;
	}
	if (!o.only_defects)
		good = run_sound(&o);
	if (o.workload < 0 && o.explore.defect == DIFF_DEFECT_NONE)
		for (int d = DIFF_DEFECT_JOURNAL_BEFORE_DATA; d <= DIFF_DEFECT_KEEP_BASE_LIMIT; d++)
			good &= run_defect(&o, (enum diff_defect)d);
	return good ? 0 : 1;
}
