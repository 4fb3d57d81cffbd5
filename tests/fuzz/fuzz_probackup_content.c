/*
 * backup_content.control, line by line and as a file: what is accepted has a safe path and numbers
 * in their ranges, and the reader finds the lines that the parser accepts. An input that begins with
 * 0xff has the next byte times its rest: longer than the reader's piece.
 */
#include "base/util.h"
#include "fuzz_dir.h"
#include "layer/probackup/content.h"

#include <errno.h>
#include <sys/stat.h>

#define NAME "backup_content.control"

struct count {
	uint64_t lines, stop_at;
};

static bool check_line(const char *text, size_t len)
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
	return rc == 0;
}

static int count_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct count *count = ctx;

	if (++count->lines == count->stop_at)
		return errmsg_set(e, -ECANCELED, "stopped");
	return 0;
}

/* lines: those before the first that is none; whole: all of them are lines. */
static int check_file(uint64_t lines, bool whole, uint64_t stop_at)
{
	struct count count = {.stop_at = stop_at};
	struct content_sums sums = {0};
	struct errmsg e = {""};
	int rc = content_read(fuzz_dir(), "ID", count_line, &count, &sums, &e);

	if (rc == -ENOMEM && memory_fail_hit())
		return rc;
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (stop_at > 0 && stop_at <= lines) {
		FUZZ_CHECK(rc == -ECANCELED && count.lines == stop_at);
		return rc;
	}
	FUZZ_CHECK(rc == (whole ? 0 : -EUCLEAN));
	FUZZ_CHECK(count.lines == lines && (rc < 0 || sums.lines == lines));
	return rc;
}

static void check(const char *text, size_t size)
{
	uint64_t lines = 0;
	bool good = true;
	size_t at = 0;

	fuzz_put(NAME, text, size);
	while (at < size) {
		const char *newline = memchr(text + at, '\n', size - at);
		size_t len = newline != NULL ? (size_t)(newline - (text + at)) : size - at;
		/* A line without its end was cut off, even if it could be one. */
		bool line = check_line(text + at, len) && newline != NULL &&
			    len <= CONTENT_LINE_MAX;

		good = good && line;
		lines += good;
		at += len + 1;
	}
	FUZZ_WITH_FAILING_MEMORY(size, 8u, 2, check_file(lines, good, 0));
	(void)check_file(lines, good, 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0) {
		struct content_sums sums;

		fuzz_remove(NAME);
		FUZZ_CHECK(content_read(fuzz_dir(), "ID", count_line, NULL, &sums, NULL) ==
			   -ENOENT);
	} else if (data[0] == 0xff && size > 2) {
		size_t times = 1u + data[1];

		data += 2;
		size -= 2;
		text = malloc(size * times);
		FUZZ_CHECK(text != NULL);
		for (size_t i = 0; i < times; i++)
			memcpy(text + i * size, data, size);
		check(text, size * times);
		free(text);
	} else {
		check((const char *)data, size);
	}
	return 0;
}
