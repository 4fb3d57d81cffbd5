/*
 * Homes and paths.
 */
#include "cmd/place.h"

#include "base/util.h"
#include "cmd/registry.h"
#include "cmd/remove.h"
#include "fuse/mountinfo.h"

#include <errno.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

/* ---- paths ---- */

bool place_is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	if (strcmp(directory, "/") == 0)
		return true;
	return strncmp(path, directory, len) == 0 && (path[len] == 0 || path[len] == '/');
}

int place_new(const char *path, struct errmsg *e, char **ret)
{
	_cleanup_free_ char *copy = strdup(path), *copy2 = strdup(path), *parent = NULL;
	const char *directory, *name;

	if (copy == NULL || copy2 == NULL)
		return -ENOMEM;
	if (path[0] == 0)
		return errmsg_set(e, -EINVAL, "an empty path names nothing");
	directory = dirname(copy);
	name = basename(copy2);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0) {
		*ret = realpath(path, NULL);
	} else {
		parent = realpath(directory, NULL);
		if (parent == NULL)
			return errmsg_set(e, -errno, "'%s': %s", directory, strerror(errno));
		if (asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
			return -ENOMEM;
	}
	return *ret != NULL ? 0 : errmsg_set(e, -errno, "'%s': %s", path, strerror(errno));
}

int place_mountpoint(const char *path, struct errmsg *e, char **ret)
{
	_cleanup_free_ char *lexical = NULL;
	struct mountinfo info;
	char *real;
	int rc = place_new(path, e, &lexical);

	if (rc != 0)
		return rc;
	real = mountinfo_find(lexical, &info) == 0 ? NULL : realpath(lexical, NULL);
	*ret = real != NULL ? real : TAKE_PTR(lexical);
	return 0;
}

/* ---- the cache ---- */

int place_cache(const char *diff, uid_t uid, const char *home, char **ret)
{
	const char *own = getenv("PGOVERLAY_HOME"), *dir;

	if (diff != NULL)
		return asprintf(ret, "%s/cache", diff) < 0 ? -ENOMEM : 0;
	if (own != NULL && own[0] == '/')
		return asprintf(ret, "%s/cache", own) < 0 ? -ENOMEM : 0;
	dir = geteuid() == uid ? getenv("XDG_CACHE_HOME") : NULL;
	if (dir != NULL && dir[0] == '/')
		return asprintf(ret, "%s/pgoverlay", dir) < 0 ? -ENOMEM : 0;
	dir = geteuid() == uid ? getenv("HOME") : NULL;
	if (dir == NULL || dir[0] != '/')
		dir = home;
	return asprintf(ret, "%s/.cache/pgoverlay", dir) < 0 ? -ENOMEM : 0;
}

/* ---- homes ---- */

static char *user_home(const char *home)
{
	char *path;

	return asprintf(&path, "%s/.local/share/pgoverlay", home) < 0 ? NULL : path;
}

static char *own_home(void)
{
	const char *env = getenv("PGOVERLAY_HOME");
	const struct passwd *pw;
	char *path;

	if (env != NULL && env[0] == '/')
		return strdup(env);
	if (geteuid() == 0)
		return strdup(PLACE_ROOT_HOME);
	env = getenv("XDG_DATA_HOME");
	if (env != NULL && env[0] == '/')
		return asprintf(&path, "%s/pgoverlay", env) < 0 ? NULL : path;
	env = getenv("HOME");
	if (env != NULL && env[0] == '/')
		return user_home(env);
	pw = getpwuid(geteuid());
	return pw != NULL ? user_home(pw->pw_dir) : NULL;
}

int registry_home(bool make, struct errmsg *e, char **ret)
{
	_cleanup_free_ char *home = own_home();
	char *real;
	int rc;

	if (home == NULL)
		return errmsg_set(e, -ENOENT, "no home directory is known; set PGOVERLAY_HOME");
	if (make) {
		rc = make_path(home, geteuid() == 0 ? 0755 : 0700);
		if (rc != 0)
			return errmsg_set(e, rc, "cannot make '%s': %s", home, strerror(-rc));
	}
	real = realpath(home, NULL);
	*ret = real != NULL ? real : TAKE_PTR(home);
	return 0;
}

static int add_home(struct place_homes *homes, const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	char **paths;

	if (real == NULL)
		return 0;
	for (unsigned i = 0; i < homes->count; i++) {
		if (strcmp(homes->paths[i], real) == 0)
			return 0;
	}
	paths = reallocarray(homes->paths, homes->count + 1, sizeof(*paths));
	if (paths == NULL)
		return -ENOMEM;
	homes->paths = paths;
	homes->paths[homes->count++] = TAKE_PTR(real);
	return 0;
}

static int add_home_of_user(void *ctx, const char *mountpoint, const struct mountinfo *info)
{
	const struct passwd *pw = info->user_id != 0 ? getpwuid(info->user_id) : NULL;
	_cleanup_free_ char *home = pw != NULL ? user_home(pw->pw_dir) : NULL;

	return home != NULL ? add_home(ctx, home) : 0;
}

int place_homes(struct place_homes *ret)
{
	_cleanup_free_ char *own = own_home();
	struct place_homes homes = {0};
	bool chosen = getenv("PGOVERLAY_HOME") != NULL;
	int rc = own != NULL ? add_home(&homes, own) : 0;

	if (rc == 0 && !chosen)
		rc = add_home(&homes, PLACE_ROOT_HOME);
	if (rc == 0 && !chosen && geteuid() == 0)
		rc = mountinfo_each(add_home_of_user, &homes);
	if (rc == 0)
		*ret = homes;
	else
		place_homes_free(&homes);
	return rc;
}

void place_homes_free(struct place_homes *homes)
{
	for (unsigned i = 0; i < homes->count; i++)
		free(homes->paths[i]);
	free(homes->paths);
	*homes = (struct place_homes){0};
}
