/*
 * cmd/restore_conf.c: see restore_conf.h.
 */
#include "cmd/restore_conf.h"

#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* ---- checks ---- */

static bool is_number(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= 20 && strspn(text, "0123456789") == len;
}

static bool is_lsn(const char *text)
{
	size_t hi = strspn(text, "0123456789abcdefABCDEF"), lo;

	if (hi == 0 || hi > 8 || text[hi] != '/')
		return false;
	lo = strspn(text + hi + 1, "0123456789abcdefABCDEF");
	return lo > 0 && lo <= 8 && text[hi + 1 + lo] == '\0';
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (strcasecmp(text, *words) == 0)
			return true;
	}
	return false;
}

static bool is_timeline(const char *text)
{
	static const char *const words[] = {"latest", "current", NULL};

	return is_number(text) || is_one_of(text, words);
}

static bool is_boolean(const char *text)
{
	static const char *const words[] = {"true", "false", "on", "off", "yes", "no",
					    "1",    "0",     "t",  "f",	  NULL};

	return is_one_of(text, words);
}

static bool is_action(const char *text)
{
	static const char *const words[] = {"pause", "promote", "shutdown", NULL};

	return is_one_of(text, words);
}

static bool is_stop(const char *text)
{
	return strcmp(text, "immediate") == 0 || strcmp(text, "latest") == 0;
}

int restore_recovery_check(const struct restore_recovery *r, struct errmsg *e)
{
	const struct {
		const char *option, *value, *wanted;
		bool (*is)(const char *text);
	} checks[] = {
		{"--target-xid", r->xid, "a transaction number", is_number},
		{"--target-lsn", r->lsn, "an LSN like 16/B374D848", is_lsn},
		{"--target", r->stop, "immediate or latest", is_stop},
		{"--target-timeline", r->timeline, "a number, latest or current", is_timeline},
		{"--target-inclusive", r->inclusive, "true or false", is_boolean},
		{"--target-action", r->action, "pause, promote or shutdown", is_action},
	};
	unsigned targets = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
		if (checks[i].value && !checks[i].is(checks[i].value))
			return errmsg_set(e, -EINVAL, "%s '%s': not %s", checks[i].option,
					  checks[i].value, checks[i].wanted);
	}
	targets += r->time != NULL;
	targets += r->xid != NULL;
	targets += r->lsn != NULL;
	targets += r->name != NULL;
	targets += r->stop != NULL;
	if (targets > 1)
		return errmsg_set(e, -EINVAL,
				  "only one of --target, --target-time, --target-xid, "
				  "--target-lsn and --target-name");
	if (r->inclusive && !r->time && !r->xid && !r->lsn)
		return errmsg_set(e, -EINVAL,
				  "--target-inclusive goes with a time, a transaction or an LSN");
	return 0;
}

/* ---- text ---- */

/* name = 'value', as the server's configuration files want it. */
static void put_setting(FILE *out, const char *name, const char *value)
{
	(void)fprintf(out, "%s = '", name);
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			(void)fputc(*value, out);
		if (*value == '\n')
			(void)fputs("\\n", out);
		else
			(void)fputc(*value, out);
	}
	(void)fputs("'\n", out);
}

static bool has_target(const struct restore_recovery *r)
{
	return r->time || r->xid || r->lsn || r->name || r->stop;
}

/* Is point-in-time recovery wanted? */
static bool is_pitr(const struct restore_recovery *r, const struct restore_conf *conf)
{
	return conf->needs_archive || has_target(r) || r->restore_command ||
	       (r->timeline && strcasecmp(r->timeline, "latest") == 0);
}

static void put_recovery(FILE *out, const struct restore_recovery *r,
			 const struct restore_conf *conf, bool is_new)
{
	const struct {
		const char *name, *value;
	} targets[] = {
		{"recovery_target_name", r->name},
		{"recovery_target_time", r->time},
		{"recovery_target_xid", r->xid},
		{"recovery_target_lsn", r->lsn},
	};

	(void)fputs("## recovery settings\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		if (targets[i].value)
			put_setting(out, targets[i].name, targets[i].value);
	}
	if (r->stop && strcmp(r->stop, "immediate") == 0)
		put_setting(out, "recovery_target", "immediate");
	if (r->inclusive)
		put_setting(out, "recovery_target_inclusive", r->inclusive);
	/* Before version 12 the current timeline is the default and has no name. */
	if (r->timeline && (is_new || strcasecmp(r->timeline, "current") != 0))
		put_setting(out, "recovery_target_timeline", r->timeline);
	else if (is_new)
		put_setting(out, "recovery_target_timeline", "current");
	put_setting(out, "recovery_target_action", r->action ? r->action : "pause");
	put_setting(out, "restore_command",
		    r->restore_command ? r->restore_command : conf->restore_command);
}

static void put_standby(FILE *out, const struct restore_recovery *r,
			const struct restore_conf *conf, bool is_new)
{
	const char *conninfo = r->primary_conninfo ? r->primary_conninfo : conf->primary_conninfo;

	(void)fputs("\n## standby settings\n", out);
	if (!is_new)
		put_setting(out, "standby_mode", "on");
	if (conninfo[0] != '\0')
		put_setting(out, "primary_conninfo", conninfo);
	if (r->slot)
		put_setting(out, "primary_slot_name", r->slot);
}

int restore_conf_make(const struct restore_recovery *r, const struct restore_conf *conf,
		      struct restore_conf_files *ret)
{
	struct restore_conf_files files = {0};
	bool pitr = is_pitr(r, conf);
	bool is_new = conf->pg_version == 0 || conf->pg_version >= 12;
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	(void)fprintf(out,
		      "\n# recovery settings added by pgoverlay restore of backup %s at '%s'\n",
		      conf->backup, conf->local_time);
	if (pitr)
		put_recovery(out, r, conf, is_new);
	if (r->as_replica)
		put_standby(out, r, conf, is_new);
	if (fclose(out) != 0)
		return -ENOMEM;
	if (is_new) {
		files.recovery_signal = pitr;
		files.standby_signal = r->as_replica;
		files.auto_conf = TAKE_PTR(text);
	} else {
		files.auto_conf = strdup("");
		if (pitr || r->as_replica)
			files.recovery_conf = TAKE_PTR(text);
		if (!files.auto_conf) {
			free(files.recovery_conf);
			return -ENOMEM;
		}
	}
	*ret = files;
	return 0;
}

void restore_conf_free(struct restore_conf_files *files)
{
	free(files->auto_conf);
	free(files->recovery_conf);
	*files = (struct restore_conf_files){0};
}

/* In double quotes for the shell; the server takes %% for a percent sign. */
static void put_word(FILE *out, const char *word)
{
	(void)fputc('"', out);
	for (; *word; word++) {
		if (strchr("\"\\$`", *word))
			(void)fputc('\\', out);
		if (*word == '%')
			(void)fputc('%', out);
		(void)fputc(*word, out);
	}
	(void)fputc('"', out);
}

char *restore_conf_command(const char *program, const char *store, const char *instance)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	put_word(out, program);
	(void)fputs(" wal-get ", out);
	put_word(out, store);
	(void)fputs(" \"%f\" \"%p\"", out);
	if (instance[0] != '\0') {
		(void)fputs(" --instance ", out);
		put_word(out, instance);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
