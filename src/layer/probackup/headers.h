/*
 * layer/probackup/headers.h: where the pages of one stored data file lie in it.
 *
 * From page_header_map, which holds a zlib stream for each data file: an array of 24-byte entries
 * (page LSN, block number, position of the record, checksum) and a dummy whose position is the
 * file's size. Or, where that is missing or damaged, from the records in the data file itself.
 */
#ifndef LAYER_PROBACKUP_HEADERS_H
#define LAYER_PROBACKUP_HEADERS_H

#include "base/util.h"
#include "codec/codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADERS_ENTRY_SIZE  24u
#define HEADERS_RECORD_HEAD 8u /* block number and payload length in front of each stored page */

/* What the list says of a data file. */
struct headers_info {
	uint64_t size;	   /* stored bytes */
	uint64_t hdr_off;  /* of the blob in page_header_map */
	uint32_t hdr_size; /* its bytes */
	uint32_t hdr_crc;  /* CRC-32C of the inflated array */
	uint32_t count;	   /* pages stored */
	uint32_t crc;	   /* CRC-32C of the stored bytes */
	bool whole;	   /* they are the blocks 0 .. count-1 */
};

/* The inflated array: count + 1 entries, blocks and positions strictly ascending. */
struct headers {
	uint8_t *raw;
	uint32_t count;
	bool unsummed; /* from the data file's records alone: LSNs and checksums are not known */
};

static inline uint32_t headers_block(const struct headers *h, uint32_t i)
{
	return get_le32(h->raw + (size_t)i * HEADERS_ENTRY_SIZE + 8);
}

static inline uint32_t headers_pos(const struct headers *h, uint32_t i)
{
	return get_le32(h->raw + (size_t)i * HEADERS_ENTRY_SIZE + 12);
}

static inline uint64_t headers_lsn(const struct headers *h, uint32_t i)
{
	return get_le64(h->raw + (size_t)i * HEADERS_ENTRY_SIZE);
}

static inline uint16_t headers_checksum(const struct headers *h, uint32_t i)
{
	return get_le16(h->raw + (size_t)i * HEADERS_ENTRY_SIZE + 16);
}

/* Bytes of record i, head included. */
static inline uint32_t headers_len(const struct headers *h, uint32_t i)
{
	return headers_pos(h, i + 1) - headers_pos(h, i);
}

/* The first index whose block is block or higher; count if there is none. */
uint32_t headers_find(const struct headers *h, uint32_t block);

/*
 * Inflates a blob and checks it against the list. Pure. -EUCLEAN or -EBADMSG with a phrase in
 * *ret_problem; the result is released with headers_free.
 */
int headers_decode(const void *blob, const struct headers_info *info, struct headers *ret,
		   const char **ret_problem);

/* Reads the blob from page_header_map and decodes it. */
int headers_read(int map_fd, uint64_t map_size, const struct headers_info *info,
		 struct headers *ret, const char **ret_problem);

/*
 * Walks the records of the data file instead; reads all of it and compares it with its crc, because
 * nothing else says that a record is where it belongs.
 */
int headers_scan(int data_fd, const struct headers_info *info, struct headers *ret,
		 const char **ret_problem);

/*
 * The same, and decodes each page for its LSN and checksum, so that a page that changes afterwards
 * is found out as it is with the map. blkno: the relation's block that is block 0 of the file.
 */
int headers_scan_pages(int data_fd, const struct headers_info *info, enum codec codec,
		       uint32_t blkno, struct headers *ret, const char **ret_problem);

/* Decodes a record's payload. 0, -EUCLEAN or -ENOMEM. Pure. */
int headers_decode_page(enum codec codec, const void *payload, uint32_t len, void *ret_page);

void headers_free(struct headers *h);

#endif
