/*
 * cmd/restore.h: what the files of `restore` share.
 *
 *	restore_options.c  the command line
 *	restore.c          the order of things, and the report
 *	restore_place.c    directories: where what goes, and that nothing is there yet
 *	restore_write.c    files: the sink of overlay/bulk.h, syncing
 *	restore_direct.c   long runs of them past the page cache
 *	restore_database.c --db-include and --db-exclude
 *	restore_conf.c     recovery settings
 *
 * A directory that is not complete has no global/pg_control, without which no server starts, and a
 * file RESTORE_MARKER. Both change at the very end, when everything else is durable.
 */
#ifndef CMD_RESTORE_H
#define CMD_RESTORE_H

#include "base/err.h"
#include "cmd/restore_conf.h"
#include "layer/layer.h"
#include "overlay/bulk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESTORE_MARKER	    "restore.incomplete"
#define RESTORE_CONTROL	    "global/pg_control"
#define RESTORE_CONTROL_NEW "global/pg_control.restore"

/* OLDDIR=NEWDIR of an option. */
struct restore_mapping {
	char *from, *to; /* parts of one string that is freed with `from` */
	bool used;
};

struct restore_list {
	struct restore_mapping *items; /* for names: `from` alone */
	size_t count;
};

struct restore_request {
	const char *store, *directory, *instance, *backup, *owner, *wal_dir;
	unsigned jobs;
	bool no_sync, json, progress, skip_external;
	struct restore_list tablespaces, externals;
	struct restore_list include, exclude; /* databases */
	struct restore_recovery recovery;
};

/* -1: go on; else the exit status. Strings are those of argv, lists are freed by
 * restore_request_free. */
int restore_options_parse(int argc, char **argv, struct restore_request *ret);
void restore_request_free(struct restore_request *r);

/* A directory that files go to: the data directory, a tablespace, an external directory, --waldir.
 */
struct restore_root {
	char *path;	   /* absolute */
	const char *shown; /* what the manifest has below this path goes there; "" for the data
			      directory */
	const char *link;  /* path in the data directory of the link to it, or NULL */
	unsigned outside;  /* number of an external directory, else 0 */
	bool exists, made;
	int fd;	     /* once it is made, else -1 */
	bool direct; /* its file system takes O_DIRECT, as far as is known; atomic */
};

struct restore_places {
	struct restore_root *roots; /* the data directory first */
	size_t count;
};

/* Where everything goes; checks that those places are empty or not there, and apart from each other
 * and from the store (canonical). Makes nothing. */
int restore_places_find(const struct restore_request *r, const struct layer_extras *extras,
			const char *store, struct errmsg *e, struct restore_places *ret);
/* A directory with its parents, those as the umask says, itself 0700. -EEXIST if it is there. */
int restore_make_path(char *path);
/* Makes the directories that are roots, opens them, and leaves the marker. */
int restore_places_make(struct restore_places *places, const char *backup, struct errmsg *e);
void restore_places_free(struct restore_places *places);
/* The root of a path of the manifest, and the path below it ("": the root itself). */
struct restore_root *restore_places_of(const struct restore_places *places, const char *path,
				       const char **ret_rest);
struct restore_root *restore_places_outside(const struct restore_places *places, unsigned number);
/* Is there room for that many bytes below each root? They need not exist yet. */
int restore_places_room(const struct restore_places *places, const uint64_t *bytes,
			struct errmsg *e);
/* What a failed restore leaves, on stderr. */
void restore_places_left(const struct restore_places *places);

/* Where one file goes. */
struct restore_file {
	struct restore_root *root;
	const char *path; /* below the root */
	uint32_t mode;
	bool empty;	   /* of a database left out */
	int fd, direct_fd; /* direct_fd is negative where there is none */
};

struct restore_tree {
	const struct restore_request *request;
	struct restore_places places;
	struct layer_chain *chain;
	struct layer_extras extras;
	struct overlay *ov;
	struct bulk *bulk;
	struct restore_file *files; /* by number of the bulk's file */
	bool sync_files;      /* each with fsync; else the file systems as a whole at the end */
	pthread_mutex_t lock; /* of error */
	struct errmsg error;  /* of the first write that failed */
};

/* Decides where each file of the bulk goes, and whether there is room. Makes nothing. */
int restore_assign_files(struct restore_tree *tree, struct errmsg *e);
/* All directories and links, and the empty files of databases that are left out. */
int restore_make_directories(struct restore_tree *tree, struct errmsg *e);
extern const struct bulk_sink restore_sink_ops; /* ctx: the tree */
/*
 * Sets `direct` of each root, once they are made. Are runs that go to the data directory written
 * past the page cache, so that who writes one waits for the disk?
 */
bool restore_direct_choose(struct restore_tree *tree);
/* The second descriptor of a file that has been opened; there may be none. */
void restore_direct_open(struct restore_file *file, const struct bulk_file *bf);
/* The whole run, one way or the other. 1: the page cache has nothing of it; 0; or -errno. */
int restore_direct_write(const struct restore_file *file, uint64_t off, const uint8_t *data,
			 size_t len);
/* Whole small files of our own, in the data directory. Durable unless no_sync. */
int restore_write_file(struct restore_tree *tree, const char *path, const void *data, size_t len,
		       uint32_t mode, struct errmsg *e);
/* Directory modes, then everything durable. */
int restore_sync(struct restore_tree *tree, struct errmsg *e);
/* pg_control gets its name, the marker goes. */
int restore_finish(struct restore_tree *tree, struct errmsg *e);

/* Which databases are left out: those of the map that are (not) named. -EINVAL: no such database.
 */
int restore_databases(const struct restore_request *r, const char *map, struct errmsg *e,
		      uint32_t **ret_oids, size_t *ret_count);
/* The database a path of the manifest belongs to, 0 if none. */
uint32_t restore_database_of(const char *path);

#endif
