/*
 * tablespace_map (both readers), postgresql.auto.conf and database_map: oids are numbers of at most
 * ten digits, the filter only leaves lines out, and a database is left out or not.
 */
#include "base/util.h"
#include "cmd/restore.h"
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

static int check_space(void *ctx, const char *oid, const char *path)
{
	size_t *bytes = ctx;

	FUZZ_CHECK(strlen(oid) <= 10 && path[0] == '/' && strlen(path) <= CONTENT_PATH_MAX);
	*bytes += strlen(oid) + strlen(path);
	return 0;
}

static void check_map(const char *text, size_t size)
{
	size_t oids = 0, spaces = 0;
	int rc = present_parse_tablespace_map(text, size, check_oid, &oids);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK(oids <= size);
	rc = extras_parse_spaces(text, size, check_space, &spaces);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK(spaces <= size);
}

/* text ends with a NUL. Every database is in what is left out or in what the other option leaves. */
static void check_databases(const char *text)
{
	static char name[] = "db1";
	struct restore_mapping of_include = {.from = name}, of_exclude = {.from = name};
	struct restore_request include = {.include = {&of_include, 1}};
	struct restore_request exclude = {.exclude = {&of_exclude, 1}};
	uint32_t *left = NULL, *left2 = NULL;
	size_t count = 0, count2 = 0, lines = 1;
	struct errmsg e = {""}, e2 = {""};
	int rc = restore_databases(&include, text, &e, &left, &count);
	int rc2 = restore_databases(&exclude, text, &e2, &left2, &count2);

	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	FUZZ_CHECK(rc == rc2 && (rc == 0) == (e.text[0] == '\0'));
	FUZZ_CHECK(count + count2 <= lines);
	for (size_t i = 0; i < count + count2; i++)
		FUZZ_CHECK((i < count ? left[i] : left2[i - count]) != 0);
	free(left);
	free(left2);
	FUZZ_CHECK(restore_database_of(text) == 0 || strchr(text, '/') != NULL);
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
	char *copy = malloc(MAX(size, (size_t)1)), *text = malloc(size + 1);

	FUZZ_CHECK(copy != NULL && text != NULL);
	memcpy(copy, data, size); /* and not one byte behind it */
	memcpy(text, data, size);
	text[size] = '\0';
	check_map(copy, size);
	check_filter(copy, size);
	check_databases(text);
	free(copy);
	free(text);
	return 0;
}
