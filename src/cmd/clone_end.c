/*
 * cmd/clone_end.c: see clone_end.h.
 *
 * A server whose work is kept is stopped with a checkpoint; one whose clone goes away is stopped at
 * once. A server whose mount has died cannot write any more and is ended too, by the pid that `up`
 * noted.
 */
#include "cmd/clone_end.h"
#include "cmd/mount.h"
#include "cmd/server.h"

/* The server: as postmaster.pid in the mount says, or as `up` noted, which needs no mount. */
static pid_t find_server(const struct clone *clone, const struct server_facts *facts)
{
	pid_t pid = clone->running ? server_find(clone->mountpoint) : 0;

	if (pid == 0 && facts->pid > 0 && server_facts_alive(facts))
		pid = facts->pid;
	return pid;
}

static int stop_server(const struct clone *clone, const struct server_facts *facts, bool discard,
		       void (*tell)(const char *text), const volatile bool *stop, bool *stopped,
		       struct errmsg *e)
{
	enum server_stop how = SERVER_STOP_FAST;
	pid_t pid = find_server(clone, facts);
	int rc;

	if (discard || clone->temporary || !clone->running)
		how = SERVER_STOP_IMMEDIATE;
	if (pid > 0) {
		rc = server_stop(pid, how, tell, stop, e);
		if (rc < 0)
			return rc;
		*stopped = true;
	}
	server_wait_gone(clone->mountpoint);
	return 0;
}

int clone_end(const struct clone *clone, bool discard, void (*tell)(const char *text),
	      const volatile bool *stop, struct errmsg *e, bool *ret_stopped)
{
	struct server_facts facts = {0};
	bool stopped = false;
	int rc;

	(void)server_facts_read(clone->run_dir, &facts);
	rc = stop_server(clone, &facts, discard, tell, stop, &stopped, e);
	if (rc == 0)
		rc = umount_clone(clone->mountpoint,
				  UMOUNT_FOR_GOOD | (discard ? UMOUNT_DISCARD : 0), e);
	if (rc == 0 && facts.own_host)
		server_socket_dir_remove(facts.host);
	server_facts_clear(&facts);
	if (rc == 0)
		*ret_stopped = stopped;
	return rc;
}
