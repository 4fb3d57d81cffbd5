/*
 * gen/<g>/journal, format 1, little-endian: groups, one a commit, each at a multiple of 8 bytes
 * right behind the one before:
 *
 *	0	u32	"PGOJ"
 *	4	u32	crc32c of the diff's uuid, the header from byte 8 on, and the records
 *	8	u64	sequence, one more than that of the group before
 *	16	u32	bytes of records
 *	20	u32	type, 1
 *	24	u64	zero
 *	32		records (record.c)
 *
 * The file grows by segments of 1 MiB that are written with zeros and fsynced ahead of need, so
 * that a commit neither allocates space nor changes the size, and cannot fail for want of space on
 * filesystems that overwrite in place. After a new state it is written from offset 0 again; what is
 * left of earlier groups has lower sequences.
 *
 * A group is written when the one before is durable. What follows the first group that is short,
 * out of sequence or fails its checksum therefore was never acknowledged; and if a group of a
 * higher sequence follows all the same, the journal was damaged after it was written, and what it
 * lost was: that is refused, not replayed up to there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/big.h"
#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define MAGIC	   0x4a4f4750u
#define TYPE	   1u
#define CRC_FROM   8u
#define NAME	   "journal"
#define GROW_AHEAD (DIFF_SEGMENT / 4)
#define GROW_PAUSE                                                                                 \
	UINT64_C(1000000000) /* ns between attempts that nobody waits for, after a failure */

static const uint8_t zeros[DIFF_SEGMENT / 16];

/* ---- groups ---- */

static uint32_t checksum(const struct diff *diff, const uint8_t *header, const void *payload,
			 size_t len)
{
	uint32_t crc = crc32c(0, diff->uuid, sizeof(diff->uuid));

	crc = crc32c(crc, header + CRC_FROM, DIFF_GROUP_HEADER - CRC_FROM);
	return crc32c(crc, payload, len);
}

void journal_group(const struct diff *diff, uint8_t *header, uint64_t sequence, const void *payload,
		   size_t len)
{
	memset(header, 0, DIFF_GROUP_HEADER);
	put_le32(header, MAGIC);
	put_le64(header + 8, sequence);
	put_le32(header + 16, (uint32_t)len);
	put_le32(header + 20, TYPE);
	put_le32(header + 4, checksum(diff, header, payload, len));
}

/* The group at data, if it is one: its sequence and the length of its records. */
static bool read_group(const struct diff *diff, const uint8_t *data, size_t len,
		       uint64_t min_sequence, uint64_t *ret_sequence, size_t *ret_len)
{
	size_t payload;

	if (len < DIFF_GROUP_HEADER || get_le32(data) != MAGIC || get_le32(data + 20) != TYPE)
		return false;
	*ret_sequence = get_le64(data + 8);
	payload = get_le32(data + 16);
	if (*ret_sequence < min_sequence || payload > len - DIFF_GROUP_HEADER)
		return false;
	*ret_len = payload;
	return get_le32(data + 4) == checksum(diff, data, data + DIFF_GROUP_HEADER, payload);
}

static int check_rest(const struct diff *diff, const uint8_t *data, size_t pos, size_t len,
		      struct errmsg *e)
{
	uint64_t sequence;
	size_t payload;

	for (; pos < len; pos += DIFF_GROUP_ALIGN)
		if (read_group(diff, data + pos, len - pos, diff->journal.sequence + 1, &sequence,
			       &payload))
			return errmsg_set(e, -EUCLEAN,
					  "'%s/%s/" NAME "' is damaged: group %llu is missing or "
					  "unreadable, but group %llu follows",
					  diff->path, diff->generation,
					  (unsigned long long)diff->journal.sequence,
					  (unsigned long long)sequence);
	return 0;
}

int64_t journal_replay(struct diff *diff,
		       int (*fn)(struct diff *diff, const uint8_t *data, size_t len,
				 struct errmsg *e),
		       struct errmsg *e)
{
	size_t len = diff->journal.size, pos = 0, payload;
	_cleanup_free_ uint8_t *data = big_realloc(NULL, 0, len);
	uint64_t sequence;
	int64_t n = data ? sys_pread_full(diff->journal.fd, data, len, 0) : -ENOMEM, groups = 0;
	int rc = 0;

	if (n != (int64_t)len)
		return errmsg_set(e, n < 0 ? (int)n : -EUCLEAN, "'%s/%s/" NAME "': %s", diff->path,
				  diff->generation,
				  n < 0 ? strerror((int)-n) : "it is shorter than it was");
	while (pos < len && rc == 0) {
		if (!read_group(diff, data + pos, len - pos, diff->journal.sequence, &sequence,
				&payload) ||
		    sequence != diff->journal.sequence)
			break;
		rc = fn(diff, data + pos + DIFF_GROUP_HEADER, payload, e);
		diff->journal.sequence++;
		pos += round_up_u64(DIFF_GROUP_HEADER + payload, DIFF_GROUP_ALIGN);
		groups++;
	}
	if (rc == 0)
		rc = check_rest(diff, data, pos, len, e);
	diff->journal.attempted = diff->journal.sequence - 1;
	return rc < 0 ? rc : groups;
}

/* ---- the file ---- */

static void zero_iov(struct iovec iov[16])
{
	for (unsigned i = 0; i < 16; i++)
		iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros,
					.iov_len = sizeof(zeros)};
}

int journal_create(int gen_fd, struct errmsg *e)
{
	struct iovec iov[16];
	int fd = sys_openat(gen_fd, NAME, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600), rc;

	if (fd < 0)
		return errmsg_set(e, fd, "cannot make the journal: %s", strerror(-fd));
	zero_iov(iov);
	rc = sys_pwritev_full(fd, iov, 16, 0);
	if (rc == 0)
		rc = sys_fsync(fd);
	(void)sys_close(fd);
	return rc < 0 ? errmsg_set(e, rc, "cannot make the journal: %s", strerror(-rc)) : 0;
}

int journal_open(struct diff *diff, struct errmsg *e)
{
	struct journal *j = &diff->journal;
	struct stat st;
	int rc = 0;

	j->waiters_tail = &j->waiters;
	j->fd = sys_openat(diff->gen_fd, NAME, O_RDWR | O_NOFOLLOW, 0);
	j->grow_fd = j->fd < 0 ? j->fd : sys_openat(diff->gen_fd, NAME, O_RDWR | O_NOFOLLOW, 0);
	if (j->grow_fd < 0)
		rc = j->grow_fd;
	if (rc == 0)
		rc = sys_fstat(j->fd, &st);
	if (rc < 0)
		return errmsg_set(e, rc == -ENOENT ? -EUCLEAN : rc, "'%s/%s/" NAME "': %s",
				  diff->path, diff->generation, strerror(-rc));
	j->size = round_down_u64((uint64_t)st.st_size, DIFF_SEGMENT);
	if (j->size == 0)
		return errmsg_set(e, -EUCLEAN, "'%s/%s/" NAME "' is damaged: it is too short",
				  diff->path, diff->generation);
	return 0;
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		(void)sys_close(j->fd);
	if (j->grow_fd >= 0)
		(void)sys_close(j->grow_fd);
	j->fd = j->grow_fd = -1;
}

/* ---- room ---- */

void journal_wake(struct diff *diff)
{
	struct journal *j = &diff->journal;
	struct diff_room_wait *wait = j->waiters, *next;

	j->waiters = NULL;
	j->waiters_tail = &j->waiters;
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait);
	}
}

void journal_full(struct diff *diff)
{
	diff->journal.full_error = diff->journal.grow_error;
	diff->journal.full_time = time_ns();
}

static void grow_end(struct diff *diff, int rc)
{
	struct journal *j = &diff->journal;

	j->growing = false;
	diff->in_flight--;
	j->grow_error = rc;
	j->grow_time = rc < 0 ? time_ns() : 0;
	if (rc == 0)
		j->size += DIFF_SEGMENT;
	else if (rc != -ENOSPC && rc != -EDQUOT)
		diff_set_read_only(diff);
	else if (sync_for_room(diff))
		return; /* wakes them */
	journal_wake(diff);
}

/* What was written before the disk was full would take the room that a new state needs. */
static void grow_undone(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, journal.grow_op);

	grow_end(diff, diff->journal.grow_error);
}

static void grow_failed(struct diff *diff, int rc)
{
	struct journal *j = &diff->journal;

	if (rc != -ENOSPC && rc != -EDQUOT) {
		grow_end(diff, rc);
		return;
	}
	j->grow_error = rc;
	j->grow_op = (struct io_op){.code = IO_FALLOCATE,
				    .fd = j->grow_fd,
				    .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    .off = j->size,
				    .len = DIFF_SEGMENT,
				    .done = grow_undone};
	io_submit(diff->io, &j->grow_op);
}

static void grow_synced(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, journal.grow_op);

	if (op->result < 0)
		grow_failed(diff, (int)op->result);
	else
		grow_end(diff, 0);
}

static void grow_written(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, journal.grow_op);

	if (op->result != (int64_t)DIFF_SEGMENT) {
		grow_failed(diff, op->result < 0 ? (int)op->result : -ENOSPC);
		return;
	}
	op->code = IO_FDATASYNC;
	op->done = grow_synced;
	io_submit(diff->io, op);
}

void journal_grow(struct diff *diff)
{
	struct journal *j = &diff->journal;

	if (j->growing || !diff->io || j->error)
		return;
	j->growing = true;
	diff->in_flight++;
	zero_iov(j->grow_iov);
	j->grow_op = (struct io_op){.code = IO_WRITE,
				    .fd = j->grow_fd,
				    .off = j->size,
				    .iov = j->grow_iov,
				    .iovcnt = ARRAY_SIZE(j->grow_iov),
				    .done = grow_written};
	io_submit(diff->io, &j->grow_op);
}

/* Bytes neither written nor set aside. */
static uint64_t room(const struct diff *diff)
{
	const struct journal *j = &diff->journal;
	uint64_t left = j->size - j->tail;

	return left > j->reserved ? left - j->reserved : 0;
}

bool journal_has_room(const struct diff *diff, uint64_t n)
{
	return room(diff) >= n;
}

static bool may_grow_ahead(const struct journal *j)
{
	return !j->grow_error || time_ns() - j->grow_time > GROW_PAUSE;
}

/* A new state makes room too, where the disk has none for a longer journal. */
int journal_reserve(struct diff *diff, uint64_t n)
{
	struct journal *j = &diff->journal;

	if (j->error)
		return -EROFS;
	if (room(diff) < n || (room(diff) < n + GROW_AHEAD && may_grow_ahead(j)))
		journal_grow(diff);
	if (room(diff) < n) {
		diff->state_wanted = true;
		return j->full_error && time_ns() - j->full_time < GROW_PAUSE ? j->full_error
									      : -EAGAIN;
	}
	j->reserved += n;
	return 0;
}

void journal_release(struct diff *diff, uint64_t n)
{
	diff->journal.reserved -= n;
}

void journal_wait(struct diff *diff, struct diff_room_wait *wait)
{
	struct journal *j = &diff->journal;

	wait->next = NULL;
	*j->waiters_tail = wait;
	j->waiters_tail = &wait->next;
	journal_grow(diff);
}
