/*
 * layer/probackup/content_ahead.h: lists read and parsed on two threads, while the caller makes
 * something of the lines. They go on to the next lists while the caller is still busy with this one, as
 * far as their memory reaches (12 MiB each).
 *
 * The threads take over the rights of their creator, and no signals. They are gone after
 * content_ahead_end.
 */
#ifndef LAYER_PROBACKUP_CONTENT_AHEAD_H
#define LAYER_PROBACKUP_CONTENT_AHEAD_H

#include "layer/probackup/content.h"

struct content_source {
	int dirfd;
	const char *id; /* of the backup, for messages */
};

struct content_ahead;

/*
 * Begins to read the lists of the sources, in their order; the array must live until the end. NULL: there are
 * no threads (no memory, or a single processor), or the first list is shorter than min_bytes; then
 * content_read does it as well.
 */
struct content_ahead *content_ahead_begin(const struct content_source *sources, unsigned count,
					  uint64_t min_bytes);

/* As content_read, of the next source: the same lines, sums and messages. Not after a failure. */
int content_ahead_read(struct content_ahead *ahead,
		       int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e),
		       void *ctx, struct content_sums *ret, struct errmsg *e);

/* At any time; NULL is fine. */
void content_ahead_end(struct content_ahead *ahead);

#endif
