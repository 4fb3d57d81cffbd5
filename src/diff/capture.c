/*
 * The first step of a commit: which files take part, and what the group says. From here on, changes
 * belong to the next one.
 *
 * A file that was truncated takes part when its SIZE record does: a size that was recorded without
 * the blocks written before it would show zeros where data had been written.
 *
 * A file without a name does not survive a crash, so nothing is recorded of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "diff/diff_internal.h"

static bool state_is_due(const struct diff *diff, bool all)
{
	uint64_t limit =
		diff->options.journal_limit ? diff->options.journal_limit : DIFF_JOURNAL_LIMIT;
	uint64_t used = diff->journal.tail;

	if (diff->failed > 0 || !diff->ns || used == 0)
		return false;
	if (used < diff->state_retry_at &&
	    (!diff->state_wanted || time_ns() < diff->state_retry_time))
		return false;
	limit = MAX(limit, diff->state_size);
	return diff->state_wanted || used > (all ? limit : 2 * limit);
}

static int add_file(struct commit *c, struct diff_file *file)
{
	struct commit_file *files = c->files;

	if (file->in_commit || file->error)
		return 0;
	if (c->file_count == c->file_cap) {
		size_t cap = c->file_cap ? c->file_cap * 2 : 16;

		files = realloc(files, cap * sizeof(*files));
		if (!files)
			return -ENOMEM;
		c->files = files;
		c->file_cap = cap;
	}
	files[c->file_count++] = (struct commit_file){.file = file, .diff = file->diff};
	file->in_commit = true;
	file_hold(file);
	return 0;
}

static int add_files(struct diff *diff)
{
	struct commit *c = &diff->commit;
	int rc = 0;

	for (struct diff_sync *op = c->waiters; op && rc == 0; op = op->next)
		if (op->file)
			rc = add_file(c, op->file);
	for (struct diff_file *f = diff->dirty.head;
	     f && rc == 0 && (c->all || diff->truncated > 0); f = f->next)
		if (c->all || f->truncated)
			rc = add_file(c, f);
	return rc;
}

static int encode_blocks(struct commit *c, struct commit_file *cf)
{
	const struct diff_file *file = cf->file;
	struct diff_record record = {.type = DIFF_RECORD_BLOCKS,
				     .id = file->id,
				     .size = file->size,
				     .base_limit = file->base_limit,
				     .run_count = file->changed.runs};
	_cleanup_free_ struct diff_run *runs = NULL;
	uint32_t pos = 0, n = 0;
	int rc;

	cf->off = c->payload.len;
	cf->size = file->size;
	if (!file_needs_record(file) || !file->diff->ns->is_named(file->diff->ns->ctx, file->id))
		return 0;
	if (file->changed.runs > 0) {
		runs = malloc(file->changed.runs * sizeof(*runs));
		if (!runs)
			return -ENOMEM;
	}
	while (n < file->changed.runs && blockmap_next(&file->changed, &pos, &runs[n]))
		n++;
	assert(n == file->changed.runs);
	record.runs = runs;
	rc = diff_record_encode(&c->payload, &record);
	cf->len = c->payload.len - cf->off;
	return rc;
}

/*
 * Times are no reason to write a group unless asked for, and wait for a later one where the journal
 * is short.
 */
static void encode_times(struct diff *diff)
{
	struct commit *c = &diff->commit;

	if (c->payload.len == 0 && !c->timer)
		return;
	for (size_t i = 0; i < c->file_count; i++) {
		struct diff_file *file = c->files[i].file;
		struct diff_record record = {
			.type = DIFF_RECORD_ATTR, .id = file->id, .attr = file->attr};
		size_t size = diff_record_encoded_size(&record);

		if (!file->touched || !journal_has_room(diff, size + DIFF_GROUP_ROOM))
			continue;
		if (diff->ns->is_named(diff->ns->ctx, file->id)) {
			if (diff_record_encode(&c->payload, &record) < 0)
				return;
			diff->journal.reserved += size;
			c->room += size;
		}
		file->touched = false;
		file_update_list(file);
	}
}

/* From here on what was encoded is the commit's, with the journal bytes set aside for it. */
static void take_changes(struct diff *diff)
{
	struct commit *c = &diff->commit;

	c->drops = diff->drops;
	diff->drops = (struct file_list){0};
	c->room = c->names_len ? c->names_len + DIFF_GROUP_ROOM : 0;
	for (size_t i = 0; i < c->file_count; i++) {
		struct commit_file *cf = &c->files[i];
		struct diff_file *file = cf->file;

		file->claimed |= cf->len > 0 && file->changed.data > 0;
		cf->wants_dir = file->claimed && !file->name_durable && file_has_data(file);
		c->room += file->room;
		diff->journal.reserved +=
			file->room; /* what file_forget_changes is about to give back */
		file_forget_changes(file);
		space_capture(file);
	}
}

static void encode_state(struct diff *diff)
{
	struct commit *c = &diff->commit;

	c->state_sequence = MAX(diff->journal.attempted + 1, diff->journal.sequence);
	(void)state_encode(diff, c->state_sequence, &c->state); /* without memory: a group then */
}

int commit_capture(struct diff *diff)
{
	struct commit *c = &diff->commit;
	bool state = state_is_due(diff, c->all);
	int rc;

	c->all |= state;
	rc = add_files(diff);
	c->payload = diff->names;
	c->names_len = c->payload.len;
	diff->names = (struct diff_buffer){0};
	for (size_t i = 0; i < c->file_count && rc == 0; i++)
		rc = encode_blocks(c, &c->files[i]);
	if (rc < 0) {
		diff->names = c->payload;
		diff->names.len = c->names_len;
		c->payload = (struct diff_buffer){0};
		c->names_len = 0;
		return rc;
	}
	take_changes(diff);
	encode_times(diff);
	if (state)
		encode_state(diff);
	return 0;
}
