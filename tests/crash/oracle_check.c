/*
 * tests/crash/oracle_check.c: is what a recovery showed one of the allowed things? See oracle.h.
 */
#include "oracle.h"

#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 8192u

/* Which versions may be seen of one file, or of the names. */
struct bounds {
	unsigned first, last;
};

static const struct oracle_file *file_in(const struct oracle_version *v, uint64_t id)
{
	for (unsigned i = 0; i < v->file_count; i++)
		if (v->files[i].id == id)
			return &v->files[i];
	return NULL;
}

/* id 0: names, which every fsync covers */
static struct bounds bounds_of(const struct oracle *o, size_t at, uint64_t id)
{
	struct bounds b = {0};

	for (unsigned i = 0; i < o->ack_count; i++) {
		const struct oracle_ack *a = &o->acks[i];

		if (a->from <= at && (id == 0 || a->all || a->id == id))
			b.first = MAX(b.first, a->version);
	}
	for (unsigned v = 0; v < o->count; v++)
		if (o->versions[v].from <= at)
			b.last = v;
	while (id != 0 && b.first < b.last && !file_in(&o->versions[b.first], id))
		b.first++;
	return b;
}

static bool same_names(const struct oracle_version *v, const struct found *f)
{
	if (v->name_count != f->file_count)
		return false;
	for (unsigned i = 0; i < v->name_count; i++) {
		bool match = false;

		for (unsigned j = 0; j < f->file_count && !match; j++)
			match = v->names[i].id == f->files[j].id &&
				strcmp(v->names[i].name, f->files[j].name) == 0;
		if (!match)
			return false;
	}
	return true;
}

static bool check_names(const struct oracle *o, size_t at, const struct found *f, char *why,
			size_t size)
{
	struct bounds b = bounds_of(o, at, 0);
	size_t n;

	for (unsigned v = b.first; v <= b.last; v++)
		if (same_names(&o->versions[v], f))
			return true;
	n = (size_t)snprintf(why, size,
			     "names are those of no version from %u ('%s') to %u ('%s'):", b.first,
			     o->versions[b.first].what, b.last, o->versions[b.last].what);
	for (unsigned i = 0; i < f->file_count && n < size; i++)
		n += (size_t)snprintf(why + n, size - n, " %s=%" PRIx64, f->files[i].name,
				      f->files[i].id);
	return false;
}

/* The least size that truncations after epoch `from` up to `to` have cut the file to. */
static uint64_t cut_between(const struct oracle *o, uint64_t id, unsigned from, unsigned to)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < o->cut_count; i++)
		if (o->cuts[i].id == id && o->cuts[i].epoch > from && o->cuts[i].epoch <= to)
			least = MIN(least, o->cuts[i].size);
	return least;
}

/* May the sector be what version v has there, when truncations up to epoch are seen? */
static bool sector_from(const struct oracle *o, const struct oracle_file *v,
			const struct found_file *f, unsigned s, unsigned epoch)
{
	uint64_t start = (uint64_t)s * ORACLE_SECTOR, cut = cut_between(o, f->id, v->epoch, epoch);
	size_t len = MIN(f->size - start, ORACLE_SECTOR);
	uint8_t want[ORACLE_SECTOR];

	/* a block is written whole: what lies behind the end in it arrives, too */
	if (start >= cut || start >= (v->size + BLOCK - 1) / BLOCK * BLOCK ||
	    (start >= v->size && v->bytes->implied[s]))
		return false;
	if (v->bytes->implied[s] && v->epoch > epoch)
		return false;
	memcpy(want, v->bytes->data + start, len);
	if (cut < start + len)
		memset(want + (cut - start), 0, len - (cut - start));
	return memcmp(want, f->bytes + start, len) == 0;
}

/* Whether all of the file fits when truncations up to epoch are seen; else the sector that does
 * not. */
static bool fits(const struct oracle *o, struct bounds b, const struct found_file *f,
		 unsigned epoch, unsigned *ret_sector)
{
	bool size_known = false;

	*ret_sector = 0;
	for (unsigned v = b.first; v <= b.last; v++) {
		const struct oracle_file *file = file_in(&o->versions[v], f->id);

		size_known |= file && file->epoch == epoch && file->size == f->size;
	}
	if (!size_known)
		return false;
	for (unsigned s = 0; (uint64_t)s * ORACLE_SECTOR < f->size; s++) {
		bool match = false;

		for (unsigned v = b.first; v <= b.last && !match; v++) {
			const struct oracle_file *file = file_in(&o->versions[v], f->id);

			match = file && sector_from(o, file, f, s, epoch);
		}
		*ret_sector = s;
		if (!match)
			return false;
	}
	return true;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	while (len-- > 0)
		if (*p++)
			return false;
	return true;
}

static void explain(const struct oracle *o, struct bounds b, const struct found_file *f,
		    unsigned sector, char *why, size_t size)
{
	uint64_t start = (uint64_t)sector * ORACLE_SECTOR;
	const char *what = "foreign bytes";

	if (f->size > start && is_zero(f->bytes + start, MIN(f->size - start, ORACLE_SECTOR)))
		what = "zeros";
	for (unsigned v = 0; v < o->count; v++) {
		const struct oracle_file *file = file_in(&o->versions[v], f->id);

		if (file && start < file->size && !is_zero(file->bytes->data + start, 16) &&
		    memcmp(f->bytes + start, file->bytes->data + start,
			   MIN(f->size - start, ORACLE_SECTOR)) == 0)
			what = o->versions[v].what[0] ? o->versions[v].what : "the first version";
	}
	(void)snprintf(why, size,
		       "file '%s' %" PRIx64 ", size %" PRIu64
		       ": block %u sector %u has the bytes of: %s; allowed are versions %u ('%s') "
		       "to %u ('%s')",
		       f->name, f->id, f->size, sector / 16, sector % 16, what, b.first,
		       o->versions[b.first].what, b.last, o->versions[b.last].what);
}

static bool check_file(const struct oracle *o, size_t at, const struct found_file *f, char *why,
		       size_t size)
{
	struct bounds b = bounds_of(o, at, f->id);
	unsigned sector = 0, worst = 0, low = UINT32_MAX, high = 0;
	size_t n = 0;

	for (unsigned v = b.first; v <= b.last; v++) {
		const struct oracle_file *file = file_in(&o->versions[v], f->id);

		if (!file)
			continue;
		low = MIN(low, file->epoch);
		high = MAX(high, file->epoch);
	}
	for (unsigned epoch = low; epoch <= high; epoch++) {
		if (fits(o, b, f, epoch, &sector))
			return true;
		n += (size_t)snprintf(why + n, size - n, "[%u truncations: sector %u] ", epoch,
				      sector);
		worst = MAX(worst, sector);
	}
	explain(o, b, f, worst, why + n, size - n);
	return false;
}

bool oracle_check(const struct oracle *o, size_t at, const struct found *f, char *why, size_t size)
{
	if (f->rc < 0 || f->damaged) {
		(void)snprintf(why, size, "%s%s", f->rc < 0 ? "recovery fails: " : "", f->text);
		return false;
	}
	if (!check_names(o, at, f, why, size))
		return false;
	for (unsigned i = 0; i < f->file_count; i++)
		if (!check_file(o, at, &f->files[i], why, size))
			return false;
	return true;
}
