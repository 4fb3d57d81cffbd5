/*
 * `status`: one mount's figures, asked of its daemon, or a list of all clones.
 */
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/registry.h"
#include "cmd/status_print.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

static const char help[] =
	"Usage: pgoverlay status [MOUNTPOINT] [OPTION]...\n"
	"Without MOUNTPOINT: all clones, running and stopped.\n\n"
	"  --format text|json|prometheus\n"
	"  --reset                   start the figures again at zero, after they were printed\n"
	"  --sync                    commit everything first\n"
	"  --help, --version\n";

struct status_options {
	const char *mountpoint;
	enum cmd_format format;
	bool reset, sync;
};

/* ---- one mount ---- */

static int ask(const struct clone *clone, const char *command, struct errmsg *e, cJSON **ret)
{
	_cleanup_free_ char *text = NULL;
	const cJSON *number;
	cJSON *answer;
	int rc = registry_ask(clone, command, e, &text);

	if (rc != 0)
		return rc;
	answer = cJSON_Parse(text);
	number = cJSON_GetObjectItemCaseSensitive(answer, "errno");
	if (!cJSON_IsObject(answer))
		rc = -EPROTO;
	else if (cJSON_IsNumber(number) && number->valueint > 0)
		rc = -number->valueint;
	if (rc == 0) {
		*ret = answer;
		return 0;
	}
	cJSON_Delete(answer);
	return errmsg_set(e, rc, "'%s' of '%s' failed: %s", command, clone->mountpoint,
			  strerror(-rc));
}

static void print_status(const cJSON *status, enum cmd_format format)
{
	if (format == CMD_FORMAT_JSON) {
		char *text = cJSON_Print(status);

		(void)puts(text != NULL ? text : "{}");
		free(text);
	} else if (format == CMD_FORMAT_PROMETHEUS) {
		status_print_prometheus(status);
	} else {
		status_print_text(status);
	}
}

static int status_of(const struct clone *clone, const struct status_options *o, struct errmsg *e)
{
	cJSON *answer = NULL;
	int rc;

	if (!registry_is_held(clone))
		return errmsg_set(e, -ENOTCONN,
				  "the process that served '%s' is gone; 'pgoverlay umount' clears "
				  "what it left",
				  clone->mountpoint);
	if (o->sync) {
		rc = ask(clone, "sync", e, &answer);
		if (rc != 0)
			return rc;
		cJSON_Delete(answer);
	}
	rc = ask(clone, o->reset ? "reset" : "status", e, &answer);
	if (rc != 0)
		return rc;
	print_status(answer, o->format);
	cJSON_Delete(answer);
	return 0;
}

/* ---- all clones ---- */

/* What died without leaving a mount is as good as stopped: the next mount recovers it. */
static const char *state_of(const struct clone *clone)
{
	if (clone->running)
		return "running";
	if (registry_is_held(clone))
		return "ending";
	if (clone->mounted)
		return "dead";
	return clone->temporary || clone->read_only ? "stale" : "stopped";
}

static void add_string(cJSON *o, const char *key, const char *value)
{
	if (value != NULL)
		(void)cJSON_AddStringToObject(o, key, value);
	else
		(void)cJSON_AddNullToObject(o, key);
}

static void print_list_json(const struct clone_list *list)
{
	cJSON *o = cJSON_CreateObject();
	cJSON *clones = cJSON_AddArrayToObject(o, "clones");
	char *text;

	for (size_t i = 0; i < list->count; i++) {
		const struct clone *c = &list->items[i];
		cJSON *item = cJSON_CreateObject();

		add_string(item, "mountpoint", c->mountpoint);
		add_string(item, "state", state_of(c));
		add_string(item, "store", c->store);
		add_string(item, "instance", c->instance);
		add_string(item, "backup", c->backup);
		add_string(item, "diff", c->diff);
		(void)cJSON_AddNumberToObject(item, "pid", c->pid);
		(void)cJSON_AddNumberToObject(item, "uid", c->uid);
		(void)cJSON_AddBoolToObject(item, "temporary", c->temporary);
		(void)cJSON_AddBoolToObject(item, "read_only", c->read_only);
		(void)cJSON_AddItemToArray(clones, item);
	}
	text = cJSON_Print(o);
	(void)puts(text != NULL ? text : "{}");
	free(text);
	cJSON_Delete(o);
}

static void print_list_text(const struct clone_list *list)
{
	if (list->count == 0)
		return;
	(void)printf("%-8s %8s  %-8s %s\n", "STATE", "PID", "BACKUP", "MOUNTPOINT, DIFF");
	for (size_t i = 0; i < list->count; i++) {
		const struct clone *c = &list->items[i];

		(void)printf("%-8s %8d  %-8s %s, %s\n", state_of(c), (int)c->pid,
			     c->backup != NULL ? c->backup : "?", c->mountpoint,
			     c->read_only      ? "read-only"
			     : c->temporary    ? "temporary"
			     : c->diff != NULL ? c->diff
					       : "?");
	}
}

static int status_of_all(const struct status_options *o, struct errmsg *e)
{
	struct clone_list list;
	int rc = registry_list(e, &list);

	if (rc != 0)
		return rc;
	if (o->format == CMD_FORMAT_JSON) {
		print_list_json(&list);
	} else if (o->format == CMD_FORMAT_TEXT) {
		print_list_text(&list);
	} else {
		for (size_t i = 0; i < list.count; i++) {
			if (list.items[i].running)
				(void)status_of(&list.items[i], o, NULL);
		}
	}
	registry_list_free(&list);
	return 0;
}

static int parse(int argc, char **argv, struct status_options *o)
{
	static const struct option options[] = {
		{"format", required_argument, NULL, 'F'}, {"reset", no_argument, NULL, 'r'},
		{"sync", no_argument, NULL, 's'},	  {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},	  {0},
	};
	int id;

	opterr = 0;
	optind = 1;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (id == 'h')
			return cmd_print_help(help);
		if (id == 'v')
			return cmd_print_version();
		if (id == 'r')
			o->reset = true;
		else if (id == 's')
			o->sync = true;
		else if (id != 'F')
			return cmd_usage("status", "unknown option: %s", argv[optind - 1]);
		else if (cmd_parse_format(optarg, true, &o->format) != 0)
			return cmd_usage("status", "bad value for --format: '%s'", optarg);
	}
	if (argc - optind > 1)
		return cmd_usage("status", "too many arguments");
	o->mountpoint = argc > optind ? argv[optind] : NULL;
	if (o->mountpoint == NULL && (o->reset || o->sync))
		return cmd_usage("status", "--reset and --sync need a MOUNTPOINT");
	return -1;
}

int cmd_status(int argc, char **argv)
{
	struct status_options o = {.format = CMD_FORMAT_TEXT};
	struct errmsg e = {0};
	struct clone clone;
	int rc = parse(argc, argv, &o);

	if (rc >= 0)
		return rc;
	if (o.mountpoint == NULL) {
		rc = status_of_all(&o, &e);
	} else {
		rc = registry_find(o.mountpoint, &e, &clone);
		if (rc == 0) {
			rc = status_of(&clone, &o, &e);
			registry_clone_free(&clone);
		}
	}
	return rc == 0 ? CMD_GOOD : cmd_failed(&e, rc);
}
