/*
 * cmd/clone_check.c: asks the server program whether it takes a clone's configuration, and leaves
 * out what it does not.
 *
 * Its complaints are read from what `postgres -C` prints in English. What it does not know (a
 * setting of another build), or takes for invalid here (a locale or time zone that is not
 * installed), is left out by name; what cannot be told from the text is found by trying each
 * setting alone.
 */
#include "cmd/clone_config_internal.h"

#include "base/util.h"
#include "cmd/server.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define CHECK_ROUNDS 16
#define NAME_SIZE    1024

/* Copies the text between quotes behind `mark`; false if it is not there. */
static bool quoted_after(const char *text, const char *mark, char *ret, size_t size)
{
	const char *p = strstr(text, mark);
	size_t len;

	if (p == NULL)
		return false;
	p += strlen(mark);
	len = strcspn(p, "\"");
	if (p[len] != '"' || len == 0 || len >= size)
		return false;
	memcpy(ret, p, len);
	ret[len] = '\0';
	return true;
}

bool clone_config_complaint(const char *text, char *ret_name, char *ret_file, size_t size,
			    unsigned *ret_line)
{
	const char *line = strstr(text, "\" line ");

	*ret_line = 0;
	ret_name[0] = '\0';
	if (strstr(text, "HINT:  ") != NULL || strstr(text, "DETAIL:  ") != NULL)
		return false;
	if (quoted_after(text, "syntax error in file \"", ret_file, size) && line != NULL) {
		*ret_line = (unsigned)strtoul(line + 7, NULL, 10);
		return *ret_line > 0;
	}
	return quoted_after(text, "parameter \"", ret_name, size) ||
	       quoted_after(text, "parameter name \"", ret_name, size);
}

/* A locale that is missing here, for which "C" is nearer than the environment's. */
static const char *instead_of(const char *name)
{
	return strncasecmp(name, "lc_", 3) == 0 ? "C" : NULL;
}

/* Both kinds of file are written again where something was taken out. */
static bool count_dropped(struct clone_plan *p, struct pgconf_dropped dropped)
{
	p->own_config |= dropped.from_main > 0;
	p->own_auto |= dropped.from_auto > 0;
	return dropped.from_main + dropped.from_auto > 0;
}

/* 1: the line is out. */
static int leave_out_line(struct clone_plan *p, const char *file, unsigned line, const char *why)
{
	if (!count_dropped(p, pgconf_drop_at(&p->conf, file, line)))
		return 0;
	(void)fprintf(p->notes, "left out: %s line %u: %s\n", file, line, why);
	return 1;
}

/* 1: the setting is out of the files, or was ours and this build does not know it. */
static int leave_out(struct clone_plan *p, const char *name, const char *why)
{
	const struct setting *ours = settings_find(&p->settings, name);
	const char *value = pgconf_get(&p->conf, name);
	_cleanup_free_ char *was = value == NULL ? NULL : strdup(value);
	bool dropped;
	int rc = 0;

	if (ours != NULL && ours->given)
		return errmsg_set(p->e, -EINVAL, "--set %s: %s", name, why);
	dropped = count_dropped(p, pgconf_drop(&p->conf, name));
	if (!dropped && (ours == NULL || ours->value == NULL))
		return 0;
	if (!dropped)
		rc = settings_add(&p->settings, name, NULL, was, why);
	else if (ours == NULL)
		rc = settings_add(&p->settings, name, instead_of(name), was, why);
	return rc < 0 ? clone_plan_no_memory(p) : 1;
}

/* `... in file "x" line 7` is of a file of ours. */
static void cut_place(char *text)
{
	char *place = strstr(text, " in file \"");

	if (place != NULL)
		*place = '\0';
}

/* Takes out everything that the output complains about. 0: nothing of it could be. */
static int answer_complaints(struct clone_plan *p, char *output)
{
	char name[NAME_SIZE], file[NAME_SIZE];
	int changed = 0;
	unsigned line;

	for (char *next, *text = output; *text != '\0'; text = next) {
		const char *why;
		int rc;

		next = text + strcspn(text, "\n");
		if (*next != '\0')
			*next++ = '\0';
		if (!clone_config_complaint(text, name, file, sizeof(name), &line))
			continue;
		why = strstr(text, ":  ");
		why = why == NULL ? text : why + 3;
		cut_place(text);
		rc = line > 0 ? leave_out_line(p, file, line, why) : leave_out(p, name, why);
		if (rc < 0)
			return rc;
		changed |= rc;
	}
	return changed;
}

/* What is given on the command line need not stand in a file of ours, where even its old value
 * would be looked at. */
static bool drop_overridden(struct clone_plan *p)
{
	if (p->fewer)
		return false;
	p->fewer = true;
	for (size_t i = 0; i < p->settings.count; i++)
		if (p->settings.items[i].value != NULL)
			(void)count_dropped(p, pgconf_drop(&p->conf, p->settings.items[i].name));
	p->own_config = true;
	return true;
}

/* 1: the server takes a configuration of this setting alone. */
static int check_alone(struct clone_plan *p, const struct pgconf_item *item, char **ret_output)
{
	struct pgconf_item one = {
		.name = item->name, .value = item->value, .file = item->file, .line = item->line};
	struct pgconf conf = {.items = &one, .count = 1};
	_cleanup_free_ char *text = NULL;
	int rc;

	if (pgconf_format(&conf, false, "", &text) < 0)
		return clone_plan_no_memory(p);
	rc = owner_enter(p->request->owner, p->e);
	if (rc < 0)
		return rc;
	rc = clone_plan_write_file(p, p->config_file, text);
	if (rc == 0)
		rc = clone_plan_write_file(p, p->auto_file, "");
	owner_leave();
	if (rc < 0)
		return rc;
	return server_check(p->request->bin, p->request->owner, &p->settings, p->request->data_dir,
			    p->e, ret_output);
}

/* Some complaints name no setting. Then each is tried alone; both files are written anew
 * afterwards. 1: something is out. */
static int leave_out_by_trying(struct clone_plan *p)
{
	int changed = 0;

	if (p->tried_alone)
		return 0;
	p->tried_alone = true;
	p->own_config = true;
	p->own_auto = true;
	for (size_t i = 0; i < p->conf.count; i++) {
		_cleanup_free_ char *output = NULL;
		int rc;

		if (p->conf.items[i].dropped)
			continue;
		rc = check_alone(p, &p->conf.items[i], &output);
		if (rc < 0)
			return rc;
		if (rc == 1)
			continue;
		output[strcspn(output, "\n")] = '\0';
		rc = leave_out(p, p->conf.items[i].name, output);
		if (rc < 0)
			return rc;
		changed |= rc;
	}
	return changed;
}

static int use_own_config(struct clone_plan *p)
{
	if (!p->own_config)
		return 0;
	(void)drop_overridden(p);
	if (settings_find(&p->settings, "config_file") != NULL)
		return 0;
	if (settings_add(&p->settings, "config_file", p->config_file, NULL,
			 "the backup's own cannot be used as it is") < 0)
		return clone_plan_no_memory(p);
	return 0;
}

/* 1: the server takes the files as they are now; 0: something was left out, or could be in another
 * round. */
static int check_once(struct clone_plan *p)
{
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *said = NULL;
	int rc;

	rc = use_own_config(p);
	if (rc == 0)
		rc = clone_plan_write_files(p);
	if (rc == 0)
		rc = server_check(p->request->bin, p->request->owner, &p->settings,
				  p->request->data_dir, p->e, &output);
	if (rc != 0)
		return rc;
	said = strdup(output);
	if (said == NULL)
		return clone_plan_no_memory(p);
	rc = answer_complaints(p, output);
	if (rc == 0 && drop_overridden(p))
		rc = 1;
	if (rc == 0)
		rc = leave_out_by_trying(p);
	if (rc == 0)
		return errmsg_set(p->e, -EINVAL, "PostgreSQL refuses the configuration:\n%.800s",
				  said);
	return rc < 0 ? rc : 0;
}

int clone_plan_check(struct clone_plan *p)
{
	for (unsigned round = 0; round < CHECK_ROUNDS; round++) {
		int rc = check_once(p);

		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	return errmsg_set(p->e, -EINVAL, "PostgreSQL goes on refusing the configuration in %s",
			  p->request->data_dir);
}
