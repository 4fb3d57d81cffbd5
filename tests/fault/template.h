/*
 * tests/fault/template.h: a diff without any change, put back as it was before each run.
 */
#ifndef FAULT_TEMPLATE_H
#define FAULT_TEMPLATE_H

#include <stdbool.h>

/* Remembers the diff, which is closed. Aborts when that fails, as all of these do. */
void template_take(const char *diff_path);
/* used: the data/xx that may hold files. */
void template_put(const char *diff_path, const bool used[256]);

#endif
