/*
 * layer/probackup/driver.c: a pg_probackup catalog as a store: <store>/backups/<instance>/<backup
 * id>/.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/drivers.h"
#include "layer/probackup/probackup.h"
#include "layer/probackup/wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

struct instances {
	char **names;
	size_t count;
};

/* Behind backup_list.owned. */
struct listing {
	struct arena *arena;
};

static bool is_dir(int dirfd, const char *path)
{
	struct stat st;

	return sys_fstatat(dirfd, path, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* ---- directories of the store ---- */

/* DBAs put these on other disks. Their own links might be trusted, but not told from others'. */
static int refuse_link(const struct store *store, const char *path, struct errmsg *e)
{
	const char *slash = strchr(path, '/');
	char first[16] = "";
	struct stat st;

	(void)snprintf(first, sizeof(first), "%.*s", (int)(slash != NULL ? slash - path : 0), path);
	if (first[0] != '\0' && sys_fstatat(store->dirfd, first, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISLNK(st.st_mode))
		path = first;
	return errmsg_set(
		e, -ELOOP,
		"%s/%s: a symbolic link, and nothing is opened outside of the store; put a "
		"directory in its place and bind what it leads to there: mount --bind "
		"DIRECTORY %s/%s",
		store->path, path, store->path, path);
}

int probackup_open_dir(const struct store *store, const char *path, struct errmsg *e)
{
	int fd = sys_open_beneath(store->dirfd, path, O_RDONLY | O_DIRECTORY);

	if (fd == -ELOOP || fd == -EXDEV)
		return refuse_link(store, path, e);
	if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR)
		return errmsg_set(e, fd, "%s/%s: %s", store->path, path, errmsg_text(NULL, fd));
	return fd;
}

/* ---- instances ---- */

static int take_instance(void *ctx, const char *name, unsigned char d_type)
{
	struct instances *in = ctx;
	char **names;

	if (name[0] == '.' || (d_type != DT_DIR && d_type != DT_LNK && d_type != DT_UNKNOWN))
		return 0;
	names = reallocarray(in->names, in->count + 1, sizeof(*names));
	if (names == NULL)
		return -ENOMEM;
	in->names = names;
	names[in->count] = strdup(name);
	if (names[in->count] == NULL)
		return -ENOMEM;
	in->count++;
	return 0;
}

static void instances_free(struct instances *in)
{
	for (size_t i = 0; i < in->count; i++)
		free(in->names[i]);
	free(in->names);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names of the directories in backups/; to be freed in any case. */
static int find_instances(const struct store *store, struct instances *ret, struct errmsg *e)
{
	size_t kept = 0;
	int dirfd, rc;

	dirfd = probackup_open_dir(store, "backups", e);
	rc = dirfd < 0 ? dirfd : sys_readdir(dirfd, ".", take_instance, ret);
	for (size_t i = 0; i < ret->count; i++) {
		if (is_dir(dirfd, ret->names[i]))
			ret->names[kept++] = ret->names[i];
		else
			free(ret->names[i]);
	}
	ret->count = kept;
	util_closep(&dirfd);
	if (rc < 0)
		return errmsg_set(e, rc, "%s/backups: %s", store->path, errmsg_text(NULL, rc));
	if (kept > 0)
		qsort(ret->names, kept, sizeof(*ret->names), compare_names);
	return 0;
}

/* The directory of one instance; name: a single path component. */
static int open_instance(const struct store *store, const char *name, struct errmsg *e)
{
	char path[8 + 256];
	int fd;

	if (!path_is_safe(name) || strchr(name, '/') != NULL || strlen(name) > 255)
		return errmsg_set(e, -EINVAL, "'%s' is not the name of an instance", name);
	(void)snprintf(path, sizeof(path), "backups/%s", name);
	fd = probackup_open_dir(store, path, e);
	if (fd == -ENOENT)
		return errmsg_set(e, fd, "%s: it has no instance '%s'", store->path, name);
	if (fd < 0)
		return errmsg_set(e, fd, "%s/%s: %s", store->path, path, errmsg_text(NULL, fd));
	return fd;
}

int probackup_only_instance(const struct store *store, struct errmsg *e, char **ret)
{
	struct instances in = {0};
	int rc = find_instances(store, &in, e);

	if (rc == 0 && in.count == 0)
		rc = errmsg_set(e, -ENOENT, "%s: it has no instances", store->path);
	if (rc == 0 && in.count > 1)
		rc = errmsg_set(e, -EINVAL,
				"%s: it has %zu instances ('%s', '%s', ...); name one with "
				"--instance",
				store->path, in.count, in.names[0], in.names[1]);
	if (rc == 0)
		*ret = TAKE_PTR(in.names[0]);
	instances_free(&in);
	return rc;
}

/* ---- listing ---- */

static const char *keep(struct listing *l, const char *text)
{
	const char *copy = arena_strndup(l->arena, text, strlen(text));

	return copy != NULL ? copy : "";
}

/* Lines become sentences. */
static const char *cautions(struct listing *l, const struct catalog_chain *chain)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return "";
	for (unsigned i = 0; i < chain->count; i++)
		catalog_caution(out, chain->items[i]->id, &chain->items[i]->control);
	if (fclose(out) != 0 || len == 0)
		return "";
	text[len - 1] = '\0';
	for (char *at = strchr(text, '\n'); at != NULL; at = strchr(at, '\n'))
		*at = ';';
	return keep(l, text);
}

static void describe(struct listing *l, const struct catalog *catalog,
		     const struct catalog_backup *item, struct backup_info *ret)
{
	const struct probackup_control *control = &item->control;
	struct catalog_chain chain = {0};
	struct errmsg why = {""};
	int rc;

	ret->id = keep(l, item->id);
	ret->mode = ret->parent = "";
	ret->status = probackup_status_name(PROBACKUP_STATUS_UNKNOWN);
	ret->start_time = (int64_t)item->number;
	if (item->rc == 0) {
		ret->mode = probackup_mode_name(control->mode);
		ret->parent = keep(l, control->parent);
		ret->status = probackup_status_name(control->status);
		if (control->start_time != 0)
			ret->start_time = control->start_time;
		ret->bytes = (uint64_t)MAX(control->data_bytes, (int64_t)0);
		if (control->stream)
			ret->bytes += (uint64_t)MAX(control->wal_bytes, (int64_t)0);
		ret->stream = control->stream;
		ret->timeline = control->timeline;
		ret->start_lsn = control->start_lsn;
		ret->stop_lsn = control->stop_lsn;
		ret->recovery_time = control->recovery_time;
		ret->recovery_xid = control->recovery_xid;
	}
	rc = catalog_resolve(catalog, item, false, &chain, &why);
	ret->mountable = rc == 0;
	ret->reason = rc == 0 ? cautions(l, &chain) : keep(l, errmsg_text(&why, rc));
	catalog_chain_free(&chain);
}

static int list_instance(struct listing *l, const struct store *store, const char *name,
			 struct backup_list *list, struct errmsg *e)
{
	_cleanup_close_ int dirfd = open_instance(store, name, e);
	const char *instance = keep(l, name);
	struct catalog catalog = {0};
	struct backup_info *items;
	int rc;

	if (dirfd < 0)
		return dirfd;
	rc = catalog_load(dirfd, &catalog, e);
	if (rc < 0)
		return rc;
	items = reallocarray(list->items, list->count + catalog.count + 1, sizeof(*items));
	if (items == NULL) {
		catalog_free(&catalog);
		return -ENOMEM;
	}
	list->items = items;
	for (size_t i = 0; i < catalog.count; i++) {
		struct backup_info *info = &items[list->count++];

		*info = (struct backup_info){.instance = instance};
		describe(l, &catalog, &catalog.items[i], info);
	}
	catalog_free(&catalog);
	return 0;
}

static void probackup_list_free(struct backup_list *list)
{
	struct listing *l = list->owned;

	if (l != NULL)
		arena_free(l->arena);
	free(l);
	free(list->items);
	*list = (struct backup_list){0};
}

static int probackup_list(struct store *store, const char *instance, struct errmsg *e,
			  struct backup_list *ret)
{
	struct instances in = {0};
	struct listing *l = calloc(1, sizeof(*l));
	struct backup_list list = {.owned = l};
	int rc = l != NULL ? arena_new(&l->arena) : -ENOMEM;

	if (rc == 0 && instance != NULL)
		rc = list_instance(l, store, instance, &list, e);
	else if (rc == 0)
		rc = find_instances(store, &in, e);
	for (size_t i = 0; i < in.count && rc == 0; i++)
		rc = list_instance(l, store, in.names[i], &list, e);
	instances_free(&in);
	if (rc < 0) {
		probackup_list_free(&list);
		return errmsg_set(e, rc, "%s: %s", store->path, errmsg_text(NULL, rc));
	}
	*ret = list;
	return 0;
}

/* ---- opening a chain ---- */

static int choose_named(const struct catalog *catalog, const char *backup, bool force,
			const char *instance, struct catalog_chain *ret, struct errmsg *e)
{
	const struct catalog_backup *target = catalog_find(catalog, backup);

	if (target == NULL)
		return errmsg_set(e, -ENOENT, "instance %s has no backup '%s'", instance, backup);
	return catalog_resolve(catalog, target, force, ret, e);
}

static int choose_newest(const struct catalog *catalog, const char *instance,
			 struct catalog_chain *ret, struct errmsg *e)
{
	struct errmsg newest = {""};
	int rc = -ENOENT;

	if (catalog->count == 0)
		return errmsg_set(e, rc, "instance %s has no backups", instance);
	for (size_t i = catalog->count; i-- > 0;) {
		/* The first reason stays: that of the newest. */
		rc = catalog_resolve(catalog, &catalog->items[i], false, ret, &newest);
		if (rc == 0)
			return 0;
	}
	return errmsg_set(e, rc, "instance %s: no backup can be mounted; of the newest: %s",
			  instance, errmsg_text(&newest, rc));
}

static int open_chosen(struct store *store, const char *instance, const char *backup,
		       pid_t lock_pid, struct errmsg *e, struct probackup_chain **ret)
{
	_cleanup_close_ int dirfd = open_instance(store, instance, e);
	struct store_options options = store->options;
	struct catalog catalog = {0};
	struct catalog_chain members = {0};
	int rc;

	if (dirfd < 0)
		return dirfd;
	options.force = options.force && backup != NULL;
	rc = catalog_load(dirfd, &catalog, e);
	if (rc == 0 && backup != NULL)
		rc = choose_named(&catalog, backup, store->options.force, instance, &members, e);
	else if (rc == 0)
		rc = choose_newest(&catalog, instance, &members, e);
	if (rc == 0)
		rc = chain_open(TAKE_FD(dirfd), &members, &options, lock_pid, e, ret);
	catalog_chain_free(&members);
	catalog_free(&catalog);
	return rc;
}

static int probackup_open_chain(struct store *store, const char *instance, const char *backup,
				pid_t lock_pid, struct errmsg *e, struct layer_chain **ret)
{
	struct probackup_chain *chain = NULL;
	_cleanup_free_ char *name = NULL;
	int rc = 0;

	if (instance != NULL)
		name = strdup(instance);
	else
		rc = probackup_only_instance(store, e, &name);
	if (rc < 0)
		return rc;
	if (name == NULL)
		return errmsg_set(e, -ENOMEM, "out of memory");
	rc = open_chosen(store, name, backup, lock_pid, e, &chain);
	if (rc < 0)
		return errmsg_set(e, rc, "%s: %s", store->path, errmsg_text(NULL, rc));
	chain->base.store_path = strdup(store->path);
	chain->base.instance = TAKE_PTR(name);
	if (chain->base.store_path == NULL) {
		chain_close(chain);
		return errmsg_set(e, -ENOMEM, "out of memory");
	}
	*ret = &chain->base;
	return 0;
}

static int probackup_settle(struct layer_chain *base, struct errmsg *e)
{
	struct probackup_chain *chain = CONTAINER_OF(base, struct probackup_chain, base);
	int rc = chain_settle(chain, e);

	return rc == 0 ? 0 : errmsg_set(e, rc, "%s: %s", base->store_path, errmsg_text(NULL, rc));
}

static void probackup_keep(struct layer_chain *base, const char *cache)
{
	struct probackup_chain *chain = CONTAINER_OF(base, struct probackup_chain, base);

	lists_save(&chain->lists, cache);
	lists_free(&chain->lists);
}

static void probackup_close_chain(struct layer_chain *chain)
{
	if (chain != NULL)
		chain_close(CONTAINER_OF(chain, struct probackup_chain, base));
}

/* ---- the store ---- */

static int find_conf(void *ctx, const char *name, unsigned char d_type)
{
	const int *dirfd = ctx;
	char path[256 + 32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "backups/%s/pg_probackup.conf", name);
	return name[0] != '.' && sys_fstatat(*dirfd, path, &st, 0) == 0;
}

/* A catalog that was initialised has backups/ and wal/; one that was copied may lack the archive.
 */
static int probackup_probe(int dirfd)
{
	_cleanup_close_ int fd = -1;

	if (!is_dir(dirfd, "backups"))
		return 0;
	if (is_dir(dirfd, "wal"))
		return 1;
	fd = sys_open_beneath(dirfd, "backups", O_RDONLY | O_DIRECTORY);
	if (fd == -ELOOP)
		return 1; /* opening it says what is wrong */
	return fd < 0 ? 0 : sys_readdir(fd, ".", find_conf, &dirfd);
}

static void probackup_close(struct store *store)
{
	if (store == NULL)
		return;
	util_closep(&store->dirfd);
	free(store->path);
	free(store);
}

static int probackup_open(const char *path, struct errmsg *e, struct store **ret)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		return errmsg_set(e, -ENOMEM, "out of memory");
	store->driver = &probackup_driver;
	store->dirfd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	store->path = realpath(path, NULL);
	if (store->dirfd < 0 || store->path == NULL) {
		int rc = store->dirfd < 0 ? store->dirfd : -errno;

		probackup_close(store);
		return errmsg_set(e, rc, "%s: %s", path, errmsg_text(NULL, rc));
	}
	*ret = store;
	return 0;
}

const struct store_driver probackup_driver = {
	.version = STORE_DRIVER_VERSION,
	.name = "pg_probackup",
	.probe = probackup_probe,
	.open = probackup_open,
	.close = probackup_close,
	.list = probackup_list,
	.list_free = probackup_list_free,
	.open_chain = probackup_open_chain,
	.settle = probackup_settle,
	.keep = probackup_keep,
	.close_chain = probackup_close_chain,
	.unlock = chain_unlock,
	.extras = probackup_extras,
	.wal_read = probackup_wal_read,
	.wal_list = probackup_wal_list,
};
