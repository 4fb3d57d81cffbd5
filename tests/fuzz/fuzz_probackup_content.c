/*
 * Lines of backup_content.control: what is accepted has a safe path and numbers in their ranges.
 */
#include "base/util.h"
#include "fuzz.h"
#include "layer/probackup/content.h"

#include <errno.h>
#include <sys/stat.h>

static void check_line(const char *text, size_t len)
{
	struct content_line line;
	const char *problem = "untouched";
	/* A copy of its own, so that reading behind it is noticed. */
	char *copy = malloc(MAX(len, (size_t)1));
	int rc;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, text, len);
	rc = content_parse_line(copy, len, &line, &problem);
	FUZZ_CHECK(rc == (problem == NULL ? 0 : -EUCLEAN));
	if (rc == 0) {
		FUZZ_CHECK(path_is_safe(line.path));
		FUZZ_CHECK(strlen(line.path) == line.path_len && line.path_len <= CONTENT_PATH_MAX);
		FUZZ_CHECK(memmem(copy, len, line.path, line.path_len) != NULL);
		FUZZ_CHECK(line.size >= -1);
		FUZZ_CHECK(S_ISREG(line.mode) || (S_ISDIR(line.mode) && line.size == 0));
		FUZZ_CHECK(strlen(line.compress_alg) > 0);
		FUZZ_CHECK(strlen(line.unknown_key) < sizeof(line.unknown_key));
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	while (size > 0) {
		const char *newline = memchr(text, '\n', size);
		size_t len = newline != NULL ? (size_t)(newline - text) : size;

		check_line(text, len);
		len += newline != NULL;
		text += len;
		size -= len;
	}
	return 0;
}
