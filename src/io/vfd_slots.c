/*
 * Real descriptors: taking a slot, opening, evicting, closing.
 *
 * Eviction is a clock with a recently-used bit. Clean slots are looked at first (two rounds find
 * one if there is one), then dirty ones, which cost an fdatasync. class_count says beforehand
 * whether a round can succeed, so nothing is searched in vain and "everything is busy" is known at
 * once.
 *
 * When the system has no descriptor for us (EMFILE, ENFILE), the bound is lowered to what is open
 * now, so that the next open must first evict; it rises again, slowly, with opens that succeed.
 */
#include "io/vfd_internal.h"

#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#define LATE_OPEN_MS   10
#define LATE_OPEN_MAX  1000 /* tries of LATE_OPEN_MS each, when nothing of ours is left to close */
#define RECOVERY_OPENS 16

static struct slot *slot_of_task(struct slot_task *task)
{
	return &task->cache->slots[task - task->cache->tasks];
}

static struct slot_task *task_of_slot(struct vfd_cache *cache, const struct slot *slot)
{
	return &cache->tasks[slot - cache->slots];
}

struct slot *vfd_slot(const struct vfd *vfd)
{
	struct slot *slot = &vfd->cache->slots[vfd->slot];

	return slot->vfd == vfd && slot->tag == vfd->tag && slot->state == SLOT_OPEN ? slot : NULL;
}

/* After a failed fdatasync the host has dropped the pages: another one would only pretend. */
static bool needs_sync(const struct slot *slot)
{
	return slot->dirty && slot->vfd && slot->vfd->error == 0;
}

void slot_reclass(struct vfd_cache *cache, struct slot *slot)
{
	enum slot_class class = SLOT_BUSY;

	if (slot->state == SLOT_OPEN && slot->pins == 0)
		class = slot->vfd->waiting ? SLOT_WANTED
			: needs_sync(slot) ? SLOT_DIRTY
					   : SLOT_CLEAN;
	cache->class_count[slot->class]--;
	cache->class_count[class]++;
	slot->class = class;
}

static void submit_task(struct slot_task *task, enum io_code code, int64_t (*job)(struct io_op *op),
			void (*done)(struct io_op *op))
{
	task->op.code = code;
	task->op.fd = slot_of_task(task)->fd;
	task->op.job = job;
	task->op.done = done;
	task->start_ns = vfd_now_ns();
	io_submit(task->cache->engine, &task->op);
}

static struct slot *slot_make(struct vfd_cache *cache)
{
	struct slot *slot = &cache->slots[cache->slots_made++];

	slot->fd = -1;
	slot->tag = 1; /* a new vfd remembers 0: stale */
	return slot;
}

struct slot *slot_take(struct vfd_cache *cache)
{
	struct slot *slot;

	if (cache->used >= cache->capacity)
		return NULL;
	if (cache->first_free != NO_SLOT) {
		slot = &cache->slots[cache->first_free];
		cache->first_free = slot->next_free;
	} else {
		slot = slot_make(cache); /* capacity is at most slot_count */
	}
	cache->used++;
	return slot;
}

static void slot_release(struct vfd_cache *cache, struct slot *slot)
{
	slot->vfd = NULL;
	slot->fd = -1;
	slot->state = SLOT_FREE;
	slot->dirty = slot->referenced = slot->evicted = false;
	slot->next_free = cache->first_free;
	cache->first_free = (uint32_t)(slot - cache->slots);
	cache->used--;
	slot_reclass(cache, slot);
}

/* A fifo or a device in the place of a stored file must not keep a thread. */
static int open_regular(const struct slot_task *task)
{
	int fd = sys_open_beneath(task->dirfd, task->name, task->flags | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int rc;

	if (fd < 0)
		return fd;
	rc = sys_fstat(fd, &st);
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (rc == 0)
		return fd;
	(void)sys_close(fd);
	return rc;
}

/* Engine thread. The fields of the task do not change before close_done. */
static int64_t open_job(struct io_op *op)
{
	struct slot_task *task = CONTAINER_OF(op, struct slot_task, op);
	struct timespec pause = {.tv_nsec = LATE_OPEN_MS * 1000000L};

	if (task->late)
		(void)nanosleep(&pause, NULL);
	if ((task->flags & (O_ACCMODE | O_CREAT)) == O_RDONLY)
		return open_regular(task);
	return sys_openat(task->dirfd, task->name, task->flags, task->mode);
}

static void open_done(struct io_op *op);

/* Returns true if the open goes on: later, or when something else has been closed. */
static bool retry_open(struct vfd_cache *cache, struct slot *slot, struct slot_task *task)
{
	struct vfd *vfd = slot->vfd;

	cache->capacity = MAX(cache->used - 1, 1u);
	cache->recovery = 0;
	if (cache->used > 1) {
		slot_release(cache, slot);
		vfd->opening = false;
		vfd_requeue_first(vfd);
		vfd_serve(cache);
		return true;
	}
	if (++task->tries > LATE_OPEN_MAX)
		return false;
	task->late = true;
	submit_task(task, IO_JOB, open_job, open_done);
	return true;
}

static void count_open(struct vfd_cache *cache, const struct vfd *vfd, uint64_t ns)
{
	if (vfd->was_evicted) {
		cache->stats.open_after_replace++;
		cache->stats.open_after_replace_ns += ns;
	} else {
		cache->stats.open++;
		cache->stats.open_ns += ns;
	}
	if (cache->capacity < cache->slot_count && ++cache->recovery >= RECOVERY_OPENS) {
		cache->capacity++;
		cache->recovery = 0;
	}
}

static void open_done(struct io_op *op)
{
	struct slot_task *task = CONTAINER_OF(op, struct slot_task, op);
	struct vfd_cache *cache = task->cache;
	struct slot *slot = slot_of_task(task);
	struct vfd *vfd = slot->vfd;
	int rc = (int)op->result; /* op is used again as soon as the slot is released */

	if ((rc == -EMFILE || rc == -ENFILE) && retry_open(cache, slot, task))
		return;
	vfd->opening = false;
	if (rc < 0) {
		slot_release(cache, slot);
		vfd_serve(cache);
		vfd_open_failed(vfd, rc);
		return;
	}
	count_open(cache, vfd, vfd_now_ns() - task->start_ns);
	vfd->opened = true;
	vfd->was_evicted = false;
	slot->fd = rc;
	slot->state = SLOT_OPEN;
	slot_reclass(cache, slot);
	vfd_opened(vfd);
}

void slot_open(struct slot *slot, struct vfd *vfd)
{
	struct slot_task *task = task_of_slot(vfd->cache, slot);

	slot->vfd = vfd;
	slot->state = SLOT_OPENING;
	slot->pins = 0;
	slot->dirty = slot->evicted = false;
	slot->referenced = true;
	vfd->slot = (uint32_t)(slot - vfd->cache->slots);
	vfd->tag = slot->tag;
	vfd->opening = true;
	task->cache = vfd->cache;
	task->name = vfd->name;
	task->dirfd = vfd->dirfd;
	task->flags = vfd->flags;
	if (vfd->opened)
		task->flags &= ~(O_CREAT | O_EXCL | O_TRUNC);
	task->mode = vfd->mode;
	task->late = false;
	task->tries = 0;
	submit_task(task, IO_JOB, open_job, open_done);
}

static int64_t close_job(struct io_op *op)
{
	return sys_close(op->fd);
}

/* What an error of close could tell, the fdatasync before it has told already. */
static void close_done(struct io_op *op)
{
	struct slot_task *task = CONTAINER_OF(op, struct slot_task, op);
	struct vfd_cache *cache = task->cache;
	struct slot *slot = slot_of_task(task);
	struct vfd *vfd = slot->vfd;
	uint64_t ns = vfd_now_ns() - task->start_ns;

	cache->closing--;
	if (slot->evicted) {
		cache->stats.close_by_replace++;
		cache->stats.close_by_replace_ns += ns;
	} else {
		cache->stats.close++;
		cache->stats.close_ns += ns;
	}
	slot_release(cache, slot);
	if (vfd)
		vfd_closed(vfd);
	vfd_serve(cache);
}

static void start_close(struct vfd_cache *cache, struct slot *slot)
{
	slot->state = SLOT_CLOSING;
	slot_reclass(cache, slot);
	submit_task(task_of_slot(cache, slot), IO_JOB, close_job, close_done);
}

static void evict_sync_done(struct io_op *op)
{
	struct slot_task *task = CONTAINER_OF(op, struct slot_task, op);
	struct vfd_cache *cache = task->cache;
	struct slot *slot = slot_of_task(task);

	cache->stats.fsync++;
	cache->stats.fsync_ns += vfd_now_ns() - task->start_ns;
	if (op->result < 0 && slot->vfd && slot->vfd->error == 0)
		slot->vfd->error = (int)op->result;
	slot->dirty = false;
	start_close(cache, slot);
}

static struct slot *clock_find(struct vfd_cache *cache, enum slot_class class)
{
	if (cache->class_count[class] == 0)
		return NULL;
	for (uint64_t n = 2 * (uint64_t)cache->slots_made; n > 0; n--) {
		struct slot *slot = &cache->slots[cache->hand];

		cache->hand = (cache->hand + 1) % cache->slots_made;
		if (slot->class != class)
			continue;
		if (!slot->referenced)
			return slot;
		slot->referenced = false;
	}
	return NULL;
}

bool slot_evict_one(struct vfd_cache *cache)
{
	struct slot *slot = clock_find(cache, SLOT_CLEAN);

	if (!slot)
		slot = clock_find(cache, SLOT_DIRTY);
	if (!slot && cache->closing == 0)
		slot = clock_find(cache,
				  SLOT_WANTED); /* zero-sum: only so that things move at all */
	if (!slot)
		return false;
	slot->tag++;
	slot->evicted = true;
	if (slot->vfd->waiting)
		cache->wait_count++; /* it queued for the sake of others, and now needs a slot
					itself */
	slot->vfd->leaving = true;
	slot->vfd->was_evicted = true;
	cache->closing++;
	if (needs_sync(slot)) {
		slot->state = SLOT_SYNCING;
		slot_reclass(cache, slot);
		submit_task(task_of_slot(cache, slot), IO_FDATASYNC, NULL, evict_sync_done);
	} else {
		start_close(cache, slot);
	}
	return true;
}

void slot_abandon(struct vfd_cache *cache, struct slot *slot)
{
	assert(slot->pins == 0);
	slot->tag++;
	slot->vfd = NULL;
	cache->closing++;
	start_close(cache, slot);
}
