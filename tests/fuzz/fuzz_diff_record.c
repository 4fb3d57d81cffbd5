/*
 * Records of journal and state: a list of them, as recovery reads it. What is accepted is exactly
 * what encoding it again gives.
 */
#include "base/util.h"
#include "diff/record.h"
#include "fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct diff_buffer again = {0};
	struct diff_run *runs = NULL;
	struct diff_record record;
	uint32_t runs_cap = 0;
	size_t pos = 0;

	while (pos < size) {
		int64_t n = diff_record_decode(data + pos, size - pos, &record, &runs, &runs_cap);

		if (n < 0) {
			FUZZ_CHECK(n == -EUCLEAN);
			break;
		}
		FUZZ_CHECK(n > 0 && (size_t)n <= size - pos);
		FUZZ_CHECK(diff_record_encoded_size(&record) == (size_t)n);
		FUZZ_CHECK(diff_record_encode(&again, &record) == 0);
		pos += (size_t)n;
		FUZZ_CHECK(again.len == pos && memcmp(again.data, data, pos) == 0);
	}
	diff_buffer_free(&again);
	free(runs);
	return 0;
}
