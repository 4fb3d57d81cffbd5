/*
 * Records of journal and state: a list of them, as recovery reads it. What is accepted is exactly
 * what encoding it again gives; and whatever encoding accepts, decoding gives back.
 */
#include "base/util.h"
#include "diff/record.h"
#include "fuzz_dir.h"

#include <errno.h>

static int decode_all(const uint8_t *data, size_t size)
{
	struct diff_buffer again = {0};
	struct diff_run *runs = NULL;
	struct diff_record record;
	uint32_t runs_cap = 0;
	size_t pos = 0;
	int rc = 0;

	while (pos < size && rc == 0) {
		int64_t n = diff_record_decode(data + pos, size - pos, &record, &runs, &runs_cap);

		if (n < 0) {
			rc = (int)n;
			break;
		}
		FUZZ_CHECK(n > 0 && (size_t)n <= size - pos);
		FUZZ_CHECK(diff_record_encoded_size(&record) == (size_t)n);
		rc = diff_record_encode(&again, &record);
		FUZZ_CHECK(again.len == (rc == 0 ? pos + (size_t)n : pos));
		FUZZ_CHECK(again.len == 0 || memcmp(again.data, data, again.len) == 0);
		pos += (size_t)n;
	}
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || (rc == -ENOMEM && memory_fail_hit()));
	diff_buffer_free(&again);
	free(runs);
	return rc;
}

static uint32_t take(const uint8_t **data, size_t *size, size_t width)
{
	uint8_t bytes[4] = {0};
	size_t n = MIN(width, *size);

	if (n > 0)
		memcpy(bytes, *data, n);
	*data += n;
	*size -= n;
	return get_le32(bytes);
}

/* A record with any value in any field. */
static void encode_any(const uint8_t *data, size_t size)
{
	struct diff_run in[4], *out = NULL;
	struct diff_buffer buffer = {0};
	struct diff_record r = {0}, same;
	uint32_t cap = 0;
	char *text;
	int rc;

	r.type = (enum diff_record_type)(take(&data, &size, 1) % (DIFF_RECORD_MAX_ + 2));
	r.id = (uint64_t)take(&data, &size, 4) << 32 | take(&data, &size, 4);
	r.dir = take(&data, &size, 1);
	r.dir2 = take(&data, &size, 1);
	r.flags = take(&data, &size, 1);
	r.attr.mode = take(&data, &size, 4);
	r.attr.mtime = take(&data, &size, 4);
	r.size = (uint64_t)take(&data, &size, 2) << 32 | take(&data, &size, 4);
	r.base_limit = take(&data, &size, 4);
	r.run_count = take(&data, &size, 1) % 5;
	for (uint32_t i = 0; i < r.run_count; i++)
		in[i] = (struct diff_run){.first = take(&data, &size, 4),
					  .count = take(&data, &size, 4),
					  .state = (enum block_state)(take(&data, &size, 1) % 4)};
	r.runs = in;
	r.name_len = MIN(take(&data, &size, 2) % 300, (uint32_t)size);
	r.name2_len = MIN(take(&data, &size, 2) % 300, (uint32_t)size);
	r.target_len = MIN(take(&data, &size, 2) % 5000, (uint32_t)size);
	r.name_len = MIN(r.name_len, (uint32_t)size);
	r.name2_len = MIN(r.name2_len, (uint32_t)size);
	r.target_len = MIN(r.target_len, (uint32_t)size);
	text = malloc(MAX(size, (size_t)1));
	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	r.name = r.name2 = r.target = text;
	rc = diff_record_encode(&buffer, &r);
	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	if (rc == 0) {
		FUZZ_CHECK(diff_record_decode(buffer.data, buffer.len, &same, &out, &cap) ==
			   (int64_t)buffer.len);
		FUZZ_CHECK(same.type == r.type);
	}
	diff_buffer_free(&buffer);
	free(out);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FUZZ_WITH_FAILING_MEMORY(size, 8u, 8, decode_all(data, size));
	encode_any(data, size);
	return 0;
}
