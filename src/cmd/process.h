/*
 * cmd/process.h: programs of PostgreSQL that are run for a clone, always as its owner.
 *
 * Used by `up` and `down`; one thread. Nothing goes through a shell. Programs get a small
 * environment of their own, no descriptor of ours, and the owner's ids for good when the caller is
 * root.
 */
#ifndef CMD_PROCESS_H
#define CMD_PROCESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct owner {
	uid_t uid;
	gid_t gid;
	char *name; /* the number, if it has no name */
	char *home;
};

int owner_find(uid_t uid, gid_t gid, struct errmsg *e, struct owner *ret);
void owner_clear(struct owner *owner);

/*
 * Files are looked at and made with the owner's rights from enter to leave (effective ids and
 * groups); without effect unless the caller is root. Between them nothing that needs root may run.
 */
int owner_enter(const struct owner *owner, struct errmsg *e);
void owner_leave(void);
/* For good; without effect unless the caller is root. 0 or -errno. */
int owner_become(const struct owner *owner);

/* A program that runs. */
struct process {
	pid_t pid;
	int output; /* what it writes to stdout and stderr */
};

/*
 * Starts argv. env holds further "NAME=value" strings, NULL: none; input is its standard input,
 * NULL: none. Several may run at once; process_end must follow.
 */
int process_begin(const struct owner *owner, const char *const *argv, const char *const *env,
		  const char *input, struct errmsg *e, struct process *ret);
/*
 * Waits until it has ended: what it wrote to stdout and stderr (malloc'ed, at most 1 MiB is kept)
 * and its exit status, 128 + n if signal n ended it. -ETIMEDOUT after timeout_ms (it is killed
 * then).
 */
int process_end(struct process *process, int timeout_ms, struct errmsg *e, char **ret_output,
		int *ret_status);
/* The same without a limit; -EINTR when *stop has become true (it is killed then). */
int process_wait(struct process *process, const volatile bool *stop, struct errmsg *e,
		 char **ret_output, int *ret_status);
/* Begin and end, without input. */
int process_run(const struct owner *owner, const char *const *argv, const char *const *env,
		int timeout_ms, struct errmsg *e, char **ret_output, int *ret_status);

/* Starts argv in a session of its own, its output appended to the file log (made 0600). */
int process_start(const struct owner *owner, const char *const *argv, const char *log,
		  struct errmsg *e, pid_t *ret);

/* The same, its standard output written to the descriptor out, its messages to our standard error.
 */
int process_pour(const struct owner *owner, const char *const *argv, int out, struct errmsg *e,
		 pid_t *ret);

/* False if there is no such process or it is a zombie. */
bool process_is_alive(pid_t pid);
/* Start time in clock ticks since boot, 0 if there is none: with the pid it names a process for
 * good. */
uint64_t process_start_time(pid_t pid);
/* Where it works (malloc'ed), NULL if unknown. Does not touch the directory itself. */
char *process_directory(pid_t pid);

void process_sleep_ms(unsigned ms);
uint64_t process_now_ms(void); /* monotonic */

#endif
