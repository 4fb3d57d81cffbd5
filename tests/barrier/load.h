/*
 * tests/barrier/load.h: 64 requests in flight on a few files, and what must be answered.
 *
 * load.c keeps the requests and the files, load_pick.c chooses the next request, load_answer.c
 * judges the answers.
 */
#ifndef BARRIER_LOAD_H
#define BARRIER_LOAD_H

#include "content.h"
#include "power.h"
#include "rng.h"
#include "wire.h"

#define IN_FLIGHT  64u
#define FILES_MAX  12u
#define WRITES_MAX 62u /* of 64 receive buffers, one must be left for the next request */

enum kind {
	KIND_READ,
	KIND_WRITE,
	KIND_GETATTR,
	KIND_CHMOD,
	KIND_TRUNCATE,
	KIND_FALLOCATE,
	KIND_FSYNC,
	KIND_LOOKUP,
	KIND_OPEN,
	KIND_RELEASE,
	KIND_CREATE,
	KIND_RENAME,
	KIND_UNLINK,
	KIND_MAX_
};

/* A file is used, then closed, forgotten and looked up again; or made anew when it has no name
 * left.
 */
enum file_state { FILE_READY, FILE_DRAINS, FILE_TO_FIND, FILE_TO_OPEN, FILE_TO_MAKE, FILE_WAITS };

struct load_file {
	enum file_state state;
	uint64_t dir, ino, handle;
	char name[24]; /* "": none any more */
	bool fixed;    /* keeps its name */
	unsigned handles, in_flight;
	uint64_t lookups;
	struct content *content;
};

struct load_request {
	bool used, named, ranged;
	enum kind kind;
	uint64_t unique;
	struct load_file *file;
	uint32_t from, count; /* ranged */
	struct view *view;
};

struct load_stats {
	uint64_t kinds[KIND_MAX_], forgets, ranged, overlapping, reads_of_later, in_flight_sum,
		rounds;
};

struct load {
	struct rng rng;
	struct wire wire;
	struct power *power; /* NULL: no power cuts */
	uint64_t power_every;
	struct load_file files[FILES_MAX];
	unsigned file_count;
	struct load_request requests[IN_FLIGHT];
	unsigned in_flight, writes, finding, naming; /* naming: changes of names */
	uint64_t ops, names_made, salt;
	struct overlay_sync timer;
	bool timer_runs;
	struct load_stats stats;
	bool failed;
	char why[400];
	uint8_t *data;
};

/* The first failure is kept. */
void load_fail(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* load.c */
struct load_request *load_begin(struct load *l, enum kind kind, struct load_file *f);
void load_end(struct load *l, struct load_request *r);
void load_send(struct load *l, const struct load_request *r, enum fuse_opcode opcode,
	       uint64_t nodeid, struct wire_part body, struct wire_part more);
void load_forget(struct load *l, struct load_file *f, uint64_t lookups);
void load_find(struct load *l, struct load_file *f);

/* Adds a file: of the chain (base), or one to be made. */
void load_add(struct load *l, uint64_t dir, const char *name, const uint8_t *base, uint32_t size);
/* ops requests, then reads everything back. */
void load_run(struct load *l, uint64_t ops);
/* Answers all that is in flight. */
void load_drain(struct load *l);
/* Releases and forgets everything. */
void load_close(struct load *l);
void load_free(struct load *l);

/* load_pick.c: sends one request if there is one to send. */
bool load_next(struct load *l);

/* load_answer.c */
void load_answer(void *ctx, uint64_t unique, int error, const void *data, size_t len);
const char *kind_name(enum kind kind);

#endif
