/*
 * diff/record.h: the records of journal and state, their encoding and decoding.
 *
 * The state file and the journal hold the same records: the state is a list of records that
 * rebuilds everything from the bare chain, the journal goes on from there. Decoding is a pure
 * function on bytes; it accepts nothing that encoding would not have written.
 *
 * Ids: the root is DIFF_ID_ROOT; a file of the chain has DIFF_ID_BASE set and a hash of its path
 * below that; a file made in the diff has a number counted upwards, never used twice.
 */
#ifndef DIFF_RECORD_H
#define DIFF_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define DIFF_ID_ROOT	1u
#define DIFF_ID_FIRST	16u /* the first id given to a new file */
#define DIFF_ID_BASE	(UINT64_C(1) << 63)
#define DIFF_NAME_MAX	255
#define DIFF_TARGET_MAX 4095

enum diff_record_type {
	DIFF_RECORD_INODE =
		1, /* a new file, directory, symbolic link, fifo or socket; it has no name yet */
	DIFF_RECORD_ATTR,    /* mode, owner and times of id */
	DIFF_RECORD_LINK,    /* dir/name is a new name of id */
	DIFF_RECORD_UNLINK,  /* dir/name is gone (files and empty directories alike) */
	DIFF_RECORD_RENAME,  /* dir/name becomes dir2/name2, replacing it; or both change places */
	DIFF_RECORD_SIZE,    /* size, base_limit; blocks at or above the size become absent */
	DIFF_RECORD_BLOCKS,  /* block states of id changed: size, base_limit and runs */
	DIFF_RECORD_NEXT_ID, /* state only: no id at or above this was ever used */
	DIFF_RECORD_MAX_
};

enum block_state { BLOCK_ABSENT = 0, BLOCK_DATA = 1, BLOCK_ZERO = 2 };

struct diff_run {
	uint32_t first, count; /* blocks */
	enum block_state state;
};

struct diff_attr {
	uint32_t mode, uid, gid;     /* mode with type bits */
	int64_t atime, mtime, ctime; /* nanoseconds since 1970 */
};

#define DIFF_RENAME_EXCHANGE 1u

/*
 * Which fields count follows from the type. Strings and runs of a decoded record point into the
 * decoded bytes or `runs`.
 */
struct diff_record {
	enum diff_record_type type;
	uint64_t id;
	uint64_t dir, dir2;
	const char *name, *name2; /* not NUL-terminated after decoding: name_len, name2_len */
	uint32_t name_len, name2_len;
	uint32_t flags;
	struct diff_attr attr;
	const char *target; /* INODE of a symbolic link */
	uint32_t target_len;
	uint64_t size;
	uint32_t base_limit; /* blocks */
	const struct diff_run *runs;
	uint32_t run_count;
};

/* A growing byte buffer. Zero-initialise; buffer_free when done. */
struct diff_buffer {
	uint8_t *data;
	size_t len, cap;
};

void diff_buffer_free(struct diff_buffer *buffer);

size_t diff_record_encoded_size(const struct diff_record *record);
/* Appends; -ENOMEM leaves the buffer as it was. */
int diff_record_encode(struct diff_buffer *buffer, const struct diff_record *record);

/*
 * Decodes the record at data. Returns its encoded size, or -EUCLEAN. *runs is a malloc'ed array
 * that is grown and reused between calls (start with NULL and 0, free at the end).
 */
int64_t diff_record_decode(const uint8_t *data, size_t len, struct diff_record *ret,
			   struct diff_run **runs, uint32_t *runs_cap);
/* The same without the runs, which may be wrong: its encoded size, or -EUCLEAN. */
int64_t diff_record_peek(const uint8_t *data, size_t len, struct diff_record *ret);
/* Of an encoded SIZE or BLOCKS record. */
void diff_record_put_size(uint8_t *data, uint64_t size);

#endif
