/*
 * cmd/rights.h: what the serving process gives up before it serves, for good.
 */
#ifndef CMD_RIGHTS_H
#define CMD_RIGHTS_H

#include "cmd/process.h"

/* Becomes the owner, without a way back. */
int rights_drop(const struct owner *owner, struct errmsg *e);

/*
 * Reads below store_fd, changes files below diff_fd, cache_fd (-1: none) and run_fd (with sockets),
 * and gets nowhere else. Before other threads exist. A kernel that cannot is one line in the log; 0 in any
 * case but that it should have worked.
 */
int rights_confine(int store_fd, int diff_fd, int cache_fd, int run_fd, struct errmsg *e);

/* When all threads, rings and sockets are made: what makes them fails from now on. */
void rights_confine_calls(void);

#endif
