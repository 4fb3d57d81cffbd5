/*
 * cmd/mount.h: what `mount` and `umount` do, as functions: `up` and `down` stand on them.
 *
 * Both block until the work is done and print nothing; the reason of a failure is in the errmsg.
 * mount_clone forks the daemon that serves the mount and returns when it serves; the caller must be
 * single-threaded.
 */
#ifndef CMD_MOUNT_H
#define CMD_MOUNT_H

#include "base/err.h"
#include "cmd/target.h"
#include "io/engine.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who keeps what is written until it is synced. */
enum write_mode {
	WRITE_AUTO,    /* back where it is safe on a full disk, else through */
	WRITE_BACK,    /* the kernel may */
	WRITE_THROUGH, /* the diff */
};

/* Zero is the default of every field; start with `= MOUNT_REQUEST_INIT`. Strings stay the caller's.
 */
struct mount_request {
	const char *store;
	const char *mountpoint; /* an existing directory; NULL: <home>/clones/<name>/mnt, made and
				   removed by us */
	const char *instance;	/* NULL: the only one */
	const char *backup;	/* NULL: the newest that can be mounted */
	const char *diff; /* NULL and not read_only: temporary, in <home>/clones/<name>/diff, gone
			     on umount */
	const char *wal_dir; /* pg_wal is a link to it, filled on first use; NULL: see native_wal */
	const char *owner;   /* user name or number; NULL: as DESIGN.md says */
	bool native_wal;     /* wal_dir in the clone's own folder (<diff>/wal, or
				<home>/clones/<name>/wal) */
	bool read_only;
	bool noexec;
	bool no_verify_reads;
	bool force;	 /* a backup that pg_probackup says is damaged, if it is named */
	bool external;	 /* show external directories */
	bool foreground; /* `mount --foreground` only: serves in the calling process and returns
			    when unmounted */
	bool json;	 /* with foreground: say the facts as JSON */
	struct target target; /* a new diff is prepared for it; `backup` NULL: chosen for it */
	enum io_kind engine;
	uint64_t index_memory; /* bytes; 0: 256 MiB */
	uint64_t reserve;      /* bytes */
	enum write_mode writes;
};

#define MOUNT_INDEX_MEMORY  (256u << 20)
#define MOUNT_RESERVE	    (64u << 20)
#define MOUNT_READAHEAD_KIB 1024
#define MOUNT_REQUEST_INIT                                                                         \
	{                                                                                          \
		.engine = IO_KIND_AUTO, .index_memory = MOUNT_INDEX_MEMORY,                        \
		.reserve = MOUNT_RESERVE                                                           \
	}

/* The facts of a served mount. Strings are malloc'ed. */
struct mount_result {
	char *mountpoint; /* canonical */
	char *store;	  /* canonical */
	char *instance, *backup;
	char *diff;    /* NULL: read-only */
	char *wal_dir; /* NULL: pg_wal is in the mount */
	char *folder;  /* <home>/clones/<name>, NULL if it has none */
	char *run_dir; /* 0700, the owner's, removed with the mount: `up` may keep its own files
			  there */
	char **chain;  /* backup ids, oldest first */
	unsigned chain_count;
	char *warnings; /* lines for the user, each ending in \n; "" if none */
	char *note;	/* one line about what recovery did, or "" */
	char *engine;	/* "uring", "threads" */
	pid_t pid;	/* of the serving process */
	uid_t uid;	/* the owner, and the serving process's */
	gid_t gid;
	uint32_t pg_version; /* major, 0 unknown */
	bool needs_archive;  /* WAL is not in the backup */
	bool read_only;
	bool temporary;	     /* the diff goes with the mount */
	bool own_mountpoint; /* the mount point is <home>/clones/<name>/mnt */
};

int mount_clone(const struct mount_request *request, struct errmsg *e, struct mount_result *ret);
void mount_result_free(struct mount_result *result);

/* Also removes a permanent diff. */
#define UMOUNT_DISCARD 1u
/* Although PostgreSQL runs there; the diff is committed all the same. */
#define UMOUNT_FORCE 2u
/* Somebody wants it down: `up --all` leaves it alone. */
#define UMOUNT_FOR_GOOD 4u

/*
 * Commits, unmounts, waits until the serving process is gone and the diff's lock is free, removes a
 * temporary diff. A mount whose daemon is dead is cleaned up. -EBUSY: PostgreSQL runs there.
 */
int umount_clone(const char *mountpoint, unsigned flags, struct errmsg *e);

/* The warnings, to stderr. */
void mount_result_warn(const struct mount_result *result);
/* Writes the facts to stdout, as text or as the JSON that DESIGN.md section 5 promises; warnings go
 * to stderr. */
void mount_result_print(const struct mount_result *result, bool json);

#endif
