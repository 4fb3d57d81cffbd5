/*
 * tests/tools/recorder.c: a directory with one file, `disk`, that keeps a log of every write and flush it gets:
 * with a loop device on it, of what a disk gets.
 *
 *	recorder LOG MIB MOUNTPOINT [FUSE options]
 *
 * The file is in memory and begins as zeros. The log (recorder.h) is complete when it is unmounted.
 * One thread, so that the log has the order in which requests were answered.
 */
#define FUSE_USE_VERSION 314
#include "recorder.h"

#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint8_t *disk;
static uint64_t disk_size;
static FILE *book;

static bool is_disk(const char *path)
{
	return strcmp(path, "/disk") == 0;
}

static void note(uint64_t off, const void *data, size_t len)
{
	struct recorded r = {.off = off, .len = (uint32_t)len, .when = recorder_now()};

	if (fwrite(&r, sizeof(r), 1, book) != 1 || (len > 0 && fwrite(data, len, 1, book) != 1)) {
		(void)fprintf(stderr, "recorder: the log cannot be written\n");
		exit(1);
	}
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	st->st_mode = is_disk(path) ? S_IFREG | 0600 : S_IFDIR | 0700;
	st->st_nlink = 1;
	st->st_size = is_disk(path) ? (off_t)disk_size : 0;
	return is_disk(path) || strcmp(path, "/") == 0 ? 0 : -ENOENT;
}

static int disk_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)fill(buf, "disk", NULL, 0, 0);
	return 0;
}

static int disk_open(const char *path, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	return is_disk(path) ? 0 : -ENOENT;
}

static int disk_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	uint64_t left = (uint64_t)off < disk_size ? disk_size - (uint64_t)off : 0;

	size = size < left ? size : left;
	memcpy(buf, disk + off, size);
	return (int)size;
}

static int disk_write(const char *path, const char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	if ((uint64_t)off + size > disk_size)
		return -ENOSPC;
	memcpy(disk + off, buf, size);
	note((uint64_t)off, buf, size);
	return (int)size;
}

static int disk_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	note(0, NULL, 0);
	return 0;
}

static void disk_destroy(void *data)
{
	if (fclose(book) != 0)
		(void)fprintf(stderr, "recorder: the log cannot be written\n");
}

int main(int argc, char **argv)
{
	static const struct fuse_operations ops = {
		.getattr = disk_getattr,
		.readdir = disk_readdir,
		.open = disk_open,
		.read = disk_read,
		.write = disk_write,
		.fsync = disk_fsync,
		.destroy = disk_destroy,
	};
	char one_thread[] = "-s";

	if (argc < 4) {
		(void)fprintf(stderr, "usage: recorder LOG MIB MOUNTPOINT [FUSE options]\n");
		return 2;
	}
	book = fopen(argv[1], "we");
	disk_size = strtoull(argv[2], NULL, 10) << 20;
	disk = calloc(1, disk_size);
	if (book == NULL || disk == NULL) {
		(void)fprintf(stderr, "recorder: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	argv[1] = argv[0];
	argv[2] = one_thread;
	return fuse_main(argc - 1, argv + 1, &ops, NULL);
}
