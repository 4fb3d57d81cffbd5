/*
 * tests/mount/probe.h: what the two halves of the probe share.
 */
#ifndef PROBE_H
#define PROBE_H

#include "io/engine.h"

#include <stdio.h>

/* One line "<how> <what> ok" or "<how> <what> <errno's name>"; rc is negative where it failed. */
void probe_say(FILE *out, const char *how, const char *what, int rc);

/* The same through the engine's ring; says "ring none" where there is none. */
void probe_ring(FILE *out, struct io_engine *io, const char *outside);

#endif
