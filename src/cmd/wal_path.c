/*
 * cmd/wal_path.c: see wal_path.h.
 */
#include "cmd/wal_path.h"

#include "base/util.h"

#include <errno.h>

static const struct wal_history *find_history(const struct wal_list *list, uint32_t timeline)
{
	for (size_t i = 0; i < list->history_count; i++) {
		if (list->histories[i].timeline == timeline)
			return &list->histories[i];
	}
	return NULL;
}

uint32_t wal_path_latest(const struct wal_list *list, uint32_t from)
{
	while (from < UINT32_MAX && find_history(list, from + 1) != NULL)
		from++;
	return from;
}

int wal_path_make(const struct wal_list *list, uint32_t timeline, struct wal_path *ret)
{
	const struct wal_history *h = find_history(list, timeline);

	if (timeline != 1 && (h == NULL || h->ancestors == NULL))
		return -ENOENT;
	*ret = (struct wal_path){.list = list, .timeline = timeline};
	if (h != NULL) {
		ret->ancestors = h->ancestors;
		ret->count = h->count;
	}
	return 0;
}

bool wal_path_has(const struct wal_path *path, uint32_t timeline, uint64_t lsn)
{
	if (timeline == path->timeline)
		return path->count == 0 || lsn >= path->ancestors[path->count - 1].lsn;
	for (size_t i = 0; i < path->count; i++) {
		if (path->ancestors[i].timeline == timeline)
			return lsn <= path->ancestors[i].lsn &&
			       (i == 0 || lsn >= path->ancestors[i - 1].lsn);
	}
	return false;
}

static bool has_segment(const struct wal_list *list, uint32_t timeline, uint64_t number)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct wal_segment *s = &list->segments[mid];

		if (s->timeline < timeline || (s->timeline == timeline && s->number < number))
			low = mid + 1;
		else
			high = mid;
	}
	return low < list->count && list->segments[low].timeline == timeline &&
	       list->segments[low].number == number;
}

/* Is the segment of the i-th timeline of the path on it? count: the last one. */
static bool is_on(const struct wal_path *path, size_t i, uint64_t segment)
{
	uint32_t size = path->list->segment_size;

	if (i > 0 && segment < path->ancestors[i - 1].lsn / size)
		return false;
	return i == path->count || segment <= path->ancestors[i].lsn / size;
}

static uint32_t timeline_at(const struct wal_path *path, size_t i)
{
	return i == path->count ? path->timeline : path->ancestors[i].timeline;
}

/* Newest first, as the server looks for it. */
uint32_t wal_path_find(const struct wal_path *path, uint64_t segment)
{
	for (size_t i = path->count + 1; i-- > 0;) {
		if (is_on(path, i, segment) &&
		    has_segment(path->list, timeline_at(path, i), segment))
			return timeline_at(path, i);
	}
	return 0;
}

uint64_t wal_path_missing(const struct wal_path *path, uint64_t first)
{
	while (wal_path_find(path, first) != 0)
		first++;
	return first;
}

uint64_t wal_path_end(const struct wal_path *path)
{
	uint64_t end = 0;

	for (size_t i = 0; i <= path->count; i++) {
		for (size_t k = 0; k < path->list->count; k++) {
			const struct wal_segment *s = &path->list->segments[k];

			if (s->timeline == timeline_at(path, i) && is_on(path, i, s->number))
				end = MAX(end, s->number + 1);
		}
	}
	return end;
}

void wal_path_name(const struct wal_path *path, uint64_t segment, char ret[PG_WAL_NAME_SIZE])
{
	size_t i = path->count + 1;

	while (i-- > 1 && !is_on(path, i, segment))
		continue;
	pg_wal_segment_name(timeline_at(path, i), segment, path->list->segment_size, ret);
}
