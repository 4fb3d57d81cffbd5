/*
 * tests/tools/ledger.h: what the parts of the ledger share: the entries, and the model that they
 * build: what each file may look like after a power cut.
 *
 * A directory of files for each thread; nobody else writes there. A file (an object: what one
 * creation made) is made of sectors of 512 bytes, each filled with bytes that follow from thread,
 * object, sector and version, so that every sector says what it is. Beside them there is one stream
 * a thread: a file that grows by any number of bytes, whose bytes follow from their offset; and
 * files that came from the backup, whose sectors are the backup's until they are written.
 *
 * Before each call an entry says what is going to happen, after each fsync one says that it has
 * returned 0. What lies between two of these may have happened or not; sectors in any mixture, sizes
 * and names in order.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SECTOR 512u
#define SECTORS_MAX                                                                                \
	640u /* of a file; what comes from the backup may be longer, its end is left alone */
#define THREADS_MAX  8u
#define NAMES	     10u
#define NAME_TEMP    6u /* is renamed over one below it */
#define NAME_STREAM  7u
#define NAME_CHAIN   8u /* this one and those above came from the backup */
#define VERSION_HOLE 0u /* zeros that nobody wrote */
#define VERSION_BASE 1u /* as the backup has it */
#define STREAM_MAX   200000u

enum entry_kind {
	ENTRY_WRITE = 1, /* object, first, count, version: sectors */
	ENTRY_APPEND,	 /* object, size: the stream's new one */
	ENTRY_TRUNCATE,	 /* object, size */
	ENTRY_CREATE,	 /* name, object */
	ENTRY_RENAME,	 /* name, first: the name it gets */
	ENTRY_UNLINK,	 /* name */
	ENTRY_SYNCED,	 /* object: its fsync has returned 0 */
	ENTRY_DIR_SYNCED,
	/* what a check has found, and with which the next ledger begins */
	ENTRY_FOUND_THREAD, /* object: the next one; version: the next one */
	ENTRY_FOUND_NAME,   /* name, object, size */
	ENTRY_FOUND_RUN,    /* object, first, count, version */
};

struct entry {
	uint8_t kind, thread, name, unused;
	uint32_t object, first, count, version, unused2;
	uint64_t size;
	uint64_t when; /* recorder_now; 0 in what was found */
};

struct change { /* of an object, since its last fsync */
	enum entry_kind kind;
	uint32_t first, count, version;
	uint64_t size; /* after it */
};

struct object {
	uint32_t id;
	uint8_t thread, name; /* the first one it had: says which kind it is */
	uint32_t linked;      /* how many of the thread's name changes made its name */
	uint64_t size, synced_size;
	uint32_t *synced; /* versions of SECTORS_MAX sectors */
	struct change *changes;
	uint32_t count, cap;
	uint8_t *base; /* what the backup has; NULL: nothing */
	size_t base_len;
};

struct name_change {
	uint8_t name[2]; /* the second one NAMES: none */
	uint32_t object[2];
};

struct owner { /* a thread */
	uint8_t index;
	uint32_t next_object, next_version;
	uint32_t names[NAMES], synced_names[NAMES]; /* objects, 0: none */
	struct name_change *changes;		    /* of names, since the first one not durable */
	uint32_t count, cap, durable;		    /* durable: so many of them certainly are */
	struct object **objects;
	uint32_t object_count, object_cap;
	uint64_t acknowledged;
};

/* Both end the program when there is no memory. */
void owner_init(struct owner *o, unsigned index);
/* What the entry says has happened to the model. False: it makes no sense. */
bool owner_apply(struct owner *o, const struct entry *e);
struct object *owner_object(const struct owner *o, uint32_t id); /* NULL for 0 */
/* Names after so many changes of those that are not known to be durable. */
void owner_names_after(const struct owner *o, uint32_t changes, uint32_t ret_names[NAMES]);

/* The backup's content of chain files, from a directory with files "<thread>.<name>". */
bool owner_load_base(struct owner *o, const char *dir);
bool object_is_stream(const struct object *ob);

void sector_fill(const struct object *ob, uint32_t sector, uint32_t version, void *buf);
/* The object and version that a sector says it is of; false if it is none of ours. */
bool sector_parse(const void *buf, uint32_t *ret_object, uint32_t *ret_version);
void stream_fill(const struct object *ob, uint64_t off, void *buf, size_t len);

/*
 * Compares an open file with what its object may be, size and every sector. NULL if it is that, else
 * what is wrong. Found versions of its sectors go to ret_found (SECTORS_MAX).
 */
const char *object_check(const struct object *ob, int fd, uint64_t size, uint32_t *ret_found);

struct run { /* of the writer */
	const char *dir;
	int ledger;
	uint64_t seed;
	unsigned threads;
	uint64_t ops; /* a thread; 0: until something fails */
};
/* Returns when all threads have ended; the first error in *ret_error, what failed in ret_what. */
uint64_t ledger_write(const struct run *run, struct owner *owners, int *ret_error,
		      char ret_what[128]);

/* Entries from before that moment; false, with a message, if it is no ledger. */
bool ledger_read(const char *path, uint64_t until, struct owner *owners, unsigned *ret_threads);
/*
 * Everything acknowledged is in DIR/t<thread>, nothing is torn or out of order; else false, with a line that
 * begins with LOST. What was found goes to out, as the beginning of a ledger.
 */
bool ledger_check(struct owner *o, const char *dir, FILE *out);
void ledger_put_thread(FILE *out, const struct owner *o);
void ledger_put_object(FILE *out, const struct object *ob, unsigned name, uint64_t size,
		       const uint32_t *versions);

extern const char *const ledger_names[NAMES];

void *must_alloc(void *old, size_t size);

#endif
