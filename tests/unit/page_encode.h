/*
 * tests/unit/page_encode.h: one page as the writers of backups store it.
 */
#ifndef TESTS_UNIT_PAGE_ENCODE_H
#define TESTS_UNIT_PAGE_ENCODE_H

#include "codec/codec.h"

#include <stddef.h>
#include <stdint.h>

#define ENCODE_PAGE 8192u

/* Encodes a page; returns the length, at most ENCODE_PAGE; ENCODE_PAGE: stored raw, because that is no longer. */
size_t encode_page(enum codec codec, const uint8_t *page, uint8_t *ret);

#endif
