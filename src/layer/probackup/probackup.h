/*
 * layer/probackup/probackup.h: what the files of this driver share. The way of opening a chain:
 *
 *	driver.c   finds instance and target, asks catalog.c for the members
 *	chain.c    has them locked and their lists loaded, sums up
 *	chain_lock.c  locks them (lock.c), those of a long chain on a thread
 *	load.c     merges the lists (content.c) into manifests, newest backup first
 *	content_ahead.c reads them meanwhile
 *	older.c    those below the target's, or what is kept of them (lists.c)
 *	manifest.c the arrays of a layer
 *	present.c  what the mount shows differently from the list: tablespaces, postgresql.auto.conf
 *	locate.c   the layer's operations, on headers.c
 *	verify.c   a whole stored file against all that is known of it
 *	extras.c   what only a restore wants to know
 */
#ifndef LAYER_PROBACKUP_PROBACKUP_H
#define LAYER_PROBACKUP_PROBACKUP_H

#include "base/arena.h"
#include "layer/layer.h"
#include "layer/probackup/blobs.h"
#include "layer/probackup/catalog.h"
#include "layer/probackup/content.h"
#include "layer/probackup/content_ahead.h"
#include "layer/probackup/headers.h"
#include "layer/probackup/lists.h"
#include "layer/probackup/lock.h"
#include "layer/probackup/wanted.h"

#define PROBACKUP_HIDDEN_DIR ".pgoverlay" /* what the mount adds lies in it */

/* A file of which a backup stores something. */
struct probackup_file {
	const char *name; /* relative to the backup's directory: "database/..." */
	struct headers_info info;
	uint32_t limit; /* blocks at or above it do not count: those of the target have its n_blocks
			 */
	uint32_t segno; /* of its relation */
	uint8_t codec;	/* enum codec, of the pages */
	bool scanned;	/* said once that the header map is not used; atomic */
};

struct probackup_layer {
	struct layer base;
	struct probackup_file *files; /* by layer_entry.file */
	uint32_t file_count;
	int map_fd; /* page_header_map, -1 if missing */
	uint64_t map_size;
	bool locked;
	int lock_problem; /* errno, if there is no lock because the store cannot be written */
	struct probackup_control control;
};

struct probackup_chain {
	struct layer_chain base;
	struct arena *arena;		 /* all strings */
	struct probackup_layer *members; /* oldest first; base.layers points to them */
	pid_t lock_pid;
	bool force, external, has_external; /* options, and what is in the target's list */
	bool settled;
	int instance_dirfd;		    /* until it is settled, else -1 */
	struct chain_locking *locking;	    /* chain_lock.c */
	struct lists lists; /* of this mount, until they are kept for the next */
};

extern const struct layer_ops probackup_layer_ops; /* locate.c */

/* Compares a whole plain file with its list; why without a file's name. */
int locate_check_plain(const struct probackup_layer *pl, const struct probackup_file *file,
		       struct errmsg *why);

/* verify.c: the operations of these names */
int probackup_verify(struct layer *layer, const struct layer_entry *entry,
		     const struct layer_verify *v);
int probackup_verify_begin(struct layer *layer, const struct layer_entry *entry,
			   const struct layer_verify *v, struct layer_verifying **ret,
			   uint32_t *ret_parts);
int probackup_verify_part(struct layer_verifying *f, uint32_t part);
void probackup_verify_end(struct layer_verifying *f);

/*
 * ---- load.c ----
 *
 * While lists are read: one item for each line of the target's list, and what is still wanted from
 * older ones.
 */
struct load_item {
	struct layer_entry entry;
	struct probackup_file
		file;	/* its name is that of the stored file also if the target stores nothing */
	const char *key; /* what the file is looked up by in older lists, NULL: never */
	uint32_t number; /* of an older list: which of the wanted it is */
	uint32_t crc;	 /* of the stored file */
	enum want want; /* from older lists */
	bool hidden;	/* not shown: left out when the lists are done */
};

#define LOAD_KNOWN 5u

struct load {
	struct probackup_chain *chain;
	unsigned member; /* whose list is being read */
	struct errmsg *e;
	struct load_item *items; /* of the target, as they came */
	uint32_t count, cap;
	uint32_t known[LOAD_KNOWN]; /* 1 + number of the item of each path that load_find is asked for */
	struct load_item **sorted; /* those that are shown, by entry.path */
	uint32_t sorted_count;
	struct load_item *older; /* room for the items of an older list */
	uint32_t older_cap;
	struct wanted_table wanted;
	struct blobs blobs; /* of the list being read */
	uint32_t whole; /* of them: WANT_WHOLE, and not found yet */
	bool has_external;
	bool external;	    /* external directories are shown */
	uint32_t *numbers;  /* of those that are, as they come */
	uint32_t number_count, number_cap;
	struct lists *kept; /* what comes of older lists */
	struct content_ahead *ahead; /* reads the lists, the target's first; NULL: nobody does */
};

/*
 * Reads all lists, fills the layers' entries and files, and the content hash. Locking has begun: the target's list may
 * be read before it has ended, if it is not long, and what is kept of the others; of these nothing else, but for a small
 * file that is shown from memory (present.c).
 */
int load_chain(struct probackup_chain *chain, struct errmsg *e);
/* Is the member's list so long that threads read it? */
bool load_is_long(const struct probackup_layer *member);

/* Reads the list of load->member, calls fn for its lines, and checks it as a whole. */
int load_read_list(struct load *load,
		   int (*fn)(void *, const struct content_line *, struct errmsg *), void *ctx,
		   struct content_sums *ret);
/* Has a line of a program that is too new a key that is not known here? */
int load_check_keys(const struct load *load, const struct content_line *line, struct errmsg *e);
/* Where the page headers of the file lie in the map: looked at when the whole list is known. */
int load_note_blob(struct load *load, const struct content_line *line, struct errmsg *e);
/*
 * Address space for so many items of an array that is still empty: what is not used takes no memory, and the
 * array need not be copied while it grows. Best effort.
 */
void load_reserve(struct load_item **items, uint32_t *cap, uint64_t count);
/* The next item of an array that grows (zeroed), or NULL. */
struct load_item *load_add_item(struct load_item **items, uint32_t *count, uint32_t *cap);

/* Adds an item (zeroed); NULL: out of memory. Pointers to items become invalid. */
struct load_item *load_add(struct load *load);
/* The item of that path as the list has it, or NULL. Only for the paths in load.c that are. */
struct load_item *load_find(struct load *load, const char *path);

/*
 * ---- older.c ----
 */

/* Fills load->wanted from the target's items. */
int older_collect_wanted(struct load *load);
/* A file said to be unchanged must be in the list of every backup down to the one that stores it. */
int older_check_wanted(const struct load *load);
/* The lists below the target's, read when the members are locked, or what is kept of them; sums has that of the target. */
int older_load(struct load *load, struct content_sums *sums);

/*
 * ---- item.c: the content of a file as its line has it ----
 */

/*
 * Fill what is zeroed but for the names, the mode, and LAYER_NO_FILE as the entry's file; which of the layer's files
 * it is, is the caller's to fill in if that changes.
 */
/* A relation's main fork. */
int item_fill_blocks(const struct content_line *line, struct layer_entry *entry,
		     struct probackup_file *file, struct errmsg *e);
void item_fill_plain(const struct content_line *line, struct layer_entry *entry,
		     struct probackup_file *file);

/*
 * ---- external.c: external directories, below .pgoverlay/external/<number>/ ----
 */

/* "/<number>/<path>": no path of the data directory begins like that. */
int external_key(const struct content_line *line, char *ret, size_t size);
/* Where the file of the line is stored and shown; notes its number. */
int external_name(struct load *load, const struct content_line *line, struct load_item *item);
/* Adds the directories they are shown in. */
int external_present(struct load *load);
/* "external directory <number> ...: <path>", a line each; dirs as in backup.control. */
void external_describe(FILE *out, const char *id, const char *dirs);

/*
 * ---- manifest.c ----
 */

/*
 * The items in the order that before tells, which is quick where they come in few ascending runs: a
 * list does. The caller's to free; NULL: out of memory.
 */
struct load_item **manifest_sort(struct load_item *items, uint32_t count,
				 bool (*before)(const struct load_item *a,
						const struct load_item *b));
/* Splits sorted items into the layer's entries and files; an item with an entry.file gets its
 * number. The entries lie in the arena, or are the layer's own if that is NULL. */
int manifest_build(struct probackup_layer *layer, struct load_item *const *sorted, uint32_t count,
		   struct arena *files, struct arena *entries);

/*
 * ---- present.c ----
 */

/* Hides, renames and adds items of the target. */
int present_items(struct load *load);
/* Makes the content of postgresql.auto.conf from the backup that stores it; member and crc as in
 * its list. */
int present_auto_conf(struct load *load, struct load_item *item, unsigned member, uint64_t size,
		      uint32_t crc);

/* The lines that restore keeps, in place; returns the new length. Pure. */
size_t present_filter_auto_conf(char *text, size_t len);

/*
 * Calls fn with each oid named in a tablespace_map. Pure. -EUCLEAN for what is none.
 */
int present_parse_tablespace_map(const char *text, size_t len,
				 int (*fn)(void *ctx, const char *oid, size_t oid_len), void *ctx);

/*
 * ---- extras.c ----
 */

int probackup_extras(struct layer_chain *chain, struct errmsg *e, struct layer_extras *ret);

/*
 * Calls fn with each line of a tablespace_map: oid and path, NUL-terminated. Pure. -EUCLEAN for
 * what is none.
 */
int extras_parse_spaces(const char *text, size_t len,
			int (*fn)(void *ctx, const char *oid, const char *path), void *ctx);

/*
 * ---- chain_lock.c ----
 */

/*
 * Opens the target's directory and begins to lock the members, of a long chain on a thread: that opens their other
 * directories and header maps, and reads what catalog and options have said of them, nothing else. cache: where
 * something may be kept of the older lists, for chain_lock_found; or NULL.
 */
int chain_lock_begin(struct probackup_chain *chain, const char *cache, struct errmsg *e);
/* What was found there, the caller's from now on: nothing the second time, or without a cache. May block, but for no lock. */
void chain_lock_found(struct probackup_chain *chain, struct lists_found *ret);
/* Waits until all members are locked; at any time, and more than once. Its failure replaces what e says. */
int chain_lock_end(struct probackup_chain *chain, struct errmsg *e);
/* Waits, and gives back what there is; also if it has not begun. */
void chain_lock_free(struct probackup_chain *chain);
/* store_driver's unlock */
void chain_unlock(int layer_dirfd, pid_t lock_pid);

/*
 * ---- chain.c ----
 */

/* Locks the members, loads the lists. Takes over instance_dirfd. */
int chain_open(int instance_dirfd, const struct catalog_chain *members,
	       const struct store_options *options, pid_t lock_pid, struct errmsg *e,
	       struct probackup_chain **ret);
/* store_driver's settle */
int chain_settle(struct probackup_chain *chain, struct errmsg *e);
void chain_close(struct probackup_chain *chain); /* NULL is fine */

#endif
