/*
 * tests/unit/sha256.h: SHA-256, for the lists of real restores that tests compare with.
 */
#ifndef TESTS_UNIT_SHA256_H
#define TESTS_UNIT_SHA256_H

#include <stddef.h>

/* 64 hexadecimal digits and a NUL. */
void sha256_hex(const void *data, size_t len, char ret[65]);

#endif
