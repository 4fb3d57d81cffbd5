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
#define PSQLS_MAX                                                                                  \
	4 /* at once: most of the time goes into the first connection to each database             \
	   */
#define FIRST_DATABASE "template1"

/* Columns of all answers: database, collation, recorded version, actual version. A database itself
 * has no collation name. */
static const char databases_sql[] =
	"SELECT datname, '', coalesce(datcollversion, ''),"
	" coalesce(pg_catalog.pg_database_collation_actual_version(oid), '')"
	" FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname LIMIT 1000;\n";
static const char databases_sql_14[] = "SELECT datname, '', '', '' FROM pg_catalog.pg_database"
				       " WHERE datallowconn ORDER BY datname LIMIT 1000;\n";
static const char collations_sql[] =
	"SELECT pg_catalog.current_database(), collname, collversion,"
	" coalesce(pg_catalog.pg_collation_actual_version(oid), '') FROM pg_catalog.pg_collation"
	" WHERE collversion IS NOT NULL"
	" AND collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(oid)"
	" ORDER BY collname;\n";

struct asking {
	const struct pgbin *bin;
	const struct owner *owner;
	const char *host, *user;
	char port[16];
};

/* Fields end with \x1f and rows with \x1e, which no name has. */
static int begin(const struct asking *a, const char *script, struct process *ret)
{
	const char *argv[] = {a->bin->psql, "-X",    "-q",   "-A",	     "-t",    "-w", "-F",
			      "\x1f",	    "-R",    "\x1e", "-h",	     a->host, "-p", a->port,
			      "-U",	    a->user, "-d",   FIRST_DATABASE, "-f",    "-",  NULL};
	/* Event triggers on login (17) are the cluster's own business. */
	const char *env[] = {"PGCLIENTENCODING=UTF8", "PGCONNECT_TIMEOUT=20",
			     a->bin->major >= 17 ? "PGOPTIONS=-c event_triggers=off" : NULL, NULL};

	return process_begin(a->owner, argv, env, script, NULL, ret);
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
	struct {
		char *text;
		size_t size;
		FILE *f;
	} scripts[PSQLS_MAX];
	unsigned count, left_out;
};

static void databases_clear(struct databases *d)
{
	for (unsigned i = 0; i < PSQLS_MAX; i++) {
		if (d->scripts[i].f != NULL)
			(void)fclose(d->scripts[i].f);
		free(d->scripts[i].text);
	}
}

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

/* Rows of the first answer: databases, which the scripts share among them, and collations of the
 * first one. */
static int take_first(void *ctx, char *const fields[4])
{
	struct databases *d = ctx;
	unsigned i = d->count % PSQLS_MAX;

	if (fields[1][0] != '\0')
		return add(d->list, fields);
	if (fields[2][0] != '\0' && strcmp(fields[2], fields[3]) != 0 && add(d->list, fields) < 0)
		return -ENOMEM;
	if (strcmp(fields[0], FIRST_DATABASE) == 0)
		return 0;
	if (d->count == DATABASES_MAX || !is_plain(fields[0])) {
		d->left_out++;
		return 0;
	}
	d->count++;
	if (d->scripts[i].f == NULL)
		d->scripts[i].f = open_memstream(&d->scripts[i].text, &d->scripts[i].size);
	if (d->scripts[i].f == NULL)
		return -ENOMEM;
	(void)fprintf(d->scripts[i].f, "\\connect \"%s\"\n%s", fields[0], collations_sql);
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

static int ask_first(const struct asking *a, struct databases *d)
{
	_cleanup_free_ char *rows = NULL;
	_cleanup_free_ char *script = NULL;
	struct process psql;
	int rc, status;

	if (asprintf(&script, "%s%s", a->bin->major >= 15 ? databases_sql : databases_sql_14,
		     collations_sql) < 0) {
		script = NULL;
		return -ENOMEM;
	}
	rc = begin(a, script, &psql);
	if (rc == 0)
		rc = process_end(&psql, PSQL_TIMEOUT_MS, NULL, &rows, &status);
	if (rc < 0 || status != 0)
		return note(d->list, "collation versions were not checked", rows);
	return each_row(rows, take_first, d);
}

static int ask_others(const struct asking *a, struct databases *d)
{
	struct process psqls[PSQLS_MAX];
	unsigned running = 0;
	int rc = 0;

	for (; running < PSQLS_MAX && d->scripts[running].f != NULL; running++) {
		if (fflush(d->scripts[running].f) != 0)
			rc = -ENOMEM;
		else if (begin(a, d->scripts[running].text, &psqls[running]) < 0)
			rc = note(d->list, "not all collation versions were checked", NULL);
		else
			continue;
		break;
	}
	for (unsigned i = 0; i < running; i++) {
		_cleanup_free_ char *rows = NULL;
		int status, failed;

		failed = process_end(&psqls[i], PSQL_TIMEOUT_MS, NULL, &rows, &status);
		if (failed < 0 || status != 0)
			failed = note(d->list, "not all collation versions were checked", rows);
		else
			failed = each_row(rows, take_collation, d->list);
		rc = rc < 0 ? rc : failed;
	}
	return rc;
}

static int ask_all(const struct asking *a, struct collation_list *list)
{
	_cleanup_(databases_clear) struct databases d = {.list = list};
	int rc;

	rc = ask_first(a, &d);
	if (rc == 0)
		rc = ask_others(a, &d);
	if (rc == 0 && d.left_out > 0)
		rc = note(list, "collation versions were not checked in all databases", NULL);
	return rc;
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
