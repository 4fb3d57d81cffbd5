/*
 * overlay/index_file.c: an index as bytes.
 *
 *	0	"PGOIDX01"
 *	8	content hash of the chain
 *	24	u64 id of the file, u64 shape of its parts
 *	40	u32 blocks, u32 parts, u32 blocks of a piece, u32 1: has sums
 *	60	crc32c of the 60 bytes before
 *	64	pieces, the last one shorter: u64 an entry (offset, << 40 length, << 54 part),
 *		u32 a sum, crc32c that begins with the head's crc and the piece's number
 *
 * Little-endian. Nothing in it is believed that a checksum does not vouch for, and no entry is
 * taken that points to a part there is not.
 */
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>

#define MAGIC	  "PGOIDX01"
#define HEAD_CRC  60u
#define ENTRY_MAX (UINT64_C(1) << 40)

void index_file_put_head(const struct index *ix, const uint8_t hash[16], bool sums,
			 uint8_t ret[INDEX_FILE_HEAD])
{
	memset(ret, 0, INDEX_FILE_HEAD);
	memcpy(ret, MAGIC, 8);
	memcpy(ret + 8, hash, 16);
	put_le64(ret + 24, ix->base->id);
	put_le64(ret + 32, ix->shape);
	put_le32(ret + 40, ix->count);
	put_le32(ret + 44, ix->base->part_count);
	put_le32(ret + 48, INDEX_PIECE);
	put_le32(ret + 52, sums);
	put_le32(ret + HEAD_CRC, crc32c(0, ret, HEAD_CRC));
}

bool index_file_head_fits(const struct index *ix, const uint8_t hash[16],
			  const uint8_t head[INDEX_FILE_HEAD])
{
	uint8_t wanted[INDEX_FILE_HEAD];
	bool sums = get_le32(head + 52) == 1;

	/* One with sums will do where they are not wanted. */
	index_file_put_head(ix, hash, sums || ix->ov->options.verify_reads, wanted);
	return memcmp(head, wanted, INDEX_FILE_HEAD) == 0;
}

static uint32_t piece_crc(uint32_t piece, const uint8_t *bytes, uint32_t len,
			  const uint8_t head[INDEX_FILE_HEAD])
{
	uint8_t number[4];

	put_le32(number, piece);
	return crc32c(crc32c(get_le32(head + HEAD_CRC), number, sizeof(number)), bytes, len);
}

void index_file_put_piece(const struct index *ix, uint32_t piece, const struct index_piece *from,
			  const uint8_t head[INDEX_FILE_HEAD], uint8_t *ret)
{
	uint32_t n = index_piece_blocks(ix, piece);

	for (uint32_t i = 0; i < n; i++) {
		struct index_entry e = from->entries[i];

		put_le64(ret + (size_t)i * 8,
			 (uint64_t)e.off | (uint64_t)e.len << 40 | (uint64_t)e.part << 54);
		put_le32(ret + (size_t)n * 8 + (size_t)i * 4, from->sums ? from->sums[i] : 0);
	}
	put_le32(ret + (size_t)n * 12, piece_crc(piece, ret, n * 12, head));
}

static bool get_entry(const struct index *ix, uint64_t bits, struct index_entry *ret)
{
	struct index_entry e = {
		.off = bits & (ENTRY_MAX - 1), .len = bits >> 40 & 0x3fff, .part = bits >> 54};

	*ret = e;
	if (e.part == INDEX_NO_PART)
		return e.off == 0 && e.len <= 1;
	return e.part < ix->base->part_count && e.len > 0;
}

int index_file_get_piece(const struct index *ix, uint32_t piece, const uint8_t *bytes,
			 const uint8_t head[INDEX_FILE_HEAD], struct index_piece *ret)
{
	uint32_t n = index_piece_blocks(ix, piece);
	struct index_piece p;
	int rc;

	if (get_le32(bytes + (size_t)n * 12) != piece_crc(piece, bytes, n * 12, head))
		return -EUCLEAN;
	rc = index_piece_new(n, ix->ov->options.verify_reads, &p);
	for (uint32_t i = 0; i < n && rc == 0; i++) {
		if (!get_entry(ix, get_le64(bytes + (size_t)i * 8), &p.entries[i]))
			rc = -EUCLEAN;
		if (p.sums)
			p.sums[i] = get_le32(bytes + (size_t)n * 8 + (size_t)i * 4);
	}
	if (rc == 0)
		*ret = p;
	else if (rc != -ENOMEM)
		free(p.entries);
	return rc;
}
