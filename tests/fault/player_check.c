/*
 * tests/fault/player_check.c: what is there, against the book.
 */
#include "player.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int file_of_id(const struct player *p, uint64_t id)
{
	for (unsigned i = 0; i < p->book->file_count; i++)
		if (p->ids[i] == id)
			return (int)i;
	return -1;
}

struct listing {
	struct player *p;
	const char *prefix;
	struct book_tree *tree;
	struct book_name dirs[8];
	unsigned dir_count;
	bool stranger;
};

static int add_name(void *ctx, const char *name, uint32_t type, uint64_t ino)
{
	struct listing *l = ctx;
	int file = file_of_id(l->p, ino);
	char path[300];

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strncmp(name, STORM_PREFIX, 2) == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s%s", l->prefix, name);
	if (file < 0 || strlen(path) >= sizeof(l->tree->names[0].name)) {
		l->stranger = true;
		return 0;
	}
	book_set_name(l->tree, path, file);
	if (S_ISDIR(type) && l->dir_count < ARRAY_SIZE(l->dirs))
		(void)snprintf(l->dirs[l->dir_count++].name, sizeof(l->dirs[0].name), "%s",
			       path);
	return 0;
}

static bool list_all(struct player *p, struct book_tree *ret)
{
	struct listing l = {.p = p, .prefix = "", .tree = ret};
	struct backend *b = &p->b.backend;
	int rc = b->ops->list(b, "", add_name, &l);

	for (unsigned i = 0; i < l.dir_count && rc == 0; i++) {
		char prefix[40];

		(void)snprintf(prefix, sizeof(prefix), "%s/", l.dirs[i].name);
		l.prefix = prefix;
		rc = b->ops->list(b, l.dirs[i].name, add_name, &l);
	}
	if (rc < 0)
		return player_wrong(p, "names cannot be listed: %s", strerror(-rc));
	return !l.stranger || player_wrong(p, "a name that nobody made");
}

bool player_live_tree(struct player *p, struct book_tree *ret)
{
	bool good;

	*ret = (struct book_tree){0};
	player_quiet(p, true);
	good = list_all(p, ret);
	player_quiet(p, false);
	return good;
}

static bool check_file(struct player *p, unsigned file, const char *path, bool exact)
{
	const struct book_file *f = &p->book->files[file];
	struct file *handle = player_file(p, file, path);
	uint64_t size;

	if (f->type != S_IFREG)
		return true;
	if (!handle)
		return player_wrong(p, "%s is not there", path);
	if (!player_read_live(p, handle, &size))
		return false;
	p->live_size = size;
	if (exact)
		return (size == f->size && memcmp(p->live, f->bytes, size) == 0) ||
		       player_wrong(p, "%s is not what was written", path);
	return book_explains(f, size, p->live) ||
	       player_wrong(p, "%s (%llu bytes) is no version from %u to %u", path,
			    (unsigned long long)size, f->acked, f->count - 1);
}

static bool check_files(struct player *p, const struct book_tree *t, bool exact)
{
	for (unsigned i = 0; i < t->count; i++)
		if (!check_file(p, t->names[i].file, t->names[i].name, exact))
			return false;
	for (unsigned i = 0; i < PLAYER_HELD && exact; i++)
		if (p->held[i] && !check_file(p, p->held_file[i], "what is held", true))
			return false;
	return true;
}

bool player_check_live(struct player *p)
{
	struct book_tree live;
	bool good = player_live_tree(p, &live);

	if (good && !book_same_tree(&live, book_now(p->book)))
		good = player_wrong(p, "names are not those that were made");
	player_quiet(p, true);
	good = good && check_files(p, &live, true);
	player_quiet(p, false);
	return good;
}

bool player_end(struct player *p)
{
	bool good = true;

	(void)snprintf(p->step, sizeof(p->step), "end");
	if (p->open) {
		good = player_check_live(p);
		player_close(p);
	}
	return good;
}

/* The file is what is in p->live, and that is durable. */
static void adopt_file(struct player *p, unsigned file, uint64_t size)
{
	struct book_file *f = &p->book->files[file];

	book_resize(f, 0);
	book_write(f, 0, size, p->live);
	f->count = f->acked = 0;
	book_keep(f);
}

static bool adopt_files(struct player *p, const struct book_tree *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		unsigned file = t->names[i].file;

		if (!check_file(p, file, t->names[i].name, false))
			return false;
		if (p->book->files[file].type == S_IFREG)
			adopt_file(p, file, p->live_size);
	}
	return true;
}

bool player_adopt(struct player *p)
{
	struct book *b = p->book;
	struct book_tree found;
	unsigned t = b->tree_acked;
	bool good;

	if (!player_live_tree(p, &found))
		return false;
	while (t < b->tree_count && !book_same_tree(&found, &b->trees[t]))
		t++;
	if (t == b->tree_count)
		return player_wrong(p, "the names are no version from %u to %u", b->tree_acked,
				    b->tree_count - 1);
	player_quiet(p, true);
	good = adopt_files(p, &found);
	player_quiet(p, false);
	b->trees[0] = found;
	b->tree_count = 1;
	b->tree_acked = 0;
	return good;
}

/* It is as good as any other. */
static bool check_usable(struct player *p)
{
	static const uint8_t bytes[BOOK_BLOCK] = "after it all";
	struct core *c = &p->b.core;
	struct file *file = NULL;
	int rc = p->b.backend.ops->open(&p->b.backend, 0, "after", O_RDWR | O_CREAT, 0600);

	if (rc == 0) {
		rc = core_find(c, "after", &file);
		p->b.backend.ops->close(&p->b.backend, 0);
	}
	if (rc == 0)
		rc = core_write(c, file, 0, sizeof(bytes), bytes);
	if (rc == 0)
		rc = core_sync(c, file, false);
	/* One more, without a sync: what ends uncleanly is closed much faster. */
	if (rc == 0)
		rc = p->b.backend.ops->mkdir(&p->b.backend, "pending", 0700);
	return rc == 0 || player_wrong(p, "the diff cannot be used any more: %s", strerror(-rc));
}

bool player_reopen(struct player *p)
{
	bool good;

	p->armed = false;
	p->engine = IO_KIND_SYNC;
	(void)snprintf(p->step, sizeof(p->step), "open again");
	good = player_open(p);
	if (!good || !p->open)
		return player_wrong(p, "%s", errmsg_text(&p->b.e, -EIO));
	good = check_usable(p);
	core_drain(&p->b.core);
	player_close(p);
	return good;
}
