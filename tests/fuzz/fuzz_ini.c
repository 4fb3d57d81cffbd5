/*
 * The key = value files: whatever is delivered is normalised and came from the input.
 */
#include "base/ini.h"
#include "base/util.h"
#include "fuzz.h"

#include <errno.h>

struct seen {
	size_t pairs, bytes;
};

static int check_pair(void *ctx, const char *key, const char *value)
{
	struct seen *seen = ctx;

	FUZZ_CHECK(key[0] != '\0');
	for (const char *c = key; *c != '\0'; c++)
		FUZZ_CHECK(!(*c >= 'A' && *c <= 'Z') && *c != '_' && *c != ' ' && *c != '=' &&
			   *c != '\n');
	FUZZ_CHECK(strchr(value, '\n') == NULL);
	seen->pairs++;
	seen->bytes += strlen(key) + strlen(value);
	return 0;
}

static int stop_at_second(void *ctx, const char *key, const char *value)
{
	return ++*(unsigned *)ctx == 2 ? 7 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = {0};
	struct errmsg e = {0};
	char *text = malloc(MAX(size, (size_t)1));
	unsigned count = 0;
	int rc;

	FUZZ_CHECK(text != NULL);
	memcpy(text, data, size);
	rc = ini_parse(text, size, check_pair, &seen, &e);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	FUZZ_CHECK(seen.bytes <= size);
	rc = ini_parse(text, size, stop_at_second, &count, NULL);
	FUZZ_CHECK(count == MIN(seen.pairs, (size_t)2));
	FUZZ_CHECK((rc == 7) == (count == 2));
	free(text);
	return 0;
}
