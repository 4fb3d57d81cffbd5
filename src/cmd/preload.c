/*
 * cmd/preload.c: see preload.h.
 */
#include "cmd/preload.h"

#include "base/util.h"
#include "cmd/pgconf.h"

#include <errno.h>
#include <stdio.h>

static const struct {
	const char *library, *reason;
} schedulers[] = {
	{"pg_cron", "runs jobs on a schedule"},
	{"pg_timetable_worker", "runs jobs on a schedule"},
	{"pgagent", "runs jobs on a schedule"},
	{"pg_task", "runs jobs on a schedule"},
	{"pgpro_scheduler", "runs jobs on a schedule"},
	{"pg_partman_bgw", "makes and drops partitions on a schedule"},
	{"pg_squeeze", "rewrites tables on a schedule"},
	{"powa", "takes snapshots on a schedule"},
	{"pg_net", "sends requests over the network"},
	{"pglogical", "connects to other servers"},
	{"spock", "connects to other servers"},
	{"bdr", "connects to other servers"},
	{"citus", "connects to other servers"},
	{"pgautofailover", "connects to other servers"},
	{"pg_failover_slots", "connects to other servers"},
};

const char *preload_scheduler(const char *library)
{
	const char *slash = strrchr(library, '/');
	const char *name = slash == NULL ? library : slash + 1;
	size_t len = strlen(name);

	if (len > 3 && strcmp(name + len - 3, ".so") == 0)
		len -= 3;
	for (size_t i = 0; i < ARRAY_SIZE(schedulers); i++)
		if (strlen(schedulers[i].library) == len &&
		    strncmp(schedulers[i].library, name, len) == 0)
			return schedulers[i].reason;
	return NULL;
}

struct filter {
	const struct preload_rule *rule;
	char *kept, *reason;
};

/* Adds "<before><name><after>" to the text, behind a separator unless it is the first. */
static int append(char **text, const char *separator, const char *before, const char *name,
		  const char *after)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s%s%s", *text == NULL ? "" : *text,
		     *text == NULL ? "" : separator, before, name, after) < 0)
		return -ENOMEM;
	free(*text);
	*text = longer;
	return 0;
}

static int judge(void *ctx, const char *name)
{
	struct filter *f = ctx;
	const char *acts = f->rule->schedulers ? preload_scheduler(name) : NULL;

	if (acts == NULL &&
	    pgbin_has_library(f->rule->bin, name, f->rule->search, f->rule->plugins))
		return append(&f->kept, ", ", "\"", name, "\"");
	if (acts == NULL)
		return append(&f->reason, "; ", "", name, " is not installed here");
	return append(&f->reason, "; ", name, " ", acts);
}

int preload_filter(const char *list, const struct preload_rule *rule, char **ret_kept,
		   char **ret_reason)
{
	struct filter f = {.rule = rule};
	int rc;

	rc = pgconf_split(list, judge, &f);
	if (rc == 0 && f.reason != NULL && f.kept == NULL) {
		f.kept = strdup("");
		rc = f.kept == NULL ? -ENOMEM : 0;
	}
	if (rc < 0 || f.reason == NULL) {
		free(f.kept);
		free(f.reason);
		return rc;
	}
	*ret_kept = f.kept;
	*ret_reason = f.reason;
	return 1;
}
