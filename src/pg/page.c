/*
 * pg/page.c: the page header by offset, and the checksum.
 *
 * The checksum is PostgreSQL's: 32 FNV-1a like sums run side by side, each over every 32nd word of
 * the page, two rounds of zeros at the end, all folded together by XOR with the block number. Side
 * by side means vectors: the loop is written with the compiler's vector types and built once for
 * each instruction set worth having.
 */
#include "pg/page.h"
#include "base/util.h"

#define PAGE_LSN	  0
#define PAGE_CHECKSUM	  8
#define PAGE_FLAGS	  10
#define PAGE_LOWER	  12
#define PAGE_UPPER	  14
#define PAGE_SPECIAL	  16
#define PAGE_SIZE_VERSION 18
#define PAGE_HEADER_SIZE  24
#define PAGE_FLAGS_VALID  0x0007u
#define PAGE_ALIGN	  8u

#define SUMS	  32u
#define FNV_PRIME 16777619u
#define ROW_BYTES (SUMS * 4)
#define ROWS	  (PG_BLCKSZ / ROW_BYTES)

uint64_t pg_page_lsn(const void *page)
{
	const uint8_t *p = page;

	return (uint64_t)get_le32(p + PAGE_LSN) << 32 | get_le32(p + PAGE_LSN + 4);
}

uint16_t pg_page_checksum(const void *page)
{
	return get_le16((const uint8_t *)page + PAGE_CHECKSUM);
}

bool pg_page_is_zero(const void *page)
{
	const uint8_t *p = page;

	/* Compared with itself one byte further on: equal when all bytes equal the first. */
	return p[0] == 0 && memcmp(p, p + 1, PG_BLCKSZ - 1) == 0;
}

bool pg_page_header_is_sane(const void *page)
{
	const uint8_t *p = page;
	unsigned flags = get_le16(p + PAGE_FLAGS);
	unsigned lower = get_le16(p + PAGE_LOWER);
	unsigned upper = get_le16(p + PAGE_UPPER);
	unsigned special = get_le16(p + PAGE_SPECIAL);
	unsigned size = get_le16(p + PAGE_SIZE_VERSION) & 0xff00u;

	if (upper == 0)
		return pg_page_is_zero(page);
	return size == PG_BLCKSZ && (flags & ~PAGE_FLAGS_VALID) == 0 && lower >= PAGE_HEADER_SIZE &&
	       lower <= upper && upper <= special && special <= PG_BLCKSZ &&
	       special % PAGE_ALIGN == 0;
}

typedef uint32_t vec __attribute__((vector_size(32)));
#define LANES (SUMS / 8)

static const uint32_t base_offsets[SUMS] = {
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2,
	0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C,
	0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979,
	0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
	0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

/* One word more in each of the sums. */
static inline __attribute__((always_inline)) void add_row(vec *sums, const void *row)
{
	for (unsigned i = 0; i < LANES; i++) {
		vec v;

		memcpy(&v, (const char *)row + i * sizeof(v), sizeof(v));
		v ^= sums[i];
		sums[i] = v * FNV_PRIME ^ v >> 17;
	}
}

static inline __attribute__((always_inline)) uint32_t sum_page(const uint8_t *page)
{
	uint8_t row[ROW_BYTES];
	uint32_t words[SUMS];
	uint32_t result = 0;
	vec sums[LANES];

	memcpy(sums, base_offsets, sizeof(sums));
	/* The stored checksum counts as zero. */
	memcpy(row, page, sizeof(row));
	put_le16(row + PAGE_CHECKSUM, 0);
	add_row(sums, row);
	for (unsigned i = 1; i < ROWS; i++)
		add_row(sums, page + (size_t)i * ROW_BYTES);
	memset(row, 0, sizeof(row));
	add_row(sums, row);
	add_row(sums, row);

	memcpy(words, sums, sizeof(words));
	for (unsigned i = 0; i < SUMS; i++)
		result ^= words[i];
	return result;
}

#if defined(__x86_64__)
/* By hand and not by target_clones: its resolvers run before sanitizers are ready. */
__attribute__((target("avx2"))) static uint32_t sum_page_avx2(const uint8_t *page)
{
	return sum_page(page);
}

__attribute__((target("sse4.1"))) static uint32_t sum_page_sse41(const uint8_t *page)
{
	return sum_page(page);
}

static uint32_t sum_page_best(const uint8_t *page)
{
	if (__builtin_cpu_supports("avx2"))
		return sum_page_avx2(page);
	if (__builtin_cpu_supports("sse4.1"))
		return sum_page_sse41(page);
	return sum_page(page);
}
#else
static uint32_t sum_page_best(const uint8_t *page)
{
	return sum_page(page);
}
#endif

uint16_t pg_page_compute_checksum(const void *page, uint32_t blkno)
{
	/* Never 0, which PostgreSQL keeps for pages without a checksum. */
	return (uint16_t)((sum_page_best(page) ^ blkno) % 65535 + 1);
}
