/*
 * cmd/restore_write.c: the files of a restore.
 *
 * Blocks that no backup stores stay holes, as pg_probackup leaves them; zeros that a backup does
 * store are written, so that their space is taken. Nothing is durable before restore_sync: where
 * the file system is known to report write-back errors through syncfs, that makes all of it durable
 * at once; elsewhere each file is fsynced by the worker that closes it.
 */
#include "cmd/restore.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define WRITEBACK_MIN (256u << 10) /* bytes whose write-back is worth starting early */

static int fail(struct restore_tree *tree, const struct restore_file *file, int rc)
{
	pthread_mutex_lock(&tree->lock);
	(void)errmsg_set(&tree->error, rc, "cannot write '%s/%s': %s", file->root->path, file->path,
			 errmsg_text(NULL, rc));
	pthread_mutex_unlock(&tree->lock);
	return rc;
}

/* ---- the sink ---- */

static int file_open(void *ctx, struct bulk_file *bf)
{
	struct restore_tree *tree = ctx;
	struct restore_file *file = bf->user;

	file->fd = sys_openat(file->root->fd, file->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
			      0600);
	if (file->fd < 0)
		return fail(tree, file, file->fd);
	restore_direct_open(file, bf);
	return 0;
}

static int file_write(void *ctx, struct bulk_file *bf, uint64_t off, const void *data, size_t len)
{
	struct restore_tree *tree = ctx;
	struct restore_file *file = bf->user;
	int rc = restore_direct_write(file, off, data, len);

	if (rc < 0)
		return fail(tree, file, rc);
	if (rc == 0 && len >= WRITEBACK_MIN && !tree->request->no_sync)
		sys_start_writeback(file->fd, off, len);
	return 0;
}

static int file_close(void *ctx, struct bulk_file *bf, int rc)
{
	struct restore_tree *tree = ctx;
	struct restore_file *file = bf->user;
	int fd = TAKE_FD(file->fd), direct_fd = TAKE_FD(file->direct_fd);

	if (direct_fd >= 0 && sys_close(direct_fd) < 0 && rc == 0)
		rc = fail(tree, file, -EIO);
	if (rc == 0 && fchmod(fd, file->mode & 07777) < 0)
		rc = fail(tree, file, -errno);
	if (rc == 0 && tree->sync_files && !tree->request->no_sync) {
		rc = sys_fsync(fd);
		if (rc < 0)
			(void)fail(tree, file, rc);
	}
	if (sys_close(fd) < 0 && rc == 0)
		rc = fail(tree, file, -EIO);
	/* Damage is the bulk's own to report. */
	return rc == -EUCLEAN ? 0 : rc;
}

const struct bulk_sink restore_sink_ops = {
	.open = file_open, .write = file_write, .close = file_close};

/* ---- what goes where ---- */

static mode_t umask_now(void)
{
	mode_t mask = umask(0);

	(void)umask(mask);
	return mask;
}

static bool is_left_out(const uint32_t *oids, size_t count, const char *path)
{
	uint32_t oid = count > 0 ? restore_database_of(path) : 0;

	for (size_t i = 0; i < count; i++) {
		if (oid != 0 && oids[i] == oid)
			return true;
	}
	return false;
}

static int make_empty(struct restore_tree *tree, const struct restore_file *file, struct errmsg *e)
{
	_cleanup_close_ int fd = sys_openat(file->root->fd, file->path,
					    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? fd : 0;

	if (rc == 0 && fchmod(fd, file->mode & 07777) < 0)
		rc = -errno;
	if (rc == 0 && tree->sync_files && !tree->request->no_sync)
		rc = sys_fsync(fd);
	return rc < 0 ? errmsg_set(e, rc, "cannot make '%s/%s': %s", file->root->path, file->path,
				   errmsg_text(NULL, rc))
		      : 0;
}

/* The configuration is made by us; the control file gets its name when all else is done. */
static void assign_special(struct bulk_file *bf, struct restore_file *file)
{
	if (bf->entry->kind == LAYER_INLINE && strcmp(bf->entry->path, "postgresql.auto.conf") == 0)
		bf->skip = true;
	if (strcmp(bf->entry->path, RESTORE_CONTROL) == 0) {
		file->path = RESTORE_CONTROL_NEW;
		file->mode = S_IFREG | (0666 & ~umask_now());
	}
}

int restore_assign_files(struct restore_tree *tree, struct errmsg *e)
{
	_cleanup_free_ uint32_t *oids = NULL;
	_cleanup_free_ uint64_t *bytes = calloc(tree->places.count, sizeof(*bytes));
	struct bulk_file *files;
	size_t count, oid_count;
	int rc = restore_databases(tree->request, tree->extras.databases, e, &oids, &oid_count);

	if (rc < 0)
		return rc;
	files = bulk_files(tree->bulk, &count);
	tree->files = calloc(MAX(count, (size_t)1), sizeof(*tree->files));
	if (!tree->files || !bytes)
		return errmsg_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct restore_file *file = &tree->files[i];
		const struct layer_outside_entry *outside = files[i].user;

		file->fd = file->direct_fd = -1;
		files[i].user = file;
		if (outside) {
			file->root = restore_places_outside(&tree->places, outside->number);
			file->path = outside->path;
			file->mode = outside->mode;
		} else {
			file->root =
				restore_places_of(&tree->places, files[i].entry->path, &file->path);
			file->mode = files[i].entry->mode;
			assign_special(&files[i], file);
			file->empty = is_left_out(oids, oid_count, files[i].entry->path);
			files[i].skip = files[i].skip || file->empty;
		}
		if (!files[i].skip)
			bytes[file->root - tree->places.roots] += files[i].size;
	}
	return restore_places_room(&tree->places, bytes, e);
}

/* ---- directories and links ---- */

static int make_directory(struct restore_root *root, const char *path, uint32_t mode,
			  struct errmsg *e)
{
	/* Ours to write in until the end, whatever its mode; see set_modes. */
	int rc = sys_mkdirat(root->fd, path, (mode & 07777) | 0700);

	return rc < 0 ? errmsg_set(e, rc, "cannot make '%s/%s': %s", root->path, path,
				   errmsg_text(NULL, rc))
		      : 0;
}

static int make_link(struct restore_tree *tree, const char *path, const char *target,
		     struct errmsg *e)
{
	if (symlinkat(target, tree->places.roots[0].fd, path) == 0)
		return 0;
	return errmsg_set(e, -errno, "cannot make the link '%s/%s': %s", tree->places.roots[0].path,
			  path, strerror(errno));
}

static const struct restore_root *linked_root(const struct restore_tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->places.count; i++) {
		if (tree->places.roots[i].link && strcmp(tree->places.roots[i].link, path) == 0)
			return &tree->places.roots[i];
	}
	return NULL;
}

/* Directories of the mount's own, which tablespaces are shown in. */
static bool is_hidden(const struct restore_root *root, const char *path)
{
	return root->shown[0] == '\0' &&
	       (strcmp(path, ".pgoverlay") == 0 || strncmp(path, ".pgoverlay/", 11) == 0);
}

static int make_entry(struct restore_tree *tree, const struct layer_entry *entry, struct errmsg *e)
{
	const struct restore_root *linked = linked_root(tree, entry->path);
	const char *rest;
	struct restore_root *root = restore_places_of(&tree->places, entry->path, &rest);

	if (linked)
		return make_link(tree, entry->path, linked->path, e);
	if (entry->kind == LAYER_SYMLINK)
		return errmsg_set(e, -EUCLEAN, "'%s': a link that no tablespace is known for",
				  entry->path);
	if (entry->kind != LAYER_DIR || rest[0] == '\0' || is_hidden(root, rest))
		return 0;
	return make_directory(root, rest, entry->mode, e);
}

/* Calls fn for each directory below a root. */
static int each_directory(struct restore_tree *tree,
			  int (*fn)(struct restore_root *root, const char *path, uint32_t mode,
				    struct errmsg *e),
			  struct errmsg *e)
{
	const struct layer *target = tree->chain->layers[tree->chain->count - 1];
	int rc = 0;

	for (uint32_t i = 0; i < target->entry_count && rc == 0; i++) {
		const struct layer_entry *entry = &target->entries[i];
		const char *rest;
		struct restore_root *root = restore_places_of(&tree->places, entry->path, &rest);

		if (entry->kind == LAYER_DIR && rest[0] != '\0' && !is_hidden(root, rest))
			rc = fn(root, rest, entry->mode, e);
	}
	for (size_t i = 0; i < tree->extras.entry_count && rc == 0; i++) {
		const struct layer_outside_entry *entry = &tree->extras.entries[i];
		struct restore_root *root = restore_places_outside(&tree->places, entry->number);

		if (root && S_ISDIR(entry->mode))
			rc = fn(root, entry->path, entry->mode, e);
	}
	return rc;
}

int restore_make_directories(struct restore_tree *tree, struct errmsg *e)
{
	const struct layer *target = tree->chain->layers[tree->chain->count - 1];
	size_t count;
	int rc = 0;

	for (uint32_t i = 0; i < target->entry_count && rc == 0; i++)
		rc = make_entry(tree, &target->entries[i], e);
	for (size_t i = 0; i < tree->extras.entry_count && rc == 0; i++) {
		const struct layer_outside_entry *entry = &tree->extras.entries[i];
		struct restore_root *root = restore_places_outside(&tree->places, entry->number);

		if (root && S_ISDIR(entry->mode))
			rc = make_directory(root, entry->path, entry->mode, e);
	}
	(void)bulk_files(tree->bulk, &count);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (tree->files[i].empty)
			rc = make_empty(tree, &tree->files[i], e);
	}
	return rc;
}

/* ---- making it last ---- */

static int set_mode(struct restore_root *root, const char *path, uint32_t mode, struct errmsg *e)
{
	if ((mode & 0700) == 0700 || fchmodat(root->fd, path, mode & 07777 & ~umask_now(), 0) == 0)
		return 0;
	return errmsg_set(e, -errno, "cannot set the mode of '%s/%s': %s", root->path, path,
			  strerror(errno));
}

static int sync_directory(struct restore_root *root, const char *path, uint32_t mode,
			  struct errmsg *e)
{
	_cleanup_close_ int fd = sys_openat(root->fd, path, O_RDONLY | O_DIRECTORY, 0);
	int rc = fd < 0 ? fd : sys_fsync(fd);

	(void)mode;
	return rc < 0 ? errmsg_set(e, rc, "cannot sync '%s/%s': %s", root->path, path,
				   errmsg_text(NULL, rc))
		      : 0;
}

int restore_sync(struct restore_tree *tree, struct errmsg *e)
{
	int rc = 0;

	if (!tree->request->no_sync && tree->sync_files)
		rc = each_directory(tree, sync_directory, e);
	if (rc == 0)
		rc = each_directory(tree, set_mode, e);
	for (size_t i = 0; i < tree->places.count && rc == 0 && !tree->request->no_sync; i++) {
		struct restore_root *root = &tree->places.roots[i];

		rc = tree->sync_files ? sys_fsync(root->fd) : sys_syncfs(root->fd);
		if (rc < 0)
			return errmsg_set(e, rc, "cannot sync '%s': %s", root->path,
					  errmsg_text(NULL, rc));
	}
	return rc;
}

int restore_write_file(struct restore_tree *tree, const char *path, const void *data, size_t len,
		       uint32_t mode, struct errmsg *e)
{
	const struct restore_root *root = &tree->places.roots[0];
	_cleanup_close_ int fd =
		sys_openat(root->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
	int rc = fd < 0 ? fd : sys_pwrite_full(fd, data, len, 0);

	if (rc == 0 && !tree->request->no_sync)
		rc = sys_fsync(fd);
	return rc < 0 ? errmsg_set(e, rc, "cannot write '%s/%s': %s", root->path, path,
				   errmsg_text(NULL, rc))
		      : 0;
}

int restore_finish(struct restore_tree *tree, struct errmsg *e)
{
	struct restore_root *root = &tree->places.roots[0];
	int rc = sys_renameat(root->fd, RESTORE_CONTROL_NEW, root->fd, RESTORE_CONTROL);

	if (rc == 0 && !tree->request->no_sync)
		rc = sync_directory(root, "global", 0, e);
	if (rc == 0)
		rc = sys_unlinkat(root->fd, RESTORE_MARKER, 0);
	if (rc == 0 && !tree->request->no_sync)
		rc = sys_fsync(root->fd);
	return rc < 0 ? errmsg_set(e, rc, "cannot finish '%s': %s", root->path,
				   errmsg_text(NULL, rc))
		      : 0;
}
