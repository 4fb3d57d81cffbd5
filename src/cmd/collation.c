/*
 * cmd/collation.c: see collation.h.
 */
#include "cmd/collation.h"

#include "base/util.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#define PSQL_TIMEOUT_MS 60000
#define DATABASES_MAX	64

/* Columns of all answers: database, collation, recorded version, actual version. */
static const char databases_sql[] = "SELECT datname, '', coalesce(datcollversion, ''), "
				    "coalesce(pg_database_collation_actual_version(oid), '')"
				    " FROM pg_catalog.pg_database WHERE datallowconn ORDER BY "
				    "datname = 'template1' DESC, datname LIMIT 1000";
static const char databases_sql_14[] =
	"SELECT datname, '', '', '' FROM pg_catalog.pg_database WHERE datallowconn"
	" ORDER BY datname = 'template1' DESC, datname LIMIT 1000";
static const char collations_sql[] =
	"SELECT pg_catalog.current_database(), collname, collversion,"
	" coalesce(pg_catalog.pg_collation_actual_version(oid), '') FROM pg_catalog.pg_collation"
	" WHERE collversion IS NOT NULL"
	" AND collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(oid) ORDER BY "
	"collname;\n";

struct asking {
	const struct pgbin *bin;
	const struct owner *owner;
	const char *host, *user;
	char port[16];
};

/* Fields end with \x1f and rows with \x1e, which no name has. */
static int ask(const struct asking *a, const char *database, const char *script, char **ret_output,
	       int *ret_status)
{
	const char *argv[] = {a->bin->psql, "-X",    "-q",   "-A",     "-t",	"-w", "-F",
			      "\x1f",	    "-R",    "\x1e", "-h",     a->host, "-p", a->port,
			      "-U",	    a->user, "-d",   database, "-f",	"-",  NULL};
	/* Event triggers on login (17) are the cluster's own business. */
	const char *env[] = {"PGCLIENTENCODING=UTF8", "PGCONNECT_TIMEOUT=20",
			     a->bin->major >= 17 ? "PGOPTIONS=-c event_triggers=off" : NULL, NULL};

	return process_run_input(a->owner, argv, env, script, PSQL_TIMEOUT_MS, NULL, ret_output,
				 ret_status);
}

static int add(struct collation_list *list, char *const fields[4])
{
	struct collation c, *bigger;

	bigger = reallocarray(list->items, list->count + 1, sizeof(*bigger));
	if (bigger == NULL)
		return -ENOMEM;
	list->items = bigger;
	c = (struct collation){strdup(fields[0]), strdup(fields[1]), strdup(fields[2]),
			       strdup(fields[3])};
	list->items[list->count++] = c;
	return c.database == NULL || c.name == NULL || c.recorded == NULL || c.actual == NULL
		       ? -ENOMEM
		       : 0;
}

/* Calls fn with the four fields of each row; changes text. Other lines (psql's messages) are passed
 * over. */
static int each_row(char *text, int (*fn)(void *ctx, char *const fields[4]), void *ctx)
{
	int rc = 0;

	for (char *next, *row = text; rc == 0 && *row != '\0'; row = next) {
		char *fields[4];
		unsigned n = 0;

		next = row + strcspn(row, "\x1e\n");
		if (*next != '\0')
			*next++ = '\0';
		for (char *p = row; n < 4 && p != NULL; n++) {
			fields[n] = p;
			p = strchr(p, '\x1f');
			if (p != NULL)
				*p++ = '\0';
		}
		if (n == 4)
			rc = fn(ctx, fields);
	}
	return rc;
}

struct databases {
	struct collation_list *list;
	FILE *script;
	unsigned count, left_out;
};

/*
 * A database's name comes from the backup, and psql would take one with '=' or "://" as where to
 * connect and one with a newline as the end of its command: only plain ones are asked.
 */
static bool is_plain(const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f || strchr("\"\\`'=:", *p) != NULL)
			return false;
	return name[0] != '\0';
}

static int take_database(void *ctx, char *const fields[4])
{
	struct databases *d = ctx;

	if (d->count == DATABASES_MAX || !is_plain(fields[0])) {
		d->left_out++;
		return 0;
	}
	d->count++;
	(void)fprintf(d->script, "\\connect \"%s\"\n%s", fields[0], collations_sql);
	if (fields[2][0] != '\0' && strcmp(fields[2], fields[3]) != 0)
		return add(d->list, fields);
	return 0;
}

static int take_collation(void *ctx, char *const fields[4])
{
	return add(ctx, fields);
}

static int note(struct collation_list *list, const char *text, const char *output)
{
	size_t len = output == NULL ? 0 : strcspn(output, "\n");

	free(list->note);
	if (asprintf(&list->note, "%s%s%.*s", text, len > 0 ? ": " : "", (int)len,
		     output == NULL ? "" : output) < 0) {
		list->note = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int ask_all(const struct asking *a, struct collation_list *list)
{
	_cleanup_free_ char *names = NULL;
	_cleanup_free_ char *script = NULL;
	_cleanup_free_ char *rows = NULL;
	struct databases d = {.list = list};
	int rc, status;
	size_t size;

	rc = ask(a, "template1", a->bin->major >= 15 ? databases_sql : databases_sql_14, &names,
		 &status);
	if (rc < 0 || status != 0)
		return note(list, "collation versions were not checked", names);
	d.script = open_memstream(&script, &size);
	if (d.script == NULL)
		return -ENOMEM;
	rc = each_row(names, take_database, &d);
	if (fclose(d.script) != 0 || rc < 0)
		return -ENOMEM;
	rc = ask(a, "template1", script, &rows, &status);
	if (rc < 0 || status != 0)
		return note(list, "not all collation versions were checked", rows);
	if (d.left_out > 0)
		(void)note(list, "collation versions were not checked in all databases", NULL);
	return each_row(rows, take_collation, list);
}

int collation_check(const struct pgbin *bin, const struct owner *owner, const char *host,
		    unsigned port, const char *user, struct collation_list *ret)
{
	struct asking a = {.bin = bin, .owner = owner, .host = host, .user = user};
	struct collation_list list = {0};
	int rc;

	(void)snprintf(a.port, sizeof(a.port), "%u", port);
	if (bin->psql == NULL)
		rc = note(&list, "collation versions were not checked: psql is not installed",
			  NULL);
	else
		rc = ask_all(&a, &list);
	if (rc < 0) {
		collation_list_free(&list);
		return rc;
	}
	*ret = list;
	return 0;
}

void collation_list_free(struct collation_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].database);
		free(list->items[i].name);
		free(list->items[i].recorded);
		free(list->items[i].actual);
	}
	free(list->items);
	free(list->note);
	*list = (struct collation_list){0};
}
