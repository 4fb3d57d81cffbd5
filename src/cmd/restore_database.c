/*
 * cmd/restore_database.c: leaving databases out. Their files become empty, as pg_probackup makes
 * them: the server starts, and whoever connects to such a database gets an error until it is
 * dropped.
 */
#include "cmd/restore.h"

#include "base/util.h"

#include <errno.h>

static bool is_named(const struct restore_list *list, const char *name, size_t len)
{
	bool named = false;

	for (size_t i = 0; i < list->count; i++) {
		if (strlen(list->items[i].from) == len &&
		    memcmp(list->items[i].from, name, len) == 0)
			named = list->items[i].used = true;
	}
	return named;
}

/* One line: {"dbOid":"16385", "datname":"d1"}; nothing in the name is escaped. */
static int parse_line(const char *line, size_t len, uint32_t *ret_oid, const char **ret_name,
		      size_t *ret_len)
{
	static const char oid_key[] = "\"dbOid\":\"", name_key[] = "\"datname\":\"";
	const char *oid = memmem(line, len, oid_key, sizeof(oid_key) - 1);
	const char *name = memmem(line, len, name_key, sizeof(name_key) - 1);
	const char *end = memrchr(line, '"', len);

	if (!oid || !name)
		return -EUCLEAN;
	*ret_oid = (uint32_t)strtoul(oid + sizeof(oid_key) - 1, NULL, 10);
	*ret_name = name + sizeof(name_key) - 1;
	if (*ret_oid == 0 || !end || end < *ret_name)
		return -EUCLEAN;
	*ret_len = (size_t)(end - *ret_name);
	return 0;
}

static int check_names(const struct restore_list *list, struct errmsg *e)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!list->items[i].used)
			return errmsg_set(e, -EINVAL, "the backup has no database '%s'",
					  list->items[i].from);
	}
	return 0;
}

static int take_lines(const struct restore_request *r, const char *map, uint32_t *oids,
		      size_t *ret_count)
{
	while (*map) {
		size_t len = strcspn(map, "\n"), name_len;
		const char *name;
		bool named;
		uint32_t oid;

		if (len > 0) {
			int rc = parse_line(map, len, &oid, &name, &name_len);

			if (rc < 0)
				return rc;
			named = is_named(r->include.count > 0 ? &r->include : &r->exclude, name,
					 name_len);
			if (named == (r->include.count == 0))
				oids[(*ret_count)++] = oid;
		}
		map += len + (map[len] == '\n');
	}
	return 0;
}

int restore_databases(const struct restore_request *r, const char *map, struct errmsg *e,
		      uint32_t **ret_oids, size_t *ret_count)
{
	_cleanup_free_ uint32_t *oids = NULL;
	size_t lines = 1, count = 0;
	int rc;

	if (r->include.count + r->exclude.count == 0) {
		*ret_oids = NULL;
		*ret_count = 0;
		return 0;
	}
	if (map[0] == '\0')
		return errmsg_set(e, -ENOENT,
				  "the backup has no list of databases: none can be left "
				  "out");
	for (const char *p = map; *p; p++)
		lines += *p == '\n';
	oids = calloc(lines, sizeof(*oids));
	if (!oids)
		return errmsg_set(e, -ENOMEM, "out of memory");
	rc = take_lines(r, map, oids, &count);
	if (rc < 0)
		return errmsg_set(e, rc, "the backup's list of databases is damaged");
	rc = check_names(&r->include, e);
	if (rc == 0)
		rc = check_names(&r->exclude, e);
	if (rc < 0)
		return rc;
	*ret_oids = TAKE_PTR(oids);
	*ret_count = count;
	return 0;
}

uint32_t restore_database_of(const char *path)
{
	const char *oid = NULL;
	char *end;
	unsigned long n;

	if (strncmp(path, "base/", 5) == 0)
		oid = path + 5;
	else if (strncmp(path, ".pgoverlay/tblspc/", 18) == 0 && strstr(path, "/PG_"))
		oid = strchr(strstr(path, "/PG_") + 1, '/');
	if (!oid)
		return 0;
	oid += *oid == '/';
	n = strtoul(oid, &end, 10);
	return end != oid && *end == '/' && n <= UINT32_MAX ? (uint32_t)n : 0;
}
