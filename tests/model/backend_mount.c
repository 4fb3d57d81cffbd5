/*
 * tests/model/backend_mount.c: see backend_mount.h. Everything is relative to a descriptor of the
 * root.
 */
#include "backend_mount.h"

#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

static struct backend_mount *mount_of(struct backend *b)
{
	return CONTAINER_OF(b, struct backend_mount, backend);
}

static int result(int64_t rc)
{
	return rc < 0 ? -errno : (int)rc;
}

static int mount_open(struct backend *backend, unsigned handle, const char *path, int flags,
		      uint32_t mode)
{
	struct backend_mount *b = mount_of(backend);
	int fd = openat(b->rootfd, path, flags | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	b->handles[handle].fd = fd;
	b->handles[handle].direct = flags & O_DIRECT;
	return 0;
}

static void mount_close(struct backend *backend, unsigned handle)
{
	struct backend_mount *b = mount_of(backend);

	(void)close(b->handles[handle].fd);
	b->handles[handle].fd = -1;
}

/* Reads until the end of the file, as a library would. O_DIRECT wants memory that is aligned. */
static int64_t do_read(int fd, const struct content_op *op, uint8_t *buf)
{
	uint64_t done = 0;

	while (done < op->len) {
		ssize_t n = pread(fd, buf + done, op->len - done, (off_t)(op->off + done));

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	memcpy(op->buf, buf, done);
	return (int64_t)done;
}

static int64_t do_write(int fd, struct content_op *op, const uint8_t *buf)
{
	ssize_t n = op->code == CONTENT_APPEND ? write(fd, buf, op->len)
					       : pwrite(fd, buf, op->len, (off_t)op->off);

	if (n < 0)
		return -errno;
	/* where O_APPEND put it */
	if (op->code == CONTENT_APPEND)
		op->off = (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)n;
	return (uint64_t)n == op->len ? 0 : -EIO;
}

static int64_t do_transfer(int fd, struct content_op *op)
{
	uint8_t *buf = aligned_alloc(PAGE, round_up_u64(op->len + 1, PAGE));
	int64_t rc;

	if (!buf)
		return -ENOMEM;
	if (op->code == CONTENT_READ) {
		rc = do_read(fd, op, buf);
	} else {
		memcpy(buf, op->buf, op->len);
		rc = do_write(fd, op, buf);
	}
	free(buf);
	return rc;
}

/* The range lies within the file. */
static int64_t do_mmap(int fd, struct content_op *op)
{
	bool writes = op->code == CONTENT_MMAP_WRITE;
	uint64_t start = round_down_u64(op->off, PAGE), len = op->off + op->len - start;
	uint8_t *map = mmap(NULL, len, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
			    (off_t)start);
	int64_t rc = 0;

	if (map == MAP_FAILED)
		return -errno;
	if (writes)
		memcpy(map + (op->off - start), op->buf, op->len);
	else
		memcpy(op->buf, map + (op->off - start), op->len);
	/* now and then the pages are left dirty, for whoever comes next */
	if (writes && op->len % 3 != 0)
		rc = result(msync(map, len, MS_SYNC));
	(void)munmap(map, len);
	return rc < 0 || writes ? rc : (int64_t)op->len;
}

/* By a descriptor of its own: the handle's may append, or be O_DIRECT. */
static int64_t instead_of_mmap(int fd, struct content_op *op)
{
	char path[64];
	int64_t rc;
	int own;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDWR | O_CLOEXEC);
	if (own < 0)
		return -errno;
	if (op->code == CONTENT_MMAP_READ)
		rc = pread(own, op->buf, op->len, (off_t)op->off);
	else
		rc = pwrite(own, op->buf, op->len, (off_t)op->off) == (ssize_t)op->len ? 0 : -EIO;
	(void)close(own);
	return rc;
}

static void mount_submit(struct backend *backend, struct content_op *op)
{
	struct backend_mount *b = mount_of(backend);
	int fd = b->handles[op->handle].fd;

	switch (op->code) {
	case CONTENT_READ:
	case CONTENT_WRITE:
	case CONTENT_APPEND:
		op->result = do_transfer(fd, op);
		break;
	case CONTENT_TRUNCATE:
		op->result = result(ftruncate(fd, (off_t)op->off));
		break;
	case CONTENT_FALLOCATE:
		op->result = result(fallocate(fd, op->mode, (off_t)op->off, (off_t)op->len));
		break;
	case CONTENT_SYNC:
		op->result = result(op->off % 2 ? fdatasync(fd) : fsync(fd));
		break;
	case CONTENT_SYNC_ALL:
		op->result = result(syncfs(b->rootfd));
		break;
	case CONTENT_STAT:
		op->result = result(fstat(fd, &op->st));
		break;
	case CONTENT_MMAP_READ:
	case CONTENT_MMAP_WRITE:
		op->result = do_mmap(fd, op);
		if (op->result == -ENODEV && b->unmappable)
			op->result = instead_of_mmap(fd, op);
		break;
	}
	op->done = true;
}

static bool mount_drain(struct backend *backend)
{
	return true;
}

static int mount_mkdir(struct backend *backend, const char *path, uint32_t mode)
{
	return result(mkdirat(mount_of(backend)->rootfd, path, mode));
}

static int mount_rmdir(struct backend *backend, const char *path)
{
	return result(unlinkat(mount_of(backend)->rootfd, path, AT_REMOVEDIR));
}

static int mount_unlink(struct backend *backend, const char *path)
{
	return result(unlinkat(mount_of(backend)->rootfd, path, 0));
}

static int mount_symlink(struct backend *backend, const char *target, const char *path)
{
	return result(symlinkat(target, mount_of(backend)->rootfd, path));
}

static int mount_link(struct backend *backend, const char *from, const char *to)
{
	int fd = mount_of(backend)->rootfd;

	return result(linkat(fd, from, fd, to, 0));
}

static int mount_rename(struct backend *backend, const char *from, const char *to, unsigned flags)
{
	int fd = mount_of(backend)->rootfd;

	return result(renameat2(fd, from, fd, to, flags));
}

static int mount_readlink(struct backend *backend, const char *path, char *ret, size_t size)
{
	ssize_t n = readlinkat(mount_of(backend)->rootfd, path, ret, size - 1);

	if (n < 0)
		return -errno;
	ret[n] = '\0';
	return 0;
}

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static int mount_setattr(struct backend *backend, const char *path, const struct backend_attr *attr)
{
	int fd = mount_of(backend)->rootfd;
	struct timespec times[2] = {to_timespec(attr->atime), to_timespec(attr->mtime)};

	if (attr->set_mode)
		return result(fchmodat(fd, path, attr->mode, 0));
	return result(utimensat(fd, path, times, AT_SYMLINK_NOFOLLOW));
}

static int mount_stat(struct backend *backend, const char *path, struct stat *ret)
{
	return result(fstatat(mount_of(backend)->rootfd, path, ret, AT_SYMLINK_NOFOLLOW));
}

static int mount_list(struct backend *backend, const char *path, backend_name_fn *fn, void *ctx)
{
	int fd = openat(mount_of(backend)->rootfd, path[0] ? path : ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *d;
	int rc = 0;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	while (rc == 0 && (d = readdir(dir)))
		rc = fn(ctx, d->d_name, (uint32_t)d->d_type << 12, d->d_ino);
	(void)closedir(dir);
	return rc;
}

static int mount_sync_dir(struct backend *backend, const char *path)
{
	int fd = openat(mount_of(backend)->rootfd, path[0] ? path : ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = result(fsync(fd));
	(void)close(fd);
	return rc;
}

static int open_root(struct backend_mount *b)
{
	b->rootfd = open(b->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return b->rootfd < 0 ? -errno : 0;
}

static int mount_reopen(struct backend *backend)
{
	struct backend_mount *b = mount_of(backend);

	(void)close(b->rootfd);
	if (system(b->remount) != 0)
		return -EIO;
	return open_root(b);
}

static void mount_disturb(struct backend *backend)
{
	int fd;

	if (!mount_of(backend)->drop_caches)
		return;
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "3", 1) < 0)
		perror("drop_caches");
	(void)close(fd);
}

static const struct backend_ops mount_ops = {
	.open = mount_open,
	.close = mount_close,
	.submit = mount_submit,
	.drain = mount_drain,
	.mkdir = mount_mkdir,
	.rmdir = mount_rmdir,
	.unlink = mount_unlink,
	.symlink = mount_symlink,
	.link = mount_link,
	.rename = mount_rename,
	.readlink = mount_readlink,
	.setattr = mount_setattr,
	.stat = mount_stat,
	.list = mount_list,
	.sync_dir = mount_sync_dir,
	.reopen = mount_reopen,
	.disturb = mount_disturb,
};

int backend_mount_open(struct backend_mount *b, const char *root, const char *remount,
		       bool drop_caches)
{
	*b = (struct backend_mount){.root = root, .remount = remount, .drop_caches = drop_caches};
	b->backend.ops = &mount_ops;
	b->backend.caps = BACKEND_KERNEL | (remount ? BACKEND_REOPEN : 0);
	for (unsigned i = 0; i < BACKEND_HANDLES; i++)
		b->handles[i].fd = -1;
	return open_root(b);
}

void backend_mount_close(struct backend_mount *b)
{
	for (unsigned i = 0; i < BACKEND_HANDLES; i++)
		if (b->handles[i].fd >= 0)
			(void)close(b->handles[i].fd);
	(void)close(b->rootfd);
}
