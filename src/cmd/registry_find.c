/*
 * cmd/registry_find.c: the clones that there are, by their mount points and diffs.
 */
#include "cmd/registry_internal.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/facts.h"
#include "cmd/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define FACTS_MAX (1u << 20)

/* ---- reading ---- */

static int read_clone(const char *path, struct clone *ret)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int rc = sys_read_file(AT_FDCWD, path, FACTS_MAX, &text, &len);

	return rc == 0 ? facts_parse_clone(text, ret) : rc;
}

static int read_run(const char *run_dir, struct clone *ret)
{
	_cleanup_free_ char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/%s", run_dir, REGISTRY_FACTS) < 0)
		return -ENOMEM;
	rc = read_clone(path, ret);
	if (rc != 0)
		return rc;
	free(ret->run_dir);
	ret->run_dir = strdup(run_dir);
	ret->mounted = registry_is_mounted(ret->mountpoint);
	ret->running = ret->mounted && registry_is_held(ret);
	return 0;
}

int registry_find(const char *mountpoint, struct errmsg *e, struct clone *ret)
{
	_cleanup_free_ char *canonical = NULL;
	struct place_homes homes;
	int rc = place_mountpoint(mountpoint, e, &canonical);

	if (rc != 0)
		return rc;
	rc = place_homes(&homes);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot look for clones: %s", strerror(-rc));
	rc = -ENOENT;
	for (unsigned i = 0; rc != 0 && i < homes.count; i++) {
		_cleanup_free_ char *run_dir = registry_path(homes.paths[i], "run", canonical, "");

		rc = run_dir != NULL ? read_run(run_dir, ret) : -ENOMEM;
	}
	place_homes_free(&homes);
	if (rc == -EACCES)
		return errmsg_set(e, rc, "the clone on '%s' belongs to another user", canonical);
	if (rc != 0)
		return errmsg_set(e, -ENOENT, "no clone is mounted on '%s'", canonical);
	return 0;
}

/* ---- listing ---- */

struct listing {
	struct clone_list *list;
	const char *folder;
	bool known;
};

static bool is_listed(const struct clone_list *list, const struct clone *clone)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct clone *other = &list->items[i];

		if (other->diff != NULL && clone->diff != NULL &&
		    strcmp(other->diff, clone->diff) == 0)
			return true;
	}
	return false;
}

static int append(struct clone_list *list, struct clone *clone)
{
	struct clone *items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (items == NULL)
		return -ENOMEM;
	list->items = items;
	list->items[list->count++] = *clone;
	*clone = (struct clone){0};
	return 0;
}

/* A diff that somebody has removed is no clone any more. */
static bool exists(const char *path)
{
	struct stat st;

	return path != NULL && sys_fstatat(AT_FDCWD, path, &st, 0) != -ENOENT;
}

/* As it was when it was mounted last. */
static int read_known(const char *path, struct clone *ret)
{
	int rc = read_clone(path, ret);

	if (rc != 0)
		return rc;
	free(ret->run_dir);
	ret->run_dir = NULL;
	ret->pid = 0;
	if (exists(ret->diff))
		return 0;
	registry_clone_free(ret);
	return -ENOENT;
}

static int list_entry(void *ctx, const char *name, unsigned char d_type)
{
	struct listing *l = ctx;
	_cleanup_free_ char *path = NULL;
	struct clone clone = {0};
	int rc = 0;

	if (asprintf(&path, "%s/%s", l->folder, name) < 0)
		return -ENOMEM;
	if (l->known && read_known(path, &clone) == 0) {
		if (!is_listed(l->list, &clone))
			rc = append(l->list, &clone);
	} else if (!l->known && read_run(path, &clone) == 0) {
		rc = append(l->list, &clone);
	}
	registry_clone_free(&clone);
	return rc;
}

static int list_folder(const char *home, const char *name, bool known, struct clone_list *list)
{
	_cleanup_free_ char *folder = NULL;
	struct listing l = {.list = list, .known = known};
	int rc;

	if (asprintf(&folder, "%s/%s", home, name) < 0)
		return -ENOMEM;
	l.folder = folder;
	rc = sys_readdir(AT_FDCWD, folder, list_entry, &l);
	return rc == -ENOENT || rc == -EACCES ? 0 : rc;
}

int registry_list(struct errmsg *e, struct clone_list *ret)
{
	struct clone_list list = {0};
	struct place_homes homes;
	int rc = place_homes(&homes);

	for (unsigned i = 0; rc == 0 && i < homes.count; i++)
		rc = list_folder(homes.paths[i], "run", false, &list);
	for (unsigned i = 0; rc == 0 && i < homes.count; i++)
		rc = list_folder(homes.paths[i], "known", true, &list);
	place_homes_free(&homes);
	if (rc != 0) {
		registry_list_free(&list);
		return errmsg_set(e, rc, "cannot list clones: %s", strerror(-rc));
	}
	*ret = list;
	return 0;
}

void registry_list_free(struct clone_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		registry_clone_free(&list->items[i]);
	free(list->items);
	*list = (struct clone_list){0};
}

static int find_running(const struct place_homes *homes, const char *diff, struct clone *ret)
{
	struct clone_list list = {0};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < homes->count; i++)
		rc = list_folder(homes->paths[i], "run", false, &list);
	if (rc == 0)
		rc = -ENOENT;
	for (size_t i = 0; rc == -ENOENT && i < list.count; i++) {
		if (list.items[i].diff == NULL || strcmp(list.items[i].diff, diff) != 0)
			continue;
		*ret = list.items[i];
		list.items[i] = (struct clone){0};
		rc = 0;
	}
	registry_list_free(&list);
	return rc;
}

/* By its name, which is that of the diff: there may be many that are known. */
static int find_known(const struct place_homes *homes, const char *diff, struct clone *ret)
{
	for (unsigned i = 0; i < homes->count; i++) {
		_cleanup_free_ char *path = registry_path(homes->paths[i], "known", diff, ".json");
		struct clone clone = {0};

		if (path == NULL)
			return -ENOMEM;
		if (read_known(path, &clone) == 0 && strcmp(clone.diff, diff) == 0) {
			*ret = clone;
			return 0;
		}
		registry_clone_free(&clone);
	}
	return -ENOENT;
}

int registry_find_diff(const char *diff, struct errmsg *e, struct clone *ret)
{
	_cleanup_free_ char *canonical = NULL;
	struct place_homes homes;
	int rc = place_new(diff, e, &canonical);

	if (rc == 0)
		rc = place_homes(&homes);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot look for clones: %s", strerror(-rc));
	rc = find_running(&homes, canonical, ret);
	if (rc == -ENOENT)
		rc = find_known(&homes, canonical, ret);
	place_homes_free(&homes);
	if (rc == -ENOENT)
		return errmsg_set(e, rc, "no clone is known that has the diff '%s'", canonical);
	return rc == 0 ? 0 : errmsg_set(e, rc, "cannot look for clones: %s", strerror(-rc));
}
