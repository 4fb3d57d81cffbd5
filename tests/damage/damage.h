/*
 * tests/damage/damage.h: random damages to small stores, and what readers make of them.
 *
 * A store is made, one of its files is damaged, every reader is run on it, the file is made good
 * again. Who reads stores in another way adds a reader to the table in damage_main.c.
 */
#ifndef TESTS_DAMAGE_H
#define TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the damaged bytes belong to. */
enum damage_kind {
	DAMAGE_CONTROL, /* backup.control: no sum covers it */
	DAMAGE_LIST,	/* backup_content.control */
	DAMAGE_MAP,	/* page_header_map */
	DAMAGE_PAGES,	/* a data file */
	DAMAGE_PLAIN,
	DAMAGE_KIND_MAX_
};

/* A file of the store. */
struct damage_file {
	char *path; /* relative to the store */
	enum damage_kind kind;
	uint8_t *bytes; /* as they were made */
	size_t len;
};

/* A file of a backup, as a restore would write it. */
struct damage_content {
	char *path; /* relative to the data directory */
	uint32_t mode;
	bool is_relation;
	uint8_t *bytes;
	size_t len;
};

struct damage_backup {
	const char *id;
	char chain[64]; /* ids, oldest first */
	struct damage_content *contents;
	size_t count;
};

#define DAMAGE_BACKUPS 3

struct damage_store {
	const char *name, *path;
	bool page_checksums;
	struct damage_file *files;
	size_t count;
	struct damage_backup backups[DAMAGE_BACKUPS];
};

/* One damage, while it is there. */
struct damage_case {
	const struct damage_store *store;
	const struct damage_file *file;
	const struct damage_backup *backup; /* the one to read */
	const char *what;		    /* "bit 3 of byte 17 flipped" */
};

enum damage_result {
	DAMAGE_REFUSED, /* the backup was not opened */
	DAMAGE_FOUND,	/* something in it could not be read; all the rest was right */
	DAMAGE_UNSEEN,	/* all that a restore would write was right */
	DAMAGE_OTHER,	/* backup.control now describes another chain */
	DAMAGE_BEYOND,	/* wrong bytes that the sums cannot tell from right ones */
	DAMAGE_WRONG,	/* wrong bytes, or names: a failure */
	DAMAGE_RESULT_MAX_
};

struct damage_reader {
	const char *name;
	/* why: 512 bytes for a line about DAMAGE_WRONG. */
	enum damage_result (*read)(const struct damage_case *c, char *why);
};

/* damage_store.c: makes number 0 .. damage_store_kinds()-1 at path (an empty directory) and reads
 * what is in it. */
unsigned damage_store_kinds(void);
struct damage_store *damage_store_new(unsigned number, const char *path, uint64_t seed);
void damage_store_free(struct damage_store *store);

/* damage_mount.c: what a mount would serve. */
enum damage_result damage_read_mount(const struct damage_case *c, char *why);
/* damage_verify.c: what `verify` finds; DAMAGE_WRONG: a byte that a restore would write is wrong, and it found nothing. */
enum damage_result damage_read_verify(const struct damage_case *c, char *why);
/* The contents of an undamaged backup. */
void damage_read_contents(const char *store, struct damage_backup *backup);

#endif
