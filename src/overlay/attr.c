/*
 * overlay/attr.c: attributes. They are answered from memory, without a system call, because
 * PostgreSQL asks the size after every write.
 */
#include "base/sys.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>

static struct timespec to_timespec(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	return (struct timespec){.tv_sec = sec, .tv_nsec = rest};
}

void overlay_getattr(struct overlay *ov, struct file *f, struct stat *ret)
{
	uint64_t size = file_size(f);

	(void)ov;
	*ret = (struct stat){
		.st_ino = f->id,
		.st_mode = f->attr.mode,
		.st_nlink = file_is_dir(f)
				    ? (f->names || f->id == DIFF_ID_ROOT ? 2 + f->subdirs : 0)
				    : f->names,
		.st_uid = f->attr.uid,
		.st_gid = f->attr.gid,
		.st_size = file_is_dir(f) ? BLCK : (off_t)size,
		.st_blksize = BLCK,
		.st_blocks = file_is_regular(f) ? (blkcnt_t)((size + 511) / 512) : 0,
		.st_atim = to_timespec(f->attr.atime),
		.st_mtim = to_timespec(f->attr.mtime),
		.st_ctim = to_timespec(f->attr.ctime),
	};
}

/* New times are recorded with the next commit. */
static void times_changed(struct overlay *ov, struct file *f)
{
	f->attr_changed = true;
	if (f->names == 0 && f != ov->root)
		return;
	if (f->record) {
		diff_file_touch(f->record, &f->attr);
	} else if (!f->attr_unlogged) {
		f->attr_unlogged = true;
		f->next_unlogged = ov->unlogged;
		ov->unlogged = f;
	}
}

void file_touch(struct overlay *ov, struct file *f, bool mtime)
{
	f->attr.ctime = overlay_now();
	if (mtime)
		f->attr.mtime = f->attr.ctime;
	times_changed(ov, f);
}

void overlay_take_times(struct overlay *ov, struct file *f, const struct diff_attr *attr)
{
	if (!ov->diff)
		return;
	f->attr.mtime = attr->mtime;
	f->attr.ctime = attr->ctime;
	times_changed(ov, f);
}

/*
 * Times of directories and of files without a record go with the next commit. Where the journal has
 * no room at the moment they wait for the one after it: they are no promise of fsync.
 */
void overlay_log_times(struct overlay *ov)
{
	while (ov->unlogged) {
		struct file *f = ov->unlogged;
		struct diff_record r = {.type = DIFF_RECORD_ATTR, .id = f->id, .attr = f->attr};

		if ((f->names > 0 || f == ov->root) && diff_log(ov->diff, &r, 1) < 0)
			return;
		ov->unlogged = f->next_unlogged;
		f->attr_unlogged = false;
	}
}

int overlay_setattr(struct overlay *ov, struct file *f, const struct diff_attr *attr,
		    unsigned which)
{
	struct diff_attr new = f->attr;
	struct diff_record r = {.type = DIFF_RECORD_ATTR, .id = f->id};
	int rc;

	if (!ov->diff)
		return -EROFS;
	if (f == ov->wal_link)
		return -EPERM;
	if (which & OVERLAY_SET_MODE)
		new.mode = (f->attr.mode & S_IFMT) | (attr->mode & 07777);
	if (which & OVERLAY_SET_UID)
		new.uid = attr->uid;
	if (which & OVERLAY_SET_GID)
		new.gid = attr->gid;
	if (which & OVERLAY_SET_ATIME)
		new.atime = attr->atime;
	if (which & OVERLAY_SET_MTIME)
		new.mtime = attr->mtime;
	new.ctime = which &OVERLAY_SET_CTIME ? attr->ctime : overlay_now();
	r.attr = new;
	rc = f->names > 0 || f == ov->root ? diff_log(ov->diff, &r, 1) : diff_writable(ov->diff);
	if (rc < 0)
		return rc;
	f->attr = new;
	f->attr_changed = true;
	return 0;
}

int overlay_statfs(struct overlay *ov, struct statvfs *ret)
{
	int rc = sys_fstatvfs(ov->diff ? diff_dirfd(ov->diff) : ov->chain->layers[0]->dirfd, ret);

	if (rc < 0)
		return rc;
	ret->f_namemax = DIFF_NAME_MAX;
	return 0;
}
