/*
 * tablespace_map and postgresql.auto.conf: oids are numbers of at most ten digits, and the filter
 * only leaves lines out.
 */
#include "base/util.h"
#include "fuzz.h"
#include "layer/probackup/probackup.h"

#include <errno.h>

static int check_oid(void *ctx, const char *oid, size_t len)
{
	size_t *bytes = ctx;

	FUZZ_CHECK(len >= 1 && len <= 10 && oid[0] != '0');
	for (size_t i = 0; i < len; i++)
		FUZZ_CHECK(oid[i] >= '0' && oid[i] <= '9');
	*bytes += len;
	return 0;
}

static void check_filter(const char *text, size_t size)
{
	char *copy = malloc(MAX(size, (size_t)1));
	size_t len, again;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, text, size);
	len = present_filter_auto_conf(copy, size);
	FUZZ_CHECK(len <= size);
	FUZZ_CHECK(memmem(copy, len, "restore_command", 15) == NULL);
	FUZZ_CHECK(memmem(copy, len, "recovery_target", 15) == NULL);
	again = present_filter_auto_conf(copy, len);
	FUZZ_CHECK(again == len);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t bytes = 0;
	char *copy = malloc(MAX(size, (size_t)1));
	int rc;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, size);
	rc = present_parse_tablespace_map(copy, size, check_oid, &bytes);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK(bytes <= size);
	check_filter(copy, size);
	free(copy);
	return 0;
}
