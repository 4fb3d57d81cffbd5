/*
 * cmd/server.h: the PostgreSQL server of a clone: check its settings, start, wait, find, stop.
 *
 * Used by `up` and `down`, one thread. The server runs as the clone's owner in a session of its own
 * and outlives us. Where it is found again is written to <run_dir>/server: pid and start time name
 * it even when the mount is dead.
 */
#ifndef CMD_SERVER_H
#define CMD_SERVER_H

#include "base/err.h"
#include "cmd/pgbin.h"
#include "cmd/process.h"
#include "cmd/settings.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_SOCKET_MAX 107 /* bytes of a Unix socket's path */

/* What <run_dir>/server holds. Strings are malloc'ed. */
struct server_facts {
	pid_t pid;
	uint64_t start_time; /* process_start_time */
	char *host;	     /* socket directory */
	unsigned port;
	char *user, *log;
	bool own_host; /* the directory is not run_dir itself and goes with the server */
};

void server_facts_clear(struct server_facts *facts);
int server_facts_write(const char *run_dir, const struct owner *owner,
		       const struct server_facts *facts, struct errmsg *e);
/* -ENOENT: none there. */
int server_facts_read(const char *run_dir, struct server_facts *ret);
/* The process these facts speak of still lives. */
bool server_facts_alive(const struct server_facts *facts);

/*
 * A 0700 directory of the owner for the socket: run_dir if its path is short enough, else a new one
 * in /tmp. *ret_own: it was made and must be removed.
 */
int server_socket_dir(const char *run_dir, const struct owner *owner, struct errmsg *e, char **ret,
		      bool *ret_own);
/* Removes what a server left in a directory of its own, and the directory. */
void server_socket_dir_remove(const char *dir);
/* A TCP port nobody listens on, from `first` up. */
unsigned server_free_port(unsigned first);

/*
 * Asks the server program itself what it thinks of its configuration, without starting it. 1:
 * nothing to say against it; 0: *ret_output holds its complaints (malloc'ed).
 */
int server_check(const struct pgbin *bin, const struct owner *owner,
		 const struct settings *settings, const char *data_dir, struct errmsg *e,
		 char **ret_output);

/* Returns as soon as the process exists. */
int server_start(const struct pgbin *bin, const struct owner *owner,
		 const struct settings *settings, const char *data_dir, const char *log,
		 struct errmsg *e, pid_t *ret);

/*
 * Waits until it accepts connections, as long as it lives (recovery takes what it takes). tell is
 * called now and then with what it does. -ECHILD: it has ended, -EINTR: *stop became true.
 */
int server_wait(const char *data_dir, pid_t pid, void (*tell)(const char *text),
		const volatile bool *stop);

/* What the server says of its state in postmaster.pid ("starting", "standby", "ready", ...); false:
 * nothing yet. */
bool server_state(const char *data_dir, pid_t pid, char *ret, size_t size);
/* The title of its startup process, such as "postgres: startup recovering 000000010000000000000004"
 * (malloc'ed), and that process. NULL: there is none. */
char *server_startup_title(pid_t pid, pid_t *ret_startup);
/* It is gone; its exit status, -1 if it was not our child, 128 + n if signal n ended it. */
bool server_has_ended(pid_t pid, int *ret_status);

enum server_stop { SERVER_STOP_FAST, SERVER_STOP_IMMEDIATE };
/*
 * Stops it and waits until the process is gone. An immediate stop that has no effect becomes a kill
 * after 10 s, a fast one that will never end (server_stuck.h) an immediate one. -EINTR: *stop became
 * true, the server goes on stopping.
 */
int server_stop(pid_t pid, enum server_stop how, void (*tell)(const char *text),
		const volatile bool *stop, struct errmsg *e);

/* A server process that has a file in this directory open, or 0. */
pid_t server_wal_user(const char *wal_dir);

/* Waits for the processes of a dead postmaster that still work in the directory, and kills them
 * after 10 s. */
void server_wait_gone(const char *data_dir);

/* Does a server work in this directory: the pid in postmaster.pid, if it lives and works there;
 * else 0. */
pid_t server_find(const char *data_dir);

/*
 * The process that postmaster.pid names if it lives and is no server of this directory, and its
 * name: PostgreSQL takes it for one if it is the same user's, and does not start. 0: there is none.
 */
pid_t server_find_foreign(const char *data_dir, char ret_name[32]);

/* The last lines of the log from byte `from` on, malloc'ed, each indented; "" if there are none. */
char *server_log_tail(const char *log, uint64_t from, unsigned lines);

#endif
