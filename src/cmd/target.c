/*
 * cmd/target.c: the options of a recovery target; see target.h.
 */
#include "cmd/target.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define NAME_MAX_BYTES 63 /* MAXFNAMELEN without its NUL */
#define SECOND	       1000000

static const char *const kind_names[TARGET_MAX_] = {"none", "auto", "immediate", "latest",
						    "time", "lsn",  "xid",	 "name"};
static const char *const action_names[TARGET_ACTION_MAX_] = {"promote", "pause", "shutdown"};

const char *target_kind_name(enum target_kind kind)
{
	return kind_names[kind];
}

const char *target_action_name(enum target_action action)
{
	return action_names[action];
}

static int find_name(const char *const *names, unsigned count, const char *name, unsigned *ret)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

int target_kind_find(const char *name, enum target_kind *ret)
{
	unsigned i;
	int rc = find_name(kind_names, TARGET_MAX_, name, &i);

	if (rc == 0)
		*ret = (enum target_kind)i;
	return rc;
}

int target_action_find(const char *name, enum target_action *ret)
{
	unsigned i;
	int rc = find_name(action_names, TARGET_ACTION_MAX_, name, &i);

	if (rc == 0)
		*ret = (enum target_action)i;
	return rc;
}

/* ---- times ---- */

/* "" (local time), "Z", " UTC", "+01", "+01:30", "+0130": seconds east of UTC. */
static int parse_zone(const char *s, bool *ret_local, long *ret_offset)
{
	unsigned hours = 0, minutes = 0;
	int n = 0, n2 = 0;
	char sign;

	s += strspn(s, " ");
	*ret_local = *s == '\0';
	*ret_offset = 0;
	if (*s == '\0' || strcmp(s, "Z") == 0 || strcmp(s, "z") == 0 || strcmp(s, "UTC") == 0 ||
	    strcmp(s, "GMT") == 0)
		return 0;
	if (sscanf(s, "%c%2u%n", &sign, &hours, &n) != 2 || (sign != '+' && sign != '-') ||
	    s[1] < '0' || s[1] > '9')
		return -EINVAL;
	s += n;
	if (*s != '\0') {
		s += *s == ':';
		if (sscanf(s, "%2u%n", &minutes, &n2) != 1 || n2 != 2 || s[n2] != '\0')
			return -EINVAL;
	}
	if (hours > 15 || minutes > 59)
		return -EINVAL;
	*ret_offset = (long)(hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
	return 0;
}

/* ".5": microseconds; *s moves behind it. */
static int64_t take_fraction(const char **s)
{
	int64_t value = 0, unit = SECOND / 10;

	if (**s != '.')
		return 0;
	for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
		value += (**s - '0') * unit;
	return value;
}

int target_time_parse(const char *text, int64_t *ret)
{
	struct tm tm = {.tm_isdst = -1}, same;
	const char *rest;
	int64_t fraction;
	long offset;
	time_t seconds;
	bool local;
	int n = 0, n2 = 0;
	char between;

	if (sscanf(text, "%4d-%2d-%2d%c%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &between,
		   &tm.tm_hour, &tm.tm_min, &n) != 6 ||
	    (between != ' ' && between != 'T'))
		return -EINVAL;
	rest = text + n;
	if (*rest == ':') {
		if (sscanf(rest, ":%2d%n", &tm.tm_sec, &n2) != 1)
			return -EINVAL;
		rest += n2;
	}
	fraction = take_fraction(&rest);
	if (parse_zone(rest, &local, &offset) < 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	same = tm;
	seconds = timegm(&same);
	if (same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday || same.tm_hour != tm.tm_hour ||
	    same.tm_min != tm.tm_min || same.tm_sec != tm.tm_sec || tm.tm_year < 70)
		return -EINVAL;
	seconds = local ? mktime(&tm) : seconds - offset;
	if (seconds < 0)
		return -EINVAL;
	*ret = (int64_t)seconds * SECOND + fraction;
	return 0;
}

static void format_time(int64_t time, char ret[TARGET_VALUE_SIZE])
{
	time_t seconds = (time_t)(time / SECOND);
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	(void)snprintf(ret, TARGET_VALUE_SIZE, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00",
		       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
		       tm.tm_sec, (int)(time % SECOND));
}

/* ---- options ---- */

static int set_kind(struct target *t, enum target_kind kind, const char *option, struct errmsg *e)
{
	if (t->kind != TARGET_NONE && t->kind != TARGET_AUTO)
		return errmsg_set(e, -EINVAL,
				  "--%s: there can be one target only, and there is %s already",
				  option, target_kind_name(t->kind));
	t->kind = kind;
	return 0;
}

static int take_target(struct target *t, const char *value, struct errmsg *e)
{
	if (strcmp(value, "immediate") == 0)
		return set_kind(t, TARGET_IMMEDIATE, "target", e);
	if (strcmp(value, "latest") == 0)
		return set_kind(t, TARGET_LATEST, "target", e);
	return errmsg_set(e, -EINVAL, "--target takes immediate or latest, not '%s'", value);
}

static int take_time(struct target *t, const char *value, struct errmsg *e)
{
	if (target_time_parse(value, &t->time) < 0)
		return errmsg_set(e, -EINVAL,
				  "--target-time takes a time like 2026-11-20 10:41:23.5+00, not "
				  "'%s'",
				  value);
	return set_kind(t, TARGET_TIME, "target-time", e);
}

static int take_lsn(struct target *t, const char *value, struct errmsg *e)
{
	if (!pg_lsn_parse(value, &t->lsn) || t->lsn == 0)
		return errmsg_set(e, -EINVAL,
				  "--target-lsn takes an LSN like 16/B374D848, not '%s'", value);
	return set_kind(t, TARGET_LSN, "target-lsn", e);
}

static int take_xid(struct target *t, const char *value, struct errmsg *e)
{
	char *end;

	errno = 0;
	t->xid = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || t->xid == 0)
		return errmsg_set(e, -EINVAL,
				  "--target-xid takes the number of a transaction, not '%s'",
				  value);
	return set_kind(t, TARGET_XID, "target-xid", e);
}

static int take_name(struct target *t, const char *value, struct errmsg *e)
{
	size_t len = strlen(value);
	bool clean = len > 0 && len <= NAME_MAX_BYTES;

	for (const char *c = value; *c != '\0'; c++)
		clean = clean && (unsigned char)*c >= ' ' && *c != 0x7f;
	if (!clean)
		return errmsg_set(e, -EINVAL,
				  "--target-name takes the name of a restore point, 1 to %d bytes",
				  NAME_MAX_BYTES);
	t->name = value;
	return set_kind(t, TARGET_NAME, "target-name", e);
}

static int take_action(struct target *t, const char *value, struct errmsg *e)
{
	t->has_action = true;
	return target_action_find(value, &t->action) == 0
		       ? 0
		       : errmsg_set(e, -EINVAL,
				    "--target-action takes promote, pause or shutdown, not '%s'",
				    value);
}

static int take_timeline(struct target *t, const char *value, struct errmsg *e)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (strcmp(value, "latest") != 0 && strcmp(value, "current") != 0 &&
	    (*value < '0' || *value > '9' || *end != '\0' || number == 0 || number > UINT32_MAX))
		return errmsg_set(e, -EINVAL,
				  "--target-timeline takes latest, current or a number, not '%s'",
				  value);
	t->timeline = value;
	return 0;
}

static int take_inclusive(struct target *t, const char *value, struct errmsg *e)
{
	static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
	unsigned i;

	if (find_name(words, ARRAY_SIZE(words), value, &i) < 0)
		return errmsg_set(e, -EINVAL, "--target-inclusive takes on or off, not '%s'",
				  value);
	t->exclusive = i % 2 == 0;
	t->has_inclusive = true;
	return 0;
}

int target_option(struct target *target, const char *name, const char *value, struct errmsg *e)
{
	static const struct {
		const char *name;
		int (*take)(struct target *t, const char *value, struct errmsg *e);
	} options[] = {
		{"target", take_target},
		{"target-time", take_time},
		{"target-lsn", take_lsn},
		{"target-xid", take_xid},
		{"target-name", take_name},
		{"target-action", take_action},
		{"target-timeline", take_timeline},
		{"target-inclusive", take_inclusive},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		if (strcmp(options[i].name, name) == 0)
			return options[i].take(target, value, e);
	}
	return errmsg_set(e, -EINVAL, "there is no option --%s", name);
}

int target_check(const struct target *t, struct errmsg *e)
{
	bool point = t->kind >= TARGET_TIME;

	if ((t->kind == TARGET_NONE || t->kind == TARGET_AUTO) &&
	    (t->has_action || t->has_inclusive || t->timeline != NULL))
		return errmsg_set(e, -EINVAL,
				  "which target? --target-action, --target-timeline and "
				  "--target-inclusive go with one");
	if (t->has_inclusive && !point)
		return errmsg_set(e, -EINVAL, "--target-inclusive: %s has no record to stop before",
				  target_kind_name(t->kind));
	if (t->has_inclusive && t->kind == TARGET_NAME)
		return errmsg_set(e, -EINVAL,
				  "--target-inclusive: recovery always stops behind a restore "
				  "point");
	if (t->kind == TARGET_LATEST && t->action != TARGET_PROMOTE)
		return errmsg_set(e, -EINVAL,
				  "--target-action %s: at the end of the archive PostgreSQL always "
				  "promotes",
				  target_action_name(t->action));
	return 0;
}

const char *target_value(const struct target *t, char ret[TARGET_VALUE_SIZE])
{
	ret[0] = '\0';
	if (t->kind == TARGET_TIME)
		format_time(t->time, ret);
	else if (t->kind == TARGET_LSN)
		(void)pg_lsn_text(t->lsn, ret);
	else if (t->kind == TARGET_XID)
		(void)snprintf(ret, TARGET_VALUE_SIZE, "%llu", (unsigned long long)t->xid);
	else if (t->kind == TARGET_NAME)
		(void)snprintf(ret, TARGET_VALUE_SIZE, "%s", t->name);
	return ret;
}

const char *target_text(const struct target *t, char ret[TARGET_TEXT_SIZE])
{
	char value[TARGET_VALUE_SIZE];

	if (t->kind == TARGET_IMMEDIATE)
		(void)snprintf(ret, TARGET_TEXT_SIZE, "the state of the backup");
	else if (t->kind == TARGET_LATEST)
		(void)snprintf(ret, TARGET_TEXT_SIZE, "the end of the archive");
	else
		(void)snprintf(ret, TARGET_TEXT_SIZE, "%s %s", target_kind_name(t->kind),
			       target_value(t, value));
	return ret;
}
