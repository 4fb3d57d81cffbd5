/*
 * What is kept of older lists (layer/probackup/lists.c), by somebody who can make its checksum:
 * what is accepted refers to files that are wanted, each member's lines to different ones, and to
 * each that is wanted whole once; and the same file comes of writing it again.
 *
 * Input: members (1 byte), files (1 byte), what is wanted of each (1 byte), then the file behind its
 * head.
 */
#include "base/util.h"
#include "fuzz.h"
#include "layer/probackup/lists.h"

#define HEAD	  36u
#define FILES_MAX 32u

static void check_lines(const struct lists *lists, const struct wanted *items, uint32_t count)
{
	uint32_t number = 0, had[FILES_MAX] = {0}, whole[FILES_MAX] = {0};

	for (uint32_t m = 0; m < lists->members; m++) {
		const uint8_t *digest;

		for (uint32_t left = lists_member_lines(lists, m, &digest); left > 0; left--) {
			struct content_line line;
			uint32_t i;

			FUZZ_CHECK(number < lists->records);
			i = lists_line(lists, number++, &line);
			FUZZ_CHECK(i < count && items[i].want != WANT_NOTHING && had[i] != m + 1);
			FUZZ_CHECK(strlen(line.compress_alg) < sizeof(line.compress_alg));
			had[i] = m + 1;
			whole[i] += items[i].want == WANT_WHOLE;
		}
	}
	FUZZ_CHECK(number == lists->records);
	for (uint32_t i = 0; i < count; i++)
		FUZZ_CHECK(whole[i] == (items[i].want == WANT_WHOLE) && items[i].seen == 0);
}

static void check_again(const struct lists *lists, const uint8_t *bytes, size_t len)
{
	struct lists again = {0};
	uint32_t number = 0;
	uint8_t *written;
	size_t written_len;

	memcpy(again.key, bytes + 8, LISTS_KEY);
	for (uint32_t m = 0; m < lists->members; m++) {
		const uint8_t *digest;
		uint32_t lines = lists_member_lines(lists, m, &digest);

		lists_add_member(&again);
		for (; lines > 0; lines--) {
			struct content_line line;
			uint32_t i = lists_line(lists, number++, &line);

			lists_add_line(&again, i, &line);
		}
		lists_end_member(&again, digest, 0);
	}
	FUZZ_CHECK(!again.failed);
	written = again.failed ? NULL : lists_bytes(&again, &written_len);
	if (written != NULL) {
		struct content_line a, b;

		FUZZ_CHECK(written_len == len && memcmp(written, bytes, 8 + LISTS_KEY) == 0);
		/* Flags other than 0 and 1, and what stands behind a name's end, are not kept. */
		for (number = 0; number < lists->records; number++)
			FUZZ_CHECK(lists_line(lists, number, &a) ==
					   lists_line(&again, number, &b) &&
				   a.size == b.size && a.hdr_off == b.hdr_off &&
				   a.hdr_size == b.hdr_size && a.n_headers == b.n_headers &&
				   a.is_datafile == b.is_datafile &&
				   strcmp(a.compress_alg, b.compress_alg) == 0);
	}
	free(written);
	lists_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[LISTS_KEY] = "the key";
	struct wanted items[FILES_MAX] = {{0}};
	struct wanted_table table = {.items = items};
	struct lists lists = {0};
	uint8_t *bytes;
	size_t len;

	if (size < 2 || size < 2u + data[1] % FILES_MAX)
		return 0;
	table.count = data[1] % FILES_MAX;
	for (uint32_t i = 0; i < table.count; i++)
		items[i].want = (enum want)(data[2 + i] % 3);
	len = HEAD + size - 2 - table.count;
	bytes = calloc(1, len);
	FUZZ_CHECK(bytes != NULL);
	memcpy(bytes, "PGOLST02", 8);
	memcpy(bytes + 8, key, sizeof(key));
	put_le32(bytes + 24, data[0]);
	memcpy(bytes + HEAD, data + 2 + table.count, len - HEAD);
	if (len >= HEAD + data[0] * 20u)
		put_le32(bytes + 28, (uint32_t)((len - HEAD - data[0] * 20u) / 64));
	put_le32(bytes + 32, crc32c(crc32c(0, bytes, HEAD - 4), bytes + HEAD, len - HEAD));
	if (lists_parse(&lists, bytes, len, data[0], &table)) {
		check_lines(&lists, items, table.count);
		check_again(&lists, bytes, len);
	}
	lists_free(&lists);
	return 0;
}
