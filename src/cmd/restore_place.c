/*
 * cmd/restore_place.c: the directories a restore writes to.
 *
 * pg_probackup puts tablespaces and external directories back where they were unless they are
 * mapped elsewhere, and so does this. Nothing that exists is ever overwritten: each place must be
 * empty or missing, and files are made with O_EXCL.
 */
#include "cmd/restore.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int found_name(void *ctx, const char *name, unsigned char d_type)
{
	bool *marker = ctx;

	*marker = *marker || strcmp(name, RESTORE_MARKER) == 0;
	return 1;
}

/* An existing place must be a directory with nothing in it. */
static int check_place(struct restore_root *root, struct errmsg *e)
{
	bool marker = false;
	struct stat st;
	int rc = sys_fstatat(AT_FDCWD, root->path, &st, 0);

	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && !S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	if (rc == 0)
		rc = sys_readdir(AT_FDCWD, root->path, found_name, &marker);
	if (rc < 0)
		return errmsg_set(e, rc, "%s: %s", root->path, errmsg_text(NULL, rc));
	root->exists = true;
	if (rc == 0)
		return 0;
	if (sys_fstatat(AT_FDCWD, root->path, &st, 0) == 0) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", root->path, RESTORE_MARKER) >= 0 &&
		    sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return errmsg_set(
				e, -ENOTEMPTY,
				"%s: holds a restore that was not finished; %s in it says "
				"what to remove",
				root->path, RESTORE_MARKER);
	}
	return errmsg_set(e, -ENOTEMPTY, "%s: not empty; a restore goes to an empty directory only",
			  root->path);
}

/* Of what need not exist, nor the directory it is in; canonical as far as it does exist. */
static char *absolute(const char *path)
{
	_cleanup_free_ char *cwd = path[0] == '/' ? strdup("") : getcwd(NULL, 0);
	_cleanup_free_ char *text = NULL;
	char *rest = NULL, *slash, *real, *whole = NULL;

	if (!cwd || asprintf(&text, "%s/%s", cwd, path) < 0)
		return NULL;
	for (;;) {
		real = realpath(text[0] != '\0' ? text : "/", NULL);
		slash = strrchr(text, '/');
		if (real || !slash)
			break;
		/* The slash that was taken away before comes back: the rest grows to the left. */
		if (rest)
			rest[-1] = '/';
		rest = slash + 1;
		*slash = '\0';
	}
	if (real && asprintf(&whole, "%s%s%s", strcmp(real, "/") == 0 ? "" : real, rest ? "/" : "",
			     rest ? rest : "") < 0)
		whole = NULL;
	free(real);
	for (size_t len = whole ? strlen(whole) : 0; len > 1 && whole[len - 1] == '/'; len--)
		whole[len - 1] = '\0';
	return whole;
}

static int add_root(struct restore_places *places, const char *path, struct errmsg *e,
		    struct restore_root **ret)
{
	struct restore_root *roots = reallocarray(places->roots, places->count + 1, sizeof(*roots));
	struct restore_root root = {.fd = -1, .shown = ""};

	if (!roots)
		return errmsg_set(e, -ENOMEM, "out of memory");
	places->roots = roots;
	root.path = absolute(path);
	if (!root.path)
		return errmsg_set(e, -ENOMEM, "out of memory");
	roots[places->count] = root;
	*ret = &roots[places->count++];
	return check_place(*ret, e);
}

static const char *map_path(struct restore_list *list, const char *path)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i].from, path) == 0) {
			list->items[i].used = true;
			return list->items[i].to;
		}
	}
	return path;
}

static int check_used(const struct restore_list *list, const char *option, const char *what,
		      struct errmsg *e)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!list->items[i].used)
			return errmsg_set(e, -EINVAL, "%s: the backup has no %s at '%s'", option,
					  what, list->items[i].from);
	}
	return 0;
}

static bool is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	return strncmp(path, directory, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* Two roots inside each other would mix their files, and nothing is written below the store. */
static int check_apart(const struct restore_places *places, const char *store, struct errmsg *e)
{
	for (size_t i = 0; i < places->count; i++) {
		if (is_below(places->roots[i].path, store))
			return errmsg_set(e, -EINVAL, "'%s' lies in the store '%s'",
					  places->roots[i].path, store);
		for (size_t k = 0; k < places->count; k++) {
			const char *a = places->roots[i].path, *b = places->roots[k].path;

			if (i != k && is_below(b, a))
				return errmsg_set(e, -EINVAL,
						  "'%s' lies in '%s'; each needs a place "
						  "of its own",
						  b, a);
		}
	}
	return 0;
}

static int add_all(struct restore_request *r, const struct layer_extras *extras, const char *store,
		   struct errmsg *e, struct restore_places *places)
{
	struct restore_root *root;
	int rc = add_root(places, r->directory, e, &root);

	for (size_t i = 0; i < extras->space_count && rc == 0; i++) {
		const struct layer_space *space = &extras->spaces[i];

		rc = add_root(places, map_path(&r->tablespaces, space->path), e, &root);
		if (rc == 0) {
			root->shown = space->shown;
			root->link = space->link;
		}
	}
	if (rc == 0 && r->wal_dir) {
		rc = add_root(places, r->wal_dir, e, &root);
		if (rc == 0)
			root->shown = root->link = "pg_wal";
	}
	for (size_t i = 0; i < extras->outside_count && rc == 0 && !r->skip_external; i++) {
		rc = add_root(places, map_path(&r->externals, extras->outsides[i].path), e, &root);
		if (rc == 0)
			root->outside = extras->outsides[i].number;
	}
	if (rc == 0)
		rc = check_used(&r->tablespaces, "--tablespace-mapping", "tablespace", e);
	if (rc == 0 && !r->skip_external)
		rc = check_used(&r->externals, "--external-mapping", "external directory", e);
	return rc == 0 ? check_apart(places, store, e) : rc;
}

int restore_places_find(const struct restore_request *r, const struct layer_extras *extras,
			const char *store, struct errmsg *e, struct restore_places *ret)
{
	struct restore_request copy = *r; /* the lists' marks are shared */
	struct restore_places places = {0};
	int rc = add_all(&copy, extras, store, e, &places);

	if (rc < 0)
		restore_places_free(&places);
	else
		*ret = places;
	return rc;
}

void restore_places_free(struct restore_places *places)
{
	for (size_t i = 0; i < places->count; i++) {
		util_closep(&places->roots[i].fd);
		free(places->roots[i].path);
	}
	free(places->roots);
	*places = (struct restore_places){0};
}

/* ---- making them ---- */

int restore_make_path(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int rc;

		*slash = '\0';
		rc = sys_mkdirat(AT_FDCWD, path, 0777);
		*slash = '/';
		if (rc < 0 && rc != -EEXIST && rc != -EROFS && rc != -EACCES)
			return rc;
	}
	return sys_mkdirat(AT_FDCWD, path, 0700);
}

static int make_root(struct restore_root *root, struct errmsg *e)
{
	struct stat st;
	int rc = root->exists ? 0 : restore_make_path(root->path);

	root->made = rc == 0 && !root->exists;
	if (rc == 0) {
		root->fd = sys_openat(AT_FDCWD, root->path, O_RDONLY | O_DIRECTORY, 0);
		rc = root->fd < 0 ? root->fd : sys_fstat(root->fd, &st);
	}
	/* The server takes no other mode for its data directory. */
	if (rc == 0 && root->outside == 0 && (st.st_mode & 07777) != 0700 &&
	    (st.st_mode & 07777) != 0750 && fchmod(root->fd, 0700) < 0)
		rc = -errno;
	return rc < 0 ? errmsg_set(e, rc, "%s: %s", root->path, errmsg_text(NULL, rc)) : 0;
}

static int leave_marker(const struct restore_places *places, const char *backup, struct errmsg *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int rc;

	if (!out)
		return errmsg_set(e, -ENOMEM, "out of memory");
	(void)fprintf(
		out,
		"This is a restore of backup %s that has not finished: there is no "
		"global/pg_control, and no\nserver can start here. If no pgoverlay is at work "
		"on it any more, remove this and run it again:\n",
		backup);
	for (size_t i = 0; i < places->count; i++)
		(void)fprintf(out, "  %s\n", places->roots[i].path);
	rc = fclose(out) != 0 ? -ENOMEM : 0;
	if (rc == 0)
		rc = sys_replace_file(places->roots[0].fd, RESTORE_MARKER, text, len, 0600);
	return rc < 0 ? errmsg_set(e, rc, "%s/%s: %s", places->roots[0].path, RESTORE_MARKER,
				   errmsg_text(NULL, rc))
		      : 0;
}

int restore_places_make(struct restore_places *places, const char *backup, struct errmsg *e)
{
	int rc = make_root(&places->roots[0], e);

	if (rc == 0)
		rc = leave_marker(places, backup, e);
	for (size_t i = 1; i < places->count && rc == 0; i++)
		rc = make_root(&places->roots[i], e);
	return rc;
}

struct restore_root *restore_places_of(const struct restore_places *places, const char *path,
				       const char **ret_rest)
{
	for (size_t i = 1; i < places->count; i++) {
		struct restore_root *root = &places->roots[i];
		size_t len = strlen(root->shown);

		if (len > 0 && strncmp(path, root->shown, len) == 0 &&
		    (path[len] == '\0' || path[len] == '/')) {
			*ret_rest = path[len] == '/' ? path + len + 1 : path + len;
			return root;
		}
	}
	*ret_rest = path;
	return &places->roots[0];
}

struct restore_root *restore_places_outside(const struct restore_places *places, unsigned number)
{
	for (size_t i = 1; i < places->count; i++) {
		if (places->roots[i].outside == number)
			return &places->roots[i];
	}
	return NULL;
}

/* ---- room ---- */

/* What the path lies on, or will. */
static int look_at(const char *path, struct stat *ret_st, struct statvfs *ret_vfs)
{
	_cleanup_free_ char *at = strdup(path);
	_cleanup_close_ int fd = -ENOMEM;

	while (at) {
		char *slash = strrchr(at, '/');

		fd = sys_openat(AT_FDCWD, at, O_RDONLY | O_DIRECTORY, 0);
		if (fd != -ENOENT || !slash || at[1] == '\0')
			break;
		slash[slash == at] = '\0';
	}
	if (fd < 0)
		return fd;
	return sys_fstat(fd, ret_st) < 0 ? -EIO : sys_fstatvfs(fd, ret_vfs);
}

int restore_places_room(const struct restore_places *places, const uint64_t *bytes,
			struct errmsg *e)
{
	for (size_t i = 0; i < places->count; i++) {
		uint64_t need = 0, have;
		struct statvfs vfs, other_vfs;
		struct stat st, other;

		if (look_at(places->roots[i].path, &st, &vfs) < 0)
			continue; /* making it will say why */
		for (size_t k = 0; k < places->count; k++) {
			if (look_at(places->roots[k].path, &other, &other_vfs) == 0 &&
			    other.st_dev == st.st_dev)
				need += bytes[k];
		}
		have = (uint64_t)vfs.f_bavail * vfs.f_frsize;
		if (need > have)
			return errmsg_set(
				e, -ENOSPC,
				"%s: no room: the restore takes %.1f MB there, %.1f MB are "
				"free",
				places->roots[i].path, (double)need / 1e6, (double)have / 1e6);
	}
	return 0;
}

/* ---- after a failure ---- */

void restore_places_left(const struct restore_places *places)
{
	bool any = false;

	for (size_t i = 0; i < places->count; i++)
		any = any || places->roots[i].fd >= 0;
	if (!any)
		return;
	(void)fputs("pgoverlay: the restore is not complete, and no server can start on it; to "
		    "clean up, remove the contents of\n",
		    stderr);
	for (size_t i = 0; i < places->count; i++) {
		if (places->roots[i].fd >= 0)
			(void)fprintf(stderr, "  %s\n", places->roots[i].path);
	}
}
