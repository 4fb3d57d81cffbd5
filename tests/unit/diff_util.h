/*
 * tests/unit/diff_util.h: a diff in the test's directory, a small namespace above it, and blocking
 * shorthands.
 *
 * Chain files are "base0", "base1", ... of BASE_BLOCKS blocks. A block's content is a number,
 * repeated.
 */
#ifndef TESTS_UNIT_DIFF_UTIL_H
#define TESTS_UNIT_DIFF_UTIL_H

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			ck_abort_msg("not true: %s", #x);                                          \
	} while (0)

enum { ENV_NAMES = 512, BASE_FILES = 4, BASE_BLOCKS = 20 };

struct env_name {
	char name[32]; /* "": free */
	uint64_t id;
};

struct env_inode {
	uint64_t id; /* 0: free */
	unsigned names;
	struct diff_attr attr;
	bool touched;
};

struct env {
	char path[300];
	struct diff *diff;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct diff_options options;
	struct diff_binding binding;
	struct io_engine_options engine;
	unsigned slots;
	struct diff_namespace ns;
	struct env_name names[ENV_NAMES];
	struct env_inode inodes[ENV_NAMES];
	struct errmsg e;
	void (*before_open)(void); /* may be NULL */
};

extern struct env env;

void env_setup(void); /* for a fixture: directory and defaults; nothing is open yet */
void env_teardown(void);

int env_try(bool create); /* open, recover, start; on failure all is closed again and env.e tells */
void env_open(void);	  /* the same, must work */
void env_drain(void);	  /* until nothing is in flight */
void env_close(void);	  /* sync all, checkpoint, close */
void env_kill(void);	  /* close without any of that */

uint64_t env_id(const char *name); /* 0: there is none */
struct diff_file *env_file(const char *name);

int env_create(const char *name);
int env_unlink(const char *name);      /* drops the file when the last name goes */
int env_unlink_open(const char *name); /* does not drop */
void env_drop_nameless(void);	       /* what env_unlink_open has left */
int env_rename(const char *name, const char *name2);
void env_wait_for_room(void); /* after -EAGAIN */
int env_log(const struct diff_record *records, unsigned count); /* diff_log, waiting for room */

/* Whole blocks, each with the content tag; the size grows to cover them. */
int env_write(const char *name, uint32_t block, uint32_t count, uint32_t tag);
int env_truncate(const char *name, uint64_t size);
int env_zero(const char *name, uint32_t block, uint32_t count);
int env_allocate(const char *name, uint64_t off, uint64_t len);
int env_sync(const char *name); /* NULL: names only; "*": all */

void env_sync_done(struct diff_sync *op); /* done for a diff_sync of the test's own: becomes NULL */

enum block_state env_state(const char *name, uint32_t block);
void env_assert_block(const char *name, uint32_t block,
		      uint32_t tag); /* is DATA with that content */
uint64_t env_size(const char *name);

/* System calls that change something or make something durable, since env_calls_reset. */
struct env_calls {
	uint64_t writes, fdatasyncs, fsyncs, fallocates, renames, unlinks, opens_create, others;
};
void env_calls_reset(void);
struct env_calls env_calls(void);

/*
 * The N-th call (counted from 1, all that the hook sees but close) fails; 0: none. Counts on from
 * env_fail.
 */
void env_fail(long at, bool forever, int with);
long env_fail_seen(void);

/* All bytes of superblock and gen/ in one number. */
uint64_t env_fingerprint(void);
unsigned env_data_files(void);
uint64_t env_data_bytes(const char *name); /* host space of its data file */
struct diff_stats env_stats(void);
void env_path(char *ret, size_t size, const char *relative);

#endif
