/*
 * cmd/offline.h: working on a clone that is not served: its overlay with an engine that runs on the
 * calling thread. Everything blocks.
 */
#ifndef CMD_OFFLINE_H
#define CMD_OFFLINE_H

#include "overlay/overlay.h"

struct offline {
	struct overlay *ov;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
};

/* Starts an overlay that was not started yet. offline_end must follow, also after a failure. */
int offline_start(struct overlay *ov, struct errmsg *e, struct offline *ret);
/* Runs completions until *done. */
void offline_wait(struct offline *o, const bool *done);
/* Frees the overlay and closes its diff. */
void offline_end(struct offline *o);

#endif
