/*
 * tests/model/scratch.h: directories that tests make and remove.
 */
#ifndef MODEL_SCRATCH_H
#define MODEL_SCRATCH_H

#include <stddef.h>

/* A new directory in memory where there is one (/dev/shm), else in /tmp. Aborts when that fails. */
void scratch_new(const char *name, char *ret, size_t size);
/* Removes the tree. */
void scratch_remove(const char *path);

#endif
