/*
 * tests/model/memfs.c: names of the model; see memfs.h.
 */
#include "memfs.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static bool is_dir(const struct mnode *n)
{
	return S_ISDIR(n->mode);
}

static struct mnode *node_new(struct memfs *fs, uint32_t mode)
{
	struct mnode *n = need(calloc(1, sizeof(*n)));

	n->mode = mode;
	n->serial = ++fs->serials;
	if (fs->node_count == fs->node_cap) {
		fs->node_cap = fs->node_cap * 2 + 64;
		fs->nodes = need(reallocarray(fs->nodes, fs->node_cap, sizeof(*fs->nodes)));
	}
	n->index = fs->node_count;
	fs->nodes[fs->node_count++] = n;
	return n;
}

static void node_free(struct memfs *fs, struct mnode *n)
{
	struct mnode *last = fs->nodes[--fs->node_count];

	fs->nodes[n->index] = last;
	last->index = n->index;
	for (size_t i = 0; i < n->page_count; i++)
		free(n->pages[i]);
	for (size_t i = 0; i < n->name_count; i++)
		free(n->names[i].name);
	free(n->pages);
	free(n->names);
	free(n->origin);
	free(n->target);
	free(n);
}

struct memfs *memfs_new(memfs_loader *load, void *ctx)
{
	struct memfs *fs = need(calloc(1, sizeof(*fs)));

	fs->load = load;
	fs->ctx = ctx;
	fs->root = node_new(fs, S_IFDIR | 0700);
	fs->root->nlink = 2;
	fs->root->parent = fs->root;
	return fs;
}

void memfs_free(struct memfs *fs)
{
	if (!fs)
		return;
	while (fs->node_count > 0)
		node_free(fs, fs->nodes[fs->node_count - 1]);
	free(fs->nodes);
	free(fs);
}

static struct mname *find_name(const struct mnode *dir, const char *name)
{
	for (size_t i = 0; i < dir->name_count; i++)
		if (strcmp(dir->names[i].name, name) == 0)
			return &dir->names[i];
	return NULL;
}

static void add_name(struct mnode *dir, const char *name, struct mnode *node)
{
	if (dir->name_count == dir->name_cap) {
		dir->name_cap = dir->name_cap * 2 + 8;
		dir->names = need(reallocarray(dir->names, dir->name_cap, sizeof(*dir->names)));
	}
	dir->names[dir->name_count++] = (struct mname){.name = need(strdup(name)), .node = node};
	node->wal |= strlen(name) == 24 && strspn(name, "0123456789ABCDEF") == 24;
	if (is_dir(node)) {
		node->parent = dir;
		node->nlink = MAX(node->nlink, 2u);
		dir->nlink++;
	} else {
		node->nlink++;
	}
}

static void remove_name(struct mnode *dir, struct mname *m)
{
	struct mnode *node = m->node;

	free(m->name);
	*m = dir->names[--dir->name_count];
	if (is_dir(node))
		dir->nlink--;
	else
		node->nlink--;
}

static void drop_if_unused(struct memfs *fs, struct mnode *n)
{
	if (n->nlink == 0 && n->handles == 0)
		node_free(fs, n);
}

void memfs_hold(struct mnode *node)
{
	node->handles++;
}

void memfs_release(struct memfs *fs, struct mnode *node)
{
	node->handles--;
	drop_if_unused(fs, node);
}

/* One component of at most len bytes. */
static int step(struct mnode *dir, const char *name, size_t len, struct mnode **ret)
{
	char part[MEMFS_NAME_MAX + 1];
	struct mname *m;

	if (!is_dir(dir))
		return -ENOTDIR;
	if (len > MEMFS_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(part, name, len);
	part[len] = '\0';
	m = find_name(dir, part);
	if (!m)
		return -ENOENT;
	*ret = m->node;
	return 0;
}

/* The directory of a path and its last component. */
static int find_parent(struct memfs *fs, const char *path, struct mnode **ret,
		       const char **ret_name)
{
	struct mnode *dir = fs->root;
	const char *slash;

	for (; (slash = strchr(path, '/')); path = slash + 1) {
		int rc = step(dir, path, (size_t)(slash - path), &dir);

		if (rc < 0)
			return rc;
	}
	if (!is_dir(dir))
		return -ENOTDIR;
	*ret = dir;
	*ret_name = path;
	return 0;
}

/* Can there be a new file of that name? */
static int check_new(const struct mnode *dir, const char *name)
{
	if (strlen(name) > MEMFS_NAME_MAX)
		return -ENAMETOOLONG;
	return find_name(dir, name) ? -EEXIST : 0;
}

int memfs_find(struct memfs *fs, const char *path, struct mnode **ret)
{
	struct mnode *dir;
	const char *name;
	int rc;

	if (path[0] == '\0') {
		*ret = fs->root;
		return 0;
	}
	rc = find_parent(fs, path, &dir, &name);
	return rc < 0 ? rc : step(dir, name, strlen(name), ret);
}

int memfs_create(struct memfs *fs, const char *path, uint32_t mode, const char *target,
		 struct mnode **ret)
{
	struct mnode *dir, *node;
	const char *name;
	int rc = find_parent(fs, path, &dir, &name);

	if (rc == 0)
		rc = check_new(dir, name);
	if (rc < 0)
		return rc;
	node = node_new(fs, mode);
	node->touched = true;
	if (target) {
		node->target = need(strdup(target));
		node->size = strlen(target);
	}
	add_name(dir, name, node);
	dir->times_known = false;
	*ret = node;
	return 0;
}

void memfs_add_base(struct memfs *fs, const char *path, uint32_t mode, uint64_t size,
		    const char *target)
{
	struct mnode *node;

	if (memfs_create(fs, path, mode, target, &node) < 0)
		abort();
	node->touched = false;
	node->origin = need(strdup(path));
	if (S_ISREG(mode))
		node->size = size;
}

int memfs_link(struct memfs *fs, const char *from, const char *to)
{
	struct mnode *node, *dir = NULL;
	const char *name = NULL;
	int rc = memfs_find(fs, from, &node);

	if (rc == 0)
		rc = find_parent(fs, to, &dir, &name);
	if (rc == 0)
		rc = check_new(dir, name);
	if (rc < 0)
		return rc;
	if (is_dir(node))
		return -EPERM;
	add_name(dir, name, node);
	dir->times_known = false;
	return 0;
}

int memfs_unlink(struct memfs *fs, const char *path)
{
	struct mnode *dir, *node;
	const char *name;
	int rc = find_parent(fs, path, &dir, &name);

	if (rc == 0)
		rc = step(dir, name, strlen(name), &node);
	if (rc < 0)
		return rc;
	if (is_dir(node))
		return -EISDIR;
	remove_name(dir, find_name(dir, name));
	dir->times_known = false;
	drop_if_unused(fs, node);
	return 0;
}

int memfs_rmdir(struct memfs *fs, const char *path)
{
	struct mnode *dir, *node;
	const char *name;
	int rc = find_parent(fs, path, &dir, &name);

	if (rc == 0)
		rc = step(dir, name, strlen(name), &node);
	if (rc < 0)
		return rc;
	if (!is_dir(node))
		return -ENOTDIR;
	if (node->name_count > 0)
		return -ENOTEMPTY;
	remove_name(dir, find_name(dir, name));
	dir->times_known = false;
	node->nlink = 0;
	drop_if_unused(fs, node);
	return 0;
}

static bool is_below(const struct memfs *fs, const struct mnode *dir, const struct mnode *top)
{
	while (dir != top && dir != fs->root)
		dir = dir->parent;
	return dir == top;
}

#define NOREPLACE 1u
#define EXCHANGE  2u

/* As rename(2) orders its reasons. */
static int check_rename(const struct memfs *fs, const struct mnode *a, const struct mnode *adir,
			const struct mnode *b, const struct mnode *bdir, unsigned flags)
{
	if (b && (flags & NOREPLACE))
		return -EEXIST;
	if (!b && (flags & EXCHANGE))
		return -ENOENT;
	if (is_dir(a) && is_below(fs, bdir, a))
		return -EINVAL;
	if (b && is_dir(b) && is_below(fs, adir, b))
		return flags & EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (!b || b == a || (flags & EXCHANGE))
		return 0;
	if (is_dir(a) && !is_dir(b))
		return -ENOTDIR;
	if (!is_dir(a) && is_dir(b))
		return -EISDIR;
	return is_dir(b) && b->name_count > 0 ? -ENOTEMPTY : 0;
}

int memfs_rename(struct memfs *fs, const char *from, const char *to, unsigned flags)
{
	struct mnode *adir, *bdir, *a, *b = NULL;
	const char *aname, *bname;
	int rc = find_parent(fs, from, &adir, &aname);

	if (rc == 0)
		rc = find_parent(fs, to, &bdir, &bname);
	if (rc == 0)
		rc = step(adir, aname, strlen(aname), &a);
	if (rc == 0 && step(bdir, bname, strlen(bname), &b) == -ENAMETOOLONG)
		rc = -ENAMETOOLONG;
	if (rc < 0)
		return rc;
	rc = check_rename(fs, a, adir, b, bdir, flags);
	if (rc < 0 || a == b)
		return rc;
	if (b)
		remove_name(bdir, find_name(bdir, bname));
	remove_name(adir, find_name(adir, aname));
	add_name(bdir, bname, a);
	if (flags & EXCHANGE) {
		add_name(adir, aname, b);
	} else if (b) {
		if (is_dir(b))
			b->nlink = 0;
		drop_if_unused(fs, b);
	}
	adir->times_known = false;
	bdir->times_known = false;
	return 0;
}
