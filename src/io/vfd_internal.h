/*
 * io/vfd_internal.h: what vfd.c (operations and their queues) and vfd_slots.c (real descriptors)
 * share.
 *
 * The life of a slot:  FREE -> OPENING -> OPEN -> [SYNCING ->] CLOSING -> FREE.
 * Every state but FREE counts against the bound. A slot changes hands when it leaves OPEN: its tag
 * is raised there, so that the vfd's handle (slot, tag) is stale from then on; the vfd is `leaving`
 * until the close is done and is not opened again before, or the error of its last fdatasync could
 * be missed.
 */
#ifndef IO_VFD_INTERNAL_H
#define IO_VFD_INTERNAL_H

#include "io/engine_internal.h"
#include "io/vfd.h"

#define NO_SLOT UINT32_MAX

enum slot_state { SLOT_FREE, SLOT_OPENING, SLOT_OPEN, SLOT_SYNCING, SLOT_CLOSING };

/* What eviction makes of a slot: it is only considered when open and not pinned. WANTED: operations
 * queue. */
enum slot_class { SLOT_BUSY, SLOT_CLEAN, SLOT_DIRTY, SLOT_WANTED, SLOT_CLASS_MAX_ };

struct slot {
	struct vfd *vfd; /* NULL: free, or the vfd was freed and the descriptor is being closed */
	int fd;
	uint32_t tag, pins, next_free;
	uint8_t state, class; /* class is kept by slot_reclass */
	bool referenced, dirty, evicted;
};

/* The open, fdatasync or close of a slot. Apart from struct slot to keep the clock's memory small.
 */
struct slot_task {
	struct io_op op;
	struct vfd_cache *cache;
	const char *name;
	int dirfd, flags;
	mode_t mode;
	bool late; /* no descriptor was to be had: wait a little first */
	unsigned tries;
	uint64_t start_ns;
};

struct vfd_cache {
	struct io_engine *engine;
	struct slot *slots;
	struct slot_task *tasks;
	uint32_t slot_count, hand, first_free;
	uint32_t slots_made; /* the others are as they were allocated: nobody has touched them */
	uint32_t used;	     /* not FREE */
	uint32_t capacity;   /* bound on used: slot_count, less while the system gives fewer
			      descriptors */
	uint32_t recovery;   /* opens since capacity last changed */
	uint32_t class_count[SLOT_CLASS_MAX_];
	uint32_t closing;		   /* slots on their way to FREE */
	struct vfd *wait_head, *wait_tail; /* vfds with queued operations, in order of asking */
	uint32_t wait_count;		   /* of those the ones without a slot */
	uint32_t overtaken; /* operations completed while someone waited and no slot could be
			       evicted */
	struct vfd_stats stats;
	enum { WRITE_UNKNOWN, WRITE_NOW, WRITE_LATER } write_way; /* vfd_write_now.c */
	uint64_t write_later_until; /* nanoseconds of the monotonic clock */
};

struct vfd {
	struct vfd_cache *cache;
	char *name;
	int dirfd, flags;
	mode_t mode;
	int error;
	uint32_t slot, tag;
	bool opened;  /* at least once */
	bool waiting; /* in the cache's FIFO */
	bool opening, leaving, was_evicted;
	uint32_t writing;	    /* operations in flight that write */
	uint64_t write_seq;	    /* raised when one of them ends */
	struct vfd_op *head, *tail; /* operations not started */
	struct vfd *next_waiting;
};

uint64_t vfd_now_ns(void);

/* vfd_slots.c */
struct slot *vfd_slot(const struct vfd *vfd); /* its open slot, or NULL */
void slot_reclass(struct vfd_cache *cache,
		  struct slot *slot); /* after a change of state, pins, dirty or error */
/* A slot for a new descriptor, or NULL: then evict and wait. */
struct slot *slot_take(struct vfd_cache *cache);
void slot_open(struct slot *slot, struct vfd *vfd);
/* Starts evicting what the clock finds; false when everything is busy. */
bool slot_evict_one(struct vfd_cache *cache);
/* Starts closing the slot of a vfd that is being freed. */
void slot_abandon(struct vfd_cache *cache, struct slot *slot);

/* vfd.c: what a slot's task calls when it is done */
void vfd_opened(struct vfd *vfd);
void vfd_open_failed(struct vfd *vfd, int rc);
void vfd_requeue_first(struct vfd *vfd); /* no descriptor to be had: its turn stays its turn */
void vfd_closed(struct vfd *vfd);
void vfd_serve(struct vfd_cache *cache); /* a slot has become free, or evictable */

#endif
