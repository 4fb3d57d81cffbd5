/*
 * tests/fault/player_content.c: steps that read and change content. What fails half way may have
 * changed sectors, but each is the old one or the new one.
 */
#include "player.h"

#include "rng.h"

#include "base/util.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

void player_candidate(struct player *p, unsigned file)
{
	struct book_file *c = &p->candidate;
	const struct book_file *f = &p->book->files[file];

	book_resize(c, 0);
	memcpy(c->bytes, f->bytes, f->size);
	c->size = f->size;
}

bool player_read_live(struct player *p, struct file *file, uint64_t *ret_size)
{
	struct stat st;
	int64_t n;

	overlay_getattr(p->b.core.ov, file, &st);
	if (st.st_size > (int64_t)BOOK_BYTES)
		return player_wrong(p, "a file has %lld bytes", (long long)st.st_size);
	n = core_read(&p->b.core, file, 0,
		      (uint32_t)MIN((uint64_t)st.st_size + BOOK_BLOCK, BOOK_BYTES), p->live);
	p->live_used = MAX(p->live_used, (uint64_t)MAX(n, 0));
	if (n != st.st_size)
		return player_wrong(p, "reading back gives %lld instead of %lld", (long long)n,
				    (long long)st.st_size);
	*ret_size = (uint64_t)st.st_size;
	/* what an earlier file left behind the end */
	if (p->live_used > *ret_size)
		memset(p->live + *ret_size, 0, p->live_used - *ret_size);
	p->live_used = *ret_size;
	return true;
}

static bool sector_is(const uint8_t *a, const uint8_t *b, size_t at)
{
	return memcmp(a + at, b + at, BOOK_SECTOR) == 0;
}

/* A transfer that broke off ends where the kernel says, in the middle of a sector too. */
static bool broke_off(const struct player *p, const uint8_t *old, size_t at)
{
	for (size_t i = at; i < at + BOOK_SECTOR; i++)
		if (p->live[i] != old[i] && p->live[i] != p->candidate.bytes[i])
			return false;
	return p->inject.kind == INJECT_BROKEN;
}

/* The operation failed: what is there is taken for what the book goes on with. */
static bool settle_failed(struct player *p, unsigned file, struct file *handle, int rc)
{
	struct book_file *f = &p->book->files[file];
	const struct book_file *c = &p->candidate;
	uint64_t size = 0;

	if (!player_read_live(p, handle, &size))
		return false;
	if (size != f->size && size != c->size)
		return player_wrong(p, "%s, and the size is %llu", strerror(-rc),
				    (unsigned long long)size);
	for (size_t at = 0; at < BOOK_BYTES; at += BOOK_SECTOR)
		if (!sector_is(p->live, f->bytes, at) && !sector_is(p->live, c->bytes, at) &&
		    at < size && !broke_off(p, f->bytes, at))
			return player_wrong(p, "%s, and at %zu is neither the old nor the new",
					    strerror(-rc), at);
	if (size == f->size && memcmp(p->live, f->bytes, size) == 0)
		return true;
	book_resize(f, 0);
	book_write(f, 0, size, p->live);
	book_keep(f);
	return true;
}

bool player_settle(struct player *p, unsigned file, const char *path, int64_t rc)
{
	struct book_file *f = &p->book->files[file], *c = &p->candidate;
	struct file *handle = player_file(p, file, path);
	bool good;

	if (!player_judge(p, rc))
		return false;
	(void)player_hits(p, -1);
	if (rc >= 0) {
		book_resize(f, c->size);
		memcpy(f->bytes, c->bytes, c->size);
		book_keep(f);
		return true;
	}
	if (!handle)
		return player_wrong(p, "the file has gone");
	player_quiet(p, true);
	good = settle_failed(p, file, handle, (int)rc);
	player_quiet(p, false);
	return good;
}

/* ---- steps ---- */

static bool write_step(struct player *p, const struct step *s, unsigned file, struct file *handle)
{
	bool append = strcmp(s->op, "append") == 0;
	uint64_t off = append ? p->book->files[file].size : s->n[0];
	uint64_t len = append ? s->n[0] : s->n[1];
	static uint8_t data[BOOK_BYTES];

	player_candidate(p, file);
	rng_fill(++p->fill, data, len);
	book_write(&p->candidate, off, len, data);
	return player_settle(p, file, s->a,
			     core_write(&p->b.core, handle, off, (uint32_t)len, data));
}

static bool read_step(struct player *p, const struct step *s, unsigned file, struct file *handle)
{
	const struct book_file *f = &p->book->files[file];
	uint64_t end = MIN(s->n[0] + s->n[1], f->size);
	int64_t want = end > s->n[0] ? (int64_t)(end - s->n[0]) : 0;
	int64_t n = core_read(&p->b.core, handle, s->n[0], (uint32_t)s->n[1], p->live);

	p->live_used = MAX(p->live_used, (uint64_t)MAX(n, 0));
	(void)player_hits(p, -1);
	if (n < 0)
		return player_judge(p, n);
	return (n == want && memcmp(p->live, f->bytes + s->n[0], (size_t)n) == 0) ||
	       player_wrong(p, "other bytes than were written, %lld of %lld", (long long)n,
			    (long long)want);
}

static bool truncate_step(struct player *p, const struct step *s, unsigned file,
			  struct file *handle)
{
	player_candidate(p, file);
	book_resize(&p->candidate, s->n[0]);
	return player_settle(p, file, s->a, core_truncate(&p->b.core, handle, s->n[0]));
}

static bool fallocate_step(struct player *p, const struct step *s, unsigned file,
			   struct file *handle)
{
	uint64_t off = s->n[0], len = s->n[1];
	bool zero = strncmp(s->op, "zero", 4) == 0, punch = strcmp(s->op, "punch") == 0;
	bool keep = punch || strstr(s->op, "-keep");
	int mode = (zero ? FALLOC_FL_ZERO_RANGE : 0) | (punch ? FALLOC_FL_PUNCH_HOLE : 0) |
		   (keep ? FALLOC_FL_KEEP_SIZE : 0);

	player_candidate(p, file);
	if (zero || punch)
		book_zero(&p->candidate, off, len);
	if (!keep && off + len > p->candidate.size)
		book_resize(&p->candidate, off + len);
	return player_settle(p, file, s->a,
			     core_fallocate(&p->b.core, handle, mode, off, len));
}

bool player_content_step(struct player *p, const struct step *s, bool *known)
{
	static const struct {
		const char *op;
		bool (*run)(struct player *p, const struct step *s, unsigned file,
			    struct file *handle);
	} steps[] = {
		{"write", write_step},		   {"append", write_step},
		{"read", read_step},		   {"truncate", truncate_step},
		{"allocate", fallocate_step},	   {"allocate-keep", fallocate_step},
		{"punch", fallocate_step},	   {"zero", fallocate_step},
		{"zero-keep", fallocate_step},
	};

	*known = true;
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !s->async; i++) {
		int file = book_find(p->book, s->a);

		if (strcmp(s->op, steps[i].op) != 0)
			continue;
		/* what is held may have lost its name */
		for (unsigned h = 0; h < PLAYER_HELD && file < 0; h++)
			if (p->held[h])
				file = (int)p->held_file[h];
		if (file < 0)
			return true;
		return steps[i].run(p, s, (unsigned)file,
				    player_file(p, (unsigned)file, s->a));
	}
	*known = false;
	return false;
}
