/*
 * Virtual descriptors: the operations and their queues. Slots and real descriptors are in
 * vfd_slots.c.
 *
 * An operation starts at once when its file is open; else it queues on the vfd, and the vfd on the
 * cache's FIFO, whose head gets the next free slot. For every vfd in the FIFO one slot is on its
 * way to being free, as long as there are any that no operation pins.
 *
 * Those who find their file open overtake those who wait. If that goes on for long (every slot
 * pinned by overlapping operations), newcomers queue too until the head has been served: nobody
 * waits for ever.
 */
#include "io/vfd_internal.h"

#include "base/sys.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define RESERVED_FDS  64u /* for what is opened later and is not in the cache */
#define MIN_SLOTS     16u
#define MAX_SLOTS     65536u
#define OVERTAKEN_MAX 64u /* and two for each slot */

uint64_t vfd_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool op_is_sync(const struct vfd_op *op)
{
	return op->io.code == IO_FDATASYNC || op->io.code == IO_FSYNC;
}

static bool op_writes(const struct vfd_op *op)
{
	return op->io.code == IO_WRITE || op->io.code == IO_FALLOCATE ||
	       (op->io.code == IO_JOB && (op->vfd->flags & O_ACCMODE) != O_RDONLY);
}

static void count_op(struct vfd_cache *cache, const struct vfd_op *op)
{
	uint64_t ns = vfd_now_ns() - op->start_ns;

	if (op->io.code == IO_READ) {
		cache->stats.read++;
		cache->stats.read_ns += ns;
	} else if (op->io.code == IO_WRITE) {
		cache->stats.write++;
		cache->stats.write_ns += ns;
	} else if (op_is_sync(op)) {
		cache->stats.fsync++;
		cache->stats.fsync_ns += ns;
	}
}

static bool must_queue(const struct vfd_cache *cache)
{
	return cache->overtaken > OVERTAKEN_MAX + 2 * cache->slot_count;
}

static void op_done(struct io_op *io)
{
	struct vfd_op *op = CONTAINER_OF(io, struct vfd_op, io);
	struct vfd *vfd = op->vfd;
	struct vfd_cache *cache = vfd->cache;
	struct slot *slot = vfd_slot(vfd);

	count_op(cache, op);
	if (op_writes(op)) {
		/* An fdatasync that started before this proves nothing about it. */
		vfd->write_seq++;
		vfd->writing--;
	} else if (op_is_sync(op)) {
		if (io->result < 0 && vfd->error == 0)
			vfd->error = (int)io->result;
		else if (io->result >= 0 && vfd->writing == 0 && vfd->write_seq == op->write_seq)
			slot->dirty = false;
	}
	slot->pins--;
	slot_reclass(cache, slot);
	if (cache->wait_count > cache->closing) {
		cache->overtaken++;
		vfd_serve(cache);
	}
	op->done(op);
}

static void op_start(struct vfd_op *op, struct slot *slot)
{
	struct vfd *vfd = op->vfd;

	slot->pins++;
	slot->referenced = true;
	if (op_writes(op)) {
		vfd->writing++;
		slot->dirty = true;
	}
	op->write_seq = vfd->write_seq;
	op->start_ns = vfd_now_ns();
	op->io.fd = slot->fd;
	op->io.done = op_done;
	slot_reclass(vfd->cache, slot);
	io_submit(vfd->cache->engine, &op->io);
}

static struct vfd_op *pop_op(struct vfd *vfd)
{
	struct vfd_op *op = vfd->head;

	if (!op)
		return NULL;
	vfd->head = op->next;
	if (!vfd->head)
		vfd->tail = NULL;
	op->next = NULL;
	return op;
}

static void answered(struct io_op *io)
{
	struct vfd_op *op = CONTAINER_OF(io, struct vfd_op, io);

	op->done(op);
}

/* Syncs that need no descriptor: the file has failed, or all that was written through it is on
 * disk. */
static bool op_answer(struct vfd_op *op)
{
	struct vfd *vfd = op->vfd;

	if (!op_is_sync(op))
		return false;
	if (vfd->error == 0 &&
	    (op->io.code == IO_FSYNC || !vfd->opened || vfd->opening || vfd_slot(vfd)))
		return false;
	/* Being evicted: only a clean slot goes straight to closing. */
	if (vfd->error == 0 && vfd->leaving && vfd->cache->slots[vfd->slot].state == SLOT_SYNCING)
		return false;
	op->io.result = vfd->error;
	op->io.done = answered;
	engine_answer(vfd->cache->engine, &op->io);
	return true;
}

static void start_queued(struct vfd *vfd)
{
	struct slot *slot = vfd_slot(vfd);
	struct vfd_op *op;

	while ((op = pop_op(vfd)))
		if (!op_answer(op))
			op_start(op, slot);
}

static void wait_for_slot(struct vfd *vfd)
{
	struct vfd_cache *cache = vfd->cache;
	struct slot *slot;

	if (vfd->waiting || vfd->opening)
		return;
	slot = vfd_slot(vfd);
	vfd->waiting = true;
	vfd->next_waiting = NULL;
	*(cache->wait_tail ? &cache->wait_tail->next_waiting : &cache->wait_head) = vfd;
	cache->wait_tail = vfd;
	if (slot)
		slot_reclass(cache, slot);
	else
		cache->wait_count++;
	vfd_serve(cache);
	if (vfd->waiting && cache->wait_count > cache->closing)
		cache->stats.waits++;
}

void vfd_requeue_first(struct vfd *vfd)
{
	struct vfd_cache *cache = vfd->cache;

	vfd->waiting = true;
	vfd->next_waiting = cache->wait_head;
	cache->wait_head = vfd;
	if (!cache->wait_tail)
		cache->wait_tail = vfd;
	cache->wait_count++;
}

static void stop_waiting(struct vfd_cache *cache)
{
	struct vfd *vfd = cache->wait_head;

	cache->wait_head = vfd->next_waiting;
	if (!cache->wait_head)
		cache->wait_tail = NULL;
	if (!vfd_slot(vfd))
		cache->wait_count--;
	vfd->waiting = false;
}

void vfd_serve(struct vfd_cache *cache)
{
	struct vfd *vfd;

	while ((vfd = cache->wait_head) && !vfd->leaving) {
		struct slot *slot = vfd_slot(vfd);

		if (slot) { /* open: it queued for the sake of others */
			stop_waiting(cache);
			start_queued(vfd);
			slot_reclass(cache, slot);
			continue;
		}
		slot = slot_take(cache);
		if (!slot)
			break;
		stop_waiting(cache);
		slot_open(slot, vfd);
	}
	while (cache->wait_count > cache->closing && slot_evict_one(cache))
		;
	if (cache->wait_count <= cache->closing)
		cache->overtaken = 0;
}

void vfd_opened(struct vfd *vfd)
{
	struct vfd_cache *cache = vfd->cache;

	start_queued(vfd);
	if (cache->wait_count > cache->closing)
		vfd_serve(cache);
}

/* The vfd may be gone after the last of its operations is done. */
void vfd_open_failed(struct vfd *vfd, int rc)
{
	struct vfd_op *op, *next = vfd->head;

	vfd->head = vfd->tail = NULL;
	while ((op = next)) {
		next = op->next;
		op->next = NULL;
		op->io.result = rc;
		op->done(op);
	}
}

/* What came while the descriptor was on its way out needs a new one, unless it has been answered by
 * that. */
void vfd_closed(struct vfd *vfd)
{
	vfd->leaving = false;
	while (!vfd->waiting && vfd->head && op_answer(vfd->head))
		(void)pop_op(vfd);
	if (vfd->head)
		wait_for_slot(vfd);
}

static int default_slots(unsigned *ret)
{
	unsigned taken = RESERVED_FDS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	taken += sys_count_fds((unsigned)MIN(limit.rlim_cur, (rlim_t)MAX_SLOTS));
	if (limit.rlim_cur < taken + MIN_SLOTS)
		return -EMFILE;
	*ret = (unsigned)MIN(limit.rlim_cur - taken, (rlim_t)MAX_SLOTS);
	return 0;
}

int vfd_cache_new(struct io_engine *engine, unsigned slots, struct vfd_cache **ret)
{
	struct vfd_cache *cache;
	int rc = 0;

	if (slots == 0)
		rc = default_slots(&slots);
	if (rc < 0)
		return rc;
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	/* Not in huge pages: most are never touched. */
	cache->slots = calloc(slots, sizeof(*cache->slots));
	cache->tasks = calloc(slots, sizeof(*cache->tasks));
	if (!cache->slots || !cache->tasks) {
		vfd_cache_free(cache);
		return -ENOMEM;
	}
	cache->engine = engine;
	cache->slot_count = cache->capacity = slots;
	cache->class_count[SLOT_BUSY] = slots;
	cache->first_free = NO_SLOT;
	*ret = cache;
	return 0;
}

void vfd_cache_free(struct vfd_cache *cache)
{
	if (!cache)
		return;
	while (cache->used > 0 && io_wait(cache->engine, -1) > 0)
		; /* closes that vfd_free began */
	assert(cache->used == 0);
	free(cache->slots);
	free(cache->tasks);
	free(cache);
}

void vfd_cache_stats(const struct vfd_cache *cache, struct vfd_stats *ret)
{
	*ret = cache->stats;
	ret->slots = cache->slot_count;
	ret->used = cache->used;
	for (uint32_t i = 0; i < cache->slots_made; i++) {
		ret->pinned += cache->slots[i].pins > 0;
		ret->dirty += cache->slots[i].dirty;
	}
}

int vfd_new(struct vfd_cache *cache, int dirfd, const char *name, int flags, mode_t mode,
	    struct vfd **ret)
{
	struct vfd *vfd = calloc(1, sizeof(*vfd));

	if (!vfd)
		return -ENOMEM;
	vfd->name = strdup(name);
	if (!vfd->name) {
		free(vfd);
		return -ENOMEM;
	}
	vfd->cache = cache;
	vfd->dirfd = dirfd;
	vfd->flags = flags;
	vfd->mode = mode;
	*ret = vfd;
	return 0;
}

void vfd_free(struct vfd *vfd)
{
	struct slot *slot;

	if (!vfd)
		return;
	assert(!vfd->head && !vfd->waiting && !vfd->opening);
	slot = vfd_slot(vfd);
	if (slot)
		slot_abandon(vfd->cache, slot);
	else if (vfd->leaving)
		vfd->cache->slots[vfd->slot].vfd = NULL;
	free(vfd->name);
	free(vfd);
}

void vfd_submit(struct vfd_op *op)
{
	struct vfd *vfd = op->vfd;
	struct slot *slot = vfd_slot(vfd);

	op->next = NULL;
	if (!vfd->head && op_answer(op))
		return;
	if (slot && !vfd->waiting && !must_queue(vfd->cache)) {
		op_start(op, slot);
		return;
	}
	*(vfd->tail ? &vfd->tail->next : &vfd->head) = op;
	vfd->tail = op;
	if (!vfd->leaving) /* else when it has gone */
		wait_for_slot(vfd);
}

int64_t vfd_read_now(struct vfd *vfd, const struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct slot *slot = vfd_slot(vfd);
	uint64_t start = vfd_now_ns();
	int64_t n;

	if (!slot)
		return -EAGAIN;
	slot->referenced = true;
	n = sys_preadv_nowait(slot->fd, iov, iovcnt, off);
	if (n >= 0) {
		vfd->cache->stats.read++;
		vfd->cache->stats.read_ns += vfd_now_ns() - start;
	}
	return n;
}

bool vfd_is_dirty(const struct vfd *vfd)
{
	const struct slot *slot = &vfd->cache->slots[vfd->slot];

	if (vfd->leaving)
		return slot->dirty;
	slot = vfd_slot(vfd);
	return slot && slot->dirty;
}

int vfd_error(const struct vfd *vfd)
{
	return vfd->error;
}

bool vfd_is_created(const struct vfd *vfd)
{
	return vfd->opened && (vfd->flags & O_CREAT);
}
