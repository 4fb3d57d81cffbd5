/*
 * tests/fault/scripts.h: the scripts, and the chain they work on.
 */
#ifndef FAULT_SCRIPTS_H
#define FAULT_SCRIPTS_H

#include "player.h"
#include "synth.h"

extern const struct script scripts[];
extern const unsigned script_count;

/* dir exists and is empty. */
struct layer_chain *scripts_chain(const char *dir, struct synth **ret);
/* The book of the chain as it is without a diff: what the overlay reads while nothing goes wrong. */
void scripts_read_chain(struct player *p);

#endif
