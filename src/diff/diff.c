/*
 * Opening and closing, logging names, figures.
 */
#include "diff/diff.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

enum diff_defect diff_test_defect = DIFF_DEFECT_NONE;

/* ---- open and close ---- */

static int open_dir(struct diff *diff, bool create, struct errmsg *e)
{
	int rc = create ? sys_mkdirat(AT_FDCWD, diff->path, 0700) : 0;

	if (rc < 0 && rc != -EEXIST)
		return errmsg_set(e, rc, "cannot make '%s': %s", diff->path, strerror(-rc));
	diff->dirfd = sys_openat(AT_FDCWD, diff->path, O_RDONLY | O_DIRECTORY, 0);
	if (diff->dirfd < 0)
		return errmsg_set(e, diff->dirfd, "diff '%s': %s", diff->path,
				  strerror(-diff->dirfd));
	return 0;
}

static int load(struct diff *diff, const struct diff_binding *binding, struct errmsg *e)
{
	struct superblock sb;
	int rc = superblock_load(diff->dirfd, diff->path, binding, e, &sb);

	if (rc < 0)
		return rc;
	memcpy(diff->uuid, sb.uuid, sizeof(diff->uuid));
	free(diff->generation);
	diff->generation = sb.generation;
	return 0;
}

/* Before the lock, so that a directory that is no diff of ours stays untouched. */
static int check_before(struct diff *diff, bool create, const struct diff_binding *binding,
			struct errmsg *e, bool *ret_new)
{
	int rc = load(diff, binding, e);

	*ret_new = rc == -ENOENT;
	if (rc != -ENOENT)
		return rc;
	if (!create)
		return errmsg_set(e, rc, "'%s' is no diff: it has no superblock", diff->path);
	return diff_check_empty(diff->dirfd, diff->path, e);
}

static int load_or_create(struct diff *diff, bool create, const struct diff_binding *binding,
			  struct errmsg *e)
{
	int rc = load(diff, binding, e);

	if (rc != -ENOENT || !create)
		return rc;
	rc = diff_create(diff, binding, e);
	if (rc == 0)
		rc = load(diff, binding, e);
	diff->unclean = false;
	return rc;
}

static int open_generation(struct diff *diff, struct errmsg *e)
{
	int rc = 0;

	diff->gen_fd = sys_openat(diff->dirfd, diff->generation, O_RDONLY | O_DIRECTORY, 0);
	diff->data_fd = diff->gen_fd < 0
				? diff->gen_fd
				: sys_openat(diff->gen_fd, "data", O_RDONLY | O_DIRECTORY, 0);
	if (diff->data_fd < 0)
		rc = diff->data_fd;
	if (rc < 0)
		return errmsg_set(e, rc == -ENOENT ? -EUCLEAN : rc, "'%s/%s': %s", diff->path,
				  diff->generation, strerror(-rc));
	return journal_open(diff, e);
}

int diff_begin(const char *path, bool create, const struct diff_binding *binding,
	       const struct diff_options *options, struct errmsg *e, struct diff **ret)
{
	struct diff *diff = calloc(1, sizeof(*diff));
	bool is_new = false;
	int rc;

	if (!diff || !(diff->path = strdup(path))) {
		free(diff);
		return errmsg_set(e, -ENOMEM, "diff '%s': out of memory", path);
	}
	diff->options = *options;
	diff->dirfd = diff->lock_fd = diff->gen_fd = diff->data_fd = -1;
	diff->journal.fd = diff->journal.grow_fd = -1;
	diff->next_id = DIFF_ID_FIRST;
	rc = open_dir(diff, create, e);
	if (rc == 0)
		rc = check_before(diff, create, binding, e, &is_new);
	if (rc == 0)
		rc = lock_take(diff->dirfd, path, e, &diff->lock_fd, &diff->unclean);
	if (rc == 0 && is_new)
		rc = diff_create_begin(diff, e);
	if (rc < 0) {
		diff_close(diff);
		return errmsg_set(e, rc, "diff '%s': %s", path, strerror(-rc));
	}
	*ret = diff;
	return 0;
}

int diff_finish(struct diff *diff, bool create, const struct diff_binding *binding,
		struct errmsg *e)
{
	int rc = load_or_create(diff, create, binding, e);

	if (rc == 0)
		rc = open_generation(diff, e);
	return rc < 0 ? errmsg_set(e, rc, "diff '%s': %s", diff->path, strerror(-rc)) : 0;
}

int diff_open(const char *path, bool create, const struct diff_binding *binding,
	      const struct diff_options *options, struct errmsg *e, struct diff **ret)
{
	struct diff *diff;
	int rc = diff_begin(path, create, binding, options, e, &diff);

	if (rc < 0)
		return rc;
	rc = diff_finish(diff, create, binding, e);
	if (rc < 0) {
		diff_close(diff);
		return rc;
	}
	*ret = diff;
	return 0;
}

int diff_start(struct diff *diff, struct io_engine *io, struct vfd_cache *vfds)
{
	diff->io = io;
	diff->vfds = vfds;
	if (diff->journal.waiters)
		journal_grow(diff);
	return 0;
}

static void free_list(struct file_list *list)
{
	struct diff_file *f, *next;

	for (f = list->head; f; f = next) {
		next = f->next;
		file_free(f);
	}
}

static void free_files(struct diff *diff)
{
	free_list(&diff->drops);
	free_list(&diff->going);
	for (uint32_t i = 0; i < diff->bucket_count; i++) {
		struct diff_file *f, *next;

		for (f = diff->buckets[i]; f; f = next) {
			next = f->hash_next;
			file_free(f);
		}
	}
	free(diff->buckets);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)sys_close(fd);
}

/* True if all that was written is on disk, as far as we know. */
static bool is_clean(const struct diff *diff)
{
	if (!diff->recovered)
		return !diff->unclean;
	return !diff_has_pending(diff) && !diff->read_only && diff->failed == 0 &&
	       !diff->journal.error && !diff->drops.head && !diff->going.head;
}

void diff_close(struct diff *diff)
{
	if (!diff)
		return;
	assert(diff_is_idle(diff));
	if (diff->lock_fd >= 0 && is_clean(diff) &&
	    recover_sync_dirs(diff, diff->unlinked, NULL) == 0)
		lock_mark_clean(diff->lock_fd);
	ballast_close(diff);
	free_files(diff);
	journal_close(&diff->journal);
	close_fd(diff->data_fd);
	close_fd(diff->gen_fd);
	close_fd(diff->lock_fd);
	close_fd(diff->dirfd);
	diff_buffer_free(&diff->names);
	free(diff->generation);
	free(diff->path);
	free(diff);
}

bool diff_is_idle(const struct diff *diff)
{
	return diff->in_flight == 0 && !diff->queue && !diff->journal.waiters;
}

int diff_write_state(struct diff *diff)
{
	struct journal *j = &diff->journal;
	uint64_t sequence = MAX(j->attempted + 1, j->sequence);
	struct diff_buffer state = {0};
	bool renamed = false;
	int rc = state_encode(diff, sequence, &state);

	if (rc == 0)
		rc = state_write(diff, &state, &renamed);
	if (rc == 0) {
		j->sequence = sequence;
		j->tail = 0;
		diff->state_size = state.len;
		diff->stats.states++;
	} else if (renamed) {
		j->error = rc;
	}
	diff_buffer_free(&state);
	return rc;
}

int diff_checkpoint(struct diff *diff)
{
	if (diff->journal.tail == 0)
		return 0;
	if (!diff->recovered || !is_clean(diff) || !diff_is_idle(diff))
		return -EBUSY;
	return diff_write_state(diff);
}

int diff_dirfd(const struct diff *diff)
{
	return diff->dirfd;
}

uint64_t diff_new_id(struct diff *diff)
{
	return diff->next_id++;
}

int diff_writable(const struct diff *diff)
{
	return diff->read_only || diff->journal.error ? -EROFS : 0;
}

void diff_set_read_only(struct diff *diff)
{
	diff->read_only = true;
}

/* ---- names ---- */

/* Times that a write has left are older than what is logged now. */
static void forget_times(struct diff *diff, const struct diff_record *record)
{
	struct diff_file *file =
		record->type == DIFF_RECORD_ATTR ? diff_file_find(diff, record->id) : NULL;

	if (!file || !file->touched)
		return;
	file->touched = false;
	file_update_list(file);
}

int diff_log(struct diff *diff, const struct diff_record *records, unsigned count)
{
	size_t len = diff->names.len, size = len == 0 ? DIFF_GROUP_ROOM : 0;
	int rc = diff_writable(diff);

	for (unsigned i = 0; i < count; i++)
		size += diff_record_encoded_size(&records[i]);
	if (rc == 0)
		rc = journal_reserve(diff, size);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < count && rc == 0; i++)
		rc = diff_record_encode(&diff->names, &records[i]);
	if (rc < 0) {
		diff->names.len = len;
		journal_release(diff, size);
		return rc;
	}
	for (unsigned i = 0; i < count; i++)
		forget_times(diff, &records[i]);
	return 0;
}

void diff_wait_room(struct diff *diff, struct diff_room_wait *wait)
{
	journal_wait(diff, wait);
}

/* ---- figures ---- */

void diff_get_stats(const struct diff *diff, struct diff_stats *ret)
{
	*ret = diff->stats;
	ret->journal_used = diff->journal.tail;
	ret->journal_size = diff->journal.size;
	ret->pending_bytes = diff->journal.reserved;
	ret->ballast_bytes = diff->ballast.left;
	ret->files = diff->file_count;
	ret->data_blocks = ret->zero_blocks = 0;
	for (uint32_t i = 0; i < diff->bucket_count; i++) {
		for (const struct diff_file *f = diff->buckets[i]; f; f = f->hash_next) {
			ret->data_blocks += f->map.data;
			ret->zero_blocks += f->map.zero;
		}
	}
}
