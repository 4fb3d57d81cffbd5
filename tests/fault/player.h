/*
 * tests/fault/player.h: plays a script of operations on a chain and a diff, keeps the book, and
 * judges every answer.
 *
 * A script is steps separated by ';': a word and its arguments, numbers of bytes as "100", "2b" or
 * "2b+100" (b: blocks). A step that has nothing to work on, because an earlier one failed, is
 * passed over.
 *
 *	open  close  kill				the diff; kill leaves it as a crash would
 *	create F  mkdir D  symlink F  unlink F  rmdir D  link F G  rename F G  exchange F G
 *	chmod F  hold F  release F  list D
 *	write F off len  append F len  read F off len  truncate F size
 *	allocate|allocate-keep|punch|zero|zero-keep F off len	fallocate(2)
 *	fsync F  fsyncdir  syncall
 *	&write F off len  &read F off len  &fsync F  wait	several in flight
 *	storm n						n long names made and removed
 */
#ifndef FAULT_PLAYER_H
#define FAULT_PLAYER_H

#include "backend_core.h"
#include "book.h"
#include "inject.h"

#define PLAYER_PENDING 16u
#define PLAYER_HELD    4u
#define STORM_PREFIX   "s~"

struct script {
	const char *name;
	const char *setup; /* nothing goes wrong in it; NULL: none */
	const char *steps;
	bool fresh; /* there is no diff yet; else one without any change */
	uint64_t journal_limit, reserve, index_memory;
	unsigned slots; /* 0: 16 */
};

struct pending {
	enum { PENDING_NONE, PENDING_WRITE, PENDING_READ, PENDING_SYNC } kind;
	union {
		struct overlay_write write;
		struct overlay_read read;
		struct overlay_sync sync;
	} u;
	unsigned file;
	unsigned version, tree; /* SYNC: what it covers */
	bool was_failed;	/* SYNC: so it has to fail */
	bool done;
	int64_t result;
	uint8_t *buf; /* BOOK_BYTES */
};

struct player {
	struct backend_core b;
	const struct script *script;
	const char *diff_path;
	struct layer_chain *chain;
	enum io_kind engine;
	struct inject inject;
	bool armed; /* things go wrong */
	bool open;
	bool left; /* there was a mount before, which may not have come to write all */
	struct book *book;
	uint64_t ids[BOOK_FILES];
	struct file *held[PLAYER_HELD]; /* and which file of the book it is */
	unsigned held_file[PLAYER_HELD];
	struct pending pending[PLAYER_PENDING];
	struct book_file candidate; /* a file as it will be if the operation succeeds */
	uint8_t *live;		    /* BOOK_BYTES: what was read back */
	uint64_t live_size;
	uint64_t live_used; /* behind it, live is zeros */
	unsigned hits_known, hits_before; /* the latter: when the step began */
	uint64_t fill; /* seed of the next bytes written */
	char step[120];
	char why[400]; /* what was wrong first; empty: nothing */
};

struct step {
	bool async;
	char op[16], a[32], b[32];
	uint64_t n[2];
};

void player_init(struct player *p, struct layer_chain *chain, const char *diff_path);
void player_free(struct player *p);
/* Plays the steps. False: something was wrong. */
bool player_play(struct player *p, const char *steps);
/* Compares names and content with the book, and closes what is open. */
bool player_end(struct player *p);
/* Opens the diff, in which nothing goes wrong any more, and looks for what was acknowledged. */
bool player_reopen(struct player *p);

/* ---- between the files of the player ---- */

bool player_wrong(struct player *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The answer of an operation: 0 or a permitted error. */
bool player_judge(struct player *p, int64_t rc);
/* Takes notice of what has gone wrong since the last time. */
struct synced {
	bool journal, data, dir; /* a failed one of: the journal, the file's data, its directory */
};
struct synced player_hits(struct player *p, int file);
void player_quiet(struct player *p, bool quiet); /* with it, nothing is in flight and goes wrong */
bool player_name_step(struct player *p, const struct step *s, bool *known);
bool player_content_step(struct player *p, const struct step *s, bool *known);
bool player_sync_step(struct player *p, const struct step *s, bool *known);
bool player_open(struct player *p);
void player_close(struct player *p);
struct file *player_file(struct player *p, unsigned file, const char *path); /* NULL: not there */
/* Reads the whole file into p->live. */
bool player_read_live(struct player *p, struct file *file, uint64_t *ret_size);
bool player_live_tree(struct player *p, struct book_tree *ret);
bool player_check_live(struct player *p);
/* After an open: looks for what was acknowledged, and goes on with what is there. */
bool player_adopt(struct player *p);
/* The operation has ended: the file is p->candidate, or as before, or something in between. */
bool player_settle(struct player *p, unsigned file, const char *path, int64_t rc);
void player_candidate(struct player *p, unsigned file);

#endif
