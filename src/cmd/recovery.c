/*
 * cmd/recovery.c: the record of a recovery and its settings; see recovery.h.
 */
#include "cmd/recovery.h"

#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define RECORD	   "recovery"
#define RECORD_MAX (64u << 10)

void recovery_clear(struct recovery *r)
{
	free(r->value);
	free(r->command);
	*r = (struct recovery){0};
}

/* ---- the restore_command ---- */

/* A word of a shell, in which the server takes % for a sign of its own. */
static void print_word(FILE *out, const char *word)
{
	(void)putc('\'', out);
	for (; *word != '\0'; word++) {
		if (*word == '\'')
			(void)fputs("'\\''", out);
		else if (*word == '%')
			(void)fputs("%%", out);
		else
			(void)putc(*word, out);
	}
	(void)putc('\'', out);
}

static char *make_command(const char *program, const char *store, const char *instance)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	print_word(out, program);
	(void)fputs(" wal-get ", out);
	print_word(out, store);
	(void)fputs(" %f \"%p\"", out);
	if (instance[0] != '\0') {
		(void)fputs(" --instance ", out);
		print_word(out, instance);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* Of lines: neither the record nor the server's settings have a way to write a part of one. */
static bool is_one_line(const char *text)
{
	return text[strcspn(text, "\r\n")] == '\0';
}

int recovery_make(const struct target *target, const struct target_choice *choice,
		  const char *program, const char *store, const char *instance,
		  struct recovery *ret)
{
	char value[TARGET_VALUE_SIZE];
	struct recovery r = {
		.kind = target->kind,
		.action = target->action,
		.exclusive = target->exclusive,
		.timeline = choice->timeline,
		.segment_size = choice->segment_size,
		.start_lsn = choice->start_lsn,
		.end_lsn = choice->end_lsn,
	};

	if (!is_one_line(program) || !is_one_line(store) || !is_one_line(instance))
		return -EINVAL;
	r.value = strdup(target_value(target, value));
	/* All WAL that is needed is in the backup, but the server wants to be told a command. */
	r.command = choice->has_archive ? make_command(program, store, instance) : strdup("false");
	if (r.value == NULL || r.command == NULL) {
		recovery_clear(&r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

/* ---- the record ---- */

static void print_quoted(FILE *out, const char *key, const char *value)
{
	(void)fprintf(out, "%s = '", key);
	for (; *value != '\0'; value++) {
		if (*value == '\'')
			(void)putc('\'', out);
		(void)putc(*value, out);
	}
	(void)fputs("'\n", out);
}

char *recovery_format(const struct recovery *r)
{
	char lsn[PG_LSN_TEXT_SIZE], *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	(void)fprintf(out,
		      "# What this clone is recovered to; written when it was made.\n"
		      "target = %s\n",
		      target_kind_name(r->kind));
	print_quoted(out, "value", r->value);
	(void)fprintf(out, "inclusive = %s\naction = %s\ntimeline = %u\n",
		      r->exclusive ? "off" : "on", target_action_name(r->action), r->timeline);
	print_quoted(out, "command", r->command);
	(void)fprintf(out, "segment-size = %u\n", r->segment_size);
	(void)fprintf(out, "start-lsn = %s\n", pg_lsn_text(r->start_lsn, lsn));
	(void)fprintf(out, "end-lsn = %s\n", pg_lsn_text(r->end_lsn, lsn));
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int take_text(const char *value, char **ret)
{
	free(*ret);
	*ret = strdup(value);
	return *ret != NULL ? 0 : -ENOMEM;
}

static int take_number(const char *value, uint32_t *ret)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end != '\0' || number > UINT32_MAX)
		return -EUCLEAN;
	*ret = (uint32_t)number;
	return 0;
}

static int take_pair(void *ctx, const char *key, const char *value)
{
	struct recovery *r = ctx;

	if (strcmp(key, "target") == 0)
		return target_kind_find(value, &r->kind);
	if (strcmp(key, "action") == 0)
		return target_action_find(value, &r->action);
	if (strcmp(key, "value") == 0)
		return take_text(value, &r->value);
	if (strcmp(key, "command") == 0)
		return take_text(value, &r->command);
	if (strcmp(key, "inclusive") == 0)
		r->exclusive = strcmp(value, "off") == 0;
	if (strcmp(key, "timeline") == 0)
		return take_number(value, &r->timeline);
	if (strcmp(key, "segment-size") == 0)
		return take_number(value, &r->segment_size);
	if (strcmp(key, "start-lsn") == 0)
		return pg_lsn_parse(value, &r->start_lsn) ? 0 : -EUCLEAN;
	if (strcmp(key, "end-lsn") == 0)
		return pg_lsn_parse(value, &r->end_lsn) ? 0 : -EUCLEAN;
	return 0;
}

int recovery_parse(const char *text, size_t len, struct errmsg *e, struct recovery *ret)
{
	struct recovery r = {.kind = TARGET_NONE};
	int rc = ini_parse(text, len, take_pair, &r, e);

	if (rc == 0 &&
	    (r.kind < TARGET_IMMEDIATE || r.value == NULL || r.command == NULL || r.timeline == 0))
		rc = -EUCLEAN;
	if (rc < 0)
		recovery_clear(&r);
	else
		*ret = r;
	return rc;
}

int recovery_read(int diff_dirfd, struct errmsg *e, struct recovery *ret)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int rc = sys_read_file(diff_dirfd, RECORD, RECORD_MAX, &data, &len);

	if (rc == -ENOENT)
		return rc;
	if (rc == 0)
		rc = recovery_parse(data, len, NULL, ret);
	return rc < 0 ? errmsg_set(e, rc,
				   "cannot read what the diff is recovered to (its file "
				   "'recovery'): %s",
				   errmsg_text(NULL, rc))
		      : 0;
}

int recovery_read_path(const char *diff, struct errmsg *e, struct recovery *ret)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, diff, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? fd : recovery_read(fd, e, ret);
}

int recovery_record(int diff_dirfd, const struct recovery *recovery, struct errmsg *e)
{
	_cleanup_free_ char *text = recovery_format(recovery);
	int rc = text == NULL ? -ENOMEM : 0;

	if (rc == 0)
		rc = sys_replace_file(diff_dirfd, RECORD, text, strlen(text), 0600);
	return rc < 0 ? errmsg_set(e, rc, "cannot record what the diff is recovered to: %s",
				   errmsg_text(NULL, rc))
		      : 0;
}

int recovery_compare(const struct recovery *r, const struct target *target, struct errmsg *e)
{
	char value[TARGET_VALUE_SIZE];

	if (r->kind == target->kind && strcmp(r->value, target_value(target, value)) == 0 &&
	    r->exclusive == target->exclusive && r->action == target->action)
		return 0;
	return errmsg_set(e, -EINVAL,
			  "this diff was made for recovery to %s%s%s, then %s%s: leave the target "
			  "out to go on with it, or give a new --diff",
			  target_kind_name(r->kind), r->value[0] != '\0' ? " " : "", r->value,
			  target_action_name(r->action),
			  r->exclusive ? ", without the target itself" : "");
}

/* ---- settings ---- */

static const char *const target_settings[TARGET_MAX_] = {
	[TARGET_IMMEDIATE] = "recovery_target", [TARGET_TIME] = "recovery_target_time",
	[TARGET_LSN] = "recovery_target_lsn",	[TARGET_XID] = "recovery_target_xid",
	[TARGET_NAME] = "recovery_target_name",
};

unsigned recovery_settings(const struct recovery *r,
			   struct recovery_setting ret[RECOVERY_SETTINGS_MAX])
{
	const char *target = target_settings[r->kind];
	unsigned n = 0;

	ret[n++] = (struct recovery_setting){"restore_command", r->command, ""};
	if (target != NULL) {
		ret[n++] = (struct recovery_setting){
			target, r->kind == TARGET_IMMEDIATE ? "immediate" : r->value, ""};
		ret[n++] = (struct recovery_setting){"recovery_target_inclusive",
						     r->exclusive ? "off" : "on", ""};
		ret[n++] = (struct recovery_setting){"recovery_target_action",
						     target_action_name(r->action), ""};
	}
	ret[n] = (struct recovery_setting){"recovery_target_timeline", NULL, ""};
	(void)snprintf(ret[n].text, sizeof(ret[n].text), "%u", r->timeline);
	ret[n].value = ret[n].text;
	return n + 1;
}

char *recovery_conf_text(const struct recovery *r)
{
	struct recovery_setting settings[RECOVERY_SETTINGS_MAX];
	unsigned count = recovery_settings(r, settings);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	(void)fputs(
		"\n# Made by pgoverlay for the recovery of this clone; without effect when that "
		"is over.\n",
		out);
	for (unsigned i = 0; i < count; i++) {
		(void)fprintf(out, "%s = '", settings[i].name);
		for (const char *c = settings[i].value; *c != '\0'; c++) {
			if (*c == '\'' || *c == '\\')
				(void)putc(*c, out);
			(void)putc(*c, out);
		}
		(void)fputs("'\n", out);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
