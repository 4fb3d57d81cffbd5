/*
 * tests/unit/layer_check.h: opening chains of stores made with layer_make.h, and asking them.
 */
#ifndef TESTS_UNIT_LAYER_CHECK_H
#define TESTS_UNIT_LAYER_CHECK_H

#include "layer/layer.h"
#include "layer_make.h"

#define FULL   "TOSPO0"
#define MIDDLE "TOSPO1"
#define TOP    "TOSPO2"
#define REL    "base/5/16384"

/* What is open; check_open opens the store of the test's directory first. */
extern struct store *store;
extern struct layer_chain *chain;
extern struct errmsg message;

int check_open(const char *backup); /* into chain; failures leave a message */
void check_opens(const char *backup);
void check_refused(const char *backup, int rc, const char *text);
void check_close(void);
void check_teardown(void); /* and the directory */

/* The relation as a string: one letter a page (its fill), '0' for zeros. */
const char *blocks_of(const char *path);
const char *text_of(const char *path);

/* A data file whose pages are the letters of text at their index; '.' is a page that is not stored.
 */
void make_rel(struct made_backup *b, const char *path, uint32_t n_blocks, const char *text);
/* A FULL with this relation. */
void make_full(const char *rel);

#endif
