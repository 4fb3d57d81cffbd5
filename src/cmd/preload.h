/*
 * cmd/preload.h: which libraries of a *_preload_libraries list a clone can and should load.
 *
 * A missing one stops the server or every session; one that acts by itself (jobs, other servers)
 * would act on behalf of the original. Both are left out by name. One thread.
 */
#ifndef CMD_PRELOAD_H
#define CMD_PRELOAD_H

#include "cmd/pgbin.h"

#include <stdbool.h>

struct preload_rule {
	const struct pgbin *bin;
	const char *search; /* dynamic_library_path, NULL: the default */
	bool schedulers;    /* leave those out that act by themselves */
	bool plugins;	    /* the list is local_preload_libraries */
};

/*
 * 1: something is left out; *ret_kept is the rest ("" if nothing), *ret_reason says what and why,
 * both malloc'ed. 0: all of it can stay.
 */
int preload_filter(const char *list, const struct preload_rule *rule, char **ret_kept,
		   char **ret_reason);

/* What the library does by itself, or NULL. A path and ".so" do not matter. */
const char *preload_scheduler(const char *library);

#endif
