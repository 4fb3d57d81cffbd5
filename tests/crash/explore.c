/*
 * tests/crash/explore.c: see explore.h. Equal images are recovered once; what the recovery showed
 * is checked for every state that has the image, because what is allowed depends on the point of
 * the crash.
 */
#include "explore.h"

#include "base/util.h"
#include "enumerate.h"
#include "scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

struct seen {
	UT_hash_handle hh;
	uint64_t hash;
	struct found found;
};

struct explorer {
	size_t number;
	const struct workload *w;
	const struct explore_options *options;
	struct explore_counts *counts;
	struct recovery *r;
	struct workload_result result;
	struct seen *table;
	uint64_t recoveries; /* of this workload, so that it can be repeated alone */
	bool nested;
	size_t at;		  /* while nested: the first crash */
	const struct found *same; /* while nested: what must be shown once the recovery is over */
	size_t same_from;
};

static void report(struct explorer *x, size_t at, const char *why)
{
	x->counts->violations++;
	if (x->counts->violations > x->options->print)
		return;
	(void)fprintf(stderr, "VIOLATION workload %zu: ", x->number);
	workload_print(x->w, stderr);
	(void)fprintf(stderr, "\n  crash after call %zu of %zu%s: %s\n", x->nested ? x->at : at,
		      x->result.trace.count, x->nested ? ", and again during recovery" : "", why);
}

/* Making a diff has too many calls for crashes within crashes. */
static bool nests(const struct explorer *x)
{
	return x->options->nest_every && !x->w->from_start;
}

static void nest(struct explorer *x, size_t at, const struct sim *image, const struct found *found,
		 const struct trace *recovered);

static struct seen *recover(struct explorer *x, size_t at, const struct sim *image)
{
	uint64_t hash = sim_hash(image);
	struct trace trace = {0};
	struct seen *seen;
	bool deeper;

	HASH_FIND(hh, x->table, &hash, sizeof(hash), seen);
	if (seen)
		return seen;
	seen = calloc(1, sizeof(*seen));
	if (!seen)
		abort();
	seen->hash = hash;
	HASH_ADD(hh, x->table, hash, sizeof(hash), seen);
	x->counts->recoveries++;
	deeper = !x->nested && nests(x) && ++x->recoveries % x->options->nest_every == 0;
	recovery_run(x->r, image, deeper ? &trace : NULL, &seen->found);
	if (deeper && seen->found.rc == 0)
		nest(x, at, image, &seen->found, &trace);
	trace_cut(&trace, 0);
	return seen;
}

static bool state(void *ctx, size_t at, const struct sim *image)
{
	struct explorer *x = ctx;
	struct seen *seen = recover(x, at, image);
	char why[600];

	x->counts->states++;
	if (x->nested)
		x->counts->nested++;
	if (!oracle_check(&x->result.oracle, x->nested ? x->at : at, &seen->found, why,
			  sizeof(why))) {
		report(x, at, why);
	} else if (x->nested && at >= x->same_from && !found_equal(x->same, &seen->found)) {
		report(x, at, "what the first recovery showed was not durable");
	}
	return !x->options->max_violations || x->counts->violations < x->options->max_violations;
}

/*
 * Crashes during a recovery, of a trace whose last part is the recovery. When it is over, what it
 * showed must not change any more, whatever is lost then.
 */
static void nest_trace(struct explorer *x, size_t at, const struct sim *start,
		       const struct trace *trace, size_t from, const struct found *found)
{
	struct enumeration e = {.start = start,
				.trace = trace,
				.from = from,
				.rng = {.state = x->number + at},
				.fn = state,
				.ctx = x};

	x->nested = true;
	x->at = at;
	x->same = found;
	x->same_from = trace->count;
	(void)enumerate(&e);
	x->nested = false;
}

/* The power went, and goes again during the recovery: the image was durable. */
static void nest(struct explorer *x, size_t at, const struct sim *image, const struct found *found,
		 const struct trace *recovered)
{
	nest_trace(x, at, image, recovered, 0, found);
}

/* The daemon was killed, what it had written is in the host's cache; the power goes during the
 * recovery. */
static void nest_kill(struct explorer *x, size_t at, const struct sim *image)
{
	const struct trace *t = &x->result.trace;
	struct trace recovered = {0}, joint = {0};
	struct sim *none = sim_new();
	struct found found;

	recovery_run(x->r, image, &recovered, &found);
	x->counts->recoveries++;
	for (size_t i = 0; i < at; i++)
		trace_add(&joint, &t->ops[i]);
	for (size_t i = 0; i < recovered.count; i++)
		trace_add(&joint, &recovered.ops[i]);
	if (found.rc == 0)
		nest_trace(x, at, none, &joint, at, &found);
	/* the bytes belong to the two traces it was made of */
	free(joint.ops);
	trace_cut(&recovered, 0);
	found_free(&found);
	sim_free(none);
}

static bool enough(const struct explorer *x)
{
	return x->options->max_violations && x->counts->violations >= x->options->max_violations;
}

static void nest_kills(struct explorer *x)
{
	const struct trace *t = &x->result.trace;
	struct sim *image = sim_new();

	for (size_t at = 0; at <= t->count && !enough(x); at++) {
		if (at >= x->result.from && (at + x->number) % x->options->nest_every == 0)
			nest_kill(x, at, image);
		if (at < t->count)
			sim_apply(image, &t->ops[at]);
	}
	sim_free(image);
}

static void free_table(struct explorer *x)
{
	struct seen *seen, *next;

	HASH_ITER(hh, x->table, seen, next)
	{
		HASH_DELETE(hh, x->table, seen);
		found_free(&seen->found);
		free(seen);
	}
}

static void enumerate_all(struct explorer *x)
{
	struct sim *none = sim_new();
	struct enumeration e = {.start = none,
				.trace = &x->result.trace,
				.from = x->result.from,
				.rng = {.state = x->number},
				.fn = state,
				.ctx = x};

	(void)enumerate(&e);
	if (nests(x) && !enough(x))
		nest_kills(x);
	sim_free(none);
}

static void print_workload(const struct explorer *x)
{
	struct sim *all = sim_new();

	for (size_t i = 0; i < x->result.trace.count; i++)
		sim_apply(all, &x->result.trace.ops[i]);
	(void)fprintf(stderr, "workload %zu: ", x->number);
	workload_print(x->w, stderr);
	(void)fprintf(stderr, "; crashes from call %zu\n", x->result.from);
	trace_print(&x->result.trace, all, 0, x->result.trace.count);
	sim_free(all);
}

void explore(size_t number, const struct workload *w, struct layer_chain *chain, struct recovery *r,
	     const char *scratch, const struct explore_options *options,
	     struct explore_counts *counts)
{
	struct explorer *x = calloc(1, sizeof(*x));
	char diff[300];
	int rc;

	if (!x)
		abort();
	*x = (struct explorer){.number = number,
			       .recoveries = number,
			       .w = w,
			       .options = options,
			       .counts = counts,
			       .r = r};
	(void)snprintf(diff, sizeof(diff), "%s/diff", scratch);
	if (mkdir(diff, 0700) < 0)
		abort();
	counts->workloads++;
	diff_test_defect = options->defect;
	rc = workload_run(w, chain, diff, &x->result);
	diff_test_defect = DIFF_DEFECT_NONE;
	if (rc < 0) {
		counts->failed++;
		(void)fprintf(stderr, "FAILED workload %zu (%s): ", number, strerror(-rc));
		workload_print(w, stderr);
		(void)fputc('\n', stderr);
	} else if (x->result.skipped) {
		counts->skipped++;
	} else {
		if (options->verbose && !options->defect)
			print_workload(x);
		enumerate_all(x);
	}
	free_table(x);
	workload_result_free(&x->result);
	scratch_remove(diff);
	free(x);
}
