/*
 * tests/fault/player_names.c: steps that change names and attributes. They are all or nothing.
 */
#include "player.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

static const char link_target[] = "somewhere/else";

/* The operation has answered: the names are as in `after`, or as they were. */
static bool settle(struct player *p, int rc, const struct book_tree *after)
{
	struct book_tree live;

	if (!player_judge(p, rc))
		return false;
	if (rc == 0) {
		*book_step(p->book) = *after;
		return true;
	}
	if (!player_live_tree(p, &live))
		return false;
	return book_same_tree(&live, book_now(p->book)) ||
	       player_wrong(p, "%s, but names have changed", strerror(-rc));
}

/* A directory that did not come into being has nothing below it. */
static bool has_parent(struct player *p, const char *path)
{
	struct backend *b = &p->b.backend;
	const char *slash = strrchr(path, '/');
	char parent[80];
	struct stat st;
	int rc;

	if (!slash)
		return true;
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	player_quiet(p, true);
	rc = b->ops->stat(b, parent, &st);
	player_quiet(p, false);
	return rc == 0;
}

static bool make(struct player *p, const struct step *s, uint32_t type)
{
	struct backend *b = &p->b.backend;
	struct book_tree after = *book_now(p->book);
	unsigned file;
	int rc;

	if (book_find(p->book, s->a) >= 0 || !has_parent(p, s->a))
		return true;
	if (type == S_IFDIR)
		rc = b->ops->mkdir(b, s->a, 0700);
	else if (type == S_IFLNK)
		rc = b->ops->symlink(b, link_target, s->a);
	else
		rc = b->ops->open(b, 0, s->a, O_RDWR | O_CREAT | O_EXCL, 0600);
	file = book_add_file(p->book, type);
	book_set_name(&after, s->a, (int)file);
	if (!settle(p, rc, &after) || rc < 0)
		return !p->why[0];
	if (type == S_IFREG)
		b->ops->close(b, 0);
	p->ids[file] = overlay_file_id(player_file(p, file, s->a));
	return true;
}

static bool take_away(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	struct book_tree after = *book_now(p->book);
	bool dir = strcmp(s->op, "rmdir") == 0;
	size_t len = strlen(s->a);

	if (book_find(p->book, s->a) < 0)
		return true;
	for (unsigned i = 0; i < after.count && dir; i++)
		if (strncmp(after.names[i].name, s->a, len) == 0 && after.names[i].name[len] == '/')
			return true;
	book_set_name(&after, s->a, -1);
	return settle(p, dir ? b->ops->rmdir(b, s->a) : b->ops->unlink(b, s->a), &after);
}

/* What lies below a directory goes with it. */
static void move_below(struct book_tree *t, const char *from, const char *to)
{
	size_t len = strlen(from);

	for (unsigned i = 0; i < t->count; i++) {
		char *name = t->names[i].name, path[80];

		if (strncmp(name, from, len) != 0 || name[len] != '/')
			continue;
		(void)snprintf(path, sizeof(path), "%s%s", to, name + len);
		(void)snprintf(name, sizeof(t->names[i].name), "%.31s", path);
	}
}

static bool move(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	struct book_tree after = *book_now(p->book);
	bool exchange = strcmp(s->op, "exchange") == 0;
	int from = book_find(p->book, s->a), to = book_find(p->book, s->b);

	if (from < 0 || (exchange && to < 0))
		return true;
	book_set_name(&after, s->b, from);
	book_set_name(&after, s->a, exchange ? to : -1);
	move_below(&after, s->a, s->b);
	return settle(p, b->ops->rename(b, s->a, s->b, exchange ? RENAME_EXCHANGE : 0), &after);
}

static bool link_to(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	struct book_tree after = *book_now(p->book);
	int from = book_find(p->book, s->a);

	if (from < 0 || book_find(p->book, s->b) >= 0)
		return true;
	book_set_name(&after, s->b, from);
	return settle(p, b->ops->link(b, s->a, s->b), &after);
}

static bool change_mode(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	struct backend_attr attr = {.set_mode = true, .mode = 0640};
	struct stat st;
	int rc;

	if (book_find(p->book, s->a) < 0)
		return true;
	rc = b->ops->setattr(b, s->a, &attr);
	if (!player_judge(p, rc) || b->ops->stat(b, s->a, &st) < 0)
		return false;
	return rc < 0 || (st.st_mode & 07777) == 0640 || player_wrong(p, "the mode is the old one");
}

static bool hold(struct player *p, const struct step *s)
{
	int file = book_find(p->book, s->a);

	for (unsigned i = 0; i < PLAYER_HELD && file >= 0; i++) {
		if (p->held[i])
			continue;
		p->held[i] = player_file(p, (unsigned)file, s->a);
		p->held_file[i] = (unsigned)file;
		overlay_ref(p->held[i]);
		return true;
	}
	return true;
}

static void release_all(struct player *p)
{
	for (unsigned i = 0; i < PLAYER_HELD; i++) {
		if (p->held[i])
			overlay_unref(p->b.core.ov, p->held[i]);
		p->held[i] = NULL;
	}
}

static int count_name(void *ctx, const char *name, uint32_t type, uint64_t ino)
{
	(void)name, (void)type, (void)ino;
	++*(unsigned *)ctx;
	return 0;
}

static bool list(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	unsigned names = 0;
	int rc = b->ops->list(b, "", count_name, &names);

	return player_judge(p, rc) && (rc < 0 || names > 2 || player_wrong(p, "no names"));
}

/* Names of 250 bytes, the longer part of what the journal's first segment holds. */
static bool storm(struct player *p, const struct step *s)
{
	struct backend *b = &p->b.backend;
	char name[256];

	for (uint64_t i = 0; i < s->n[0]; i++) {
		int rc;

		(void)snprintf(name, sizeof(name), STORM_PREFIX "%0248llu", (unsigned long long)i);
		rc = b->ops->open(b, 0, name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (!player_judge(p, rc))
			return false;
		if (rc < 0)
			continue;
		b->ops->close(b, 0);
		if (!player_judge(p, b->ops->unlink(b, name)))
			return false;
	}
	return true;
}

bool player_name_step(struct player *p, const struct step *s, bool *known)
{
	static const struct {
		const char *op;
		bool (*run)(struct player *p, const struct step *s);
	} steps[] = {
		{"unlink", take_away}, {"rmdir", take_away}, {"rename", move},	{"exchange", move},
		{"link", link_to},     {"chmod", change_mode}, {"hold", hold},	{"list", list},
		{"storm", storm},
	};

	*known = true;
	if (strcmp(s->op, "create") == 0)
		return make(p, s, S_IFREG);
	if (strcmp(s->op, "mkdir") == 0)
		return make(p, s, S_IFDIR);
	if (strcmp(s->op, "symlink") == 0)
		return make(p, s, S_IFLNK);
	if (strcmp(s->op, "release") == 0) {
		release_all(p);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (strcmp(s->op, steps[i].op) == 0)
			return steps[i].run(p, s);
	*known = false;
	return false;
}
