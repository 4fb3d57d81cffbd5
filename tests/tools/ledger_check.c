/*
 * tests/tools/ledger_check.c: a file as it was found, against what it may be.
 */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local char complaint[256];

/* A write that makes the file longer may have reached it in part. */
static bool size_after(const struct object *ob, uint32_t changes, uint64_t size)
{
	const struct change *c;
	uint64_t before;

	if (changes == 0)
		return size == ob->synced_size;
	c = &ob->changes[changes - 1];
	before = changes == 1 ? ob->synced_size : ob->changes[changes - 2].size;
	if (c->kind != ENTRY_TRUNCATE && c->size > before)
		return size > before && size <= c->size;
	return size == c->size;
}

/*
 * The sector may be as it was when it was last made durable, or as any change since then left it. A
 * truncation that has certainly happened (among the first `certain` changes) leaves nothing older.
 */
static bool sector_may_be(const struct object *ob, uint32_t s, uint32_t certain, uint32_t version)
{
	uint32_t from = 0;
	bool may = ob->synced[s] == version;

	for (uint32_t i = 0; i < ob->count; i++) {
		const struct change *c = &ob->changes[i];

		if (c->kind == ENTRY_TRUNCATE && c->size <= (uint64_t)s * SECTOR) {
			if (i < certain)
				from = i + 1;
			may = (i >= from && may) || version == VERSION_HOLE;
		} else if (c->kind == ENTRY_WRITE && s >= c->first && s < c->first + c->count) {
			may |= version == c->version;
		}
	}
	return may;
}

/* False if the sector is nothing that was ever there. */
static bool sector_version(const struct object *ob, uint32_t s, const uint8_t *buf, uint32_t *ret)
{
	uint8_t wanted[SECTOR];
	uint32_t id;

	if (sector_parse(buf, &id, ret) && *ret > VERSION_BASE && id == ob->id) {
		sector_fill(ob, s, *ret, wanted);
		return memcmp(wanted, buf, SECTOR) == 0;
	}
	memset(wanted, 0, SECTOR);
	if (memcmp(wanted, buf, SECTOR) == 0) {
		*ret = VERSION_HOLE;
		return true;
	}
	*ret = VERSION_BASE;
	return ob->base != NULL && (size_t)(s + 1) * SECTOR <= ob->base_len &&
	       memcmp(ob->base + (size_t)s * SECTOR, buf, SECTOR) == 0;
}

static const char *check_stream(const struct object *ob, const uint8_t *buf, uint64_t size)
{
	uint8_t *wanted = must_alloc(NULL, size + 1);
	uint64_t i = 0;

	stream_fill(ob, 0, wanted, size);
	while (i < size && buf[i] == wanted[i])
		i++;
	free(wanted);
	if (i == size)
		return NULL;
	(void)snprintf(complaint, sizeof(complaint),
		       "byte %llu of %llu is wrong (%llu are acknowledged)", (unsigned long long)i,
		       (unsigned long long)size, (unsigned long long)ob->synced_size);
	return complaint;
}

static const char *check_sectors(const struct object *ob, const uint8_t *buf, uint64_t size,
				 uint32_t certain, uint32_t *ret_found)
{
	for (uint32_t s = 0; s < size / SECTOR; s++) {
		uint32_t version = 0;

		if (!sector_version(ob, s, buf + (size_t)s * SECTOR, &version)) {
			(void)snprintf(complaint, sizeof(complaint),
				       "sector %u is none of its own (of version %u?)", s, version);
			return complaint;
		}
		if (!sector_may_be(ob, s, certain, version)) {
			(void)snprintf(complaint, sizeof(complaint),
				       "sector %u has version %u, acknowledged is %u", s, version,
				       ob->synced[s]);
			return complaint;
		}
		ret_found[s] = version;
	}
	return NULL;
}

const char *object_check(const struct object *ob, int fd, uint64_t size, uint32_t *ret_found)
{
	uint64_t max = object_is_stream(ob) ? 2 * STREAM_MAX : (uint64_t)SECTORS_MAX * SECTOR;
	const char *what = NULL;
	uint32_t certain = 0;
	uint8_t *buf;

	while (certain <= ob->count && !size_after(ob, certain, size))
		certain++;
	if (certain > ob->count || size > max) {
		(void)snprintf(complaint, sizeof(complaint),
			       "it has %llu bytes, acknowledged are %llu", (unsigned long long)size,
			       (unsigned long long)ob->synced_size);
		return complaint;
	}
	memset(ret_found, 0, SECTORS_MAX * sizeof(*ret_found));
	buf = must_alloc(NULL, size + 1);
	if (pread(fd, buf, size + 1, 0) != (ssize_t)size)
		what = "it cannot be read as far as its size";
	else if (object_is_stream(ob))
		what = check_stream(ob, buf, size);
	else
		what = check_sectors(ob, buf, size, certain, ret_found);
	free(buf);
	return what;
}
