/*
 * PostgreSQL's control file (as it is, and with a checksum that matches), page headers, paths and WAL
 * records.
 */
#include "base/util.h"
#include "fuzz.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/relpath.h"
#include "pg/wal_records.h"

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
		FUZZ_CHECK(strcmp(pg_fork_name(rel.fork), "?") != 0);
	}
	FUZZ_CHECK(strcmp(pg_fork_name((enum pg_fork)size), "?") == 0 || size < PG_FORK_MAX_);
	free(path);
}

static void parse_control(const uint8_t *data, size_t size)
{
	struct pg_control control;
	int rc = pg_control_parse(data, size, &control, NULL);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || rc == -ENOTSUP || rc == -EBADMSG);
	if (rc == 0) {
		FUZZ_CHECK(pg_state_name(control.state) != NULL);
		FUZZ_CHECK(control.used <= size && control.segment_blocks > 0);
		FUZZ_CHECK((control.blcksz & (control.blcksz - 1)) == 0);
	}
	if (rc == 0 || rc == -EBADMSG) {
		unsigned major = pg_major_of_catalog(control.catalog_version);

		FUZZ_CHECK(major == 0 || (major >= 12 && major <= 18));
		FUZZ_CHECK(strlen(pg_state_name(control.state)) > 0);
	}
}

/* Every change would be found by the checksum. */
static void check_control(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(MAX(size, (size_t)1));
	size_t crc;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, size);
	parse_control(copy, size);
	if (size >= 12) {
		crc = get_le32(copy + 8) == 1800 ? 292 : 288;
		if (size >= crc + 4)
			put_le32(copy + crc, crc32c(0, copy, crc));
		parse_control(copy, size);
	}
	free(copy);
}

/* All ways to compute it, the processor's best first, agree. */
#if defined(__x86_64__)
/* What __builtin_cpu_supports looks at; its layout is fixed, compilers put it into programs. */
extern struct {
	unsigned vendor, type, subtype, features[1];
} __cpu_model __attribute__((visibility("hidden")));

static void check_variants(const uint8_t *page, uint16_t sum)
{
	const unsigned features = __cpu_model.features[0];

	__cpu_model.features[0] &= ~(1u << 10); /* AVX2 */
	FUZZ_CHECK(pg_page_compute_checksum(page, 1) == sum);
	__cpu_model.features[0] &= ~(1u << 7); /* SSE4.1 */
	FUZZ_CHECK(pg_page_compute_checksum(page, 1) == sum);
	__cpu_model.features[0] = features;
}
#else
static void check_variants(const uint8_t *page, uint16_t sum)
{
	FUZZ_CHECK(pg_page_compute_checksum(page, 1) == sum);
}
#endif

static void check_page(const uint8_t *data, size_t size)
{
	uint8_t *page = calloc(1, PG_BLCKSZ);
	uint16_t sum;

	FUZZ_CHECK(page != NULL);
	memcpy(page, data, MIN(size, (size_t)PG_BLCKSZ));
	sum = pg_page_compute_checksum(page, 1);
	FUZZ_CHECK(sum != 0);
	FUZZ_CHECK(!pg_page_is_zero(page) ||
		   (pg_page_header_is_sane(page) && pg_page_lsn(page) == 0));
	/* The stored checksum takes no part in it. */
	put_le16(page + 8, sum);
	FUZZ_CHECK(pg_page_checksum(page) == sum);
	check_variants(page, sum);
	free(page);
}

/* Pages of WAL, the first one with a start in it. */
static void check_wal(const uint8_t *data, size_t size)
{
	uint8_t *page = malloc(PG_WAL_PAGE);
	uint64_t lsn = UINT64_C(1) << 24, stop = lsn + 3 * PG_WAL_PAGE;
	struct pg_wal_walk walk;

	FUZZ_CHECK(page != NULL);
	pg_wal_walk_init(&walk, lsn + PG_WAL_HEADER_BYTES, stop, PG_WAL_SEGMENT_MIN);
	for (size_t at = 0; at < size; at += PG_WAL_PAGE, lsn += PG_WAL_PAGE) {
		memset(page, 0, PG_WAL_PAGE);
		memcpy(page, data + at, MIN(size - at, (size_t)PG_WAL_PAGE));
		/* What a fuzzer would take long to find. */
		put_le16(page, 0xd110);
		put_le64(page + 8, lsn);
		pg_wal_walk_page(&walk, lsn, page);
	}
	FUZZ_CHECK(walk.state != PG_WAL_STOPPED || walk.at >= stop);
	FUZZ_CHECK(walk.state != PG_WAL_BROKEN || walk.reason != NULL);
	free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_page(data, size);
	check_control(data, size);
	check_path(data, size);
	check_wal(data, size);
	return 0;
}
