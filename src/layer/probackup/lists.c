/*
 * layer/probackup/lists.c: see lists.h.
 *
 *	line	u32 wanted, u32 mode, i64 size, u64 hdr_off, u32 crc, segno, n_blocks, n_headers,
 *		hdr_crc, hdr_size, u8 is_datafile, u8 is_cfs, u8[14] compress_alg
 */
#include "layer/probackup/lists.h"
#include "base/big.h"
#include "base/util.h"

#define MAGIC  "PGOLST02"
#define HEAD   36u
#define MEMBER (LISTS_DIGEST + 4u)
#define LINE   64u
#define ALG    14u /* bytes of compress_alg */

/* ---- writing ---- */

static uint8_t *more(struct lists *lists, uint8_t **array, uint32_t *count, uint32_t *cap,
		     size_t size)
{
	if (lists->failed)
		return NULL;
	if (*count == *cap) {
		uint32_t bigger = MAX(*cap * 2, 256u);
		void *p = bigger * size <= LISTS_BYTES_MAX
				  ? big_realloc(*array, *cap * size, bigger * size)
				  : NULL;

		if (p == NULL) {
			lists->failed = true;
			return NULL;
		}
		*array = p;
		*cap = bigger;
	}
	return *array + (*count)++ * size;
}

void lists_add_member(struct lists *lists)
{
	uint8_t *at = more(lists, &lists->heads, &lists->members, &lists->member_cap, MEMBER);

	if (at != NULL)
		memset(at, 0, MEMBER);
}

void lists_add_line(struct lists *lists, uint32_t wanted, const struct content_line *line)
{
	uint8_t *at = more(lists, &lists->lines, &lists->records, &lists->record_cap, LINE);
	uint8_t *count;

	if (at == NULL)
		return;
	/* Names of codecs are shorter; a line with a longer one is refused. */
	if (strlen(line->compress_alg) >= ALG) {
		lists->failed = true;
		return;
	}
	memset(at, 0, LINE);
	put_le32(at, wanted);
	put_le32(at + 4, line->mode);
	put_le64(at + 8, (uint64_t)line->size);
	put_le64(at + 16, line->hdr_off);
	put_le32(at + 24, line->crc);
	put_le32(at + 28, line->segno);
	put_le32(at + 32, line->n_blocks);
	put_le32(at + 36, line->n_headers);
	put_le32(at + 40, line->hdr_crc);
	put_le32(at + 44, line->hdr_size);
	at[48] = line->is_datafile;
	at[49] = line->is_cfs;
	memcpy(at + 50, line->compress_alg, strlen(line->compress_alg));
	count = lists->heads + (size_t)(lists->members - 1) * MEMBER + LISTS_DIGEST;
	put_le32(count, get_le32(count) + 1);
}

static int compare_lines(const void *a, const void *b)
{
	uint32_t x = get_le32(a), y = get_le32(b);

	return x < y ? -1 : x > y;
}

/* As the next mount can put them in their places: by the number of the wanted. */
static void sort_lines(const struct lists *lists, uint32_t count)
{
	uint8_t *first;

	if (count < 2)
		return;
	first = lists->lines + (size_t)(lists->records - count) * LINE;
	for (uint32_t i = 1; i < count; i++) {
		if (compare_lines(first + (size_t)(i - 1) * LINE, first + (size_t)i * LINE) > 0) {
			qsort(first, count, LINE, compare_lines);
			return;
		}
	}
}

void lists_end_member(struct lists *lists, const uint8_t digest[LISTS_DIGEST], uint64_t lines)
{
	uint8_t *head;

	lists->lines_read += lines;
	if (lists->failed)
		return;
	head = lists->heads + (size_t)(lists->members - 1) * MEMBER;
	memcpy(head, digest, LISTS_DIGEST);
	sort_lines(lists, get_le32(head + LISTS_DIGEST));
}

static uint32_t crc_of(const uint8_t *bytes, size_t len)
{
	return crc32c(crc32c(0, bytes, HEAD - 4), bytes + HEAD, len - HEAD);
}

uint8_t *lists_bytes(const struct lists *lists, size_t *ret_len)
{
	size_t heads = (size_t)lists->members * MEMBER, lines = (size_t)lists->records * LINE;
	size_t len = HEAD + heads + lines;
	uint8_t *bytes = malloc(len);

	if (bytes == NULL)
		return NULL;
	memcpy(bytes, MAGIC, 8);
	memcpy(bytes + 8, lists->key, LISTS_KEY);
	put_le32(bytes + 24, lists->members);
	put_le32(bytes + 28, lists->records);
	if (heads > 0)
		memcpy(bytes + HEAD, lists->heads, heads);
	if (lines > 0)
		memcpy(bytes + HEAD + heads, lists->lines, lines);
	put_le32(bytes + HEAD - 4, crc_of(bytes, len));
	*ret_len = len;
	return bytes;
}

/* ---- reading ---- */

uint32_t lists_member_lines(const struct lists *lists, uint32_t member, const uint8_t **ret_digest)
{
	const uint8_t *at = lists->heads + (size_t)member * MEMBER;

	*ret_digest = at;
	return get_le32(at + LISTS_DIGEST);
}

uint32_t lists_line(const struct lists *lists, uint32_t number, struct content_line *ret)
{
	const uint8_t *at = lists->lines + (size_t)number * LINE;

	/* Field by field: it is done for each line of a long chain. */
	ret->external_dir_num = 0;
	ret->has_full_size = false;
	ret->full_size = 0;
	ret->unknown_key[0] = '\0';
	ret->mode = get_le32(at + 4);
	ret->size = (int64_t)get_le64(at + 8);
	ret->hdr_off = get_le64(at + 16);
	ret->crc = get_le32(at + 24);
	ret->segno = get_le32(at + 28);
	ret->n_blocks = get_le32(at + 32);
	ret->n_headers = get_le32(at + 36);
	ret->hdr_crc = get_le32(at + 40);
	ret->hdr_size = get_le32(at + 44);
	ret->is_datafile = at[48] != 0;
	ret->is_cfs = at[49] != 0;
	memcpy(ret->compress_alg, at + 50, ALG - 1);
	ret->compress_alg[ALG - 1] = '\0';
	return get_le32(at);
}

/* Each member's lines are in the order of their files, and each file that is wanted whole has one line. */
static bool lines_fit(const struct lists *lists, const struct wanted_table *table)
{
	const uint8_t *at = lists->lines;
	uint32_t whole = 0;

	for (uint32_t m = 0; m < lists->members; m++) {
		const uint8_t *digest;
		uint32_t least = 0;

		for (uint32_t left = lists_member_lines(lists, m, &digest); left > 0; left--) {
			uint32_t i = get_le32(at);
			struct wanted *w = i < table->count ? &table->items[i] : NULL;

			if (w == NULL || i < least ||
			    (w->want == WANT_WHOLE ? w->seen != 0 : w->want != WANT_BLOCKS))
				return false;
			w->seen = 1;
			whole += w->want == WANT_WHOLE;
			least = i + 1;
			at += LINE;
		}
	}
	for (uint32_t i = 0; i < table->count; i++)
		whole -= table->items[i].want == WANT_WHOLE;
	return whole == 0;
}

static bool counts_fit(const struct lists *lists)
{
	uint64_t sum = 0;
	const uint8_t *digest;

	for (uint32_t m = 0; m < lists->members; m++)
		sum += lists_member_lines(lists, m, &digest);
	return sum == lists->records;
}

bool lists_parse(struct lists *lists, uint8_t *bytes, size_t len, uint32_t members,
		 const struct wanted_table *table)
{
	size_t heads = (size_t)members * MEMBER, lines;
	bool fits;

	lists->bytes = bytes;
	if (len < HEAD + heads || memcmp(bytes, MAGIC, 8) != 0 || get_le32(bytes + 24) != members)
		return false;
	lines = (size_t)get_le32(bytes + 28) * LINE;
	if (len != HEAD + heads + lines || get_le32(bytes + HEAD - 4) != crc_of(bytes, len))
		return false;
	memcpy(lists->key, bytes + 8, LISTS_KEY);
	lists->members = members;
	lists->records = get_le32(bytes + 28);
	lists->heads = bytes + HEAD;
	lists->lines = bytes + HEAD + heads;
	fits = counts_fit(lists) && lines_fit(lists, table);
	for (uint32_t i = 0; i < table->count; i++)
		table->items[i].seen = 0;
	return fits;
}

void lists_free(struct lists *lists)
{
	if (lists->bytes == NULL) {
		free(lists->heads);
		free(lists->lines);
	}
	free(lists->bytes);
	*lists = (struct lists){0};
}
