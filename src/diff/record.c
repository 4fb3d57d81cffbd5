/*
 * Records on disk, little-endian, format 1. Each is
 *
 *	u32 size of the whole record, u8 type, u8[3] zero, then by type
 *
 *	INODE	u64 id, attr, u16 length, target (symbolic links only, else length 0)
 *	ATTR	u64 id, attr
 *	LINK	u64 dir, u64 id, u8 length, name
 *	UNLINK	u64 dir, u8 length, name
 *	RENAME	u64 dir, u64 dir2, u8 flags, u8 length, u8 length2, name, name2
 *	SIZE	u64 id, u64 size, u32 base limit
 *	BLOCKS	u64 id, u64 size, u32 base limit, u32 count, runs
 *	NEXT_ID	u64 id
 *
 *	attr	u32 mode, u32 uid, u32 gid, s64 atime, s64 mtime, s64 ctime
 *	run	u32 first, u32 count, u8 state
 *
 * There is exactly one encoding of a record: sizes fit to the byte, runs ascend, do not touch when
 * they have the same state, and are never ABSENT (only SIZE takes blocks away). Decoding refuses
 * everything else, so that a flipped bit that a checksum missed is not taken for a command.
 * Encoding refuses the same with -EINVAL: what is written can be read.
 */
#include "diff/record.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "diff/diff.h"
#include "diff/diff_internal.h"

#define HEADER_SIZE    8u
#define ATTR_SIZE      36u
#define SIZE_MAX_BYTES ((uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ)

void diff_buffer_free(struct diff_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct diff_buffer){0};
}

int diff_buffer_room(struct diff_buffer *buffer, size_t more)
{
	size_t need, cap = MAX(buffer->cap, (size_t)256);
	uint8_t *data;

	if (__builtin_add_overflow(buffer->len, more, &need))
		return -ENOMEM;
	if (need <= buffer->cap)
		return 0;
	while (cap < need) {
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			return -ENOMEM;
	}
	data = realloc(buffer->data, cap);
	if (!data)
		return -ENOMEM;
	buffer->data = data;
	buffer->cap = cap;
	return 0;
}

static bool name_is_valid(const char *name, uint32_t len)
{
	if (len == 0 || len > DIFF_NAME_MAX)
		return false;
	if (memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static bool mode_is_valid(uint32_t mode)
{
	if (mode & ~(uint32_t)(S_IFMT | 07777))
		return false;
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
}

static bool target_is_valid(const struct diff_record *r)
{
	if (!S_ISLNK(r->attr.mode))
		return r->target_len == 0;
	return r->target_len > 0 && r->target_len <= DIFF_TARGET_MAX &&
	       !memchr(r->target, '\0', r->target_len);
}

static bool runs_are_valid(const struct diff_record *r)
{
	for (uint32_t i = 0; i < r->run_count; i++) {
		const struct diff_run *run = &r->runs[i];
		const struct diff_run *prev = i ? run - 1 : NULL;

		if (run->state != BLOCK_DATA && run->state != BLOCK_ZERO)
			return false;
		if (run->count == 0 || run->count > DIFF_MAX_BLOCKS - run->first)
			return false;
		if (prev && run->first < prev->first + prev->count)
			return false;
		if (prev && run->first == prev->first + prev->count && run->state == prev->state)
			return false;
	}
	return true;
}

static bool record_is_valid(const struct diff_record *r)
{
	switch (r->type) {
	case DIFF_RECORD_INODE:
		return r->id != 0 && mode_is_valid(r->attr.mode) && target_is_valid(r);
	case DIFF_RECORD_ATTR:
		return r->id != 0 && mode_is_valid(r->attr.mode);
	case DIFF_RECORD_LINK:
		return r->id != 0 && r->dir != 0 && name_is_valid(r->name, r->name_len);
	case DIFF_RECORD_UNLINK:
		return r->dir != 0 && name_is_valid(r->name, r->name_len);
	case DIFF_RECORD_RENAME:
		return r->dir != 0 && r->dir2 != 0 && !(r->flags & ~DIFF_RENAME_EXCHANGE) &&
		       name_is_valid(r->name, r->name_len) && name_is_valid(r->name2, r->name2_len);
	case DIFF_RECORD_SIZE:
		return r->id != 0 && r->size <= SIZE_MAX_BYTES;
	case DIFF_RECORD_BLOCKS:
		return r->id != 0 && r->size <= SIZE_MAX_BYTES && runs_are_valid(r);
	case DIFF_RECORD_NEXT_ID:
		return r->id != 0;
	case DIFF_RECORD_MAX_:
		break;
	}
	return false;
}

/* The size by the lengths the record names; what it must be to the byte. */
size_t diff_record_encoded_size(const struct diff_record *r)
{
	switch (r->type) {
	case DIFF_RECORD_INODE:
		return HEADER_SIZE + 8 + ATTR_SIZE + 2 + r->target_len;
	case DIFF_RECORD_ATTR:
		return HEADER_SIZE + 8 + ATTR_SIZE;
	case DIFF_RECORD_LINK:
		return HEADER_SIZE + 17 + r->name_len;
	case DIFF_RECORD_UNLINK:
		return HEADER_SIZE + 9 + r->name_len;
	case DIFF_RECORD_RENAME:
		return HEADER_SIZE + 19 + r->name_len + r->name2_len;
	case DIFF_RECORD_SIZE:
		return HEADER_SIZE + 20;
	case DIFF_RECORD_BLOCKS:
		return DIFF_BLOCKS_SIZE + (size_t)r->run_count * DIFF_RUN_SIZE;
	case DIFF_RECORD_NEXT_ID:
		return HEADER_SIZE + 8;
	case DIFF_RECORD_MAX_:
		break;
	}
	return 0;
}

static uint8_t *put_attr(uint8_t *p, const struct diff_attr *attr)
{
	put_le32(p, attr->mode);
	put_le32(p + 4, attr->uid);
	put_le32(p + 8, attr->gid);
	put_le64(p + 12, (uint64_t)attr->atime);
	put_le64(p + 20, (uint64_t)attr->mtime);
	put_le64(p + 28, (uint64_t)attr->ctime);
	return p + ATTR_SIZE;
}

static void get_attr(const uint8_t *p, struct diff_attr *ret)
{
	ret->mode = get_le32(p);
	ret->uid = get_le32(p + 4);
	ret->gid = get_le32(p + 8);
	ret->atime = (int64_t)get_le64(p + 12);
	ret->mtime = (int64_t)get_le64(p + 20);
	ret->ctime = (int64_t)get_le64(p + 28);
}

static void put_names(uint8_t *p, const struct diff_record *r)
{
	switch (r->type) {
	case DIFF_RECORD_LINK:
		put_le64(p, r->dir);
		put_le64(p + 8, r->id);
		p[16] = (uint8_t)r->name_len;
		memcpy(p + 17, r->name, r->name_len);
		break;
	case DIFF_RECORD_UNLINK:
		put_le64(p, r->dir);
		p[8] = (uint8_t)r->name_len;
		memcpy(p + 9, r->name, r->name_len);
		break;
	default:
		put_le64(p, r->dir);
		put_le64(p + 8, r->dir2);
		p[16] = (uint8_t)r->flags;
		p[17] = (uint8_t)r->name_len;
		p[18] = (uint8_t)r->name2_len;
		memcpy(p + 19, r->name, r->name_len);
		memcpy(p + 19 + r->name_len, r->name2, r->name2_len);
		break;
	}
}

static void put_blocks(uint8_t *p, const struct diff_record *r)
{
	put_le64(p, r->size);
	put_le32(p + 8, r->base_limit);
	if (r->type != DIFF_RECORD_BLOCKS)
		return;
	put_le32(p + 12, r->run_count);
	p += 16;
	for (uint32_t i = 0; i < r->run_count; i++, p += DIFF_RUN_SIZE) {
		put_le32(p, r->runs[i].first);
		put_le32(p + 4, r->runs[i].count);
		p[8] = (uint8_t)r->runs[i].state;
	}
}

int diff_record_encode(struct diff_buffer *buffer, const struct diff_record *r)
{
	size_t size;
	uint8_t *p;

	if (!record_is_valid(r))
		return -EINVAL;
	size = diff_record_encoded_size(r);
	if (size > UINT32_MAX)
		return -EINVAL;
	if (diff_buffer_room(buffer, size) < 0)
		return -ENOMEM;
	p = buffer->data + buffer->len;
	buffer->len += size;
	put_le32(p, (uint32_t)size);
	put_le32(p + 4, (uint32_t)r->type);
	p += HEADER_SIZE;
	if (r->type == DIFF_RECORD_LINK || r->type == DIFF_RECORD_UNLINK ||
	    r->type == DIFF_RECORD_RENAME) {
		put_names(p, r);
		return 0;
	}
	put_le64(p, r->id);
	p += 8;
	if (r->type == DIFF_RECORD_INODE || r->type == DIFF_RECORD_ATTR)
		p = put_attr(p, &r->attr);
	if (r->type == DIFF_RECORD_INODE) {
		put_le16(p, (uint16_t)r->target_len);
		if (r->target_len)
			memcpy(p + 2, r->target, r->target_len);
	}
	if (r->type == DIFF_RECORD_SIZE || r->type == DIFF_RECORD_BLOCKS)
		put_blocks(p, r);
	return 0;
}

static int get_runs(const uint8_t *p, struct diff_record *r, struct diff_run **runs, uint32_t *cap)
{
	if (r->run_count > *cap) {
		struct diff_run *grown = realloc(*runs, (size_t)r->run_count * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		*runs = grown;
		*cap = r->run_count;
	}
	for (uint32_t i = 0; i < r->run_count; i++, p += DIFF_RUN_SIZE) {
		struct diff_run *run = &(*runs)[i];

		run->first = get_le32(p);
		run->count = get_le32(p + 4);
		run->state = p[8] <= BLOCK_ZERO ? (enum block_state)p[8] : BLOCK_ABSENT;
	}
	r->runs = *runs;
	return 0;
}

/*
 * Fields of fixed size and lengths; `size` bytes from p on are there. False if not even these fit.
 */
static bool get_fixed(const uint8_t *p, size_t size, struct diff_record *r)
{
	if (size < diff_record_encoded_size(r))
		return false; /* with all lengths still 0: the smallest record of its type */
	p += HEADER_SIZE;
	switch (r->type) {
	case DIFF_RECORD_INODE:
		r->id = get_le64(p);
		get_attr(p + 8, &r->attr);
		r->target_len = get_le16(p + 8 + ATTR_SIZE);
		r->target = (const char *)p + 8 + ATTR_SIZE + 2;
		break;
	case DIFF_RECORD_ATTR:
		r->id = get_le64(p);
		get_attr(p + 8, &r->attr);
		break;
	case DIFF_RECORD_LINK:
		r->dir = get_le64(p);
		r->id = get_le64(p + 8);
		r->name_len = p[16];
		r->name = (const char *)p + 17;
		break;
	case DIFF_RECORD_UNLINK:
		r->dir = get_le64(p);
		r->name_len = p[8];
		r->name = (const char *)p + 9;
		break;
	case DIFF_RECORD_RENAME:
		r->dir = get_le64(p);
		r->dir2 = get_le64(p + 8);
		r->flags = p[16];
		r->name_len = p[17];
		r->name2_len = p[18];
		r->name = (const char *)p + 19;
		r->name2 = r->name + r->name_len;
		break;
	case DIFF_RECORD_SIZE:
	case DIFF_RECORD_BLOCKS:
		r->id = get_le64(p);
		r->size = get_le64(p + 8);
		r->base_limit = get_le32(p + 16);
		if (r->type == DIFF_RECORD_BLOCKS)
			r->run_count = get_le32(p + 20);
		break;
	case DIFF_RECORD_NEXT_ID:
		r->id = get_le64(p);
		break;
	case DIFF_RECORD_MAX_:
		return false;
	}
	return true;
}

int64_t diff_record_peek(const uint8_t *data, size_t len, struct diff_record *ret)
{
	struct diff_record r = {0};
	uint32_t size, type;

	if (len < HEADER_SIZE)
		return -EUCLEAN;
	size = get_le32(data);
	type = get_le32(data + 4);
	if (size > len || type < DIFF_RECORD_INODE || type >= DIFF_RECORD_MAX_)
		return -EUCLEAN;
	r.type = (enum diff_record_type)type;
	if (!get_fixed(data, size, &r) || diff_record_encoded_size(&r) != size)
		return -EUCLEAN;
	*ret = r;
	return size;
}

void diff_record_put_size(uint8_t *data, uint64_t size)
{
	put_le64(data + HEADER_SIZE + 8, size);
}

int64_t diff_record_decode(const uint8_t *data, size_t len, struct diff_record *ret,
			   struct diff_run **runs, uint32_t *runs_cap)
{
	struct diff_record r;
	int64_t size = diff_record_peek(data, len, &r);

	if (size < 0)
		return size;
	if (r.type == DIFF_RECORD_BLOCKS) {
		int rc = get_runs(data + DIFF_BLOCKS_SIZE, &r, runs, runs_cap);

		if (rc < 0)
			return rc;
	}
	if (!record_is_valid(&r))
		return -EUCLEAN;
	*ret = r;
	return size;
}
