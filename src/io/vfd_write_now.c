/*
 * Writes that go into the page cache without a detour over the engine: two context switches less.
 *
 * ext4 takes no writes with RWF_NOWAIT, so the ring hands each of them to a kernel thread. A plain
 * write of whole pages is a copy there, as a rule; what may make it wait (the journal, too much dirty
 * memory) makes it wait a little. So it is tried, and when one has taken long all go the waiting way
 * for twenty times as long: a disk that stalls holds the caller up once.
 */
#include "io/vfd_internal.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>

#define PAGE	 4096u
#define BYTES	 (128u << 10) /* copying more is worth a thread */
#define TOO_LONG 3000000u     /* nanoseconds */
#define AWHILE	 20u	      /* times as long */

static uint64_t bytes_of(const struct iovec *iov, unsigned iovcnt)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < iovcnt; i++)
		n += iov[i].iov_len;
	return n;
}

/* All files that are written lie in one file system, that of the diff. */
static bool may_write(struct vfd_cache *cache, int fd, uint64_t now)
{
	if (cache->write_way == WRITE_UNKNOWN)
		cache->write_way = io_completes_apart(cache->engine) && sys_writes_are_copies(fd)
					   ? WRITE_NOW
					   : WRITE_LATER;
	return cache->write_way == WRITE_NOW && now >= cache->write_later_until;
}

int64_t vfd_write_now(struct vfd *vfd, const struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct vfd_cache *cache = vfd->cache;
	struct slot *slot = vfd_slot(vfd);
	uint64_t len = bytes_of(iov, iovcnt), start = vfd_now_ns(), ns;
	int64_t n;

	/* Part of a page might have to be read first. */
	if (!slot || vfd->head || vfd->waiting || off % PAGE || len % PAGE || len > BYTES ||
	    !may_write(cache, slot->fd, start))
		return -EAGAIN;
	slot->referenced = slot->dirty = true;
	slot_reclass(cache, slot);
	n = sys_pwritev_once(slot->fd, iov, iovcnt, off);
	vfd->write_seq++;
	ns = vfd_now_ns() - start;
	if (ns > TOO_LONG)
		cache->write_later_until = start + ns + AWHILE * ns;
	if (n >= 0 && (uint64_t)n < len)
		return -EAGAIN; /* the whole again, to learn why */
	if (n >= 0) {
		cache->stats.write++;
		cache->stats.write_ns += ns;
	}
	return n;
}
