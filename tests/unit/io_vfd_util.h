/*
 * tests/unit/io_vfd_util.h: a cache under test, and operations on it that wait.
 */
#ifndef TESTS_UNIT_IO_VFD_UTIL_H
#define TESTS_UNIT_IO_VFD_UTIL_H

#include "io/vfd.h"
#include "io_util.h"

extern struct io_engine *engine;
extern struct vfd_cache *cache;
extern struct probe probe;

/* An engine (see io_util.h), the probe and a cache; false where the engine does not exist. */
bool start(int which, unsigned slots);
void stop(void);

struct vfd *file(const char *name, int flags); /* in unit_dir */
void make(const char *name);		       /* a file whose text is its name */
struct vfd_stats stats(void);
long calls(enum sys_call call); /* since the last probe_reset or probe_fail */

void finished(struct vfd_op *op); /* a done that clears op->vfd */
extern struct vfd *to_free;
void done_frees(struct vfd_op *op); /* finished, after it has freed to_free */
int64_t run(struct vfd_op *op);
int64_t do_sync(struct vfd *vfd);
int64_t do_write(struct vfd *vfd, const char *text);
int64_t do_read(struct vfd *vfd, char *buf, size_t len);
void expect_text(struct vfd *vfd, const char *text);
int64_t job_nothing(struct io_op *op);

/* Opens and frees n other files, one after the other. */
void crowd(unsigned n);
/* The same with all of them asking at once: as many slots are evicted, whatever is in them. */
void push_out(unsigned n);

#endif
