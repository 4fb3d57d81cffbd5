/*
 * cmd/registry_internal.h: what registry.c and registry_find.c share.
 */
#ifndef CMD_REGISTRY_INTERNAL_H
#define CMD_REGISTRY_INTERNAL_H

#include "cmd/registry.h"

#define REGISTRY_FACTS "facts.json"

/* <home>/<folder>/<hash of key><suffix>, malloc'ed, or NULL. */
char *registry_path(const char *home, const char *folder, const char *key, const char *suffix);
/* One of our mounts is there, whoever serves it. */
bool registry_is_mounted(const char *mountpoint);

#endif
