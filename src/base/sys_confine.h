/*
 * base/sys_confine.h: what this process can still do from now on, whoever gets hold of it.
 *
 * Both functions act on the calling thread and on those it makes later (sys_confine_calls on all
 * that are there, too), cannot be taken back, and set no_new_privs: nothing that is executed
 * afterwards gains rights. Descriptors that are open keep what they can do.
 */
#ifndef BASE_SYS_CONFINE_H
#define BASE_SYS_CONFINE_H

#include <stdbool.h>

/* A directory and everything below it: to be read, or also changed. */
struct sys_place {
	int dirfd;
	bool changes; /* files are made, written, renamed within their directory, removed */
	bool sockets; /* with changes: sockets too */
};

/*
 * Landlock: no path leads anywhere but to these places; no TCP, no signal to a process outside, no
 * mounting, no device, no directory made or removed. What the kernel knows of it is used. -ENOSYS:
 * it knows nothing.
 */
int sys_confine_files(const struct sys_place *places, unsigned count);

/*
 * seccomp: calls that a server of files has no use for fail with EPERM: running programs, sockets,
 * tracing, mounting, new rings, keys, modules. -ENOSYS: not on this machine or in this build
 * (sanitizers trace the process they look at).
 */
int sys_confine_calls(void);

#endif
