/*
 * overlay/names.c: lookup, create, link, unlink, rename. Memory only: the order is check, log,
 * change.
 *
 * Each operation first finds every reason to refuse, then logs its records as one group (diff_log),
 * then changes the tree. What can still fail after logging is memory for a name; names are
 * therefore allocated before logging and taken back when logging fails.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE	 2u
#endif

static int check_name(const char *name)
{
	size_t len = strlen(name);

	if (len > DIFF_NAME_MAX)
		return -ENAMETOOLONG;
	if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

/* For operations that make or remove a name in dir. */
static int check_change(struct overlay *ov, const struct file *dir, const char *name)
{
	if (!ov->diff)
		return -EROFS;
	if (!file_is_dir(dir))
		return -ENOTDIR;
	if (dir->names == 0 && dir != ov->root)
		return -ENOENT;
	return check_name(name);
}

static struct dirent *find(struct overlay *ov, const struct file *dir, const char *name)
{
	return tree_find(ov, dir, name, strlen(name));
}

int overlay_lookup(struct overlay *ov, struct file *dir, const char *name, struct file **ret)
{
	struct dirent *d;

	if (!file_is_dir(dir))
		return -ENOTDIR;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		*ret = name[1] && dir->parent ? dir->parent : dir;
		return 0;
	}
	if (strlen(name) > DIFF_NAME_MAX)
		return -ENAMETOOLONG;
	d = find(ov, dir, name);
	if (!d)
		return -ENOENT;
	*ret = d->shadow ? d->shadow : d->file;
	return 0;
}

static struct diff_record link_record(const struct file *dir, const char *name, uint64_t id)
{
	return (struct diff_record){.type = DIFF_RECORD_LINK,
				    .dir = dir->id,
				    .name = name,
				    .name_len = (uint32_t)strlen(name),
				    .id = id};
}

/* A new file without a name yet. */
static int new_file(struct overlay *ov, const struct file *dir, const struct overlay_create *what,
		    struct file **ret)
{
	int64_t now = overlay_now();
	struct diff_attr attr = {.mode = what->mode,
				 .uid = what->uid,
				 .gid = what->gid,
				 .atime = now,
				 .mtime = now,
				 .ctime = now};
	char *target = NULL;
	int rc;

	if (dir->attr.mode & S_ISGID) {
		attr.gid = dir->attr.gid;
		if (S_ISDIR(what->mode))
			attr.mode |= S_ISGID;
	}
	if (S_ISLNK(what->mode)) {
		if (strlen(what->target) > DIFF_TARGET_MAX)
			return -ENAMETOOLONG;
		target = strdup(what->target);
		if (!target)
			return -ENOMEM;
	}
	rc = tree_add_file(ov, diff_new_id(ov->diff), &attr, ret);
	if (rc < 0) {
		free(target);
		return rc;
	}
	(*ret)->target = target;
	(*ret)->own_target = target != NULL;
	return 0;
}

int overlay_create(struct overlay *ov, struct file *dir, const char *name,
		   const struct overlay_create *what, struct file **ret)
{
	struct diff_record records[2];
	struct file *f;
	int rc = check_change(ov, dir, name);

	if (rc < 0)
		return rc;
	if (find(ov, dir, name))
		return -EEXIST;
	if (S_ISBLK(what->mode) || S_ISCHR(what->mode))
		return -EPERM;
	rc = new_file(ov, dir, what, &f);
	if (rc < 0)
		return rc;
	rc = tree_link(ov, dir, name, strlen(name), f, false);
	if (rc < 0) {
		tree_release(ov, f);
		return rc;
	}
	records[0] = (struct diff_record){.type = DIFF_RECORD_INODE, .id = f->id, .attr = f->attr};
	records[0].target = f->target;
	records[0].target_len = f->target ? (uint32_t)strlen(f->target) : 0;
	records[1] = link_record(dir, name, f->id);
	rc = diff_log(ov->diff, records, 2);
	if (rc < 0) {
		tree_unlink(ov, find(ov, dir, name));
		tree_release(ov, f);
		return rc;
	}
	file_touch(ov, dir, true);
	*ret = f;
	return 0;
}

bool overlay_is_control(const struct overlay *ov, const struct file *file)
{
	return file->id == ov->control_id;
}

bool overlay_is_wal(const struct file *file)
{
	return file->is_wal;
}

int overlay_link(struct overlay *ov, struct file *file, struct file *dir, const char *name)
{
	struct diff_record record = link_record(dir, name, file->id);
	int rc = check_change(ov, dir, name);

	if (rc < 0)
		return rc;
	if (file_is_dir(file) || file == ov->wal_link)
		return -EPERM;
	if (file->names == 0)
		return -ENOENT;
	if (find(ov, dir, name))
		return -EEXIST;
	rc = tree_link(ov, dir, name, strlen(name), file, false);
	if (rc < 0)
		return rc;
	rc = diff_log(ov->diff, &record, 1);
	if (rc < 0) {
		tree_unlink(ov, find(ov, dir, name));
		return rc;
	}
	file_touch(ov, dir, true);
	file_touch(ov, file, false);
	return 0;
}

static int remove_name(struct overlay *ov, struct file *dir, struct dirent *d)
{
	struct file *f = d->file;
	struct diff_record record = {.type = DIFF_RECORD_UNLINK,
				     .dir = dir->id,
				     .name = d->name,
				     .name_len = d->name_len};
	int rc = diff_log(ov->diff, &record, 1);

	if (rc < 0)
		return rc;
	overlay_ref(f);
	tree_unlink(ov, d);
	file_touch(ov, dir, true);
	file_touch(ov, f, false);
	overlay_unref(ov, f);
	return 0;
}

int overlay_unlink(struct overlay *ov, struct file *dir, const char *name)
{
	struct dirent *d;
	int rc = check_change(ov, dir, name);

	if (rc < 0)
		return rc;
	d = find(ov, dir, name);
	if (!d)
		return -ENOENT;
	if (d->shadow)
		return -EBUSY;
	if (file_is_dir(d->file))
		return -EISDIR;
	return remove_name(ov, dir, d);
}

int overlay_rmdir(struct overlay *ov, struct file *dir, const char *name)
{
	struct dirent *d;
	int rc = check_change(ov, dir, name);

	if (rc < 0)
		return rc == -EINVAL && strcmp(name, "..") == 0 ? -ENOTEMPTY : rc;
	d = find(ov, dir, name);
	if (!d)
		return -ENOENT;
	if (d->shadow)
		return -EBUSY;
	if (!file_is_dir(d->file))
		return -ENOTDIR;
	if (d->file->first_child)
		return -ENOTEMPTY;
	return remove_name(ov, dir, d);
}

static bool is_below(const struct overlay *ov, const struct file *dir, const struct file *top)
{
	for (; dir != ov->root; dir = dir->parent)
		if (dir == top)
			return true;
	return dir == top;
}

/* Every reason to refuse the rename of d to dir2/name2, where d2 stands now (or NULL). */
static int check_rename(struct overlay *ov, const struct dirent *d, const struct file *dir,
			const struct file *dir2, const struct dirent *d2, unsigned flags)
{
	const struct file *f = d->file, *f2 = d2 ? d2->file : NULL;

	if (d->shadow || (d2 && d2->shadow))
		return -EBUSY;
	if (d2 && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!d2 && (flags & RENAME_EXCHANGE))
		return -ENOENT;
	if (file_is_dir(f) && is_below(ov, dir2, f))
		return -EINVAL;
	if (flags & RENAME_EXCHANGE)
		return file_is_dir(f2) && is_below(ov, dir, f2) ? -EINVAL : 0;
	if (!f2 || f2 == f)
		return 0;
	if (file_is_dir(f) && !file_is_dir(f2))
		return -ENOTDIR;
	if (!file_is_dir(f) && file_is_dir(f2))
		return -EISDIR;
	return file_is_dir(f2) && f2->first_child ? -ENOTEMPTY : 0;
}

/* The names a rename makes, allocated before anything is logged. */
struct rename_names {
	struct dirent *there, *back; /* back: exchange only */
};

static int prepare_rename(struct rename_names *names, struct dirent *d, struct file *dir2,
			  const char *name2, struct dirent *d2, bool exchange)
{
	names->there = tree_prepare(dir2, name2, strlen(name2), d->file);
	names->back = exchange ? tree_prepare(d->dir, d->name, d->name_len, d2->file) : NULL;
	if (names->there && (names->back || !exchange))
		return 0;
	free(names->there);
	free(names->back);
	return -ENOMEM;
}

/*
 * The record is logged, so the tree has to follow. A table that cannot grow now cannot be answered
 * with an error; stopping is right: the next mount replays the rename.
 */
static void apply_rename(struct overlay *ov, const struct rename_names *names, struct dirent *d,
			 struct dirent *d2)
{
	struct file *f = d->file, *f2 = d2 ? d2->file : NULL;
	struct file *dir = d->dir, *dir2 = names->there->dir;

	overlay_ref(f);
	if (f2) {
		overlay_ref(f2);
		tree_unlink(ov, d2);
	}
	tree_unlink(ov, d);
	if (tree_insert(ov, names->there) < 0 || (names->back && tree_insert(ov, names->back) < 0))
		abort();
	file_touch(ov, dir, true);
	file_touch(ov, dir2, true);
	file_touch(ov, f, false);
	if (f2) {
		file_touch(ov, f2, false);
		overlay_unref(ov, f2);
	}
	overlay_unref(ov, f);
}

int overlay_rename(struct overlay *ov, struct file *dir, const char *name, struct file *dir2,
		   const char *name2, unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;
	struct rename_names names;
	struct dirent *d, *d2;
	struct diff_record record;
	int rc = check_change(ov, dir, name);

	if (rc == 0)
		rc = check_change(ov, dir2, name2);
	if (rc == 0 && (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	d = find(ov, dir, name);
	if (!d)
		return -ENOENT;
	d2 = find(ov, dir2, name2);
	rc = check_rename(ov, d, dir, dir2, d2, flags);
	if (rc < 0 || (d2 && d2->file == d->file))
		return rc;
	rc = prepare_rename(&names, d, dir2, name2, d2, exchange);
	if (rc < 0)
		return rc;
	record = link_record(dir, name, 0);
	record.type = DIFF_RECORD_RENAME;
	record.dir2 = dir2->id;
	record.name2 = name2;
	record.name2_len = (uint32_t)strlen(name2);
	record.flags = exchange ? DIFF_RENAME_EXCHANGE : 0;
	rc = diff_log(ov->diff, &record, 1);
	if (rc < 0) {
		free(names.there);
		free(names.back);
		return rc;
	}
	apply_rename(ov, &names, d, d2);
	return 0;
}
