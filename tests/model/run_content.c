/*
 * tests/model/run_content.c: random operations on the content of open files.
 */
#include "run.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 8192u

/* Lengths as PostgreSQL and tools use them: mostly a block, sometimes odd, sometimes a megabyte. */
static uint64_t random_len(struct run *r)
{
	struct rng *g = &r->rng;

	if (r->small && !rng_one_in(g, 50))
		return rng_one_in(g, 3) ? BLOCK : rng_range(g, 1, BLOCK + BLOCK / 2);
	switch (rng_below(g, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		return BLOCK;
	case 5:
		return BLOCK * rng_range(g, 1, 16);
	case 6:
		return 512 * rng_range(g, 1, 16);
	case 7:
	case 8:
	case 9:
		return rng_range(g, 1, BLOCK);
	case 10:
	case 11:
	case 12:
		return rng_range(g, 1, 5 * BLOCK);
	case 13:
		return rng_range(g, 1, 30 * BLOCK);
	case 14:
		return rng_one_in(g, 3) ? rng_range(g, 1, RUN_MAX_IO) : BLOCK;
	default:
		return rng_one_in(g, 4) ? RUN_MAX_IO : 4096;
	}
}

static uint64_t less(uint64_t from, uint64_t by)
{
	return from > by ? from - by : 0;
}

/* Offsets: the beginning, around the end, on and beside block boundaries. */
static uint64_t random_off(struct run *r, const struct mnode *n)
{
	struct rng *g = &r->rng;
	uint64_t blocks = n->size / BLOCK + 1;

	if (r->small && n->size > 20 * BLOCK && !rng_one_in(g, 10))
		return rng_below(g, 20 * BLOCK);
	switch (rng_below(g, 18)) {
	case 12:
	case 13:
		return r->near_off;
	case 14:
	case 15:
	case 16:
		return r->near_off / BLOCK * BLOCK + rng_below(g, BLOCK);
	case 0:
		return 0;
	case 1:
		return n->size;
	case 2:
		return less(n->size, rng_below(g, 2 * BLOCK));
	case 3:
		return n->size + rng_below(g, 3 * BLOCK);
	case 4:
		return rng_below(g, n->size + 1);
	case 5:
		return rng_below(g, blocks) * BLOCK + rng_range(g, 1, BLOCK - 1);
	case 6:
		if (rng_one_in(g, 60))
			return rng_below(g, UINT64_C(64) << 20);
		return rng_below(g, r->max_blocks) * BLOCK;
	default:
		return rng_below(g, blocks) * BLOCK;
	}
}

static uint64_t choose_off(struct run *r, const struct mnode *n)
{
	return r->near_off = random_off(r, n);
}

static void op_read(struct run *r, unsigned handle, enum content_code code)
{
	struct mnode *n = r->handles[handle].node;
	struct pending *p = run_pending(r, code, handle);

	p->op.off = choose_off(r, n);
	p->op.len = random_len(r);
	if (code == CONTENT_MMAP_READ) {
		if (n->size == 0) {
			p->used = false;
			return;
		}
		p->op.off = rng_below(&r->rng, n->size);
		p->op.len = MIN(p->op.len, n->size - p->op.off);
	}
	p->op.buf = p->buf = malloc(p->op.len);
	run_log(r, n, "h%u %s %" PRIu64 " +%" PRIu64, handle,
		code == CONTENT_READ ? "read" : "mmap read", p->op.off, p->op.len);
	run_submit(r, p);
}

static void fill(struct run *r, uint8_t *buf, size_t len)
{
	rng_fill(rng_u64(&r->rng), buf, len);
	/* some of it zeros: a block of zeros that was written is content */
	if (rng_one_in(&r->rng, 12))
		memset(buf, 0, len);
}

static void op_write(struct run *r, unsigned handle, enum content_code code)
{
	struct mnode *n = r->handles[handle].node;
	struct pending *p = run_pending(r, code, handle);
	uint64_t off = choose_off(r, n);

	p->op.len = random_len(r);
	if (code == CONTENT_MMAP_WRITE) {
		if (n->size == 0) {
			p->used = false;
			return;
		}
		off = rng_below(&r->rng, n->size);
		p->op.len = MIN(p->op.len, n->size - off);
	}
	if (r->handles[handle].append || code == CONTENT_APPEND) {
		p->op.code = code = CONTENT_APPEND;
		off = n->size;
	} else {
		p->op.off = off;
	}
	p->expected_off = off;
	p->op.buf = p->buf = malloc(p->op.len);
	fill(r, p->buf, p->op.len);
	run_log(r, n, "h%u %s %" PRIu64 " +%" PRIu64 " -> size %" PRIu64, handle,
		code == CONTENT_APPEND	     ? "append at"
		: code == CONTENT_MMAP_WRITE ? "mmap write"
					     : "write",
		off, p->op.len, MAX(n->size, off + p->op.len));
	memfs_write(n, off, p->op.len, p->buf);
	n->mapped |= code == CONTENT_MMAP_WRITE;
	run_changed(r, n);
	run_submit(r, p);
}

static uint64_t random_size(struct run *r, const struct mnode *n)
{
	struct rng *g = &r->rng;
	uint64_t blocks = n->size / BLOCK;

	switch (rng_below(g, 9)) {
	case 0:
		return 0;
	case 1:
		return rng_below(g, blocks + 1) * BLOCK;
	case 2:
		return rng_below(g, n->size + 1);
	case 3:
		return n->size;
	case 4:
		return n->size + rng_below(g, 4 * BLOCK);
	case 5:
		return (blocks + rng_below(g, 9)) * BLOCK;
	case 6:
		return less(n->size, rng_below(g, BLOCK));
	case 7:
		return rng_one_in(g, 40) ? rng_below(g, UINT64_C(100) << 20)
					 : rng_below(g, r->max_blocks * BLOCK);
	default:
		return rng_below(g, MIN(blocks, 3) + 1) * BLOCK;
	}
}

static void op_truncate(struct run *r, unsigned handle)
{
	struct mnode *n = r->handles[handle].node;
	struct pending *p = run_pending(r, CONTENT_TRUNCATE, handle);

	p->op.off = r->near_off = random_size(r, n);
	run_log(r, n, "h%u truncate %" PRIu64 " -> %" PRIu64, handle, n->size, p->op.off);
	memfs_resize(n, p->op.off);
	run_changed(r, n);
	run_submit(r, p);
}

static void op_fallocate(struct run *r, unsigned handle)
{
	static const struct {
		int mode;
		const char *name;
	} modes[] = {
		{0, "extend"},
		{FALLOC_FL_KEEP_SIZE, "keep size"},
		{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"},
		{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"},
		{FALLOC_FL_ZERO_RANGE, "zero range"},
		{FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero range keep size"},
	};
	struct mnode *n = r->handles[handle].node;
	struct pending *p = run_pending(r, CONTENT_FALLOCATE, handle);
	size_t which = rng_below(&r->rng, ARRAY_SIZE(modes));
	uint64_t end;

	p->op.mode = modes[which].mode;
	p->op.off = choose_off(r, n);
	p->op.len = random_len(r);
	end = p->op.off + p->op.len;
	run_log(r, n, "h%u fallocate %s %" PRIu64 " +%" PRIu64, handle, modes[which].name,
		p->op.off, p->op.len);
	if (p->op.mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memfs_zero(n, p->op.off, p->op.len);
	if (!(p->op.mode & FALLOC_FL_KEEP_SIZE) && end > n->size)
		memfs_resize(n, end);
	n->times_known = false;
	run_changed(r, n);
	run_submit(r, p);
}

static void op_plain(struct run *r, unsigned handle, enum content_code code, const char *name)
{
	struct pending *p = run_pending(r, code, handle);

	p->op.off = rng_below(&r->rng, 2); /* fsync or fdatasync */
	if (code == CONTENT_SYNC)
		p->node->mapped = false;
	run_log(r, r->handles[handle].node, "h%u %s", handle, name);
	run_submit(r, p);
}

/* As a checkpoint does: one file after the other, and some twice. */
static void op_checkpoint(struct run *r)
{
	unsigned first = (unsigned)rng_below(&r->rng, BACKEND_HANDLES);

	for (unsigned i = 0; i < BACKEND_HANDLES; i++) {
		unsigned handle = (first + i) % BACKEND_HANDLES;

		for (unsigned n = 0; n < 2 && r->handles[handle].node; n++) {
			op_plain(r, handle, CONTENT_SYNC, "fsync of a checkpoint");
			if (!rng_one_in(&r->rng, 4))
				break;
		}
	}
}

/* Sizes that no file can have are refused, and change nothing. */
static void op_too_big(struct run *r, unsigned handle)
{
	struct pending *p = run_pending(r, CONTENT_TRUNCATE, handle);

	p->op.off = (UINT64_C(1) << 45) + rng_below(&r->rng, UINT64_C(1) << 50);
	p->expected = -EFBIG;
	run_log(r, r->handles[handle].node, "h%u truncate to %" PRIu64, handle, p->op.off);
	run_submit(r, p);
}

void run_content_op(struct run *r, unsigned handle)
{
	bool kernel = r->be->caps & BACKEND_KERNEL;
	uint64_t pick = rng_below(&r->rng, 100);

	r->near_handle = handle;
	if (rng_one_in(&r->rng, 150))
		op_checkpoint(r);
	else if (pick < 34)
		op_read(r, handle,
			kernel && rng_one_in(&r->rng, 5) ? CONTENT_MMAP_READ : CONTENT_READ);
	else if (pick < 64)
		op_write(r, handle,
			 kernel && rng_one_in(&r->rng, 5) ? CONTENT_MMAP_WRITE : CONTENT_WRITE);
	else if (pick < 69)
		op_write(r, handle, kernel ? CONTENT_WRITE : CONTENT_APPEND);
	else if (pick < 78)
		op_truncate(r, handle);
	else if (pick < 87)
		op_fallocate(r, handle);
	else if (pick < 92)
		op_plain(r, handle, CONTENT_SYNC, "fsync");
	else if (pick < 93)
		op_plain(r, handle, CONTENT_SYNC_ALL, "sync all");
	else if (pick < 99 || kernel)
		op_plain(r, handle, CONTENT_STAT, "fstat");
	else
		op_too_big(r, handle);
}
