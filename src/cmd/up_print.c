/*
 * cmd/up_print.c: see up_print.h.
 */
#include "cmd/up_print.h"

#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>

/* Longest value or earlier value printed in the table; the rest is in JSON. */
#define VALUE_WIDTH 28
#define NAME_WIDTH  32

static void print_value(const char *value)
{
	char text[VALUE_WIDTH + 3];
	size_t len;

	if (value == NULL)
		(void)snprintf(text, sizeof(text), "(default)");
	else if (*value == '\0')
		(void)snprintf(text, sizeof(text), "''");
	else
		(void)snprintf(text, sizeof(text), "%s", value);
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	len = value == NULL ? 0 : strlen(value);
	if (len > VALUE_WIDTH)
		(void)snprintf(text + VALUE_WIDTH - 3, 4, "...");
	(void)printf(" %-*s", VALUE_WIDTH, text);
}

static void print_settings(const struct settings *settings)
{
	(void)printf("\nSettings changed for this clone (another value: --set NAME=VALUE):\n  %-*s "
		     "%-*s %-*s %s\n",
		     NAME_WIDTH, "setting", VALUE_WIDTH, "value", VALUE_WIDTH, "in the backup",
		     "why");
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *s = &settings->items[i];

		if (!s->changed)
			continue;
		(void)printf("  %-*s", NAME_WIDTH, s->name);
		print_value(s->value);
		print_value(s->was);
		(void)printf(" %s\n", s->reason);
	}
}

static void print_collations(const struct collation_list *list)
{
	if (list->count > 0)
		(void)printf("\nCollations whose version differs on this machine (indexes on them "
			     "may be wrong: REINDEX):\n");
	for (size_t i = 0; i < list->count; i++) {
		const struct collation *c = &list->items[i];

		(void)printf("  database %s, %s%s: %s in the backup, %s here\n", c->database,
			     c->name[0] == '\0' ? "its default" : "collation ", c->name,
			     c->recorded, c->actual[0] == '\0' ? "none" : c->actual);
	}
	if (list->note != NULL)
		(void)printf("\nNote: %s\n", list->note);
}

static const char *const ends[] = {[RECOVERY_OPEN] = "promoted",
				   [RECOVERY_PAUSED] = "paused",
				   [RECOVERY_SHUT_DOWN] = "shut down"};

static void print_recovery(const struct up_report *r)
{
	const struct recovery *to = r->recovery;

	(void)printf("  recovered  to %s%s%s on timeline %u, %s\n", target_kind_name(to->kind),
		     to->value[0] != '\0' ? " " : "", to->value, to->timeline, ends[r->end]);
	if (r->end == RECOVERY_PAUSED)
		(void)printf("             read-only until: select pg_wal_replay_resume()\n");
	if (r->end == RECOVERY_SHUT_DOWN)
		(void)printf("             the clone is mounted and no server runs; remove "
			     "recovery.signal to start one\n");
}

void up_print_text(const struct up_report *r)
{
	const struct mount_result *m = r->mount;

	(void)printf("PostgreSQL %s %s on backup %s of instance %s", r->bin->version,
		     r->end == RECOVERY_SHUT_DOWN ? "ran" : "runs", m->backup, m->instance);
	for (unsigned i = 0; i < m->chain_count; i++)
		(void)printf("%s%s", i == 0 ? " (chain: " : ", ", m->chain[i]);
	(void)printf("%s\n\n", m->chain_count > 0 ? ")" : "");
	(void)printf("  connect    psql -h %s -p %u -U %s -d postgres\n", r->facts->host,
		     r->facts->port, r->facts->user);
	(void)printf("  data       %s\n", m->mountpoint);
	if (r->recovery != NULL)
		print_recovery(r);
	(void)printf("  diff       %s%s\n", m->diff,
		     m->temporary ? " (temporary: gone after `pgoverlay down`)" : "");
	(void)printf("  log        %s\n", r->facts->log);
	(void)printf("  stop       pgoverlay down %s\n", m->mountpoint);
	print_settings(r->settings);
	if (r->notes[0] != '\0')
		(void)printf("\n%s", r->notes);
	print_collations(r->collations);
}

/* ---- JSON ---- */

static void add_text(cJSON *object, const char *key, const char *value)
{
	if (value == NULL)
		(void)cJSON_AddNullToObject(object, key);
	else
		(void)cJSON_AddStringToObject(object, key, value);
}

static void add_chain(cJSON *root, const struct mount_result *m)
{
	cJSON *chain = cJSON_AddArrayToObject(root, "chain");

	for (unsigned i = 0; i < m->chain_count; i++)
		(void)cJSON_AddItemToArray(chain, cJSON_CreateString(m->chain[i]));
}

static void add_changed(cJSON *root, const struct settings *settings)
{
	cJSON *changed = cJSON_AddArrayToObject(root, "changed");

	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *s = &settings->items[i];
		cJSON *item;

		if (!s->changed)
			continue;
		item = cJSON_CreateObject();
		add_text(item, "name", s->name);
		add_text(item, "value", s->value);
		add_text(item, "was", s->was);
		add_text(item, "reason", s->reason);
		(void)cJSON_AddItemToArray(changed, item);
	}
}

static void add_notes(cJSON *root, const char *notes, const char *more)
{
	cJSON *array = cJSON_AddArrayToObject(root, "notes");

	while (*notes != '\0') {
		size_t len = strcspn(notes, "\n");
		_cleanup_free_ char *line = strndup(notes, len);

		(void)cJSON_AddItemToArray(array, cJSON_CreateString(line == NULL ? "" : line));
		notes += len + (notes[len] == '\n');
	}
	if (more != NULL)
		(void)cJSON_AddItemToArray(array, cJSON_CreateString(more));
}

static void add_collations(cJSON *root, const struct collation_list *list)
{
	cJSON *array = cJSON_AddArrayToObject(root, "collations");

	for (size_t i = 0; i < list->count; i++) {
		cJSON *item = cJSON_CreateObject();

		add_text(item, "database", list->items[i].database);
		add_text(item, "collation", list->items[i].name);
		add_text(item, "recorded", list->items[i].recorded);
		add_text(item, "actual", list->items[i].actual);
		(void)cJSON_AddItemToArray(array, item);
	}
}

static void add_recovery(cJSON *root, const struct up_report *r)
{
	cJSON *item = r->recovery != NULL ? cJSON_AddObjectToObject(root, "recovery")
					  : cJSON_AddNullToObject(root, "recovery");

	if (r->recovery == NULL)
		return;
	add_text(item, "target", target_kind_name(r->recovery->kind));
	add_text(item, "value", r->recovery->value[0] != '\0' ? r->recovery->value : NULL);
	add_text(item, "action", target_action_name(r->recovery->action));
	(void)cJSON_AddNumberToObject(item, "timeline", r->recovery->timeline);
	add_text(item, "state", ends[r->end]);
}

int up_print_json(const struct up_report *r)
{
	const struct mount_result *m = r->mount;
	cJSON *root = cJSON_CreateObject();
	char *text;

	add_text(root, "mountpoint", m->mountpoint);
	add_text(root, "diff", m->diff);
	(void)cJSON_AddBoolToObject(root, "temporary", m->temporary);
	(void)cJSON_AddNumberToObject(root, "pid", m->pid);
	add_text(root, "store", m->store);
	add_text(root, "instance", m->instance);
	add_text(root, "backup", m->backup);
	add_chain(root, m);
	add_text(root, "host", r->facts->host);
	(void)cJSON_AddNumberToObject(root, "port", r->facts->port);
	add_text(root, "user", r->facts->user);
	(void)cJSON_AddNumberToObject(root, "postmaster", r->facts->pid);
	add_text(root, "version", r->bin->version);
	add_text(root, "log", r->facts->log);
	add_text(root, "wal_dir", m->wal_dir);
	add_recovery(root, r);
	add_changed(root, r->settings);
	add_notes(root, r->notes, r->collations->note);
	add_collations(root, r->collations);
	text = cJSON_Print(root);
	cJSON_Delete(root);
	if (text == NULL)
		return -ENOMEM;
	(void)printf("%s\n", text);
	free(text);
	return 0;
}
