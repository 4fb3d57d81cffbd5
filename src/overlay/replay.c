/*
 * overlay/replay.c: how recovery and checkpoints reach the tree: applying records, and dumping what
 * differs from the bare chain.
 *
 * A record that does not fit the tree as it is at that point is damage (-EUCLEAN), never ignored.
 * Files without a name stay until the whole journal is replayed, because a later record may give
 * them one.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct file *dir_by_id(struct overlay *ov, uint64_t id)
{
	struct file *f = overlay_find(ov, id);

	return f && file_is_dir(f) ? f : NULL;
}

static int apply_inode(struct overlay *ov, const struct diff_record *r)
{
	struct file *f;
	int rc = tree_add_file(ov, r->id, &r->attr, &f);

	if (rc < 0)
		return rc == -EEXIST ? -EUCLEAN : rc;
	if (S_ISLNK(r->attr.mode)) {
		f->target = strndup(r->target, r->target_len);
		if (!f->target)
			return -ENOMEM;
		f->own_target = true;
	}
	return 0;
}

static int apply_attr(struct overlay *ov, const struct diff_record *r)
{
	struct file *f = overlay_find(ov, r->id);

	if (!f) /* the last name went before the state this journal goes on from */
		return 0;
	if ((f->attr.mode & S_IFMT) != (r->attr.mode & S_IFMT))
		return -EUCLEAN;
	f->attr = r->attr;
	f->attr_changed = true;
	return 0;
}

static int apply_link(struct overlay *ov, const struct diff_record *r)
{
	struct file *dir = dir_by_id(ov, r->dir), *f = overlay_find(ov, r->id);

	if (!dir || !f || tree_find(ov, dir, r->name, r->name_len))
		return -EUCLEAN;
	if (file_is_dir(f) && (f == ov->root || f->names > 0))
		return -EUCLEAN;
	return tree_link(ov, dir, r->name, r->name_len, f, false);
}

static int apply_unlink(struct overlay *ov, const struct diff_record *r)
{
	struct file *dir = dir_by_id(ov, r->dir);
	struct dirent *d = dir ? tree_find(ov, dir, r->name, r->name_len) : NULL;

	if (!d)
		return -EUCLEAN;
	tree_unlink(ov, d);
	return 0;
}

static int apply_rename(struct overlay *ov, const struct diff_record *r)
{
	struct file *dir = dir_by_id(ov, r->dir), *dir2 = dir_by_id(ov, r->dir2);
	struct dirent *d = dir ? tree_find(ov, dir, r->name, r->name_len) : NULL;
	struct dirent *d2 = dir2 ? tree_find(ov, dir2, r->name2, r->name2_len) : NULL;
	bool exchange = r->flags & DIFF_RENAME_EXCHANGE;
	struct file *f, *f2;
	int rc;

	if (!d || !dir2 || d == d2 || (exchange && !d2))
		return -EUCLEAN;
	f = d->file;
	f2 = d2 ? d2->file : NULL;
	if (d2)
		tree_unlink(ov, d2);
	tree_unlink(ov, d);
	rc = tree_link(ov, dir2, r->name2, r->name2_len, f, false);
	if (rc == 0 && exchange)
		rc = tree_link(ov, dir, r->name, r->name_len, f2, false);
	return rc;
}

static int apply(void *ctx, const struct diff_record *r)
{
	struct overlay *ov = ctx;

	ov->replayed = true;
	switch (r->type) {
	case DIFF_RECORD_INODE:
		return apply_inode(ov, r);
	case DIFF_RECORD_ATTR:
		return apply_attr(ov, r);
	case DIFF_RECORD_LINK:
		return apply_link(ov, r);
	case DIFF_RECORD_UNLINK:
		return apply_unlink(ov, r);
	case DIFF_RECORD_RENAME:
		return apply_rename(ov, r);
	case DIFF_RECORD_SIZE:
	case DIFF_RECORD_BLOCKS:
	case DIFF_RECORD_NEXT_ID:
	case DIFF_RECORD_MAX_:
		break;
	}
	return -EUCLEAN;
}

typedef int emit_fn(void *sink, const struct diff_record *record);

static struct diff_record name_record(enum diff_record_type type, const struct dirent *d)
{
	return (struct diff_record){.type = type,
				    .dir = d->dir_id,
				    .name = d->name,
				    .name_len = d->name_len,
				    .id = type == DIFF_RECORD_LINK ? d->file->id : 0};
}

/* Files made in the diff, and the changed attributes of those of the chain. */
static int dump_files(struct overlay *ov, emit_fn *emit, void *sink)
{
	struct file *f;
	uint32_t at = 0;
	int rc = 0;

	while (rc == 0 && (f = table_next(&ov->files, &at))) {
		struct diff_record r = {.id = f->id, .attr = f->attr};

		if (f == ov->root || (f->id & DIFF_ID_BASE)) {
			r.type = DIFF_RECORD_ATTR;
			if (f->attr_changed && (f->names > 0 || f == ov->root))
				rc = emit(sink, &r);
		} else if (f->names > 0) {
			r.type = DIFF_RECORD_INODE;
			r.target = S_ISLNK(f->attr.mode) ? f->target : NULL;
			r.target_len = r.target ? (uint32_t)strlen(r.target) : 0;
			rc = emit(sink, &r);
		}
	}
	return rc;
}

static int dump(void *ctx, emit_fn *emit, void *sink)
{
	struct overlay *ov = ctx;
	struct diff_record r;
	struct dirent *d;
	uint32_t at = 0;
	int rc = dump_files(ov, emit, sink);

	for (d = ov->gone; d && rc == 0; d = d->next) {
		r = name_record(DIFF_RECORD_UNLINK, d);
		rc = emit(sink, &r);
	}
	while (rc == 0 && (d = table_next(&ov->names, &at))) {
		if (d->from_chain)
			continue;
		r = name_record(DIFF_RECORD_LINK, d);
		rc = emit(sink, &r);
	}
	return rc;
}

/*
 * A directory may be empty of its names only at the end, and moved below itself in between; so this
 * is looked at when all is replayed. Every step of a way up leads to another directory.
 */
static bool leads_to_root(const struct overlay *ov, const struct file *dir)
{
	for (unsigned steps = ov->files.count; dir && dir != ov->root && steps > 0; steps--)
		dir = dir->names > 0 ? dir->parent : NULL;
	return dir == ov->root;
}

static int check(void *ctx)
{
	const struct overlay *ov = ctx;
	const struct file *f;
	uint32_t at = 0;

	if (!ov->replayed)
		return 0;
	while ((f = table_next(&ov->files, &at)))
		if (file_is_dir(f) && (f->first_child || f->names > 0) && !leads_to_root(ov, f))
			return -EUCLEAN;
	return 0;
}

static bool is_named(void *ctx, uint64_t id)
{
	const struct file *f = overlay_find(ctx, id);

	return f && f->names > 0;
}

static uint64_t base_size(void *ctx, uint64_t id)
{
	const struct file *f = overlay_find(ctx, id);

	return f && f->base ? f->base->size : 0;
}

void replay_setup(struct overlay *ov)
{
	ov->ns = (struct diff_namespace){.apply = apply,
					 .dump = dump,
					 .check = check,
					 .is_named = is_named,
					 .base_size = base_size,
					 .ctx = ov};
}

void replay_finish(struct overlay *ov)
{
	struct diff_stats stats;
	struct file *f;
	uint32_t at = 0;

	diff_get_stats(ov->diff, &stats);
	if (!ov->replayed && stats.files == 0)
		return;
	while ((f = table_next(&ov->files, &at))) {
		f->record = diff_file_find(ov->diff, f->id);
		tree_release(ov, f);
	}
}
