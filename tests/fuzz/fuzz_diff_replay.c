/*
 * Recovery of a diff: state and journal with headers and checksums that match, around records of
 * the input, so that what is replayed is what a hostile or damaged diff can say. What is recovered
 * is recovered again, and is the same.
 *
 * Input: flags (1: the last mount did not end well, 2: the state is the input's own bytes, 4: so is
 * the journal, 8: a group is missing, 16: the state is), length of the state (2 bytes), state, then groups: length (2
 * bytes), records.
 */
#include "base/util.h"
#include "diff/diff_internal.h"
#include "fuzz_diff.h"

#include <errno.h>

#define STATE_HEADER 40u
#define INPUT_MAX    (64u << 10)

static void put_state(const uint8_t *records, size_t len)
{
	uint8_t *state = calloc(1, STATE_HEADER + len);

	FUZZ_CHECK(state != NULL);
	memcpy(state, "pgovstat", 8);
	put_le32(state + 8, 1);
	put_le64(state + 16, 1);
	put_le64(state + 24, len);
	memcpy(state + STATE_HEADER, records, len);
	put_le32(state + 12, crc32c(crc32c(0, fuzz_diff_uuid(), DIFF_UUID_SIZE), state + 16,
				    STATE_HEADER - 16 + len));
	fuzz_diff_put_state(state, STATE_HEADER + len);
	free(state);
}

static void put_groups(const uint8_t *data, size_t size, bool gap)
{
	uint8_t *journal = calloc(1, 2 * INPUT_MAX);
	struct diff diff = {0};
	uint64_t sequence = 1;
	size_t at = 0;

	FUZZ_CHECK(journal != NULL);
	memcpy(diff.uuid, fuzz_diff_uuid(), sizeof(diff.uuid));
	while (size >= 2 && at + size + DIFF_GROUP_ROOM < 2 * INPUT_MAX) {
		size_t len = MIN((size_t)get_le16(data), size - 2);

		memcpy(journal + at + DIFF_GROUP_HEADER, data + 2, len);
		journal_group(&diff, journal + at, sequence, data + 2, len);
		sequence += 1 + (gap && sequence == 2);
		at += round_up_u64(DIFF_GROUP_HEADER + len, DIFF_GROUP_ALIGN);
		data += 2 + len;
		size -= 2 + len;
	}
	fuzz_diff_put_journal(journal, at);
	free(journal);
}

static void recover(bool twice)
{
	struct fuzz_diff d = {0};
	struct errmsg e = {""};
	int rc = fuzz_diff_open(&e, &d);
	uint64_t sum;

	if (rc < 0) {
		FUZZ_CHECK(rc == -EUCLEAN && e.text[0] != '\0');
		return;
	}
	sum = fuzz_diff_sum(d.ov);
	fuzz_diff_close(&d);
	if (!twice)
		return;
	FUZZ_CHECK(fuzz_diff_open(NULL, &d) == 0);
	FUZZ_CHECK(fuzz_diff_sum(d.ov) == sum);
	FUZZ_CHECK(diff_recovery_note(d.diff)[0] == '\0');
	fuzz_diff_close(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t flags;
	size_t len;

	if (size < 3 || size > INPUT_MAX)
		return 0;
	flags = data[0];
	len = MIN((size_t)get_le16(data + 1), size - 3);
	fuzz_diff_reset((flags & 1) == 0);
	fuzz_diff_put_data();
	if ((flags & 2) != 0)
		fuzz_diff_put_state(data + 3, len);
	else if (len > 0)
		put_state(data + 3, len);
	if ((flags & 16) != 0)
		fuzz_remove("diff/gen/1/state");
	if ((flags & 4) != 0)
		fuzz_diff_put_journal(data + 3 + len, size - 3 - len);
	else
		put_groups(data + 3 + len, size - 3 - len, (flags & 8) != 0);
	recover(size % 4 == 0);
	return 0;
}
