/*
 * cmd/facts.h: the facts of a mount as JSON: what `mount --format json` prints, what the daemon
 * reports, what the registry keeps, what status answers begin with.
 */
#ifndef CMD_FACTS_H
#define CMD_FACTS_H

#include "cmd/mount.h"
#include "cmd/registry.h"

/* One line without its newline, malloc'ed; NULL: out of memory. */
char *facts_text(const struct mount_result *result);
/* -EUCLEAN: not such a text. */
int facts_parse_result(const char *text, struct mount_result *ret);
int facts_parse_clone(const char *text, struct clone *ret);

#endif
