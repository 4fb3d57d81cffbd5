/*
 * tests/model/backend_mount.h: a mounted directory as a backend: the same operations through system
 * calls, with mmap, O_DIRECT and O_APPEND.
 */
#ifndef MODEL_BACKEND_MOUNT_H
#define MODEL_BACKEND_MOUNT_H

#include "backend.h"

struct backend_mount {
	struct backend backend;
	int rootfd;
	const char *root;
	const char *remount; /* command that unmounts and mounts again, or NULL */
	bool drop_caches;
	bool unmappable; /* files exist that cannot be mapped: transferred instead */
	struct {
		int fd; /* -1: closed */
		bool direct;
	} handles[BACKEND_HANDLES];
};

/* 0 or -errno. The strings stay the caller's. */
int backend_mount_open(struct backend_mount *b, const char *root, const char *remount,
		       bool drop_caches);
void backend_mount_close(struct backend_mount *b);

#endif
