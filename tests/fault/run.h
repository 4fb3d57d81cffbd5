/*
 * tests/fault/run.h: one run: a script in which one thing goes wrong, and what must be true after
 * it.
 */
#ifndef FAULT_RUN_H
#define FAULT_RUN_H

#include "player.h"

/* What a run leaves behind, as far as it can be counted without the sanitizer's search. */
struct runner {
	struct player p;
	struct book *chain_book; /* the chain without a diff */
	const char *layers_path;
	unsigned fds;
	size_t bytes;
};

void runner_init(struct runner *r, struct layer_chain *chain, const char *layers_path,
		 const char *diff_path);
/* Makes a diff for the runs to come; the first one has to be made like this, too. */
void runner_move(struct runner *r, const char *diff_path);
void runner_free(struct runner *r);

/* *ret_seen: what could have gone wrong. False: r->p.why says what was wrong. */
bool runner_run(struct runner *r, const struct script *script, enum io_kind engine,
		const struct inject *inject, struct inject_seen *ret_seen, bool *ret_hit);

#endif
