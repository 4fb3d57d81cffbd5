/*
 * tests/crash/workload_list.c: which workloads there are, by number.
 *
 * Full: every pair of operations on every kind of file, prepared durably or not, each with SPREAD
 * of the 28 ways to place syncs; journal limits and completion orders go round. Quick: single
 * operations.
 */
#include "workload.h"

#include "base/util.h"
#include "rng.h"
#include "synth.h"

#define OPS    ((size_t)OP_STORM - 1) /* that are combined in pairs */
#define ALONE  ((size_t)OP_MAX_ - 1)
#define SPREAD 4u

static const enum workload_sync firsts[] = {SYNC_NONE,		SYNC_FILE, SYNC_DIR,
					    SYNC_OTHER,		SYNC_ALL,  SYNC_FILE_OVERLAPPED,
					    SYNC_ALL_OVERLAPPED};
static const enum workload_sync lasts[] = {SYNC_NONE, SYNC_FILE, SYNC_DIR, SYNC_ALL};
static const uint64_t limits[] = {0, 1, 700, 0};

#define PLACES (ARRAY_SIZE(firsts) * ARRAY_SIZE(lasts))

static size_t singles(void)
{
	return ALONE * KIND_MAX_ * 2 * SYNC_FILE_OVERLAPPED;
}

size_t workload_count(bool quick)
{
	return quick ? singles() : singles() + OPS * OPS * KIND_MAX_ * 2 * SPREAD;
}

static void spread(size_t number, struct workload *w)
{
	struct rng g = {.state = rng_mix(number)};

	w->journal_limit = limits[rng_below(&g, ARRAY_SIZE(limits))];
	w->shuffle_seed = rng_one_in(&g, 3) ? rng_u64(&g) | 1 : 0;
	w->hold = rng_one_in(&g, 2);
	w->close = rng_one_in(&g, 4);
}

void workload_get(size_t number, bool quick, struct workload *ret)
{
	size_t n = number;

	(void)quick;
	*ret = (struct workload){0};
	spread(number, ret);
	if (n < singles()) {
		ret->kind = (enum workload_kind)(n % KIND_MAX_);
		n /= KIND_MAX_;
		ret->setup_synced = n % 2 == 0;
		n /= 2;
		ret->ops[0] = (enum workload_op)(1 + n % ALONE);
		ret->syncs[0] = (enum workload_sync)(n / ALONE);
		ret->from_start = ret->kind == KIND_NEW && !ret->setup_synced &&
				  ret->ops[0] == OP_CREATE && ret->syncs[0] == SYNC_ALL;
		return;
	}
	n -= singles();
	ret->kind = (enum workload_kind)(n % KIND_MAX_);
	n /= KIND_MAX_;
	ret->setup_synced = n % 2 == 0;
	n /= 2;
	ret->ops[0] = (enum workload_op)(1 + n % OPS);
	n /= OPS;
	ret->ops[1] = (enum workload_op)(1 + n % OPS);
	n /= OPS;
	/* the ways to place syncs are dealt out so that neighbours get different ones */
	n = (n * (PLACES / SPREAD) + rng_mix(number / 8) % PLACES) % PLACES;
	ret->syncs[0] = firsts[n % ARRAY_SIZE(firsts)];
	ret->syncs[1] = lasts[n / ARRAY_SIZE(firsts)];
}

void workload_print(const struct workload *w, FILE *out)
{
	static const char *const kinds[] = {"file of a layer", "new file", "renamed file",
					    "regrown file"};
	static const char *const ops[] = {"-",	      "create",	  "overwrite", "partial",
					  "append",   "cut",	  "empty",     "regrow",
					  "punch",    "replace",  "rename",    "unlink",
					  "exchange", "allocate", "link",      "storm"};
	static const char *const syncs[] = {"-",
					    "fsync",
					    "fsyncdir",
					    "fsync other",
					    "sync all",
					    "fsync overlapped",
					    "sync all overlapped"};

	(void)fprintf(out, "%s (%s), %s, %s, %s, %s; journal limit %llu, %s, %s%s", kinds[w->kind],
		      w->setup_synced ? "synced" : "not synced", ops[w->ops[0]], syncs[w->syncs[0]],
		      ops[w->ops[1]], syncs[w->syncs[1]], (unsigned long long)w->journal_limit,
		      w->shuffle_seed ? "shuffled" : "in order", w->hold ? "held" : "not held",
		      w->close ? ", closed" : "");
}

struct layer_chain *workload_chain(const char *dir, struct synth **ret)
{
	static const uint8_t whole[] = {1, 1, 1, 1}, one[] = {0, 1};
	struct synth_blocks all = {.origin = LAYER_ORIGIN_NONE,
				   .size = LAYER_SIZE_UNKNOWN,
				   .base_limit = LAYER_NO_LIMIT,
				   .count = 4,
				   .stored = whole};
	struct synth_blocks changed = all;
	struct synth *s = synth_new(dir, 2, 42);

	changed.origin = LAYER_ORIGIN_NEAREST;
	changed.base_limit = 4;
	changed.count = 2;
	changed.stored = one;
	for (unsigned i = 0; i < 2; i++) {
		synth_add_dir(s, i, "d", 0700);
		synth_add_blocks(s, i, "base", i == 0 ? &all : &changed);
		synth_add_plain(s, i, "d/other", 20000, i == 0);
		synth_add_plain(s, i, "victim", 20000, i == 0);
	}
	*ret = s;
	return synth_chain(s);
}
