/*
 * libpgoverlay: read backups of PostgreSQL where they lie, without restoring them.
 *
 * Open a store, list its backups, open the chain of one, and read files and blocks of its data
 * directory as a restore would write them. Nothing is ever written but the shared lock files that
 * the backup tool itself defines for readers.
 *
 *	struct pgoverlay_error e = PGOVERLAY_ERROR_INIT;
 *	struct pgoverlay_store *store;
 *
 *	if (pgoverlay_store_open("/backups", &e, &store) < 0)
 *		fprintf(stderr, "%s\n", e.text);
 *
 * Errors: functions return 0 (or a count) or a negative errno; -EUCLEAN and -EBADMSG mean that the
 * backup is damaged, -ENOTSUP that it is of a kind not handled. Those with a struct pgoverlay_error
 * write the reason there; it may be NULL. What is found damaged while reading is also reported on
 * stderr.
 *
 * Threads: a store, its chains and their files belong to one thread at a time. Different stores are
 * independent.
 *
 * Compatibility: structs that the library fills may get more members at their end; those that the
 * caller fills begin with their size.
 */
#ifndef PGOVERLAY_PGOVERLAY_H
#define PGOVERLAY_PGOVERLAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PGOVERLAY_API __attribute__((visibility("default")))
#else
#define PGOVERLAY_API
#endif

#define PGOVERLAY_BLOCK_SIZE 8192

struct pgoverlay_error {
	char text[1024];
};

#define PGOVERLAY_ERROR_INIT                                                                       \
	{                                                                                          \
		""                                                                                 \
	}

/* "0.1.0" */
PGOVERLAY_API const char *pgoverlay_version(void);

/* ---- stores ---- */

struct pgoverlay_store;

PGOVERLAY_API int pgoverlay_store_open(const char *path, struct pgoverlay_error *e,
				       struct pgoverlay_store **ret);
/* All its chains must be closed. NULL is fine. */
PGOVERLAY_API void pgoverlay_store_close(struct pgoverlay_store *store);
/* "pg_probackup" */
PGOVERLAY_API const char *pgoverlay_store_kind(const struct pgoverlay_store *store);

struct pgoverlay_backup {
	const char *instance; /* "" where the store has none */
	const char *id;
	const char *mode;   /* "FULL", "DELTA", ... */
	const char *parent; /* id, "" if none */
	const char *status;
	const char *reason; /* why it cannot be opened, or a caution; "" if nothing */
	int mountable;	    /* its chain can be opened */
	int stream;	    /* the WAL it needs is inside */
	int64_t start_time; /* seconds since 1970, 0 unknown */
	uint64_t bytes;	    /* stored */
	uint64_t start_lsn, stop_lsn;
	uint32_t timeline;
};

struct pgoverlay_list;

/* instance NULL: all of them. Takes no locks. */
PGOVERLAY_API int pgoverlay_list(struct pgoverlay_store *store, const char *instance,
				 struct pgoverlay_error *e, struct pgoverlay_list **ret);
PGOVERLAY_API size_t pgoverlay_list_count(const struct pgoverlay_list *list);
/* By instance, then oldest first. Valid until the list is freed; NULL behind the end. */
PGOVERLAY_API const struct pgoverlay_backup *pgoverlay_list_get(const struct pgoverlay_list *list,
								size_t i);
PGOVERLAY_API void pgoverlay_list_free(struct pgoverlay_list *list); /* NULL is fine */

/* ---- chains ---- */

struct pgoverlay_chain;

struct pgoverlay_options {
	size_t size;	      /* sizeof(struct pgoverlay_options) */
	const char *instance; /* NULL: the only one */
	const char *backup;   /* NULL: the newest that can be opened */
	int no_lock;	  /* do not take the shared locks that keep the backup tool from deleting or
			     merging */
	int no_verify;	  /* do not compare what is read with the backup's sums */
	unsigned threads; /* that help reading and decoding; 0: all is done in the calling thread */
	uint64_t index_bytes; /* memory for indexes of files; 0: 64 MiB */
	int force;	      /* backup may have been found damaged by its own tool (ORPHAN, CORRUPT) */
	int external;	      /* show external directories, below .pgoverlay/external/ */
};

/* options NULL: as all zeros. The locks are held until the chain is closed. */
PGOVERLAY_API int pgoverlay_chain_open(struct pgoverlay_store *store,
				       const struct pgoverlay_options *options,
				       struct pgoverlay_error *e, struct pgoverlay_chain **ret);
/* All its files must be closed. NULL is fine. */
PGOVERLAY_API void pgoverlay_chain_close(struct pgoverlay_chain *chain);

PGOVERLAY_API unsigned pgoverlay_chain_count(const struct pgoverlay_chain *chain);
/* Id of a member, oldest first; NULL behind the end. The last one is the backup that was opened. */
PGOVERLAY_API const char *pgoverlay_chain_id(const struct pgoverlay_chain *chain, unsigned i);
/* Lines for the user, each ending in a newline; "" if none. */
PGOVERLAY_API const char *pgoverlay_chain_warnings(const struct pgoverlay_chain *chain);
/* Major version of the server, 0 unknown. */
PGOVERLAY_API unsigned pgoverlay_chain_pg_version(const struct pgoverlay_chain *chain);

/* ---- files ---- */

struct pgoverlay_stat {
	uint32_t mode; /* as st_mode of stat(2) */
	uint64_t size; /* bytes */
	uint64_t ino;
	int is_relation;  /* a segment of a relation's main fork: blocks of 8192 bytes */
	const char *link; /* where a symbolic link leads, else NULL; until the chain is closed */
};

/*
 * Calls fn for every file, directory and link, parents first, paths relative to the data directory.
 * Stops at fn's first non-zero value and returns it.
 */
PGOVERLAY_API int
pgoverlay_walk(struct pgoverlay_chain *chain,
	       int (*fn)(void *ctx, const char *path, const struct pgoverlay_stat *st), void *ctx);

/* Links are not followed. -ENOENT. */
PGOVERLAY_API int pgoverlay_stat(struct pgoverlay_chain *chain, const char *path,
				 struct pgoverlay_stat *ret);

struct pgoverlay_file;

/* A regular file; -EISDIR, -ELOOP for a link. */
PGOVERLAY_API int pgoverlay_open(struct pgoverlay_chain *chain, const char *path,
				 struct pgoverlay_file **ret);
PGOVERLAY_API void pgoverlay_close(struct pgoverlay_file *file); /* NULL is fine */
PGOVERLAY_API uint64_t pgoverlay_size(const struct pgoverlay_file *file);

/* Bytes read: len, fewer only at the end of the file; -EIO and others for damage. buf is then
 * undefined. */
PGOVERLAY_API int64_t pgoverlay_pread(struct pgoverlay_file *file, void *buf, size_t len,
				      uint64_t off);

/*
 * Blocks first .. first+count-1 of a relation segment into buf; returns how many, fewer only at the
 * end of the file. -EINVAL if it is none.
 */
PGOVERLAY_API int64_t pgoverlay_read_blocks(struct pgoverlay_file *file, uint32_t first,
					    uint32_t count, void *buf);

#ifdef __cplusplus
}
#endif

#endif
