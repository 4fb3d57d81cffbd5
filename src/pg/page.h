/*
 * pg/page.h: PostgreSQL's page header and page checksum.
 * Source of the format: PostgreSQL src/include/storage/bufpage.h and checksum_impl.h, versions 9.6 to 18.
 * Pure functions; any thread.
 */
#ifndef PG_PAGE_H
#define PG_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#define PG_BLCKSZ 8192u
#define PG_SEGMENT_BLOCKS 131072u /* blocks of a full 1 GiB segment */

uint64_t pg_page_lsn(const void *page);      /* pd_lsn as (hi << 32) | lo */
uint16_t pg_page_checksum(const void *page); /* the stored pd_checksum */
bool pg_page_is_zero(const void *page);

/* The checksum PostgreSQL computes for the page as block number blkno of its relation fork (segno * 131072 + block). */
uint16_t pg_page_compute_checksum(const void *page, uint32_t blkno);

/* Page size, flags, lower, upper and special are plausible, or the page is all zero. */
bool pg_page_header_is_sane(const void *page);

#endif
