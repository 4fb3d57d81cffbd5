/*
 * What checking every page costs: reads all relations of a chain with and without it and prints the
 * ratio of the speeds. The bytes must be the same; no time is asserted.
 *
 *	verify_reads STORE [ROUNDS]
 *
 * Warm: the first round fills the page cache and the indexes and is not counted. All is done in one
 * thread, whose processor time is taken, so that a busy machine does not count; with and without take
 * turns, and the fastest round of each counts.
 */
#include <pgoverlay/pgoverlay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PIECE (128u << 10) /* what the kernel's readahead asks for */

struct side {
	struct pgoverlay_chain *chain;
	uint64_t bytes;
	uint64_t sum;
	double best; /* seconds of the fastest round */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t add_up(uint64_t sum, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum = sum * 31 + words[i];
	return sum;
}

static int read_relation(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	static uint64_t buf[PIECE / sizeof(uint64_t)];
	struct side *side = ctx;
	struct pgoverlay_file *file;
	int64_t n;

	if (!st->is_relation || st->size == 0)
		return 0;
	if (pgoverlay_open(side->chain, path, &file) < 0)
		return -1;
	for (uint64_t off = 0; (n = pgoverlay_pread(file, buf, PIECE, off)) > 0;
	     off += (uint64_t)n) {
		side->bytes += (uint64_t)n;
		/* Each page's first words: enough to tell pages apart. */
		for (int64_t at = 0; at < n; at += PGOVERLAY_BLOCK_SIZE)
			side->sum = add_up(side->sum, &buf[(size_t)at / sizeof(uint64_t)], 8);
	}
	pgoverlay_close(file);
	return n < 0 ? -1 : 0;
}

static int run(struct side *side, int count)
{
	double begun = now(), took;

	side->bytes = side->sum = 0;
	if (pgoverlay_walk(side->chain, read_relation, side) != 0)
		return -1;
	took = now() - begun;
	if (count && (side->best == 0 || took < side->best))
		side->best = took;
	return 0;
}

static int open_side(struct pgoverlay_store *store, int no_verify, struct side *ret)
{
	struct pgoverlay_options options = {.size = sizeof(options),
					    .no_lock = 1,
					    .no_verify = no_verify,
					    .index_bytes = 1u << 30};
	struct pgoverlay_error e = PGOVERLAY_ERROR_INIT;

	if (pgoverlay_chain_open(store, &options, &e, &ret->chain) == 0)
		return 0;
	(void)fprintf(stderr, "%s\n", e.text);
	return -1;
}

int main(int argc, char **argv)
{
	struct pgoverlay_error e = PGOVERLAY_ERROR_INIT;
	struct pgoverlay_store *store;
	struct side on = {0}, off = {0};
	int rounds = argc > 2 ? atoi(argv[2]) : 3;

	if (argc < 2 || pgoverlay_store_open(argv[1], &e, &store) < 0) {
		(void)fprintf(stderr, "%s\n", argc < 2 ? "verify_reads STORE [ROUNDS]" : e.text);
		return 2;
	}
	if (open_side(store, 0, &on) != 0 || open_side(store, 1, &off) != 0)
		return 1;
	for (int i = 0; i <= rounds; i++) {
		if (run(&on, i > 0) != 0 || run(&off, i > 0) != 0) {
			printf("not ok verify_reads: a relation cannot be read\n");
			return 1;
		}
		if (on.sum != off.sum || on.bytes != off.bytes || on.bytes == 0) {
			printf("not ok verify_reads: other bytes with and without\n");
			return 1;
		}
	}
	printf("verified reads over unverified ones: %.3f (%.0f and %.0f MB/s, %.1f MB in one thread)\n",
	       off.best / on.best, (double)on.bytes / on.best / 1e6,
	       (double)off.bytes / off.best / 1e6, (double)on.bytes / 1e6);
	printf("ok verify_reads\n");
	pgoverlay_chain_close(on.chain);
	pgoverlay_chain_close(off.chain);
	pgoverlay_store_close(store);
	return 0;
}
