/*
 * `list`: the backups of a store, and which of them can be mounted. Takes no locks and reads no
 * lists of files.
 */
#include "cmd/cmd.h"

#include "base/util.h"
#include "cmd/progress.h"
#include "layer/layer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static const char help[] =
	"Usage: pgoverlay list STORE [OPTION]...\n"
	"Show the backups of a store, their chains, and which can be mounted.\n\n"
	"  --instance NAME           only this instance\n"
	"  --format text|json\n"
	"  --help, --version\n";

struct request {
	const char *store, *instance;
	enum cmd_format format;
};

/* ---- text ---- */

enum column { ID, MODE, PARENT, TIME, SIZE, WAL, TIMELINE, STATUS, MOUNT, COLUMNS };

#define CELL 32

struct row {
	char cell[COLUMNS][CELL]; /* but for the last one, which is as long as it is */
	const char *reason;
};

static const struct row titles = {
	.cell = {"ID", "MODE", "PARENT", "TIME", "SIZE", "WAL", "TL", "STATUS", "MOUNT"},
	.reason = ""};

/* For people in their own time zone, for programs in UTC. */
static void format_time(int64_t time, bool utc, char ret[CELL])
{
	time_t t = (time_t)time;
	struct tm tm;

	ret[0] = '\0';
	if (time == 0 || (utc ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)) == NULL)
		return;
	if ((utc ? strftime(ret, CELL, "%Y-%m-%dT%H:%M:%SZ", &tm)
		 : strftime(ret, CELL, "%Y-%m-%d %H:%M:%S%z", &tm)) == 0)
		ret[0] = '\0';
}

static void put(struct row *row, enum column column, const char *text)
{
	(void)snprintf(row->cell[column], CELL, "%s", text[0] != '\0' ? text : "-");
}

static void make_row(const struct backup_info *info, struct row *ret)
{
	char text[CELL];

	put(ret, ID, info->id);
	put(ret, MODE, info->mode);
	put(ret, PARENT, info->parent);
	format_time(info->start_time, false, text);
	put(ret, TIME, text);
	progress_format_bytes(info->bytes, text, sizeof(text));
	put(ret, SIZE, info->bytes > 0 ? text : "");
	put(ret, WAL, info->mode[0] == '\0' ? "" : info->stream ? "STREAM" : "ARCHIVE");
	(void)snprintf(text, sizeof(text), "%" PRIu32, info->timeline);
	put(ret, TIMELINE, info->timeline > 0 ? text : "");
	put(ret, STATUS, info->status);
	put(ret, MOUNT, info->mountable ? "yes" : "no");
	ret->reason = info->reason;
}

static void print_row(const struct row *row, const size_t width[COLUMNS])
{
	for (unsigned i = 0; i < MOUNT; i++) {
		if (i == SIZE || i == TIMELINE)
			(void)printf("%*s  ", (int)width[i], row->cell[i]);
		else
			(void)printf("%-*s  ", (int)width[i], row->cell[i]);
	}
	(void)printf("%s%s%s\n", row->cell[MOUNT], row->reason[0] != '\0' ? ": " : "", row->reason);
}

/* One instance: the backups from first to end - 1. */
static int print_table(const struct backup_list *list, size_t first, size_t end)
{
	_cleanup_free_ struct row *rows = calloc(end - first, sizeof(*rows));
	size_t width[COLUMNS];

	if (rows == NULL)
		return -ENOMEM;
	for (unsigned c = 0; c < COLUMNS; c++)
		width[c] = strlen(titles.cell[c]);
	for (size_t i = first; i < end; i++) {
		make_row(&list->items[i], &rows[i - first]);
		for (unsigned c = 0; c < COLUMNS; c++)
			width[c] = MAX(width[c], strlen(rows[i - first].cell[c]));
	}
	(void)printf("%sinstance %s\n", first > 0 ? "\n" : "", list->items[first].instance);
	print_row(&titles, width);
	for (size_t i = first; i < end; i++)
		print_row(&rows[i - first], width);
	return 0;
}

static int print_text(const struct backup_list *list)
{
	size_t first = 0;
	int rc = 0;

	if (list->count == 0)
		(void)puts("no backups");
	for (size_t i = 1; i <= list->count && rc == 0; i++) {
		if (i < list->count &&
		    strcmp(list->items[i].instance, list->items[first].instance) == 0)
			continue;
		rc = print_table(list, first, i);
		first = i;
	}
	return rc;
}

/* ---- JSON ---- */

static void add_lsn(cJSON *to, const char *key, uint64_t lsn)
{
	char text[CELL];

	(void)snprintf(text, sizeof(text), "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32),
		       (uint32_t)lsn);
	(void)cJSON_AddStringToObject(to, key, text);
}

static cJSON *describe(const struct backup_info *info)
{
	cJSON *o = cJSON_CreateObject();
	char time[CELL];

	(void)cJSON_AddStringToObject(o, "instance", info->instance);
	(void)cJSON_AddStringToObject(o, "id", info->id);
	(void)cJSON_AddStringToObject(o, "mode", info->mode);
	if (info->parent[0] != '\0')
		(void)cJSON_AddStringToObject(o, "parent", info->parent);
	else
		(void)cJSON_AddNullToObject(o, "parent");
	(void)cJSON_AddStringToObject(o, "status", info->status);
	(void)cJSON_AddBoolToObject(o, "mountable", info->mountable);
	(void)cJSON_AddStringToObject(o, "reason", info->reason);
	format_time(info->start_time, true, time);
	(void)cJSON_AddStringToObject(o, "start_time", time);
	(void)cJSON_AddNumberToObject(o, "bytes", (double)info->bytes);
	(void)cJSON_AddBoolToObject(o, "stream", info->stream);
	(void)cJSON_AddNumberToObject(o, "timeline", info->timeline);
	add_lsn(o, "start_lsn", info->start_lsn);
	add_lsn(o, "stop_lsn", info->stop_lsn);
	return o;
}

static int print_json(const struct store *store, const struct backup_list *list)
{
	cJSON *o = cJSON_CreateObject(), *backups;
	char *text;

	(void)cJSON_AddStringToObject(o, "store", store->path);
	(void)cJSON_AddStringToObject(o, "kind", store->driver->name);
	backups = cJSON_AddArrayToObject(o, "backups");
	for (size_t i = 0; i < list->count; i++)
		(void)cJSON_AddItemToArray(backups, describe(&list->items[i]));
	text = cJSON_Print(o);
	cJSON_Delete(o);
	if (text == NULL)
		return -ENOMEM;
	(void)puts(text);
	cJSON_free(text);
	return 0;
}

/* ---- the command ---- */

static int run(const struct request *request)
{
	struct backup_list list = {0};
	struct store *store = NULL;
	struct errmsg e = {""};
	int rc = store_open(request->store, &e, &store);

	if (rc == 0)
		rc = store->driver->list(store, request->instance, &e, &list);
	if (rc < 0) {
		store_close(store);
		return cmd_failed(&e, rc);
	}
	rc = request->format == CMD_FORMAT_JSON ? print_json(store, &list) : print_text(&list);
	store->driver->list_free(&list);
	store_close(store);
	if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		rc = errmsg_set(&e, -EIO, "cannot write the listing");
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}

int cmd_list(int argc, char **argv)
{
	static const struct option options[] = {
		{"instance", required_argument, NULL, 'i'},
		{"format", required_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct request request = {.format = CMD_FORMAT_TEXT};
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":hV", options, NULL)) >= 0) {
		switch (c) {
		case 'i':
			request.instance = optarg;
			break;
		case 'f':
			if (cmd_parse_format(optarg, false, &request.format) < 0)
				return cmd_usage("list", "'%s' is no format: text or json", optarg);
			break;
		case 'h':
			return cmd_print_help(help);
		case 'V':
			return cmd_print_version();
		case ':':
			return cmd_usage("list", "'%s' needs a value", argv[optind - 1]);
		default:
			return cmd_usage("list", "no such option: '%s'", argv[optind - 1]);
		}
	}
	if (argc - optind != 1)
		return cmd_usage("list", argc == optind ? "no store given" : "one store, not more");
	request.store = argv[optind];
	return run(&request);
}
