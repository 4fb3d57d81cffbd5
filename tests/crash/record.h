/*
 * tests/crash/record.h: the recorder: hooks base/sys.h and turns every change below one directory
 * into a trace of the simulated disk.
 */
#ifndef CRASH_RECORD_H
#define CRASH_RECORD_H

#include "sim.h"

/*
 * Records from now on: root is the directory's absolute path, sim what it holds now; each change is
 * applied to sim and added to trace. One recorder at a time. Descriptors opened before are not
 * known.
 */
void record_start(const char *root, struct sim *sim, struct trace *trace);
void record_stop(void);

/* Another one may be made in between. */
struct recording;
struct recording *record_suspend(void);
void record_resume(struct recording *recording);

#endif
