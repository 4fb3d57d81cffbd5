/*
 * tests/fault/fault_main.c: every call through base/sys.h and every allocation of every script goes
 * wrong, in every way, once and for good, with both engines.
 *
 *	fault [-j jobs] [-s seed] [-n runs, 0: all] [-S script] [-e engine] [-k kind] [-a at] [-q]
 *
 * One process does one script with one engine; when it dies, another goes on behind the run that it
 * died of.
 */
#include "run.h"
#include "scratch.h"
#include "scripts.h"

#include "base/log.h"
#include "base/util.h"
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_SECONDS 120u
#define TOLD	    3u /* failures of one kind that are printed */
#define DEATHS_MAX  20u

enum class { CALLS, TRANSFERS, ALLOCATIONS, CLASS_MAX_ };

static const struct kind {
	const char *name;
	enum class class;
	struct inject inject;
} kinds[] = {
	{"EIO", CALLS, {.kind = INJECT_ERROR, .error = -EIO}},
	{"EIO-sticky", CALLS, {.kind = INJECT_ERROR, .error = -EIO, .sticky = true}},
	{"ENOSPC", CALLS, {.kind = INJECT_ERROR, .error = -ENOSPC}},
	{"ENOSPC-sticky", CALLS, {.kind = INJECT_ERROR, .error = -ENOSPC, .sticky = true}},
	{"EDQUOT", CALLS, {.kind = INJECT_ERROR, .error = -EDQUOT}},
	{"EDQUOT-sticky", CALLS, {.kind = INJECT_ERROR, .error = -EDQUOT, .sticky = true}},
	{"ENOMEM", CALLS, {.kind = INJECT_ERROR, .error = -ENOMEM}},
	{"ENOMEM-sticky", CALLS, {.kind = INJECT_ERROR, .error = -ENOMEM, .sticky = true}},
	{"EINTR", CALLS, {.kind = INJECT_EINTR}},
	{"EINTR-sticky", CALLS, {.kind = INJECT_EINTR, .sticky = true}},
	{"short", TRANSFERS, {.kind = INJECT_SHORT}},
	{"short-sticky", TRANSFERS, {.kind = INJECT_SHORT, .sticky = true}},
	{"short-EIO", TRANSFERS, {.kind = INJECT_BROKEN, .error = -EIO}},
	{"short-ENOSPC", TRANSFERS, {.kind = INJECT_BROKEN, .error = -ENOSPC}},
	{"memory", ALLOCATIONS, {.kind = INJECT_MEMORY}},
	{"memory-sticky", ALLOCATIONS, {.kind = INJECT_MEMORY, .sticky = true}},
};

static const struct engine {
	const char *name;
	enum io_kind kind;
} engines[] = {{"threads", IO_KIND_THREADS}, {"uring", IO_KIND_URING}};

struct options {
	unsigned jobs;
	uint64_t seed, runs;
	const char *script, *engine, *kind;
	long at;
	bool quiet;
};

/* Shared between the processes. A script with an engine. */
struct unit {
	unsigned kind; /* where it is, */
	long at;       /* and where it goes on */
	bool finished;
	long counts[CLASS_MAX_];
	uint64_t runs, hits, failures;
	unsigned deaths, told;
	pid_t pid;
};

static struct options o = {.jobs = 2, .seed = 1};
static struct unit *units;
static struct runner runner; /* read in once; each process goes on with its copy */
static long quota; /* runs of each kind in a unit; 0: all */
static char scratch[200];
static struct synth *synth;
static struct layer_chain *chain;
static char layers_path[300];

static unsigned unit_count(void)
{
	return script_count * ARRAY_SIZE(engines);
}

static const struct script *script_of(unsigned unit)
{
	return &scripts[unit / ARRAY_SIZE(engines)];
}

static const struct engine *engine_of(unsigned unit)
{
	return &engines[unit % ARRAY_SIZE(engines)];
}

static bool unit_wanted(unsigned unit)
{
	return (!o.script || strcmp(o.script, script_of(unit)->name) == 0) &&
	       (!o.engine || strcmp(o.engine, engine_of(unit)->name) == 0);
}

static bool kind_wanted(unsigned kind)
{
	return !o.kind || strcmp(o.kind, kinds[kind].name) == 0;
}

/* Runs of this kind: all, or as many as come to each pair of unit and kind. */
static long run_count(unsigned unit, unsigned kind)
{
	long count = units[unit].counts[kinds[kind].class];

	if (o.at)
		return count > 0;
	return quota && quota < count ? quota : count;
}

/* The i-th of them: evenly spread, the seed says from where on. */
static long run_at(unsigned unit, unsigned kind, long i)
{
	uint64_t dice = rng_mix(o.seed ^ rng_mix(unit * 64 + kind));
	double phase = (double)(dice >> 11) / (double)(UINT64_C(1) << 53);
	long count = units[unit].counts[kinds[kind].class], n = run_count(unit, kind);

	if (o.at)
		return o.at;
	return n == count ? i + 1 : 1 + (long)(((double)i + phase) * (double)count / (double)n);
}

static void tell(unsigned unit, unsigned kind, long at, const char *why)
{
	struct unit *u = &units[unit];

	u->failures++;
	if (u->told++ >= TOLD && !o.at)
		return;
	printf("not ok fault -S '%s' -e %s -k %s -a %ld: %s\n", script_of(unit)->name,
	       engine_of(unit)->name, kinds[kind].name, at, why);
	(void)fflush(stdout);
}

/* ---- one process ---- */

static bool one_run(struct runner *r, unsigned unit, unsigned kind, long at)
{
	struct unit *u = &units[unit];
	struct inject inject = kinds[kind].inject;
	struct inject_seen seen;
	bool hit, good;

	u->kind = kind;
	u->at = at;
	inject.at = at;
	(void)alarm(RUN_SECONDS);
	good = runner_run(r, script_of(unit), engine_of(unit)->kind, &inject, &seen, &hit);
	(void)alarm(0);
	u->runs++;
	u->hits += hit;
	if (!good)
		tell(unit, kind, at, r->p.why);
	return good;
}

/* How often each class can go wrong, without anything doing so. */
static bool count_unit(struct runner *r, unsigned unit)
{
	static const struct inject nothing = {.kind = INJECT_NONE};
	struct inject_seen seen;
	bool hit;

	if (!runner_run(r, script_of(unit), engine_of(unit)->kind, &nothing, &seen, &hit)) {
		tell(unit, 0, 0, r->p.why);
		return false;
	}
	units[unit].counts[CALLS] = seen.calls;
	units[unit].counts[TRANSFERS] = seen.transfers;
	units[unit].counts[ALLOCATIONS] = seen.allocations;
	return true;
}

static void run_unit(unsigned unit)
{
	struct unit *u = &units[unit];
	unsigned first_kind = u->kind;
	long first_at = u->at;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/diff-%u", scratch, unit);
	runner_move(&runner, path);
	/* What it leaves in libraries is no leak of the runs after it. */
	if (!count_unit(&runner, unit))
		exit(1);
	for (unsigned kind = first_kind; kind < ARRAY_SIZE(kinds); kind++) {
		u->told = kind == first_kind ? u->told : 0;
		for (long i = 0; kind_wanted(kind) && i < run_count(unit, kind); i++) {
			long at = run_at(unit, kind, i);

			if (kind > first_kind || at > first_at)
				(void)one_run(&runner, unit, kind, at);
		}
	}
	u->finished = true;
	scratch_remove(path);
}

/* ---- all of them ---- */

static void start_unit(unsigned unit)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		abort();
	}
	if (pid == 0) {
		run_unit(unit);
		runner_free(&runner);
		synth_free(synth);
		exit(0);
	}
	units[unit].pid = pid; /* here only: the memory is shared */
}

/* True: the unit is through. */
static bool end_unit(unsigned unit, int status)
{
	struct unit *u = &units[unit];
	char why[100];

	if (u->finished && status == 0)
		return true;
	if (u->finished)
		(void)snprintf(why, sizeof(why), "exit status %d in the end: a leak?",
			       WEXITSTATUS(status));
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void)snprintf(why, sizeof(why), "hangs");
	else
		(void)snprintf(why, sizeof(why), "dies (%s %d)",
			       WIFSIGNALED(status) ? "signal" : "exit status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	u->told = 0;
	tell(unit, u->kind, u->at, why);
	return u->finished || ++u->deaths >= DEATHS_MAX;
}

static void wait_unit(unsigned *running)
{
	int status;
	pid_t pid = wait(&status);

	for (unsigned i = 0; i < unit_count(); i++) {
		if (units[i].pid != pid)
			continue;
		units[i].pid = 0;
		if (end_unit(i, status)) {
			(*running)--;
			if (!o.quiet)
				printf("%s, %s: %" PRIu64 " runs, %" PRIu64 " failed\n",
				       script_of(i)->name, engine_of(i)->name, units[i].runs,
				       units[i].failures);
		} else {
			start_unit(i);
		}
		return;
	}
}

static uint64_t count_all(void)
{
	uint64_t total = 0, pairs = 0;
	char path[300], first[300];

	(void)snprintf(first, sizeof(first), "%s/first", scratch);
	(void)snprintf(path, sizeof(path), "%s/diff", scratch);
	runner_init(&runner, chain, layers_path, first);
	scratch_remove(first);
	runner_move(&runner, path);
	for (unsigned i = 0; i < unit_count(); i++) {
		if (!unit_wanted(i))
			continue;
		if (!count_unit(&runner, i))
			exit(1);
		units[i].kind = 0;
		units[i].at = 0;
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			pairs += kind_wanted(k);
			total += kind_wanted(k) ? (uint64_t)run_count(i, k) : 0;
		}
	}
	if (o.runs && o.runs < total)
		quota = (long)MAX(o.runs / pairs, 1u);
	scratch_remove(path);
	return total;
}

static int summary(uint64_t possible, double start)
{
	uint64_t calls = 0, allocations = 0, runs = 0, hits = 0, failures = 0;
	struct timespec now;

	for (unsigned i = 0; i < unit_count(); i++) {
		calls += (uint64_t)units[i].counts[CALLS];
		allocations += (uint64_t)units[i].counts[ALLOCATIONS];
		runs += units[i].runs;
		hits += units[i].hits;
		failures += units[i].failures;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	printf("fault: %u scripts, %zu engines, %" PRIu64 " calls, %" PRIu64 " allocations, %zu kinds, "
	       "seed %" PRIu64 ": %" PRIu64 " of %" PRIu64 " runs, %" PRIu64
	       " in which something went wrong, %" PRIu64 " failed, %.0f s\n",
	       script_count, ARRAY_SIZE(engines), calls, allocations, ARRAY_SIZE(kinds), o.seed,
	       runs, possible, hits, failures, (double)now.tv_sec - start);
	return failures ? 1 : 0;
}

static bool parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "j:s:n:S:e:k:a:q")) != -1) {
		switch (c) {
		case 'j':
			o.jobs = (unsigned)MAX(atoi(optarg), 1);
			break;
		case 's':
			o.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o.runs = strtoull(optarg, NULL, 0);
			break;
		case 'S':
			o.script = optarg;
			break;
		case 'e':
			o.engine = optarg;
			break;
		case 'k':
			o.kind = optarg;
			break;
		case 'a':
			o.at = atol(optarg);
			break;
		case 'q':
			o.quiet = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

static void prepare(void)
{
	scratch_new("fault", scratch, sizeof(scratch));
	(void)snprintf(layers_path, sizeof(layers_path), "%s/layers", scratch);
	if (mkdir(layers_path, 0700) < 0 || log_open(AT_FDCWD, "/dev/null") < 0)
		abort();
	chain = scripts_chain(layers_path, &synth);
	units = mmap(NULL, unit_count() * sizeof(*units), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (units == MAP_FAILED)
		abort();
}

int main(int argc, char **argv)
{
	unsigned running = 0;
	struct timespec now;
	uint64_t possible;
	double start;
	int rc;

	if (!parse(argc, argv)) {
		(void)fprintf(stderr, "usage: fault [-j jobs] [-s seed] [-n runs] [-S script] "
				      "[-e engine] [-k kind] [-a at] [-q]\n");
		return 2;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	start = (double)now.tv_sec;
	prepare();
	possible = count_all();
	for (unsigned i = 0; i < unit_count(); i++) {
		if (!unit_wanted(i))
			continue;
		while (running >= o.jobs)
			wait_unit(&running);
		start_unit(i);
		running++;
	}
	while (running > 0)
		wait_unit(&running);
	rc = summary(possible, start);
	scratch_remove(scratch);
	runner_free(&runner);
	synth_free(synth);
	return rc;
}
