/*
 * layer/chain.c: what is the same for the chains of all kinds of store; overlay/chain.c makes a tree of one.
 */
#include "base/arena.h"
#include "layer/layer.h"

#include <stdlib.h>

int layer_chain_settle(struct layer_chain *chain, struct errmsg *e)
{
	return chain->driver->settle != NULL ? chain->driver->settle(chain, e) : 0;
}

void layer_chain_drop_older_entries(struct layer_chain *chain)
{
	for (unsigned i = 0; i + 1 < chain->count; i++) {
		if (!chain->older_entries)
			free(chain->layers[i]->entries);
		chain->layers[i]->entries = NULL;
		chain->layers[i]->entry_count = 0;
	}
	arena_free(chain->older_entries);
	chain->older_entries = NULL;
}
