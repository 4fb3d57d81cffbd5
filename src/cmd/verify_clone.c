/*
 * cmd/verify_clone.c: what PostgreSQL itself finds out about a backup: see verify_clone.h.
 *
 * pg_amcheck compares every table with its TOAST and every B-tree with its table; pg_dump reads every
 * row and the whole catalog. The clone is thrown away, so it may be written to (--install-missing), locked
 * (--parent-check), and lost (fsync off).
 */
#include "cmd/verify_clone.h"

#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/bring_up.h"
#include "cmd/extract_name.h"
#include "overlay/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MAJOR_AMCHECK 14 /* the first with pg_amcheck */
#define MESSAGE_MAX   2000u
#define LOG_MAX	      (1u << 20)
#define LOG_LINES     20
#define ARGUMENTS_MAX 24

struct checking {
	const struct verify_clone *clone;
	struct up *up;
	cJSON *databases, *failed;
	char port[16], jobs[16];
	char *libraries; /* why pg_amcheck cannot run; NULL: it can */
};

static void add_failure(struct checking *c, const char *step, const char *database,
			const char *message)
{
	cJSON *o = cJSON_CreateObject();
	char text[MESSAGE_MAX];
	size_t len;

	(void)snprintf(text, sizeof(text), "%s", message);
	for (len = strlen(text); len > 0 && text[len - 1] == '\n'; len--)
		text[len - 1] = '\0';
	(void)cJSON_AddStringToObject(o, "step", step);
	if (database != NULL)
		(void)cJSON_AddStringToObject(o, "database", database);
	(void)cJSON_AddStringToObject(o, "message", text);
	(void)cJSON_AddItemToArray(c->failed, o);
}

/* ---- PostgreSQL's programs ---- */

/*
 * Runs a program of the server's version; argv begins behind its name and connection. 1: it was content;
 * 0: it was not, or could not be run, and that has been noted.
 */
static int run(struct checking *c, const char *name, const char *database,
	       const char *const *arguments, char **ret_output)
{
	static const char *const env[] = {
		"PGCLIENTENCODING=UTF8", "LC_ALL=C.UTF-8",
		"PGOPTIONS=-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 "
		"-c default_transaction_read_only=off -c lc_messages=C",
		NULL};
	const struct up *up = c->up;
	_cleanup_free_ char *program = NULL;
	_cleanup_free_ char *output = NULL;
	const char *argv[ARGUMENTS_MAX];
	struct process process;
	struct errmsg why = {""};
	unsigned n = 0;
	int rc, status = 0;

	if (asprintf(&program, "%s/%s", up->bin.dir, name) < 0) {
		program = NULL;
		return -ENOMEM;
	}
	if (strcmp(name, "psql") == 0 && up->bin.psql != NULL) {
		free(program);
		program = strdup(up->bin.psql);
		if (program == NULL)
			return -ENOMEM;
	}
	if (access(program, X_OK) != 0) {
		(void)errmsg_set(&why, -ENOENT, "%s is not there: apt install postgresql-client-%u",
				 program, up->bin.major);
		add_failure(c, name, database, why.text);
		return 0;
	}
	argv[n++] = program;
	argv[n++] = "-w";
	argv[n++] = "-h";
	argv[n++] = up->facts.host;
	argv[n++] = "-p";
	argv[n++] = c->port;
	argv[n++] = "-U";
	argv[n++] = up->facts.user;
	while (*arguments != NULL && n + 1 < ARGUMENTS_MAX)
		argv[n++] = *arguments++;
	argv[n] = NULL;
	rc = process_begin(&up->owner, argv, env, NULL, &why, &process);
	if (rc == 0)
		rc = process_wait(&process, &up_interrupted, &why, &output, &status);
	if (up_interrupted)
		return -EINTR;
	if (rc < 0 || status != 0) {
		add_failure(c, name, database,
			    rc < 0		? errmsg_text(&why, rc)
			    : output[0] != '\0' ? output
						: "it failed and said nothing");
		return 0;
	}
	if (ret_output != NULL)
		*ret_output = TAKE_PTR(output);
	return 1;
}

static int amcheck(struct checking *c, const char *name, const char *conninfo)
{
	const char *arguments[] = {"--install-missing", "--heapallindexed", "--parent-check",
				   "-j", c->jobs, conninfo, NULL};

	return run(c, "pg_amcheck", name, arguments, NULL);
}

static int dump(struct checking *c, const char *name, const char *conninfo)
{
	const char *arguments[] = {"--no-sync", "-f", "/dev/null", "-d", conninfo, NULL};

	return run(c, "pg_dump", name, arguments, NULL);
}

static const char *result_name(int rc)
{
	return rc > 0 ? "good" : "failed";
}

static int check_database(struct checking *c, const char *name)
{
	_cleanup_free_ char *conninfo = NULL;
	bool has_amcheck = c->up->bin.major >= MAJOR_AMCHECK && c->libraries == NULL;
	cJSON *o = cJSON_CreateObject();
	char text[256];
	int rc = extract_database(name, &conninfo), checked = 0;

	(void)cJSON_AddItemToArray(c->databases, o);
	(void)cJSON_AddStringToObject(o, "name", name);
	(void)snprintf(text, sizeof(text), "checking database %s", name);
	if (c->clone->request->progress || isatty(STDERR_FILENO) == 1)
		up_tell(text);
	if (rc == 0 && has_amcheck)
		rc = checked = amcheck(c, name, conninfo);
	if (rc >= 0)
		(void)cJSON_AddStringToObject(o, "pg_amcheck",
					      has_amcheck ? result_name(checked) : "not run");
	if (rc >= 0)
		rc = dump(c, name, conninfo);
	if (rc >= 0)
		(void)cJSON_AddStringToObject(o, "pg_dump", result_name(rc));
	return MIN(rc, 0);
}

/* All that can be connected to; a database that DROP DATABASE broke off at cannot. */
static int check_databases(struct checking *c)
{
	const char *list = c->up->bin.major >= 11
				   ? "select datname from pg_catalog.pg_database where datallowconn "
				     "and datconnlimit <> -2 order by 1"
				   : "select datname from pg_catalog.pg_database where datallowconn "
				     "order by 1";
	const char *arguments[] = {"-X", "-q", "-A", "-t", "-R", "\x1e", "-d", "template1",
				   "-c", list, NULL};
	const char *globals[] = {"--globals-only", "--no-sync", "-f", "/dev/null", "-l",
				 "template1", NULL};
	_cleanup_free_ char *names = NULL;
	int rc = run(c, "psql", NULL, arguments, &names);

	if (rc <= 0)
		return rc;
	names[strcspn(names, "\n")] = '\0'; /* psql ends its output with one */
	for (char *next, *name = names; *name != '\0' && rc >= 0; name = next) {
		next = name + strcspn(name, "\x1e");
		if (*next != '\0')
			*next++ = '\0';
		rc = check_database(c, name);
	}
	return rc < 0 ? rc : MIN(run(c, "pg_dumpall", NULL, globals, NULL), 0);
}

/* ---- the server ---- */

/* What the log says behind the last such phrase, up to the end of the word. */
static void add_from_log(cJSON *o, const char *name, const char *log, const char *phrase,
			 const char *end)
{
	const char *at = NULL;
	char text[64];

	for (const char *p = log; (p = strstr(p, phrase)) != NULL;)
		at = p += strlen(phrase);
	if (at == NULL)
		return;
	(void)snprintf(text, sizeof(text), "%.*s", (int)MIN(strcspn(at, end), sizeof(text) - 1), at);
	(void)cJSON_AddStringToObject(o, name, text);
}

static void report_recovery(const struct up *up, cJSON *report)
{
	cJSON *o = cJSON_AddObjectToObject(report, "recovery");
	_cleanup_free_ char *log = NULL;
	size_t len;

	if (sys_read_file(AT_FDCWD, up->facts.log, LOG_MAX, &log, &len) < 0)
		return;
	add_from_log(o, "consistent", log, "consistent recovery state reached at ", " \n");
	add_from_log(o, "end", log, "redo done at ", " \n");
	add_from_log(o, "new_timeline", log, "selected new timeline ID: ", " \n");
	add_from_log(o, "last_transaction", log, "last completed transaction was at log time ", "\n");
}

/* Indexes on them may be in the wrong order here, which is nobody's damage. */
static void report_collations(const struct up *up, cJSON *report)
{
	cJSON *all = cJSON_AddArrayToObject(report, "collations");

	for (size_t i = 0; i < up->collations.count; i++) {
		const struct collation *x = &up->collations.items[i];
		cJSON *o = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(o, "database", x->database);
		(void)cJSON_AddStringToObject(o, "collation", x->name);
		(void)cJSON_AddStringToObject(o, "recorded", x->recorded);
		(void)cJSON_AddStringToObject(o, "actual", x->actual);
		(void)cJSON_AddItemToArray(all, o);
	}
}

/* Why it did not come up: what we know, and the lines of the server's log that say so. */
static void report_no_start(struct checking *c, int rc)
{
	const struct up *up = c->up;
	_cleanup_free_ char *log =
		up->facts.log != NULL ? server_log_tail(up->facts.log, up->log_start, LOG_LINES) : NULL;
	_cleanup_free_ char *text = NULL;

	if (asprintf(&text, "%s%s%s", errmsg_text(up->e, rc), log != NULL && log[0] != '\0' ? "\n" : "",
		     log != NULL ? log : "") < 0)
		text = NULL;
	add_failure(c, "start", NULL, text != NULL ? text : errmsg_text(up->e, rc));
}

static int prepare(struct checking *c)
{
	const struct up *up = c->up;
	unsigned jobs = c->clone->request->jobs;

	(void)snprintf(c->port, sizeof(c->port), "%u", up->facts.port);
	(void)snprintf(c->jobs, sizeof(c->jobs), "%u", jobs > 0 ? jobs : parallel_processors());
	if (up->bin.major < MAJOR_AMCHECK || pgbin_has_library(&up->bin, "amcheck", NULL, false))
		return 0;
	if (asprintf(&c->libraries,
		     "PostgreSQL %u has no extension amcheck here: apt install postgresql-%u "
		     "(elsewhere its package is called postgresql-contrib)",
		     up->bin.major, up->bin.major) < 0) {
		c->libraries = NULL;
		return -ENOMEM;
	}
	add_failure(c, "pg_amcheck", NULL, c->libraries);
	return 0;
}

void verify_clone_check(const struct verify_clone *clone, cJSON *report)
{
	const struct verify_request *r = clone->request;
	struct up_options options = {
		.mount = MOUNT_REQUEST_INIT,
		.sets = {"fsync=off", "autovacuum=off", "lc_messages=C", "log_min_messages=warning"},
		.set_count = 4,
	};
	struct errmsg e = {""};
	struct up up = {
		.options = &options, .e = &e, .on_mount = clone->on_mount, .ctx = clone->ctx};
	struct checking c = {.clone = clone, .up = &up};
	int rc;

	options.mount.store = r->store;
	options.mount.instance = clone->instance[0] != '\0' ? clone->instance : NULL;
	options.mount.backup = clone->backup;
	options.mount.force = r->force;
	options.mount.native_wal = true;
	options.mount.target.kind = TARGET_AUTO;
	c.databases = cJSON_AddArrayToObject(report, "databases");
	c.failed = cJSON_AddArrayToObject(report, "failed");
	rc = up_bring(&up);
	if (up.bin.version != NULL)
		(void)cJSON_AddStringToObject(report, "server", up.bin.version);
	if (up.facts.log != NULL)
		report_recovery(&up, report);
	report_collations(&up, report);
	if (rc < 0)
		report_no_start(&c, rc);
	if (rc == 0)
		rc = prepare(&c);
	if (rc == 0)
		rc = check_databases(&c);
	if (rc < 0 && cJSON_GetArraySize(c.failed) == 0)
		add_failure(&c, "check", NULL, errmsg_text(NULL, rc));
	up_take_down(&up);
	up_clear(&up);
	free(c.libraries);
}
