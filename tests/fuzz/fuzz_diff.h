/*
 * tests/fuzz/fuzz_diff.h: a small chain and a diff on it that every input finds as it was made.
 */
#ifndef TESTS_FUZZ_FUZZ_DIFF_H
#define TESTS_FUZZ_FUZZ_DIFF_H

#include "fuzz_dir.h"
#include "overlay/overlay.h"

struct fuzz_diff {
	struct diff *diff;
	struct overlay *ov;
};

/* Made at the first use: base/1 (8 blocks), base/plain, link, and 20 files in many/. */
struct layer_chain *fuzz_chain(void);
const uint8_t *fuzz_diff_uuid(void);
uint64_t fuzz_diff_base_id(void); /* of base/1 */

/* An empty journal and the first state, no data files; clean: as the last mount has left it. */
void fuzz_diff_reset(bool clean);
/* Data files of 4 blocks of base/1 and of the first new id, for records that name them. */
void fuzz_diff_put_data(void);
/* Replaces them: the whole state, the first bytes of the journal. */
void fuzz_diff_put_state(const void *data, size_t len);
void fuzz_diff_put_journal(const void *data, size_t len);

/* 0, or the error with a message in e. */
int fuzz_diff_open(struct errmsg *e, struct fuzz_diff *ret);
void fuzz_diff_close(struct fuzz_diff *d);
/* A sum over names, types, sizes and modes of the whole tree. */
uint64_t fuzz_diff_sum(struct overlay *ov);

#endif
