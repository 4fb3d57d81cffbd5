/*
 * tests/unit/layer_stores.h: sample stores for the programs that read whole ones: where they are,
 * unpacking them, and comparing a chain with the lists of its real restore.
 *
 * TEST_SHARED names a directory of stores, one folder each with store.tar.zst; without it
 * ../shared/fixtures/pg_probackup beside the source tree is taken if it is there.
 */
#ifndef TESTS_UNIT_LAYER_STORES_H
#define TESTS_UNIT_LAYER_STORES_H

#include "layer/layer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORES_SKIP 77 /* exit status of a test that was skipped */

/* The directory, or NULL. */
const char *stores_shared(void);

/* Unpacks an archive below dir (made if need be). False after a message. */
bool stores_unpack(const char *archive, const char *dir);

/* A scratch directory, removed by stores_clean with all that is in it. */
const char *stores_scratch(void);
void stores_clean(void);

struct stores_result {
	uint32_t entries, files, errors, unreadable;
	uint64_t bytes;
};

/*
 * Compares names, types, modes and contents of the chain's target with golden_dir/<id>.*, and
 * prints what differs. A file whose path is broken (NULL: none) must fail to be read; it counts as
 * unreadable.
 */
void stores_compare(const struct layer_chain *chain, const char *golden_dir, const char *broken,
		    struct stores_result *ret);

#endif
