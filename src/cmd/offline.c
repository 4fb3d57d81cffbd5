/*
 * cmd/offline.c: see offline.h.
 */
#include "cmd/offline.h"

#include "base/util.h"

#define BUFFER_BYTES (16u << 20)

int offline_start(struct overlay *ov, struct errmsg *e, struct offline *ret)
{
	const struct io_engine_options options = {.kind = IO_KIND_SYNC};
	int rc;

	*ret = (struct offline){.ov = ov};
	rc = io_engine_new(&options, e, &ret->io);
	if (rc == 0)
		rc = vfd_cache_new(ret->io, 0, &ret->vfds);
	if (rc == 0)
		rc = bufpool_new(BUFFER_BYTES, &ret->buffers);
	if (rc == 0)
		rc = overlay_start(ov, ret->io, ret->vfds, ret->buffers);
	return rc;
}

void offline_wait(struct offline *o, const bool *done)
{
	while (!*done)
		(void)io_wait(o->io, -1);
}

void offline_end(struct offline *o)
{
	struct diff *diff = overlay_diff(o->ov);

	overlay_free(o->ov);
	diff_close(diff);
	bufpool_free(o->buffers);
	vfd_cache_free(o->vfds);
	io_engine_free(o->io);
	*o = (struct offline){0};
}
