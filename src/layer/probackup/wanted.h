/*
 * layer/probackup/wanted.h: the files of the target that older lists are searched for, by the path
 * in the list.
 *
 * An older list has a line for nearly every file there was, so looking one up is what reading a
 * long chain costs: the table keeps what that needs close together. Lists of one chain have much the
 * same order, so most lines are found without it: it is made when so many have been looked for that it pays.
 */
#ifndef LAYER_PROBACKUP_WANTED_H
#define LAYER_PROBACKUP_WANTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum want {
	WANT_NOTHING,
	WANT_BLOCKS, /* pages of every older backup */
	WANT_WHOLE,  /* the newest older backup that stores the file */
};

struct wanted {
	const char *path; /* the caller's */
	uint32_t path_len;
	uint32_t item; /* the caller's number for it */
	uint32_t seen; /* 1 + number of the member whose list had it last; 0: none */
	enum want want;
};

struct wanted_table {
	struct wanted *items; /* in the order of adding */
	uint32_t count;
	bool sorted; /* true after wanted_init: the caller's to take back if they are not added in the order of their paths */
	uint32_t searched; /* so often without slots */
	uint64_t *slots; /* NULL: not made; 0: free; else upper half of the hash, 1 + number of the item */
	uint32_t mask;
};

/* An empty table with room for max items. wanted_free releases it, also after a failure. */
int wanted_init(struct wanted_table *table, uint32_t max);
/* The path must not be there yet, NUL-terminated; at most max. Not after wanted_find. */
void wanted_add(struct wanted_table *table, const char *path, uint32_t item, enum want want);
/* *ret is NULL if there is none. 0 or -ENOMEM. */
int wanted_find(struct wanted_table *table, const char *path, uint32_t len, struct wanted **ret);
void wanted_free(struct wanted_table *table);

#endif
