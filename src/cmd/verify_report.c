/*
 * cmd/verify_report.c: findings of `verify`: lines as they come, JSON and the summary at the end.
 */
#include "base/util.h"
#include "cmd/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void keep_finding(struct verify *v, const struct layer_finding *finding)
{
	cJSON *o = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(o, "instance", v->instance);
	(void)cJSON_AddStringToObject(o, "backup", finding->backup);
	if (finding->file != NULL)
		(void)cJSON_AddStringToObject(o, "file", finding->file);
	if (finding->block != LAYER_NO_BLOCK)
		(void)cJSON_AddNumberToObject(o, "block", finding->block);
	(void)cJSON_AddStringToObject(o, "reason", finding->reason);
	(void)cJSON_AddItemToArray(finding->harmless ? v->warnings : v->damages, o);
}

static void print_finding(struct verify *v, const struct layer_finding *finding)
{
	progress_clear(&v->progress);
	(void)printf("%sbackup %s: ", finding->harmless ? "warning: " : "", finding->backup);
	if (finding->file != NULL)
		(void)printf("file '%s'%s", finding->file,
			     finding->block != LAYER_NO_BLOCK ? ", " : ": ");
	if (finding->block != LAYER_NO_BLOCK)
		(void)printf("block %u: ", finding->block);
	(void)printf("%s\n", finding->reason);
	(void)fflush(stdout);
}

void verify_found(struct verify *v, const struct layer_finding *finding)
{
	pthread_mutex_lock(&v->lock);
	if (finding->harmless)
		v->counters.warnings++;
	else
		v->counters.damages++;
	if (v->request.json)
		keep_finding(v, finding);
	else if (!v->request.quiet)
		print_finding(v, finding);
	pthread_mutex_unlock(&v->lock);
}

void verify_say(struct verify *v, const char *backup, bool harmless, const char *fmt, ...)
{
	char reason[4096];
	const struct layer_finding finding = {
		.backup = backup, .block = LAYER_NO_BLOCK, .harmless = harmless, .reason = reason};
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	verify_found(v, &finding);
}

/* ---- what came of a backup ---- */

static void add_backup(struct verify *v, const struct backup_info *info, const char *reason,
		       uint64_t damages, cJSON *started)
{
	cJSON *o = cJSON_CreateObject();
	const cJSON *failed = cJSON_GetObjectItemCaseSensitive(started, "failed");

	(void)cJSON_AddStringToObject(o, "instance", info->instance);
	(void)cJSON_AddStringToObject(o, "id", info->id);
	(void)cJSON_AddStringToObject(o, "status", info->status);
	(void)cJSON_AddStringToObject(o, "result",
				      reason != NULL ? "not checked"
				      : damages > 0  ? "damaged"
						     : "good");
	(void)cJSON_AddStringToObject(o, "reason", reason != NULL ? reason : "");
	if (started != NULL && failed != NULL)
		(void)cJSON_AddStringToObject(
			started, "result", cJSON_GetArraySize(failed) > 0 ? "failed" : "good");
	if (started != NULL)
		(void)cJSON_AddItemToObject(o, "started", started);
	(void)cJSON_AddItemToArray(v->backups, o);
}

static const char *text_of(const cJSON *o, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));

	return text != NULL ? text : "";
}

static void print_databases(const cJSON *databases)
{
	int checked = 0, count = cJSON_GetArraySize(databases);
	const cJSON *o;

	cJSON_ArrayForEach(o, databases)
	{
		checked += strcmp(text_of(o, "pg_amcheck"), "not run") != 0;
		(void)printf("%s%s", o == databases->child ? " (" : ", ", text_of(o, "name"));
	}
	(void)printf("%s checked and dumped%s", count > 0 ? ")" : "",
		     checked < count ? ", but not with pg_amcheck, which is missing or comes with "
				       "PostgreSQL 14"
				     : "");
}

static void print_started(const struct backup_info *info, const cJSON *started)
{
	const cJSON *recovery = cJSON_GetObjectItemCaseSensitive(started, "recovery");
	const cJSON *databases = cJSON_GetObjectItemCaseSensitive(started, "databases");
	const char *end = text_of(recovery, "end"), *timeline = text_of(recovery, "new_timeline");

	if (started == NULL)
		return;
	if (strcmp(text_of(started, "result"), "not started") == 0) {
		(void)printf("backup %s: not started, because it is damaged\n", info->id);
		return;
	}
	if (cJSON_GetArraySize(databases) == 0)
		return;
	(void)printf("backup %s: started by PostgreSQL %s, recovered to %s%s%s, %d databases",
		     info->id, text_of(started, "server"),
		     end[0] != '\0' ? end : text_of(recovery, "consistent"),
		     timeline[0] != '\0' ? " as timeline " : "", timeline,
		     cJSON_GetArraySize(databases));
	print_databases(databases);
	(void)printf("\n");
}

static void print_backup(struct verify *v, const struct backup_info *info, const char *reason,
			 uint64_t damages, const cJSON *started)
{
	progress_clear(&v->progress);
	print_started(info, started);
	if (reason != NULL)
		(void)printf("backup %s: not checked: %s\n", info->id, reason);
	else
		(void)printf("backup %s: %s\n", info->id,
			     damages > 0 ? "it or a backup it is made on is damaged" : "good");
	(void)fflush(stdout);
}

void verify_backup_done(struct verify *v, const struct backup_info *info, const char *reason,
			uint64_t damages, cJSON *started)
{
	if (reason != NULL)
		v->counters.refused++;
	else
		v->counters.backups++;
	if (v->request.json) {
		add_backup(v, info, reason, damages, TAKE_PTR(started));
	} else if (!v->request.quiet) {
		print_backup(v, info, reason, damages, started);
	}
	cJSON_Delete(started);
}

/* ---- the end ---- */

static int print_json(struct verify *v)
{
	const struct verify_counters *c = &v->counters;
	cJSON *o = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddStringToObject(o, "store", v->store != NULL ? v->store->path : "");
	(void)cJSON_AddBoolToObject(o, "complete", !v->stopped);
	(void)cJSON_AddBoolToObject(o, "good",
				    !v->stopped && c->damages == 0 && c->refused == 0);
	(void)cJSON_AddNumberToObject(o, "files", (double)c->files);
	(void)cJSON_AddNumberToObject(o, "pages", (double)c->pages);
	(void)cJSON_AddNumberToObject(o, "stored_bytes", (double)c->bytes);
	(void)cJSON_AddNumberToObject(o, "seconds", progress_seconds(&v->progress));
	(void)cJSON_AddItemToObject(o, "backups", TAKE_PTR(v->backups));
	(void)cJSON_AddItemToObject(o, "damages", TAKE_PTR(v->damages));
	(void)cJSON_AddItemToObject(o, "warnings", TAKE_PTR(v->warnings));
	text = cJSON_Print(o);
	cJSON_Delete(o);
	if (text == NULL)
		return -ENOMEM;
	(void)puts(text);
	cJSON_free(text);
	return 0;
}

static void print_text(struct verify *v)
{
	const struct verify_counters *c = &v->counters;
	double seconds = progress_seconds(&v->progress) - v->started_seconds;
	char bytes[32], rate[32];

	progress_clear(&v->progress);
	progress_format_bytes(c->bytes, bytes, sizeof(bytes));
	progress_format_bytes((uint64_t)((double)c->bytes / (seconds > 0.001 ? seconds : 0.001)),
			      rate, sizeof(rate));
	(void)printf("%s%llu backups, %llu files, %llu pages, %s in %.1f s (%s/s)%s ",
		     v->stopped ? "interrupted after " : "checked ",
		     (unsigned long long)c->backups, (unsigned long long)c->files,
		     (unsigned long long)c->pages, bytes, seconds, rate,
		     v->start != NULL ? "," : ":");
	if (v->start != NULL)
		(void)printf("and in %.1f s with PostgreSQL: ", v->started_seconds);
	if (c->damages == 0)
		(void)printf("no damage found");
	else
		(void)printf("%llu damages", (unsigned long long)c->damages);
	if (c->refused > 0)
		(void)printf(", %llu backups not checked", (unsigned long long)c->refused);
	(void)printf("\n");
}

int verify_print(struct verify *v)
{
	int rc = 0;

	if (v->request.json)
		rc = print_json(v);
	else
		print_text(v);
	return rc == 0 && (fflush(stdout) != 0 || ferror(stdout)) ? -EIO : rc;
}
