/*
 * tests/model/backend_core.h: the core without kernel as a backend.
 */
#ifndef MODEL_BACKEND_CORE_H
#define MODEL_BACKEND_CORE_H

#include "backend.h"
#include "core.h"

struct backend_core {
	struct backend backend;
	struct core core;
	struct layer_chain *chain;
	char diff_path[256];
	struct file *handles[BACKEND_HANDLES];
	unsigned in_flight;
	struct errmsg e;
};

/* The core in it is still to be opened: by the caller, or with the other two by backend_core_open. */
void backend_core_init(struct backend_core *b, struct layer_chain *chain, const char *diff_path);
int backend_core_open(struct backend_core *b, struct layer_chain *chain, const char *diff_path,
		      const struct core_options *options);
void backend_core_close(struct backend_core *b);

#endif
