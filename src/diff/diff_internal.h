/*
 * diff/diff_internal.h: what the files of src/diff share. All of it belongs to the core thread, but
 * for what a comment gives to an engine's job.
 */
#ifndef DIFF_DIFF_INTERNAL_H
#define DIFF_DIFF_INTERNAL_H

#include "diff/blockmap.h"
#include "diff/diff.h"

#include "io/engine.h"
#include "io/vfd.h"

#include <stdbool.h>
#include <stdint.h>

#define DIFF_UUID_SIZE	  16u
#define DIFF_BLOCKS_SIZE  32u /* an encoded BLOCKS record without runs */
#define DIFF_RUN_SIZE	  9u
#define DIFF_GROUP_HEADER 32u
#define DIFF_GROUP_ALIGN  8u
#ifndef DIFF_SEGMENT		/* a campaign of many thousand short runs makes it smaller */
#define DIFF_SEGMENT (1u << 20) /* the journal grows by this much */
#endif
#define DIFF_JOURNAL_LIMIT (8u << 20)
#define DIFF_DATA_DIRS	   256u
#define DIFF_PATH_SIZE	   24u /* "xx/0123456789abcdef" and its NUL */

/*
 * Journal bytes set aside. Each commit costs a group header and padding, so whatever can make a
 * commit necessary by itself sets those aside too.
 */
#define DIFF_GROUP_ROOM (DIFF_GROUP_HEADER + DIFF_GROUP_ALIGN)
#define DIFF_FILE_ROOM	(DIFF_GROUP_ROOM + DIFF_BLOCKS_SIZE)
/* The most that one more run can add to a file. */
#define DIFF_CLAIM_ROOM (DIFF_FILE_ROOM + 2 * DIFF_RUN_SIZE)

struct range {
	uint32_t from, to; /* blocks; from >= to: none */
};

struct diff_file {
	struct diff *diff;
	uint64_t id, size, base_size;
	uint32_t base_limit;
	struct blockmap map;
	struct blockmap changed; /* what no commit knows yet; SIZE records tell of ABSENT */
	int error;		 /* 0, or what every later fsync answers */
	uint64_t recorded_size;	 /* by what a commit has written last */

	bool size_changed; /* a BLOCKS record is due even without runs */
	bool truncated;	   /* a SIZE record waits for the next commit: the file takes part in it */
	bool touched;	   /* attr waits for the next group */
	bool dirty;	   /* written since the last fdatasync began */
	bool listed;	   /* in diff->dirty: some of the above, or its fdatasync runs */
	bool has_data;	   /* from recovery: there is a data file, or may be */
	bool name_durable; /* of the data file, in its directory */
	bool claimed;	   /* a group or state, maybe still being written, claims blocks of it */
	bool in_commit, dropped, unlink_ready;
	unsigned holds; /* commit, fdatasync and punch in flight: not freed before they end */
	struct diff_attr attr;

	struct vfd *vfd;
	uint64_t room; /* journal bytes set aside for the BLOCKS record */
	uint64_t held; /* the same, from diff_allocate */
	struct range allocated;

	/* fdatasync: one at a time, because the host reports an error to one of several only */
	struct vfd_op sync_op;
	bool syncing;
	struct diff_file_wait *sync_waiters;	  /* covered by the one that runs */
	struct diff_file_wait *next_sync_waiters; /* need one that starts later */

	/* host space: blocks that were DATA and are not, by how far the commit is that says so */
	struct range freed, freed_commit, freed_ready;
	unsigned claims; /* host writes in flight into blocks that are not DATA */
	bool punching;
	struct vfd_op punch_op;
	struct diff_room_wait *punch_waiters;

	struct diff_file *hash_next;
	struct diff_file *prev, *next; /* diff->dirty; a list of dropped files later */
	struct io_op unlink_op;
};

struct file_list {
	struct diff_file *head, *tail;
};

struct journal {
	int fd, grow_fd;    /* two: neither takes the write-back error that is the other's */
	uint64_t size;	    /* zero-filled and durable */
	uint64_t tail;	    /* where the next group goes */
	uint64_t sequence;  /* of the next group */
	uint64_t attempted; /* the highest sequence that may be on disk */
	uint64_t reserved;  /* bytes accepted and not yet in the journal */
	int error;	    /* sticks: nothing can be committed any more */
	bool lost_names;    /* and names are not on disk: no fsync can say otherwise */
	bool growing;
	int grow_error;	    /* of the last attempt */
	uint64_t grow_time; /* when that was */
	int full_error;	    /* neither growing nor a new state has made room: told for a while */
	uint64_t full_time; /* since then */
	struct io_op grow_op;
	struct iovec grow_iov[16];
	struct diff_room_wait *waiters, **waiters_tail;
};

/* Host space that is given up for accepted writes, see ballast.c. */
struct ballast {
	unsigned files;		       /* that may become new ones on the host */
	uint64_t bytes;		       /* 0: none is wanted */
	uint64_t left;		       /* of them: allocated */
	uint64_t given;		       /* pieces, ever */
	bool present;		       /* all of it */
	bool quota;		       /* in the way of it; not what statvfs shows */
	bool unsupported;	       /* the host does not allocate */
	bool running;		       /* it is being made again */
	bool tight;		       /* as last told */
	uint64_t tried;		       /* when that was tried last */
	uint64_t before, given_before; /* left and given when the job began */
	struct io_op op;
};

/* A data/xx whose new names must be made durable. */
struct dir_sync {
	struct io_op op;
	struct diff *diff;
	unsigned dir;
	bool wanted;
};

/* A file in the commit that runs. */
struct commit_file {
	struct diff_file *file;
	struct diff *diff;
	size_t off, len; /* its BLOCKS record in commit.payload */
	uint64_t size;	 /* of the file, as captured */
	bool wants_dir;	 /* the name of its data file is not durable yet */
	int error;
	struct diff_file_wait wait;
};

struct commit {
	bool running;
	bool all;    /* every dirty file takes part */
	bool timer;  /* by the caller's wish: times are a reason to write, too */
	bool synced; /* the data files are */
	bool written;
	int result;
	struct diff_sync *waiters;
	struct diff_buffer payload; /* names first, then the files' records */
	size_t names_len;
	uint64_t room;		  /* journal bytes set aside for the payload */
	struct diff_buffer state; /* len > 0: a new state instead of a group, if all goes well */
	bool state_renamed;	  /* the new state may be what a mount finds */
	struct commit_file *files;
	size_t file_count, file_cap, next_file;
	uint64_t state_sequence;
	unsigned running_syncs, running_dirs;
	bool starting;
	struct file_list drops; /* data files to unlink when durable */
	struct io_op op;
	uint8_t header[DIFF_GROUP_HEADER];
	struct iovec iov[3];
};

struct diff {
	char *path; /* for messages */
	struct diff_options options;
	uint8_t uuid[DIFF_UUID_SIZE];
	char *generation; /* "gen/1" */
	int dirfd, lock_fd, gen_fd, data_fd;
	bool unclean; /* the last mount did not end well: writes may be in the page cache only */
	bool recovered, loading_state;
	const struct diff_namespace *ns;
	struct io_engine *io;
	struct vfd_cache *vfds;
	char warnings[1024]; /* of its making, lines */
	char note[128];

	struct diff_file **buckets;
	uint32_t bucket_count, file_count;
	struct file_list dirty;
	struct file_list drops; /* data files to unlink after the next commit */
	struct file_list going; /* being unlinked, or held by something in flight */
	uint64_t next_id;
	bool read_only;	    /* after an EIO */
	uint32_t truncated; /* files with that flag */
	uint32_t failed;    /* live files with an error */
	int failed_error;   /* of the latest of them */

	struct diff_buffer names; /* records for the next commit */
	struct journal journal;
	uint64_t state_size;	    /* bytes of the last state */
	bool state_wanted;	    /* whatever the length of the journal */
	uint64_t state_retry_at;    /* journal bytes before a new state is tried after a failure */
	uint64_t state_retry_time;  /* or, where the journal cannot become longer, until then */
	struct diff_sync room_sync; /* a commit for the sake of a new state, while done is set */
	struct commit commit;
	struct dir_sync dirs[DIFF_DATA_DIRS];
	struct diff_sync *queue; /* for the next commit */
	uint64_t recent[4];	 /* ids of the last fsyncs of different files */
	unsigned recent_pos, streak, repeats;

	uint64_t space_free, space_claimed, space_time; /* of the host, when last asked */
	uint64_t space_files;				/* that can be made there */
	struct ballast ballast;
	bool unlinked
		[DIFF_DATA_DIRS]; /* data/xx whose names have gone since the mount: not durable */
	uint64_t in_flight;	  /* writes, syncs, punches, unlinks */
	struct diff_stats stats;
};

/* ---- record.c ---- */
int diff_buffer_room(struct diff_buffer *buffer, size_t more);

/* ---- superblock.c ---- */
struct superblock {
	uint8_t uuid[DIFF_UUID_SIZE];
	char *generation; /* malloc'ed */
};
int superblock_write(int dirfd, const struct superblock *sb, const struct diff_binding *binding);
/* -ENOENT: there is none. Else reads, verifies and compares with binding. */
int superblock_load(int dirfd, const char *path, const struct diff_binding *binding,
		    struct errmsg *e, struct superblock *ret);

/* ---- lock.c ---- */
/* Takes the lock for good; *ret_unclean: whoever held it last has not closed the diff. */
int lock_take(int dirfd, const char *path, struct errmsg *e, int *ret_fd, bool *ret_unclean);
/* True if the file "lock" is one of ours, or empty as a crash may have left it. */
bool lock_is_ours(int dirfd);
/* Notes that the diff is complete on disk; the lock itself goes with the descriptor. */
void lock_mark_clean(int fd);

/* ---- create.c ---- */
/* The lock, which tells an unfinished diff from other people's files, is durable before anything else is made. */
int diff_create_begin(struct diff *diff, struct errmsg *e);
/* Makes a diff in dirfd, which is empty or was left unfinished; the superblock comes last. */
int diff_create(struct diff *diff, const struct diff_binding *binding, struct errmsg *e);
/* 1: nothing of a diff is there, or an unfinished one; -ENOTEMPTY: something else is. */
int diff_check_empty(int dirfd, const char *path, struct errmsg *e);

/* ---- journal.c ---- */
int journal_open(struct diff *diff, struct errmsg *e);
void journal_close(struct journal *journal);
int journal_create(int gen_fd, struct errmsg *e);
/* Sets n bytes aside. -EAGAIN: wait for room; -ENOSPC, -EDQUOT: the journal could not grow. */
int journal_reserve(struct diff *diff, uint64_t n);
void journal_release(struct diff *diff, uint64_t n);
bool journal_has_room(const struct diff *diff, uint64_t n);
void journal_wait(struct diff *diff, struct diff_room_wait *wait);
void journal_wake(struct diff *diff);
void journal_grow(struct diff *diff);
/* All has been tried to make room. */
void journal_full(struct diff *diff);
/* Fills the header of a group. */
void journal_group(const struct diff *diff, uint8_t *header, uint64_t sequence, const void *payload,
		   size_t len);
/*
 * Calls fn with the payload of each group from diff->journal.sequence on, and moves sequence on.
 * -EUCLEAN where a group is missing but a later one is there. Returns the number of groups.
 */
int64_t journal_replay(struct diff *diff,
		       int (*fn)(struct diff *diff, const uint8_t *data, size_t len,
				 struct errmsg *e),
		       struct errmsg *e);

/* ---- state.c ---- */
/* Everything as it is now, as the bytes of a state file whose journal begins with sequence. */
int state_encode(struct diff *diff, uint64_t sequence, struct diff_buffer *ret);
/* Verifies and gives the records. *ret_data is malloc'ed and holds them. */
int state_load(struct diff *diff, struct errmsg *e, char **ret_data, const uint8_t **ret_records,
	       size_t *ret_len);
/*
 * Makes it the state, durably. *renamed: how far it got when it failed: true if a mount may find
 * the new one. Blocks; reads of diff only what never changes.
 */
int state_write(const struct diff *diff, const struct diff_buffer *state, bool *renamed);

/* ---- file.c ---- */
void file_remove(struct diff_file *file); /* from the table */
void file_free(struct diff_file *file);
bool file_is_recorded(const struct diff_file *file); /* differs from what the chain says */
bool file_needs_record(const struct diff_file *file);
bool file_has_data(const struct diff_file *file); /* there is a data file, or may be */
void file_update_list(struct diff_file *file);
void file_update_room(struct diff_file *file); /* after `changed` or size_changed changed */
void file_forget_changes(struct diff_file *file);
int diff_failed(const struct diff *diff); /* 0, or the error of a live file that has failed */
int file_replay(struct diff *diff, const struct diff_record *record);
void file_path(uint64_t id, char ret[DIFF_PATH_SIZE]);
void list_push(struct file_list *list, struct diff_file *file);
void list_remove(struct file_list *list, struct diff_file *file);
uint32_t blocks_of(uint64_t size);

/* ---- space.c ---- */
/* 0 if len bytes of new blocks may be claimed, else -ENOSPC. little: may take half of the reserve. */
int space_check(struct diff *diff, uint64_t len, bool little);
/* They are claimed whatever is free: the host says if there is no room. */
void space_claim(struct diff *diff, uint64_t len);
/* Bytes free on the host, of a second ago at most; UINT64_MAX where that cannot be told. */
uint64_t space_left(struct diff *diff);
/* The same of files. */
uint64_t space_files_left(struct diff *diff);
void range_add(struct range *range, uint32_t from, uint32_t to);
/* Takes [from, to) out; of what is left on both sides the longer part stays. */
void range_cut(struct range *range, uint32_t from, uint32_t to);
bool range_is_empty(const struct range *range);
uint64_t time_ns(void);
/* The commit takes what was freed so far; later it is durable, or not. */
void space_capture(struct diff_file *file);
void space_committed(struct diff_file *file, bool durable);
void space_punch(struct diff_file *file);
/* A dropped file goes as soon as nothing holds it and its data file may. */
void space_settle(struct diff_file *file);

/* ---- ballast.c ---- */
void ballast_close(struct diff *diff);

/* ---- write.c ---- */
int file_make_vfd(struct diff_file *file);

/* ---- sync.c ---- */
/* wait->done is called after an fdatasync that began after this call, or with the file's error. */
void file_sync(struct diff_file *file, struct diff_file_wait *wait);
void file_hold(struct diff_file *file);
void file_unhold(struct diff_file *file); /* may free it */
/*
 * The disk has no room for a longer journal, but may have for a new state, after which the journal
 * begins anew: a commit that writes one, and wakes those who wait for room whatever came of it.
 * False: no such luck.
 */
bool sync_for_room(struct diff *diff);
/* One of the things that op waits for has come to its end. */
void sync_part_done(struct diff_sync *op, int rc);

/* ---- capture.c ---- */
/* Fills diff->commit for the waiters in it. -ENOMEM: nothing was taken. */
int commit_capture(struct diff *diff);

/* ---- failed.c ---- */
/*
 * The files of the commit have been synced, or have failed: takes out of what it is about to write
 * what it must not say of those that failed. True if there are any, in it or before.
 */
bool failed_cut(struct diff *diff);

/* ---- commit.c ---- */
void commit_start(struct diff *diff);
/*
 * True if the commit in flight makes something durable that a sync of file (NULL: of names) must
 * wait for.
 */
bool commit_concerns(const struct diff *diff, const struct diff_file *file);

/* ---- recover.c ---- */
int recover_apply(struct diff *diff, const uint8_t *data, size_t len, struct errmsg *e);

/* ---- diff.c ---- */
/* An EIO: no new mutations. */
/* A new state from memory, at once; the journal begins anew. Blocks. */
int diff_write_state(struct diff *diff);

/* Makes the names in these data/xx durable. Blocks. */
int recover_sync_dirs(struct diff *diff, const bool wanted[DIFF_DATA_DIRS], struct errmsg *e);

#endif
