/*
 * tests/fault/player_sync.c: syncs, and operations in flight together. A sync covers what was
 * answered before it was asked for.
 */
#include "player.h"

#include "rng.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>

static void acknowledge(struct player *p, const struct pending *pd)
{
	struct book *b = p->book;

	b->tree_acked = MAX(b->tree_acked, pd->tree);
	if (pd->file < BOOK_FILES)
		b->files[pd->file].acked = MAX(b->files[pd->file].acked, pd->version);
}

/*
 * A sync of a file (or of names only) has answered. No success once a sync of its data has failed,
 * nor when the journal's did for its sake. alone: nothing else was going on.
 */
static bool settle_sync(struct player *p, struct pending *pd, bool alone)
{
	struct book_file *f = pd->file < BOOK_FILES ? &p->book->files[pd->file] : NULL;
	struct synced hit = player_hits(p, f ? (int)pd->file : -1);
	bool grows = strstr(p->script->steps, "storm") != NULL;

	if (!player_judge(p, pd->result))
		return false;
	if (f && pd->result < 0 && hit.dir)
		f->failed = true;
	if (pd->result < 0)
		return true;
	if (pd->was_failed || hit.data)
		return player_wrong(p, "success, although a sync of the file's data has failed");
	if (alone && hit.journal && !grows)
		return player_wrong(p, "success, although the journal's sync has failed");
	acknowledge(p, pd);
	return true;
}

static void prepare_sync(struct player *p, struct pending *pd, int file)
{
	pd->file = file < 0 ? BOOK_FILES : (unsigned)file;
	pd->tree = p->book->tree_count - 1;
	pd->version = file < 0 ? 0 : p->book->files[file].count - 1;
	pd->was_failed = file >= 0 && p->book->files[file].failed;
}

static bool sync_one(struct player *p, int file, struct file *handle)
{
	struct pending pd = {.kind = PENDING_SYNC};

	(void)player_hits(p, -1);
	prepare_sync(p, &pd, file);
	pd.result = core_sync(&p->b.core, handle, false);
	return settle_sync(p, &pd, true);
}

/* Everything but the files that are known to have failed. */
static bool sync_all(struct player *p)
{
	struct book *b = p->book;
	unsigned tree = b->tree_count - 1;
	bool failed = false;
	int rc;

	(void)player_hits(p, -1);
	rc = core_sync(&p->b.core, NULL, true);
	(void)player_hits(p, -1);
	if (!player_judge(p, rc))
		return false;
	for (unsigned i = 0; i < book_now(b)->count; i++)
		failed |= b->files[book_now(b)->names[i].file].failed;
	if (rc == 0 && failed)
		return player_wrong(p, "success, although a file's data is not on disk");
	for (unsigned i = 0; i < b->file_count && rc == 0; i++)
		if (!b->files[i].failed)
			b->files[i].acked = b->files[i].count - 1;
	if (rc == 0)
		b->tree_acked = tree;
	return true;
}

/* ---- in flight ---- */

static void write_done(struct overlay_write *op)
{
	struct pending *pd = CONTAINER_OF(op, struct pending, u.write);

	pd->result = op->result;
	pd->done = true;
}

static void read_done(struct overlay_read *op)
{
	struct pending *pd = CONTAINER_OF(op, struct pending, u.read);

	if (op->result > 0)
		memcpy(pd->buf, op->data, (size_t)op->result);
	pd->result = op->result;
	pd->done = true;
}

static void sync_done(struct overlay_sync *op)
{
	struct pending *pd = CONTAINER_OF(op, struct pending, u.sync);

	pd->result = op->result;
	pd->done = true;
}

static bool start(struct player *p, const struct step *s)
{
	int file = book_find(p->book, s->a);
	struct pending *pd = p->pending;
	struct file *handle;

	if (file < 0)
		return true;
	while (pd->kind != PENDING_NONE)
		pd++;
	handle = player_file(p, (unsigned)file, s->a);
	pd->done = false;
	prepare_sync(p, pd, file);
	if (strcmp(s->op, "write") == 0) {
		pd->kind = PENDING_WRITE;
		rng_fill(++p->fill, pd->buf, s->n[1]);
		pd->u.write = (struct overlay_write){.file = handle,
						     .off = s->n[0],
						     .len = (uint32_t)s->n[1],
						     .data = pd->buf,
						     .done = write_done};
		overlay_write(p->b.core.ov, &pd->u.write);
	} else if (strcmp(s->op, "read") == 0) {
		pd->kind = PENDING_READ;
		pd->u.read = (struct overlay_read){.file = handle,
						   .off = s->n[0],
						   .len = (uint32_t)s->n[1],
						   .done = read_done};
		overlay_read(p->b.core.ov, &pd->u.read);
	} else {
		pd->kind = PENDING_SYNC;
		pd->u.sync = (struct overlay_sync){.file = handle, .done = sync_done};
		overlay_sync(p->b.core.ov, &pd->u.sync);
	}
	return true;
}

static const char *path_of(struct player *p, unsigned file)
{
	const struct book_tree *t = book_now(p->book);

	for (unsigned i = 0; i < t->count; i++)
		if (t->names[i].file == file)
			return t->names[i].name;
	return "";
}

static bool settle(struct player *p, struct pending *pd)
{
	switch (pd->kind) {
	case PENDING_WRITE:
		player_candidate(p, pd->file);
		book_write(&p->candidate, pd->u.write.off, pd->u.write.len, pd->buf);
		return player_settle(p, pd->file, path_of(p, pd->file), pd->result);
	case PENDING_READ: /* of a file that nobody writes meanwhile */
		if (pd->result < 0)
			return player_judge(p, pd->result);
		return memcmp(pd->buf, p->book->files[pd->file].bytes + pd->u.read.off,
			      (size_t)pd->result) == 0 ||
		       player_wrong(p, "other bytes than were written");
	case PENDING_SYNC:
		return settle_sync(p, pd, false);
	case PENDING_NONE:
		break;
	}
	return true;
}

/* All are seen before the first is looked at, which may want to read. */
static bool wait_all(struct player *p)
{
	bool good = true;

	for (unsigned i = 0; i < PLAYER_PENDING; i++)
		if (p->pending[i].kind != PENDING_NONE &&
		    !core_run(&p->b.core, &p->pending[i].done))
			return player_wrong(p, "an operation is never answered");
	for (unsigned i = 0; i < PLAYER_PENDING; i++) {
		good = good && settle(p, &p->pending[i]);
		p->pending[i].kind = PENDING_NONE;
	}
	return good;
}

bool player_sync_step(struct player *p, const struct step *s, bool *known)
{
	int file = book_find(p->book, s->a);

	*known = true;
	if (s->async)
		return start(p, s);
	if (strcmp(s->op, "wait") == 0)
		return wait_all(p);
	if (strcmp(s->op, "syncall") == 0)
		return sync_all(p);
	if (strcmp(s->op, "fsyncdir") == 0)
		return sync_one(p, -1, overlay_root(p->b.core.ov));
	*known = strcmp(s->op, "fsync") == 0;
	return *known && (file < 0 || sync_one(p, file, player_file(p, (unsigned)file, s->a)));
}
