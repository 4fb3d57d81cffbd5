/*
 * layer/probackup/lists.h: what the older lists of a chain have given to its manifests, kept in a
 * file between mounts, so that the next mount need not read them.
 *
 * An older list has a line for nearly every file there was, and only those of files that it stores
 * something of count. The file holds these lines, as they were parsed. It is good for as long as the
 * lists are the same files: it knows their sizes, inode numbers and times, and the target's list by
 * its digest, because that one is always read.
 *
 *	<cache>/lists	"PGOLST02", key, u32 members, u32 records, u32 crc32c of all else; then for
 *			each older member, the newest first, the digest of its list and u32 lines;
 *			then their lines (lists.c), each member's by the number of the wanted
 */
#ifndef LAYER_PROBACKUP_LISTS_H
#define LAYER_PROBACKUP_LISTS_H

#include "base/util.h"
#include "layer/probackup/content.h"
#include "layer/probackup/stamp.h"
#include "layer/probackup/wanted.h"

#define LISTS_KEY    16u
#define LISTS_DIGEST 16u

/* Of heads or lines: chains of which more counts have nothing kept. */
#define LISTS_BYTES_MAX (UINT64_C(64) << 20)

struct probackup_chain;

struct lists {
	uint8_t key[LISTS_KEY];
	uint32_t members, records; /* older members */
	uint8_t *heads, *lines;	   /* members and records of them */
	uint32_t member_cap, record_cap;
	uint64_t lines_read; /* of all lists */
	uint8_t *bytes; /* of the file, if heads and lines lie in it */
	bool failed; /* out of memory, or too much: nothing is kept */
};

/* What there is to go by before the older lists are read. */
struct lists_found {
	uint8_t *bytes; /* of the file, malloc'ed; NULL: there is none */
	size_t len;
	struct stamp *stamps; /* of the older lists as they are now; NULL: one cannot be had */
};

/* Looks. The chain's members need not be open. Blocks; any thread. */
void lists_look(const struct probackup_chain *chain, const char *cache, struct lists_found *ret);
void lists_found_free(struct lists_found *found);
#define _cleanup_lists_found_ _cleanup_(lists_found_free)

/*
 * The key of a chain whose lists have these stamps. False: there is none, because one of them is missing, or
 * memory.
 * table: what the target wants, as this program makes it of that list: lines refer to it by number.
 */
bool lists_key(const struct probackup_chain *chain, const struct stamp *stamps, bool external,
	       const uint8_t target_digest[LISTS_DIGEST], const struct wanted_table *table,
	       uint8_t ret[LISTS_KEY]);

/* ---- writing ---- */

/* Begins the next older member; its lines follow. */
void lists_add_member(struct lists *lists);
void lists_add_line(struct lists *lists, uint32_t wanted, const struct content_line *line);
/* Its lines are in the order of their numbers now. lines: of its list, counted or not. */
void lists_end_member(struct lists *lists, const uint8_t digest[LISTS_DIGEST], uint64_t lines);

/* The bytes of the file, the caller's to free; NULL: out of memory. Pure. */
uint8_t *lists_bytes(const struct lists *lists, size_t *ret_len);
/* Does it save anything to keep so many of all lines? Half as many take as long to read. */
bool lists_pay(uint64_t records, uint64_t lines);
/* Writes the file, if that saves anything. Best effort: without it the next mount takes longer. */
void lists_save(const struct lists *lists, const char *cache);

/* ---- reading ---- */

/*
 * Takes the bytes of a file over, which are malloc'ed; of whatever key. table: what the target's list wants; its marks
 * `seen` are used. False: it is not whole, or does not fit; lists_free all the same. Pure.
 */
bool lists_parse(struct lists *lists, uint8_t *bytes, size_t len, uint32_t members,
		 const struct wanted_table *table);

uint32_t lists_member_lines(const struct lists *lists, uint32_t member, const uint8_t **ret_digest);
/* The line of that number, and which of the wanted it is of; the path is the caller's to fill. */
uint32_t lists_line(const struct lists *lists, uint32_t number, struct content_line *ret);

void lists_free(struct lists *lists);
#define _cleanup_lists_ _cleanup_(lists_free)

#endif
