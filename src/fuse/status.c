/*
 * What a running mount says of itself, as JSON. The keys that scripts rely on: mountpoint, diff,
 * pid, engine, requests, errors, layers[], diff_bytes, fds, index_bytes, nodes, fd_cache,
 * allocated_bytes. docs/status.md says what they mean.
 */
#include "fuse/fuse_internal.h"

#include "base/sys.h"

#include <cjson/cJSON.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[IO_CODE_MAX_] = {
	[IO_READ] = "read",   [IO_WRITE] = "write",	    [IO_FDATASYNC] = "fdatasync",
	[IO_FSYNC] = "fsync", [IO_FALLOCATE] = "fallocate", [IO_JOB] = "job",
};

static void add(cJSON *to, const char *key, uint64_t value)
{
	(void)cJSON_AddNumberToObject(to, key, (double)value);
}

/* Cumulative: how many took less than so many nanoseconds; at last, without a bound, all. */
static void add_latency(cJSON *to, const uint64_t buckets[LATENCY_BUCKETS])
{
	cJSON *latency = cJSON_AddArrayToObject(to, "latency");
	uint64_t sum = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		cJSON *bucket = cJSON_CreateObject();

		sum += buckets[i];
		if (i + 1 < LATENCY_BUCKETS)
			add(bucket, "below_ns", (uint64_t)LATENCY_FIRST << i);
		add(bucket, "count", sum);
		(void)cJSON_AddItemToArray(latency, bucket);
	}
}

static void add_requests(cJSON *to, const struct session *s)
{
	cJSON *requests = cJSON_AddObjectToObject(to, "requests");
	uint64_t errors = 0;

	for (unsigned i = 0; i < REQUEST_MAX_; i++) {
		cJSON *r;

		errors += s->stats.errors[i];
		if (s->stats.count[i] == 0)
			continue;
		r = cJSON_AddObjectToObject(requests, request_type_name(i));
		add(r, "count", s->stats.count[i]);
		add(r, "errors", s->stats.errors[i]);
		add(r, "total_ns", s->stats.ns[i]);
		add_latency(r, s->stats.latency[i]);
	}
	add(to, "errors", errors);
	add(to, "read_bytes", s->stats.read_bytes);
	add(to, "write_bytes", s->stats.write_bytes);
	add(to, "in_flight", s->in_flight);
	add(to, "parked", s->parked);
	add(to, "held_back", s->held_back);
	add(to, "nodes", s->node_count);
}

static void add_layers(cJSON *to, const struct layer_chain *chain, const struct overlay *ov)
{
	cJSON *layers = cJSON_AddArrayToObject(to, "layers");

	for (unsigned i = 0; chain != NULL && i < chain->count; i++) {
		cJSON *layer = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(layer, "id", chain->layers[i]->id);
		add(layer, "read_bytes", overlay_layer_bytes(ov, i));
		(void)cJSON_AddItemToArray(layers, layer);
	}
}

static void add_overlay(cJSON *to, struct overlay *ov)
{
	struct overlay_stats st = {0};

	overlay_get_stats(ov, &st);
	add(to, "files", st.files);
	add(to, "nameless_files", st.nameless);
	add(to, "index_bytes", st.index_bytes);
	add(to, "index_builds", st.index_builds);
	add(to, "index_loads", st.index_loads);
	add(to, "base_blocks", st.base_blocks);
	add(to, "diff_blocks", st.diff_blocks);
	add(to, "zero_blocks", st.zero_blocks);
	add(to, "bad_pages", st.bad_pages);
	add(to, "bad_files", st.bad_files);
}

static void add_diff(cJSON *to, struct diff *diff)
{
	struct diff_stats st = {0};

	if (diff != NULL)
		diff_get_stats(diff, &st);
	add(to, "diff_bytes", st.data_blocks * DIFF_BLCKSZ);
	add(to, "diff_files", st.files);
	add(to, "journal_used", st.journal_used);
	add(to, "journal_size", st.journal_size);
	add(to, "pending_bytes", st.pending_bytes);
	add(to, "commits", st.commits);
	add(to, "groups", st.groups);
	add(to, "states", st.states);
	add(to, "fast_syncs", st.fast_syncs);
	add(to, "sync_ahead", st.sync_ahead);
	add(to, "failed_files", st.failed_files);
	add(to, "ballast_bytes", st.ballast_bytes);
	add(to, "ballast_spent", st.ballast_spent);
}

static void add_engine(cJSON *to, const struct io_engine *io)
{
	struct io_stats st = {0};
	cJSON *submissions;

	cJSON_DeleteItemFromObjectCaseSensitive(to, "engine"); /* the facts may name it */
	(void)cJSON_AddStringToObject(to, "engine", io_engine_name(io));
	io_engine_stats(io, &st);
	submissions = cJSON_AddObjectToObject(to, "submissions");
	for (unsigned i = 0; i < IO_CODE_MAX_; i++)
		add(submissions, code_names[i], st.submitted[i]);
	add(to, "engine_in_flight", st.in_flight);
}

static void add_counted(cJSON *to, const char *key, uint64_t count, uint64_t ns)
{
	cJSON *c = cJSON_AddObjectToObject(to, key);

	add(c, "count", count);
	add(c, "total_ns", ns);
}

static void add_vfds(cJSON *to, const struct vfd_cache *vfds)
{
	struct vfd_stats st = {0};
	cJSON *cache;

	vfd_cache_stats(vfds, &st);
	add(to, "fds", st.used);
	cache = cJSON_AddObjectToObject(to, "fd_cache");
	add(cache, "slots", st.slots);
	add(cache, "pinned", st.pinned);
	add(cache, "dirty", st.dirty);
	add(cache, "waits", st.waits);
	add(cache, "no_descriptor", sys_no_descriptor_count());
	add_counted(cache, "open", st.open, st.open_ns);
	add_counted(cache, "open_after_replace", st.open_after_replace, st.open_after_replace_ns);
	add_counted(cache, "close", st.close, st.close_ns);
	add_counted(cache, "close_by_replace", st.close_by_replace, st.close_by_replace_ns);
	add_counted(cache, "read", st.read, st.read_ns);
	add_counted(cache, "write", st.write, st.write_ns);
	add_counted(cache, "fsync", st.fsync, st.fsync_ns);
	add_counted(cache, "stat", st.stat, st.stat_ns);
}

/* What malloc has handed out and not got back, of all threads. */
static uint64_t allocated_bytes(void)
{
	const struct mallinfo2 info = mallinfo2();

	return (uint64_t)info.uordblks + (uint64_t)info.hblkhd;
}

char *status_json(struct session *s)
{
	uint64_t allocated = allocated_bytes(); /* before the answer takes memory itself */
	cJSON *status = cJSON_Parse(s->facts);
	char *text, *line;

	if (status == NULL)
		status = cJSON_CreateObject();
	add_layers(status, s->parts.chain, s->ov);
	add_engine(status, s->parts.io);
	add_requests(status, s);
	add_overlay(status, s->ov);
	add_diff(status, overlay_diff(s->ov));
	add_vfds(status, s->parts.vfds);
	add(status, "allocated_bytes", allocated);
	(void)cJSON_AddBoolToObject(status, "write_back", s->write_back);
	(void)cJSON_AddBoolToObject(status, "disk_is_tight", s->admission.tight);
	add(status, "writes_refused", s->admission.refused);
	text = cJSON_PrintUnformatted(status);
	cJSON_Delete(status);
	if (text == NULL)
		return NULL;
	line = realloc(text, strlen(text) + 2);
	if (line == NULL) {
		free(text);
		return NULL;
	}
	return strcat(line, "\n");
}

void status_reset(struct session *s)
{
	memset(&s->stats, 0, sizeof(s->stats));
	s->parked = 0;
	s->held_back = 0;
}
