/*
 * cmd/verify_clone.h: `verify --start`: one backup, started on a throw-away clone.
 */
#ifndef CMD_VERIFY_CLONE_H
#define CMD_VERIFY_CLONE_H

#include "cmd/verify.h"

/*
 * The `start` of struct verify. It is done in a process of its own (verify_clone_check): whichever of the two
 * is killed, the other one takes the clone down. The caller must be single-threaded.
 */
int verify_start(struct verify *v, const struct backup_info *info, cJSON **ret_started);

/* ---- verify_clone.c: what that process does ---- */

struct verify_clone {
	const struct verify_request *request;
	const char *instance, *backup;
	void (*on_mount)(void *ctx, const char *mountpoint);
	void *ctx;
};

/*
 * Brings the clone up, has every index and table of every database checked and dumped to nowhere, and takes
 * it down. Adds to report: `server`, `recovery`, `databases` and `failed`, an array that is empty if all is well.
 */
void verify_clone_check(const struct verify_clone *clone, cJSON *report);

#endif
