/*
 * What stands in a WAL archive. Byte 0 chooses: a timeline history (byte 1: of which timeline),
 * the name of a file, an LSN, the first page of a segment, or pages that are searched for a restore
 * point.
 */
#include "base/util.h"
#include "fuzz_dir.h"
#include "pg/wal.h"
#include "pg/wal_scan.h"

#include <errno.h>

static int parse_history(const char *text, size_t size, uint32_t timeline)
{
	struct pg_wal_switch *list = NULL;
	struct errmsg e = {""};
	size_t count = 0;
	int rc = pg_wal_history_parse(text, size, timeline, &list, &count, &e);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || (rc == -ENOMEM && memory_fail_hit()));
	FUZZ_CHECK(rc == 0 ? list != NULL && count > 0 : list == NULL && count == 0);
	FUZZ_CHECK((rc == -EUCLEAN) == (e.text[0] != '\0'));
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(list[i].timeline > 0 && list[i].timeline < timeline);
		FUZZ_CHECK(i == 0 || (list[i].timeline > list[i - 1].timeline &&
				      list[i].lsn >= list[i - 1].lsn));
	}
	free(list);
	return rc;
}

static void check_name(const char *name, uint32_t segment_size)
{
	char again[PG_WAL_NAME_SIZE];
	struct pg_wal_name parsed;

	FUZZ_CHECK(pg_wal_segment_size_is_valid(segment_size));
	if (!pg_wal_name_parse(name, segment_size, &parsed))
		return;
	FUZZ_CHECK(parsed.timeline != 0);
	pg_wal_segment_name(parsed.timeline, parsed.segment, segment_size, again);
	if (parsed.kind == PG_WAL_SEGMENT)
		FUZZ_CHECK(strcmp(again, name) == 0);
	else if (parsed.kind == PG_WAL_BACKUP)
		FUZZ_CHECK(strncmp(again, name, 24) == 0 && strlen(name) == 40);
	else
		FUZZ_CHECK(strncmp(again, name, 8) == 0 && parsed.segment == 0);
}

static void check_lsn(const char *text)
{
	char again[PG_LSN_TEXT_SIZE];
	uint64_t lsn, same;

	if (!pg_lsn_parse(text, &lsn))
		return;
	FUZZ_CHECK(strlen(text) < PG_LSN_TEXT_SIZE);
	FUZZ_CHECK(pg_lsn_parse(pg_lsn_text(lsn, again), &same) && same == lsn);
}

/* data: the header; what is expected is taken from it where the flag says so. */
static void check_first_page(const uint8_t *data, size_t size, uint8_t flags)
{
	struct pg_wal_expect expect = {
		.timeline = 3, .segment = 5, .segment_size = 16u << 20, .system_identifier = 77};
	uint8_t *page = calloc(1, PG_WAL_HEADER_BYTES); /* and no byte more */
	struct errmsg e = {""};
	int rc;

	FUZZ_CHECK(page != NULL);
	memcpy(page, data, MIN(size, (size_t)PG_WAL_HEADER_BYTES));
	if ((flags & 1) != 0) {
		put_le16(page, 0xd000u | get_le16(page) % 512);
		page[2] |= 2;
	}
	if ((flags & 2) != 0) {
		put_le32(page + 32, expect.segment_size);
		put_le32(page + 36, PG_WAL_PAGE);
	}
	if ((flags & 4) != 0)
		put_le64(page + 24, expect.system_identifier);
	if ((flags & 8) != 0)
		put_le64(page + 8, expect.segment * expect.segment_size);
	if ((flags & 16) != 0)
		expect.system_identifier = 0;
	rc = pg_wal_check_first_page(page, &expect, &e);
	FUZZ_CHECK(rc == (e.text[0] == '\0' ? 0 : -EUCLEAN));
	if (rc == 0)
		FUZZ_CHECK(get_le32(page + 4) >= 1 && get_le32(page + 4) <= expect.timeline);
	free(page);
}

#define PAGES 3u

/* Where byte `at` of the content of pages with short headers lies. */
static size_t place(size_t at)
{
	return at / (PG_WAL_PAGE - 24) * PG_WAL_PAGE + 24 + at % (PG_WAL_PAGE - 24);
}

/* The record of the restore point "rp", at that byte of the content, changed by what data has. */
static void put_record(uint8_t *pages, size_t at, const uint8_t *data, size_t size)
{
	uint8_t r[PG_RESTORE_POINT_BYTES] = {0};

	put_le32(r, PG_RESTORE_POINT_BYTES);
	r[16] = 0x70;
	r[24] = 0xff;
	r[25] = 72;
	memcpy(r + 34, "rp", 2);
	for (size_t i = 36; i < sizeof(r) && i - 36 < size; i++)
		r[i] ^= i > 36 ? data[i - 36] : 0; /* behind the name anything may stand */
	put_le32(r + 20, crc32c(crc32c(0, r + 24, sizeof(r) - 24), r, 20));
	for (size_t i = 0; i + sizeof(r) - 36 < size && i < sizeof(r); i++)
		r[i] ^= data[i + sizeof(r) - 36];
	for (size_t i = 0; i < sizeof(r); i++)
		pages[place(at + i)] = r[i];
}

static void check_scan(const uint8_t *data, size_t size, uint8_t flags)
{
	size_t at = size >= 2 ? get_le16(data) % (2 * (PG_WAL_PAGE - 24)) : 0;
	uint8_t *pages = calloc(PAGES, PG_WAL_PAGE);
	bool intact = size <= 2 + PG_RESTORE_POINT_BYTES - 36;
	struct pg_wal_scan scan;

	FUZZ_CHECK(pages != NULL);
	pg_wal_scan_init(&scan, (flags & 1) != 0 ? "other" : "rp");
	for (unsigned i = 0; i < PAGES; i++) {
		put_le16(pages + i * PG_WAL_PAGE, (flags & (2u << i)) != 0 ? 0 : 0xd110);
		put_le16(pages + i * PG_WAL_PAGE + 2, (flags & (16u << i)) != 0 ? 2 : 0);
		put_le64(pages + i * PG_WAL_PAGE + 8, (i + 1) * UINT64_C(0x10000));
	}
	put_record(pages, at, data + MIN(size, (size_t)2), size - MIN(size, (size_t)2));
	for (unsigned i = 0; i < PAGES; i++)
		pg_wal_scan_page(&scan, pages + i * PG_WAL_PAGE);
	if (intact)
		FUZZ_CHECK(scan.found == ((flags & 1) == 0) || flags > 1);
	if (intact && flags == 0 && at + PG_RESTORE_POINT_BYTES <= PG_WAL_PAGE - 24)
		FUZZ_CHECK(scan.lsn == 0x10000 + place(at));
	free(pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 2)
		return 0;
	text = malloc(size - 1);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	if (data[0] % 5 == 0)
		FUZZ_WITH_FAILING_MEMORY(size, 4u, 8, parse_history(text, size - 2, data[1]));
	else if (data[0] % 5 == 1)
		check_name(text, PG_WAL_SEGMENT_MIN << data[1] % 11);
	else if (data[0] % 5 == 2)
		check_lsn(text);
	else if (data[0] % 5 == 3)
		check_first_page(data + 2, size - 2, data[1]);
	else
		check_scan(data + 2, size - 2, data[1]);
	free(text);
	return 0;
}
