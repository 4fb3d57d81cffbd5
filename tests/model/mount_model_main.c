/*
 * tests/model/mount_model_main.c: the model test through system calls on a mounted directory.
 *
 *	mount_model [-s seed] [-o operations] [-x remount command] [-d] [-i] DIRECTORY
 *
 * The tree found at the start is taken as it is. -x: a command that unmounts and mounts again, run
 * now and then. -d: drop the kernel's caches now and then (root). -i: the directory is on another
 * file system, so that the model itself can be tested.
 */
#include "backend_mount.h"
#include "base/util.h"
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
	uint64_t seed, ops;
	const char *remount, *root;
	bool drop_caches, foreign, write_back;
};

static int load(void *ctx, const char *path, uint8_t **ret_data, uint64_t *ret_len)
{
	const char *root = ctx;
	char whole[5000];
	_cleanup_close_ int fd = -1;
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;
	uint64_t done = 0;

	(void)snprintf(whole, sizeof(whole), "%s/%s", root, path);
	fd = open(whole, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (done < (uint64_t)st.st_size) {
		ssize_t n = pread(fd, data + done, (size_t)st.st_size - done, (off_t)done);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint64_t)n;
	}
	*ret_data = TAKE_PTR(data);
	*ret_len = done;
	return 0;
}

/* Renames move a file away from where it was found, so its content is read before the first
 * operation. */
static int load_all(struct memfs *fs)
{
	for (size_t i = 0; i < fs->node_count; i++) {
		int rc = S_ISREG(fs->nodes[i]->mode) ? memfs_load(fs, fs->nodes[i]) : 0;

		if (rc < 0)
			return rc;
		fs->nodes[i]->touched = false;
	}
	return 0;
}

/* Another name of a file that was found before. */
static bool is_link(struct memfs *fs, const char *path, const struct stat *st)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return false;
	for (size_t i = 0; i < fs->node_count; i++)
		if (fs->nodes[i]->ino == st->st_ino)
			return memfs_link(fs, fs->nodes[i]->origin, path) == 0;
	return false;
}

static void add_found(struct memfs *fs, const char *path, const struct stat *st, const char *target)
{
	struct mnode *n;

	if (is_link(fs, path, st))
		return;
	memfs_add_base(fs, path, st->st_mode, (uint64_t)st->st_size, target[0] ? target : NULL);
	if (memfs_find(fs, path, &n) == 0)
		n->ino = st->st_ino;
}

static int scan(struct memfs *fs, const struct options *o, const char *dir)
{
	char path[4096], whole[5000], target[4096];
	struct dirent *d;
	struct stat st;
	DIR *list;
	int rc = 0;

	(void)snprintf(whole, sizeof(whole), "%s/%s", o->root, dir);
	list = opendir(whole);
	if (!list)
		return -errno;
	while (rc == 0 && (d = readdir(list))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%.3000s%s%s", dir, dir[0] ? "/" : "",
			       d->d_name);
		(void)snprintf(whole, sizeof(whole), "%.800s/%s", o->root, path);
		rc = lstat(whole, &st) < 0 ? -errno : 0;
		memset(target, 0, sizeof(target));
		if (rc == 0 && S_ISLNK(st.st_mode) &&
		    readlink(whole, target, sizeof(target) - 1) < 0)
			rc = -errno;
		if (rc == 0)
			add_found(fs, path, &st, target);
		if (rc == 0 && S_ISDIR(st.st_mode))
			rc = scan(fs, o, path);
	}
	(void)closedir(list);
	return rc;
}

static int parse(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){.seed = 1, .ops = 100000};
	while ((c = getopt(argc, argv, "s:o:x:diw")) != -1) {
		switch (c) {
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			o->ops = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			o->remount = optarg;
			break;
		case 'd':
			o->drop_caches = true;
			break;
		case 'i':
			o->foreign = true;
			break;
		case 'w':
			o->write_back = true;
			break;
		default:
			return -1;
		}
	}
	o->root = argv[optind];
	return optind + 1 == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options o;
	struct backend_mount backend;
	struct memfs *fs;
	struct run run;
	bool good;
	int rc;

	if (parse(&o, argc, argv) < 0) {
		(void)fprintf(stderr, "usage: mount_model [-s seed] [-o operations] [-x command] "
				      "[-d] [-i] [-w] DIRECTORY\n");
		return 2;
	}
	(void)umask(0);
	fs = memfs_new(load, (void *)(uintptr_t)o.root);
	rc = scan(fs, &o, "");
	if (rc == 0)
		rc = load_all(fs);
	if (rc == 0)
		rc = backend_mount_open(&backend, o.root, o.remount, o.drop_caches);
	if (rc < 0) {
		(void)fprintf(stderr, "mount_model: %s: %s\n", o.root, strerror(-rc));
		return 1;
	}
	backend.unmappable = o.write_back; /* WAL segments */
	run_init(&run, o.seed, fs, &backend.backend);
	run.foreign = o.foreign;
	/* What the kernel counts and what the server does may be a moment apart. */
	run.slack = o.write_back ? 100000000 : 0;
	run.reopen_every = o.remount || o.drop_caches ? 2000 : 0;
	good = run_go(&run, o.ops);
	printf("mount_model: seed %" PRIu64 ", %" PRIu64 " operations, %" PRIu64 " checks, %" PRIu64
	       " remounts: %s\n",
	       o.seed, run.ops, run.checks, run.reopens, good ? "no difference" : "DIFFERENT");
	run_free(&run);
	backend_mount_close(&backend);
	memfs_free(fs);
	return good ? 0 : 1;
}
