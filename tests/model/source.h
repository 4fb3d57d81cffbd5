/*
 * tests/model/source.h: the chains that runs stand on: half of the seeds use backups of the fixture
 * stores, half use chains made at random.
 */
#ifndef MODEL_SOURCE_H
#define MODEL_SOURCE_H

#include "layer/layer.h"
#include "memfs.h"

#include <stdint.h>

struct source;

/* stores: a directory with one folder a store (store.tar.zst), or NULL: random chains only. */
struct source *source_new(const char *scratch, const char *stores);
void source_free(struct source *s);

/*
 * The chain of a seed and a model of it. Belongs to s; one at a time. desc gets a line for the log.
 * NULL when a store cannot be opened (a message was printed).
 */
struct layer_chain *source_get(struct source *s, uint64_t seed, char *desc, size_t size,
			       struct memfs **ret_fs);

#endif
