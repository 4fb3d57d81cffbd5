/*
 * cmd/pgconf.c: the files: includes, order, and writing settings out again. See pgconf.h.
 */
#include "cmd/pgconf.h"

#include "base/arena.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define FILE_MAX  (16u << 20) /* bytes of one configuration file */
#define DEPTH_MAX 10	      /* includes inside includes, as the server counts */
#define FILES_MAX 1000	      /* files in all: each level could double them */

struct reader {
	struct pgconf *conf;
	bool from_auto;
	unsigned files;
};

static int read_file(struct reader *r, const char *path, const char *from, unsigned from_line,
		     unsigned depth);

static const char *keep(struct pgconf *conf, const char *text)
{
	return arena_strndup(conf->arena, text, strlen(text));
}

/* Room for one more element of size `size`. */
static int grow(void **items, size_t count, size_t *cap, size_t size)
{
	size_t want = *cap == 0 ? 64 : *cap * 2;
	void *bigger;

	if (count < *cap)
		return 0;
	bigger = reallocarray(*items, want, size);
	if (bigger == NULL)
		return -ENOMEM;
	*items = bigger;
	*cap = want;
	return 0;
}

int pgconf_add(struct pgconf *conf, const char *name, const char *value, const char *file,
	       unsigned line, bool from_auto)
{
	struct pgconf_item item = {.line = line, .from_auto = from_auto};
	void *items = conf->items;
	int rc;

	rc = grow(&items, conf->count, &conf->cap, sizeof(*conf->items));
	conf->items = items;
	item.name = keep(conf, name);
	item.value = keep(conf, value);
	item.file = keep(conf, file);
	if (rc < 0 || item.name == NULL || item.value == NULL || item.file == NULL)
		return -ENOMEM;
	conf->items[conf->count++] = item;
	return 0;
}

int pgconf_add_problem(struct pgconf *conf, const char *file, unsigned line, bool from_auto,
		       const char *text)
{
	struct pgconf_problem problem = {.line = line, .from_auto = from_auto};
	void *problems = conf->problems;
	int rc;

	rc = grow(&problems, conf->problem_count, &conf->problem_cap, sizeof(*conf->problems));
	conf->problems = problems;
	problem.file = keep(conf, file);
	problem.text = keep(conf, text);
	if (rc < 0 || problem.file == NULL || problem.text == NULL)
		return -ENOMEM;
	conf->problems[conf->problem_count++] = problem;
	return 0;
}

static int problem(struct reader *r, const char *file, unsigned line, const char *what,
		   const char *name, const char *why)
{
	_cleanup_free_ char *text = NULL;

	if (asprintf(&text, "%s '%s': %s", what, name, why) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return pgconf_add_problem(r->conf, file, line, r->from_auto, text);
}

/* Relative names stand beside the file that has them. */
static char *resolve(const char *name, const char *beside)
{
	const char *slash = strrchr(beside, '/');
	char *path;

	if (name[0] == '/' || slash == NULL)
		return strdup(name);
	if (asprintf(&path, "%.*s/%s", (int)(slash - beside), beside, name) < 0)
		return NULL;
	return path;
}

/* ---- include_dir ---- */

struct names {
	char **items;
	size_t count, cap;
};

static void names_clear(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

static int add_conf_name(void *ctx, const char *name, unsigned char d_type)
{
	struct names *names = ctx;
	size_t len = strlen(name);
	void *items = names->items;
	int rc;

	(void)d_type;
	if (len < 6 || name[0] == '.' || strcmp(name + len - 5, ".conf") != 0)
		return 0;
	rc = grow(&items, names->count, &names->cap, sizeof(char *));
	names->items = items;
	if (rc < 0)
		return rc;
	names->items[names->count] = strdup(name);
	if (names->items[names->count] == NULL)
		return -ENOMEM;
	names->count++;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_dir(struct reader *r, const char *dir, const char *from, unsigned line,
		    unsigned depth)
{
	_cleanup_(names_clear) struct names names = {0};
	int rc;

	rc = sys_readdir(AT_FDCWD, dir, add_conf_name, &names);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return problem(r, from, line, "cannot include the files of", dir, strerror(-rc));
	if (names.count > 0)
		qsort(names.items, names.count, sizeof(char *), compare_names);
	for (size_t i = 0; i < names.count; i++) {
		_cleanup_free_ char *path = NULL;
		struct stat st;

		if (asprintf(&path, "%s/%s", dir, names.items[i]) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		if (sys_fstatat(AT_FDCWD, path, &st, 0) == 0 && S_ISDIR(st.st_mode))
			continue;
		rc = read_file(r, path, from, line, depth);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- files ---- */

static int include(struct reader *r, const char *directive, const char *value, const char *file,
		   unsigned line, unsigned depth)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (value[strspn(value, " \t\r\n")] == '\0')
		return problem(r, file, line, "cannot include", value, "an empty name");
	path = resolve(value, file);
	if (path == NULL)
		return -ENOMEM;
	if (pgconf_name_equal(directive, "include_dir"))
		return read_dir(r, path, file, line, depth + 1);
	if (pgconf_name_equal(directive, "include_if_exists") &&
	    sys_fstatat(AT_FDCWD, path, &st, 0) == -ENOENT)
		return 0;
	return read_file(r, path, file, line, depth + 1);
}

static bool is_include(const char *name)
{
	return pgconf_name_equal(name, "include") || pgconf_name_equal(name, "include_if_exists") ||
	       pgconf_name_equal(name, "include_dir");
}

static int read_lines(struct reader *r, const char *path, const char *data, size_t size,
		      unsigned depth)
{
	_cleanup_free_ char *name = malloc(size + 1);
	_cleanup_free_ char *value = malloc(size + 1);
	const char *p = data, *end = data + size;
	int rc = 0;

	if (name == NULL || value == NULL)
		return -ENOMEM;
	for (unsigned line = 1; rc == 0 && p < end; line++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((newline == NULL ? end : newline) - p);

		switch (pgconf_parse_line(p, len, name, value)) {
		case PGCONF_EMPTY:
			break;
		case PGCONF_SYNTAX:
			rc = pgconf_add_problem(r->conf, path, line, r->from_auto,
						"the line is no setting");
			break;
		case PGCONF_SETTING:
			if (is_include(name))
				rc = include(r, name, value, path, line, depth);
			else
				rc = pgconf_add(r->conf, name, value, path, line, r->from_auto);
			break;
		}
		p += len + 1;
	}
	return rc;
}

static int read_file(struct reader *r, const char *path, const char *from, unsigned from_line,
		     unsigned depth)
{
	_cleanup_free_ char *data = NULL;
	size_t size;
	int rc;

	if (depth > DEPTH_MAX)
		return problem(r, from, from_line, "cannot include", path,
			       "too many files inside each other");
	if (r->files >= FILES_MAX)
		return problem(r, from, from_line, "cannot include", path, "too many files");
	r->files++;
	rc = sys_read_file(AT_FDCWD, path, FILE_MAX, &data, &size);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return problem(r, from, from_line,
			       from_line == 0 ? "cannot read" : "cannot include", path,
			       strerror(-rc));
	return read_lines(r, path, data, size, depth);
}

/* One of the two files of a data directory; absent is fine. */
static int read_top(struct pgconf *conf, const char *data_dir, const char *name, bool from_auto,
		    bool *found)
{
	struct reader r = {.conf = conf, .from_auto = from_auto};
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/%s", data_dir, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	*found = sys_fstatat(AT_FDCWD, path, &st, 0) == 0;
	return *found ? read_file(&r, path, path, 0, 0) : 0;
}

int pgconf_read(const char *data_dir, struct errmsg *e, struct pgconf *ret)
{
	struct pgconf conf = {0};
	bool found;
	int rc;

	rc = arena_new(&conf.arena);
	if (rc == 0)
		rc = read_top(&conf, data_dir, "postgresql.conf", false, &conf.has_main);
	if (rc == 0)
		rc = read_top(&conf, data_dir, "postgresql.auto.conf", true, &found);
	if (rc < 0) {
		pgconf_free(&conf);
		return errmsg_set(e, rc, "cannot read the configuration in %s: %s", data_dir,
				  strerror(-rc));
	}
	*ret = conf;
	return 0;
}

void pgconf_free(struct pgconf *conf)
{
	free(conf->items);
	free(conf->problems);
	arena_free(conf->arena);
	*conf = (struct pgconf){0};
}

const char *pgconf_get(const struct pgconf *conf, const char *name)
{
	const char *value = NULL;

	/* Later ones win, and all of postgresql.auto.conf comes after postgresql.conf. */
	for (int automatic = 0; automatic < 2; automatic++)
		for (size_t i = 0; i < conf->count; i++) {
			const struct pgconf_item *item = &conf->items[i];

			if (item->from_auto == (bool)automatic && !item->dropped &&
			    pgconf_name_equal(item->name, name))
				value = item->value;
		}
	return value;
}

static void drop(struct pgconf_item *item, struct pgconf_dropped *ret)
{
	item->dropped = true;
	if (item->from_auto)
		ret->from_auto++;
	else
		ret->from_main++;
}

struct pgconf_dropped pgconf_drop(struct pgconf *conf, const char *name)
{
	struct pgconf_dropped dropped = {0};

	for (size_t i = 0; i < conf->count; i++)
		if (!conf->items[i].dropped && pgconf_name_equal(conf->items[i].name, name))
			drop(&conf->items[i], &dropped);
	return dropped;
}

struct pgconf_dropped pgconf_drop_at(struct pgconf *conf, const char *file, unsigned line)
{
	struct pgconf_dropped dropped = {0};

	for (size_t i = 0; i < conf->count; i++)
		if (!conf->items[i].dropped && conf->items[i].line == line &&
		    strcmp(conf->items[i].file, file) == 0)
			drop(&conf->items[i], &dropped);
	return dropped;
}

static void write_quoted(FILE *f, const char *value)
{
	(void)putc('\'', f);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			(void)putc(*value, f);
		if (*value == '\n')
			(void)fputs("\\n", f);
		else
			(void)putc(*value, f);
	}
	(void)putc('\'', f);
}

int pgconf_format(const struct pgconf *conf, bool from_auto, const char *heading, char **ret)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	bool failed;

	if (f == NULL)
		return -ENOMEM;
	(void)fprintf(f, "%s", heading);
	for (size_t i = 0; i < conf->count; i++) {
		if (conf->items[i].from_auto != from_auto || conf->items[i].dropped)
			continue;
		(void)fprintf(f, "%s = ", conf->items[i].name);
		write_quoted(f, conf->items[i].value);
		(void)putc('\n', f);
	}
	failed = ferror(f) != 0;
	if (fclose(f) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}
