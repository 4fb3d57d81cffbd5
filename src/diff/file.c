/*
 * File records: the table of them, what others ask of them, truncation and zeros, replay, and what
 * the next commit has to say about each.
 *
 * `map` is the file as it reads now; `changed` holds, of the same states, those that no group tells
 * of yet. Blocks become ABSENT by SIZE records only, and these stand before all BLOCKS records in
 * their group, so `changed` never needs that state. For each file with something to say, journal
 * bytes for exactly that record are set aside (file_update_room).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "diff/diff_internal.h"

#define FIRST_BUCKETS 256u

uint32_t blocks_of(uint64_t size)
{
	return (uint32_t)((size + DIFF_BLCKSZ - 1) / DIFF_BLCKSZ);
}

void file_path(uint64_t id, char ret[DIFF_PATH_SIZE])
{
	(void)snprintf(ret, DIFF_PATH_SIZE, "%02x/%016llx", (unsigned)(id >> 8) & 0xff,
		       (unsigned long long)id);
}

/* ---- lists ---- */

void list_push(struct file_list *list, struct diff_file *file)
{
	file->next = NULL;
	file->prev = list->tail;
	*(list->tail ? &list->tail->next : &list->head) = file;
	list->tail = file;
}

void list_remove(struct file_list *list, struct diff_file *file)
{
	*(file->prev ? &file->prev->next : &list->head) = file->next;
	*(file->next ? &file->next->prev : &list->tail) = file->prev;
	file->prev = file->next = NULL;
}

/* ---- the table ---- */

static uint32_t bucket_of(const struct diff *diff, uint64_t id)
{
	return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (diff->bucket_count - 1);
}

static int grow_table(struct diff *diff)
{
	uint32_t old_count = diff->bucket_count;
	struct diff_file **old = diff->buckets, **buckets;
	uint32_t count = old_count ? old_count * 2 : FIRST_BUCKETS;

	if (diff->file_count < old_count)
		return 0;
	buckets = calloc(count, sizeof(struct diff_file *));
	if (!buckets)
		return old ? 0 : -ENOMEM; /* longer chains are no reason to fail */
	diff->buckets = buckets;
	diff->bucket_count = count;
	for (uint32_t i = 0; i < old_count; i++) {
		struct diff_file *f, *next;

		for (f = old[i]; f; f = next) {
			struct diff_file **head = &buckets[bucket_of(diff, f->id)];

			next = f->hash_next;
			f->hash_next = *head;
			*head = f;
		}
	}
	free(old);
	return 0;
}

struct diff_file *diff_file_find(struct diff *diff, uint64_t id)
{
	struct diff_file *f = diff->bucket_count ? diff->buckets[bucket_of(diff, id)] : NULL;

	while (f && f->id != id)
		f = f->hash_next;
	return f;
}

int diff_file_get(struct diff *diff, uint64_t id, uint64_t base_size, struct diff_file **ret)
{
	struct diff_file *f = diff_file_find(diff, id), **head;

	if (f) {
		*ret = f;
		return 0;
	}
	if (base_size > (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ)
		return -EFBIG;
	f = calloc(1, sizeof(*f));
	if (!f || grow_table(diff) < 0) {
		free(f);
		return -ENOMEM;
	}
	f->diff = diff;
	f->id = id;
	f->size = f->base_size = f->recorded_size = base_size;
	f->base_limit = blocks_of(base_size);
	head = &diff->buckets[bucket_of(diff, id)];
	f->hash_next = *head;
	*head = f;
	diff->file_count++;
	*ret = f;
	return 0;
}

void file_remove(struct diff_file *file)
{
	struct diff *diff = file->diff;
	struct diff_file **p = &diff->buckets[bucket_of(diff, file->id)];

	while (*p != file)
		p = &(*p)->hash_next;
	*p = file->hash_next;
	diff->file_count--;
}

void file_free(struct diff_file *file)
{
	vfd_free(file->vfd);
	blockmap_free(&file->map);
	blockmap_free(&file->changed);
	free(file);
}

bool file_has_data(const struct diff_file *file)
{
	return file->has_data || (file->vfd && vfd_is_created(file->vfd));
}

/*
 * Until a commit has said that the file is gone, a mount may find what an earlier one said of its
 * blocks.
 */
void diff_file_drop(struct diff *diff, struct diff_file *file)
{
	bool names_wait = diff->names.len > 0 || diff->journal.error; /* with an error: for ever */
	bool early = diff_test_defect == DIFF_DEFECT_FREE_BEFORE_COMMIT;

	file_forget_changes(file);
	file->touched = file->dirty = false;
	file->dropped = true; /* and with that in no list of dirty files */
	file_update_list(file);
	file_remove(file);
	journal_release(diff, file->held);
	diff->failed -= file->error != 0;
	file->freed = file->freed_ready = (struct range){0};
	if (file_has_data(file) && file->claimed && !early &&
	    (names_wait || diff->commit.running)) {
		list_push(names_wait ? &diff->drops : &diff->commit.drops, file);
		return;
	}
	file->unlink_ready = true;
	list_push(&diff->going, file);
	space_settle(file);
}

/* ---- questions ---- */

uint64_t diff_file_size(const struct diff_file *file)
{
	return file->size;
}

uint32_t diff_file_base_limit(const struct diff_file *file)
{
	return file->base_limit;
}

enum block_state diff_file_run(const struct diff_file *file, uint32_t block, uint32_t max,
			       uint32_t *ret_count)
{
	return blockmap_run(&file->map, block, max, ret_count);
}

int diff_file_error(const struct diff_file *file)
{
	if (file->error)
		return file->error;
	return file->vfd ? vfd_error(file->vfd) : 0;
}

bool file_is_recorded(const struct diff_file *file)
{
	return file->size != file->base_size || file->base_limit != blocks_of(file->base_size) ||
	       file->map.runs > 0;
}

bool file_needs_record(const struct diff_file *file)
{
	return file->changed.runs > 0 || file->size_changed;
}

/* ---- what the next commit has to do ---- */

void file_update_list(struct diff_file *file)
{
	bool wanted = !file->dropped && (file_needs_record(file) || file->truncated ||
					 file->touched || file->dirty || file->syncing);

	if (wanted == file->listed)
		return;
	file->listed = wanted;
	if (wanted)
		list_push(&file->diff->dirty, file);
	else
		list_remove(&file->diff->dirty, file);
}

void file_update_room(struct diff_file *file)
{
	uint64_t room = 0;

	if (file_needs_record(file))
		room = DIFF_FILE_ROOM + (uint64_t)file->changed.runs * DIFF_RUN_SIZE;
	file->diff->journal.reserved += room - file->room;
	file->room = room;
	file_update_list(file);
}

static void set_truncated(struct diff_file *file, bool truncated)
{
	file->diff->truncated += (uint32_t)truncated - (uint32_t)file->truncated;
	file->truncated = truncated;
}

void file_forget_changes(struct diff_file *file)
{
	blockmap_free(&file->changed);
	file->size_changed = false;
	set_truncated(file, false);
	file_update_room(file);
}

int diff_failed(const struct diff *diff)
{
	return diff->failed > 0 ? diff->failed_error : 0;
}

void diff_file_fail(struct diff_file *file, int rc)
{
	struct diff *diff = file->diff;

	if (rc == -EIO)
		diff_set_read_only(diff);
	if (file->error)
		return;
	file->error = rc;
	diff->stats.failed_files++;
	if (file->dropped)
		return;
	diff->failed++;
	diff->failed_error = rc;
	file->touched = file->dirty = false;
	file_forget_changes(file);
}

void diff_file_touch(struct diff_file *file, const struct diff_attr *attr)
{
	if (file->error)
		return;
	file->attr = *attr;
	file->touched = true;
	file_update_list(file);
}

/* ---- truncation and zeros ---- */

/* Memory for cutting both maps at first, so that nothing can fail once the record is logged. */
static int prepare_cut(struct diff_file *file, uint32_t first)
{
	uint32_t end = blockmap_end(&file->map);
	int rc = 0;

	if (first < end)
		rc = blockmap_prepare(&file->map, first, end - first);
	end = blockmap_end(&file->changed);
	if (rc == 0 && first < end)
		rc = blockmap_prepare(&file->changed, first, end - first);
	return rc;
}

static int apply_size(struct diff_file *file, uint64_t size, uint32_t base_limit)
{
	uint32_t first = blocks_of(size), end = blockmap_end(&file->map);
	int rc = blockmap_cut(&file->map, first);

	if (rc == 0)
		rc = blockmap_cut(&file->changed, first);
	if (rc < 0)
		return rc;
	range_add(&file->freed, first, end);
	range_cut(&file->allocated, first, UINT32_MAX);
	file->size = size;
	file->base_limit = base_limit;
	return 0;
}

int diff_truncate(struct diff *diff, struct diff_file *file, uint64_t size)
{
	struct diff_record record = {.type = DIFF_RECORD_SIZE, .id = file->id, .size = size};
	uint32_t first = blocks_of(size);
	int rc;

	if (size > (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ)
		return -EFBIG;
	record.base_limit = MIN(file->base_limit, first);
	if (diff_test_defect == DIFF_DEFECT_KEEP_BASE_LIMIT)
		record.base_limit = file->base_limit;
	rc = prepare_cut(file, first);
	if (rc == 0)
		rc = diff_log(diff, &record, 1);
	if (rc < 0)
		return rc;
	rc = apply_size(file, size, record.base_limit);
	assert(rc == 0);
	if (!file->error)
		set_truncated(file, true);
	file_update_room(file);
	return rc;
}

int diff_zero(struct diff *diff, struct diff_file *file, uint32_t first, uint32_t count, bool keep)
{
	int rc = diff_writable(diff);

	if (rc == 0)
		rc = file->error;
	if (rc < 0 || count == 0)
		return rc;
	if (count > DIFF_MAX_BLOCKS - first)
		return -EFBIG;
	rc = blockmap_prepare(&file->map, first, count);
	if (rc == 0)
		rc = blockmap_prepare(&file->changed, first, count);
	if (rc == 0)
		rc = journal_reserve(diff, DIFF_CLAIM_ROOM);
	if (rc < 0)
		return rc;
	if (!keep && file->map.data > 0)
		range_add(&file->freed, first, first + count);
	if (!keep)
		range_cut(&file->allocated, first, first + count);
	rc = blockmap_set(&file->map, first, count, BLOCK_ZERO);
	if (rc == 0)
		rc = blockmap_set(&file->changed, first, count, BLOCK_ZERO);
	assert(rc == 0);
	journal_release(diff, DIFF_CLAIM_ROOM);
	file_update_room(file);
	return rc;
}

/* ---- replay ---- */

static int replay_blocks(struct diff_file *file, const struct diff_record *r)
{
	for (uint32_t i = 0; i < r->run_count; i++) {
		int rc = blockmap_set(&file->map, r->runs[i].first, r->runs[i].count,
				      r->runs[i].state);

		if (rc < 0)
			return rc;
		file->claimed |= r->runs[i].state == BLOCK_DATA;
	}
	file->size = r->size;
	file->base_limit = r->base_limit;
	return 0;
}

int file_replay(struct diff *diff, const struct diff_record *record)
{
	struct diff_file *file = diff_file_find(diff, record->id);
	int rc = 0;

	if (!file)
		rc = diff_file_get(diff, record->id, diff->ns->base_size(diff->ns->ctx, record->id),
				   &file);
	if (rc < 0)
		return rc;
	if (record->base_limit > file->base_limit)
		return -EUCLEAN; /* only ever lowered */
	file->recorded_size = record->size;
	if (record->type == DIFF_RECORD_BLOCKS)
		return replay_blocks(file, record);
	rc = apply_size(file, record->size, record->base_limit);
	file->freed = (struct range){0};
	return rc;
}
