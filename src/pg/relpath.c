/*
 * pg/relpath.c: see relpath.h.
 */
#include "pg/relpath.h"
#include "base/util.h"

static const char *const fork_names[PG_FORK_MAX_] = {
	[PG_FORK_MAIN] = "main",
	[PG_FORK_FSM] = "fsm",
	[PG_FORK_VM] = "vm",
	[PG_FORK_INIT] = "init",
};

const char *pg_fork_name(enum pg_fork fork)
{
	return (unsigned)fork < PG_FORK_MAX_ ? fork_names[fork] : "?";
}

/* Each of these moves *s behind what it took, or leaves it alone and returns false. */

static bool take(const char **s, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*s, word, len) != 0)
		return false;
	*s += len;
	return true;
}

/* 1 to max, no leading zero. */
static bool take_number(const char **s, uint32_t max, uint32_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '1' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > max)
			return false;
	}
	*ret = (uint32_t)v;
	*s = p;
	return true;
}

/* The directory that the server makes in each tablespace: PG_15_202209061/ */
static bool take_version_dir(const char **s)
{
	const char *p = *s;
	size_t len;

	if (!take(&p, "PG_"))
		return false;
	len = strcspn(p, "/");
	if (len == 0 || p[len] != '/')
		return false;
	*s = p + len + 1;
	return true;
}

static bool take_dir(const char **s, struct pg_relpath *rel)
{
	if (take(s, "global/")) {
		rel->tablespace = PG_TABLESPACE_GLOBAL;
		return true;
	}
	if (take(s, "base/"))
		rel->tablespace = PG_TABLESPACE_DEFAULT;
	else if (!take(s, "pg_tblspc/") || !take_number(s, UINT32_MAX, &rel->tablespace) ||
		 !take(s, "/") || !take_version_dir(s))
		return false;
	return take_number(s, UINT32_MAX, &rel->database) && take(s, "/");
}

static bool take_fork(const char **s, enum pg_fork *ret)
{
	*ret = PG_FORK_MAIN;
	if (!take(s, "_"))
		return true;
	for (enum pg_fork fork = PG_FORK_FSM; fork < PG_FORK_MAX_; fork++) {
		if (take(s, fork_names[fork])) {
			*ret = fork;
			return true;
		}
	}
	return false;
}

bool pg_relpath_parse(const char *path, struct pg_relpath *ret)
{
	struct pg_relpath rel = {0};
	const char *s = path;

	if (!take_dir(&s, &rel) || !take_number(&s, UINT32_MAX, &rel.relation) ||
	    !take_fork(&s, &rel.fork))
		return false;
	if (take(&s, ".") && !take_number(&s, PG_SEGNO_MAX, &rel.segno))
		return false;
	if (*s != '\0')
		return false;
	*ret = rel;
	return true;
}
