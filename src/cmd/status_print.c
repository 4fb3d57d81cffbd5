/*
 * Figures for people and for Prometheus. Both go over the answer as it is, so that a new figure
 * needs no line here unless people shall see it.
 */
#include "cmd/status_print.h"

#include "base/util.h"

#include <stdio.h>

static const char *string_at(const cJSON *o, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(o, key);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

static double number_at(const cJSON *o, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(o, key);

	return cJSON_IsNumber(value) ? value->valuedouble : 0;
}

/* ---- text ---- */

static void print_string(const cJSON *status, const char *label, const char *key)
{
	const char *value = string_at(status, key);

	if (value != NULL && value[0] != 0)
		(void)printf("%-12s %s\n", label, value);
}

static void print_bytes(double bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	(void)printf(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void print_size(const cJSON *status, const char *label, const char *key)
{
	(void)printf("%-12s ", label);
	print_bytes(number_at(status, key));
	(void)putchar('\n');
}

static void print_layers(const cJSON *status)
{
	const cJSON *layer;

	(void)printf("%-12s", "chain");
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(status, "layers"))
	{
		const char *id = string_at(layer, "id");

		(void)printf(" %s", id != NULL ? id : "?");
	}
	(void)putchar('\n');
}

/* The bound that so many of all requests stayed below, in microseconds; 0: there is none. */
static double latency_of(const cJSON *request, double share)
{
	const cJSON *buckets = cJSON_GetObjectItemCaseSensitive(request, "latency"), *bucket;
	double all =
		number_at(cJSON_GetArrayItem(buckets, cJSON_GetArraySize(buckets) - 1), "count");

	cJSON_ArrayForEach(bucket, buckets)
	{
		if (all > 0 && number_at(bucket, "count") >= share * all)
			return number_at(bucket, "below_ns") / 1000;
	}
	return 0;
}

static void print_below(const cJSON *request, double share)
{
	double us = latency_of(request, share);

	if (us > 0)
		(void)printf(" %12.0f", us);
	else
		(void)printf(" %12s", "-");
}

static void print_requests(const cJSON *status)
{
	const cJSON *r;

	(void)printf("\n%-12s %12s %10s %12s %12s %12s\n", "request", "count", "errors", "mean us",
		     "half below", "99 % below");
	cJSON_ArrayForEach(r, cJSON_GetObjectItemCaseSensitive(status, "requests"))
	{
		double count = number_at(r, "count");

		(void)printf("%-12s %12.0f %10.0f %12.1f", r->string, count, number_at(r, "errors"),
			     count > 0 ? number_at(r, "total_ns") / count / 1000 : 0);
		print_below(r, 0.5);
		print_below(r, 0.99);
		(void)putchar('\n');
	}
}

static bool is_true(const cJSON *status, const char *key)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(status, key));
}

static void print_submissions(const cJSON *status)
{
	const cJSON *s;

	(void)printf("%-12s %s:", "engine", string_at(status, "engine"));
	cJSON_ArrayForEach(s, cJSON_GetObjectItemCaseSensitive(status, "submissions"))(void)
		printf(" %s %.0f", s->string, s->valuedouble);
	(void)putchar('\n');
}

void status_print_text(const cJSON *status)
{
	print_string(status, "mounted on", "mountpoint");
	print_string(status, "store", "store");
	print_string(status, "instance", "instance");
	print_string(status, "backup", "backup");
	print_layers(status);
	print_string(status, "diff", "diff");
	print_string(status, "pg_wal", "wal_dir");
	(void)printf("%-12s %.0f\n", "process", number_at(status, "pid"));
	print_submissions(status);
	(void)printf("%-12s %s%s\n", "writes",
		     is_true(status, "write_back") ? "write-back" : "write-through",
		     is_true(status, "disk_is_tight") ? "; refused: the disk is nearly full" : "");
	print_size(status, "diff holds", "diff_bytes");
	print_size(status, "journal", "journal_used");
	print_size(status, "index", "index_bytes");
	(void)printf("%-12s %.0f open, %.0f nodes, %.0f requests in flight\n", "files",
		     number_at(status, "fds"), number_at(status, "nodes"),
		     number_at(status, "in_flight"));
	(void)printf("%-12s %.0f reads of bad pages, %.0f of bad files; %.0f failed files\n",
		     "damage", number_at(status, "bad_pages"), number_at(status, "bad_files"),
		     number_at(status, "failed_files"));
	print_requests(status);
}

/* ---- Prometheus ---- */

static void print_label(const char *value)
{
	for (; *value != 0; value++) {
		if (*value == '\n')
			(void)fputs("\\n", stdout);
		else if (*value == '"' || *value == '\\')
			(void)printf("\\%c", *value);
		else
			(void)putchar(*value);
	}
}

static void print_sample(const char *name, const char *suffix, const char *mountpoint,
			 const char *label, const char *label_value, double value)
{
	(void)printf("pgoverlay_%s%s{mountpoint=\"", name, suffix);
	print_label(mountpoint);
	if (label != NULL) {
		(void)printf("\",%s=\"", label);
		print_label(label_value);
	}
	(void)printf("\"} %.17g\n", value);
}

/* requests: {read: {count: 1, ...}, ...} becomes pgoverlay_requests_count{...,type="read"}; the
 * same for the others. */
static void print_group(const cJSON *group, const char *mountpoint)
{
	const cJSON *item, *field;

	cJSON_ArrayForEach(item, group)
	{
		const cJSON *fields = cJSON_IsObject(item) ? item : NULL;

		if (cJSON_IsNumber(item))
			print_sample(group->string, "", mountpoint, "type", item->string,
				     item->valuedouble);
		cJSON_ArrayForEach(field, fields)
		{
			char suffix[64];

			if (!cJSON_IsNumber(field))
				continue;
			(void)snprintf(suffix, sizeof(suffix), "_%s", field->string);
			print_sample(group->string, suffix, mountpoint, "type", item->string,
				     field->valuedouble);
		}
	}
}

static bool is_fact(const char *key)
{
	return strcmp(key, "pid") == 0 || strcmp(key, "uid") == 0 || strcmp(key, "gid") == 0 ||
	       strcmp(key, "pg_version") == 0;
}

/* A histogram as Prometheus has it: cumulative buckets in seconds, sum and count. */
static void print_latency(const cJSON *request, const char *mountpoint)
{
	const cJSON *bucket;
	double count = 0;

	cJSON_ArrayForEach(bucket, cJSON_GetObjectItemCaseSensitive(request, "latency"))
	{
		double below = number_at(bucket, "below_ns");
		char le[32] = "+Inf";

		if (below > 0)
			(void)snprintf(le, sizeof(le), "%.9g", below / 1e9);
		(void)printf("pgoverlay_request_seconds_bucket{mountpoint=\"");
		print_label(mountpoint);
		count = number_at(bucket, "count");
		(void)printf("\",type=\"%s\",le=\"%s\"} %.17g\n", request->string, le, count);
	}
	print_sample("request_seconds", "_sum", mountpoint, "type", request->string,
		     number_at(request, "total_ns") / 1e9);
	/* Not that of all requests: some are answered before they are measured. */
	print_sample("request_seconds", "_count", mountpoint, "type", request->string, count);
}

static void print_latencies(const cJSON *status, const char *mountpoint)
{
	const cJSON *request;

	(void)printf("# TYPE pgoverlay_request_seconds histogram\n");
	cJSON_ArrayForEach(request, cJSON_GetObjectItemCaseSensitive(status, "requests"))
		print_latency(request, mountpoint);
}

void status_print_prometheus(const cJSON *status)
{
	const char *mountpoint = string_at(status, "mountpoint");
	const cJSON *item;

	if (mountpoint == NULL)
		mountpoint = "";
	print_sample("up", "", mountpoint, "engine", string_at(status, "engine"), 1);
	cJSON_ArrayForEach(item, status)
	{
		if (cJSON_IsNumber(item) && !is_fact(item->string))
			print_sample(item->string, "", mountpoint, NULL, NULL, item->valuedouble);
		else if (cJSON_IsObject(item))
			print_group(item, mountpoint);
	}
	print_latencies(status, mountpoint);
}
