/*
 * overlay/group.c: the segments of a plan that lie near each other in one stored file become one
 * read.
 *
 * Blocks of a relation that increments have touched are many short segments, taking turns between
 * layers. In the stored file of one layer they follow each other with small gaps (records that a
 * newer layer replaces). Reading those too costs less than a system call for each segment.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>

#define GAP_MAX (16u << 10) /* bytes that may be read for nothing between two segments */

static struct group *last_of_part(const struct fetch *fetch, uint32_t part)
{
	for (unsigned i = fetch->group_count; i-- > 0;)
		if (fetch->groups[i].part == part)
			return &fetch->groups[i];
	return NULL;
}

static void place(struct fetch *fetch, struct segment *s, uint64_t *spare)
{
	struct group *g = last_of_part(fetch, s->part);
	uint64_t gap = g && s->off >= g->off + g->len ? s->off - (g->off + g->len) : UINT64_MAX;

	if (gap <= GAP_MAX && gap <= *spare) {
		*spare -= gap;
		g->len += gap + s->len;
	} else {
		g = &fetch->groups[fetch->group_count++];
		*g = (struct group){.fetch = fetch,
				    .part = s->part,
				    .vfd = s->vfd,
				    .off = s->off,
				    .len = s->len};
	}
	s->group = (unsigned)(g - fetch->groups);
}

int group_segments(struct fetch *fetch)
{
	uint64_t spare = (uint64_t)fetch->count * BLCK / 4; /* all gaps together */
	uint64_t need = 0;

	fetch->groups = malloc(fetch->segment_count * sizeof(*fetch->groups));
	if (!fetch->groups)
		return -ENOMEM;
	for (unsigned i = 0; i < fetch->segment_count; i++)
		if (fetch->segments[i].kind == SEGMENT_STORED)
			place(fetch, &fetch->segments[i], &spare);
	for (unsigned i = 0; i < fetch->group_count; i++) {
		fetch->groups[i].raw_off = need;
		need += fetch->groups[i].len;
	}
	fetch->raw = malloc(need);
	return fetch->raw ? 0 : -ENOMEM;
}

const uint8_t *group_raw(const struct segment *s)
{
	const struct group *g = &s->fetch->groups[s->group];

	return s->fetch->raw + g->raw_off + (s->off - g->off);
}

/* The first block of the segment whose record is not whole in the first got bytes of its group. */
static uint32_t first_missing(const struct segment *s, uint64_t got)
{
	const struct base *base = s->fetch->file->base;
	uint64_t end = s->fetch->groups[s->group].off + got;
	uint32_t block = s->first;

	while (block < s->first + s->count &&
	       index_entry(base, block)->off + index_entry(base, block)->len <= end)
		block++;
	return block;
}

const struct segment *group_missing(const struct group *g, int64_t got, uint32_t *ret_block)
{
	const struct fetch *fetch = g->fetch;
	unsigned number = (unsigned)(g - fetch->groups);

	for (unsigned i = 0; i < fetch->segment_count; i++) {
		const struct segment *s = &fetch->segments[i];
		uint32_t block;

		if (s->kind != SEGMENT_STORED || s->group != number)
			continue;
		block = first_missing(s, got > 0 ? (uint64_t)got : 0);
		if (block < s->first + s->count) {
			*ret_block = block;
			return s;
		}
	}
	return NULL;
}
