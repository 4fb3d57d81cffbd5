/*
 * PostgreSQL's control file, page headers and paths.
 */
#include "base/util.h"
#include "fuzz.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/relpath.h"

#include <errno.h>

static void check_path(const uint8_t *data, size_t size)
{
	struct pg_relpath rel;
	char *path = malloc(size + 1);

	FUZZ_CHECK(path != NULL);
	memcpy(path, data, size);
	path[size] = '\0';
	if (pg_relpath_parse(path, &rel)) {
		FUZZ_CHECK(path_is_safe(path));
		FUZZ_CHECK(rel.relation != 0 && rel.segno <= PG_SEGNO_MAX);
		FUZZ_CHECK((rel.database == 0) == (rel.tablespace == PG_TABLESPACE_GLOBAL) ||
			   strncmp(path, "pg_tblspc/", 10) == 0);
	}
	free(path);
}

static void check_control(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(MAX(size, (size_t)1));
	struct pg_control control;
	int rc;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, size);
	rc = pg_control_parse(copy, size, &control, NULL);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || rc == -ENOTSUP || rc == -EBADMSG);
	FUZZ_CHECK(rc != 0 || pg_state_name(control.state) != NULL);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *page = calloc(1, PG_BLCKSZ);

	FUZZ_CHECK(page != NULL);
	memcpy(page, data, MIN(size, (size_t)PG_BLCKSZ));
	FUZZ_CHECK(pg_page_compute_checksum(page, 1) != 0);
	FUZZ_CHECK(!pg_page_is_zero(page) || pg_page_header_is_sane(page));
	free(page);
	check_control(data, size);
	check_path(data, size);
	return 0;
}
