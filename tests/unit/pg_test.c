/*
 * Tests of src/pg, on bytes that PostgreSQL wrote (tests/unit/data).
 */
#include "base/util.h"
#include "codec/codec.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/relpath.h"
#include "unit.h"

#include <errno.h>

/* ---- pages ---- */

/* The checksum as PostgreSQL's comments describe it, word by word. */
static uint16_t plain_checksum(const uint8_t *page, uint32_t blkno)
{
	static const uint32_t start[32] = {
		0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2,
		0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C,
		0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979,
		0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
		0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
	};
	uint32_t sums[32], result = 0;

	memcpy(sums, start, sizeof(sums));
	for (unsigned i = 0; i < 2048 + 64; i++) {
		uint32_t word = i < 2048 ? get_le32(page + (size_t)i * 4) : 0;
		uint32_t v = sums[i % 32] ^ (i == 2 ? word & 0xffff0000u : word);

		sums[i % 32] = v * 16777619u ^ v >> 17;
	}
	for (unsigned i = 0; i < 32; i++)
		result ^= sums[i];
	return (uint16_t)((result ^ blkno) % 65535 + 1);
}

START_TEST(checksum_of_a_real_page)
{
	size_t len;
	_cleanup_free_ uint8_t *page = unit_data("page_block3.bin", &len);

	ck_assert_uint_eq(len, PG_BLCKSZ);
	ck_assert_uint_eq(pg_page_compute_checksum(page, 3), pg_page_checksum(page));
	ck_assert_uint_ne(pg_page_compute_checksum(page, 2), pg_page_checksum(page));
	ck_assert(pg_page_header_is_sane(page));
	ck_assert(!pg_page_is_zero(page));
	ck_assert_uint_gt(pg_page_lsn(page), 0);
	ck_assert_uint_lt(pg_page_lsn(page), UINT64_C(1) << 32);
	for (size_t i = 0; i < PG_BLCKSZ; i++) {
		page[i] ^= 1;
		ck_assert_int_eq(pg_page_compute_checksum(page, 3) == pg_page_checksum(page),
				 false);
		page[i] ^= 1;
	}
}
END_TEST

START_TEST(checksum_of_a_page_stored_with_pglz)
{
	size_t len;
	_cleanup_free_ uint8_t *record = unit_data("page_block2.pglz", &len);
	_cleanup_free_ uint8_t *page = malloc(PG_BLCKSZ);

	ck_assert_int_eq(codec_decode(CODEC_PGLZ, record, len, page, PG_BLCKSZ), 0);
	ck_assert_uint_eq(pg_page_compute_checksum(page, 2), pg_page_checksum(page));
	ck_assert(pg_page_header_is_sane(page));
}
END_TEST

/* At odd addresses too: pages are checked where they were read to. */
START_TEST(checksum_of_random_pages)
{
	_cleanup_free_ uint8_t *buf = malloc(PG_BLCKSZ + 16);
	unsigned long long state = 5;

	for (unsigned round = 0; round < 64; round++) {
		uint8_t *page = buf + round % 16;
		uint32_t blkno = unit_random(&state) << round % 4;

		for (unsigned i = 0; i < PG_BLCKSZ; i++)
			page[i] = (uint8_t)unit_random(&state);
		ck_assert_uint_eq(pg_page_compute_checksum(page, blkno),
				  plain_checksum(page, blkno));
	}
	memset(buf, 0, PG_BLCKSZ);
	ck_assert_uint_eq(pg_page_compute_checksum(buf, 0), plain_checksum(buf, 0));
}
END_TEST

START_TEST(zero_pages)
{
	_cleanup_free_ uint8_t *page = calloc(1, PG_BLCKSZ);

	ck_assert(pg_page_is_zero(page));
	ck_assert(pg_page_header_is_sane(page));
	for (size_t i = 0; i < PG_BLCKSZ; i++) {
		page[i] = 0x80;
		ck_assert(!pg_page_is_zero(page));
		page[i] = 0;
	}
	/* Uniform, but not zero. */
	memset(page, 7, PG_BLCKSZ);
	ck_assert(!pg_page_is_zero(page));
}
END_TEST

static const struct {
	uint16_t flags, lower, upper, special, size_version;
	bool sane;
} headers[] = {
	{0, 24, 8192, 8192, 0x2004, true},	{4, 28, 8000, 8192, 0x2004, true},
	{7, 24, 24, 24, 0x2004, true},		{0, 8192, 8192, 8192, 0x2004, true},
	{0, 24, 8176, 8176, 0x2004, true},	{8, 24, 8192, 8192, 0x2004, false},
	{0, 23, 8192, 8192, 0x2004, false},	{0, 8000, 7999, 8192, 0x2004, false},
	{0, 24, 8184, 8176, 0x2004, false},	{0, 24, 8192, 8200, 0x2004, false},
	{0, 24, 8170, 8171, 0x2004, false},	{0, 24, 8192, 8192, 0x1004, false},
	{0, 24, 0, 8192, 0x2004, false},	{0, 0, 0, 0, 0x2004, false},
	{0, 24, 0xffff, 0xffff, 0x2004, false},
};

START_TEST(header_sanity)
{
	_cleanup_free_ uint8_t *page = calloc(1, PG_BLCKSZ);

	put_le16(page + 10, headers[_i].flags);
	put_le16(page + 12, headers[_i].lower);
	put_le16(page + 14, headers[_i].upper);
	put_le16(page + 16, headers[_i].special);
	put_le16(page + 18, headers[_i].size_version);
	ck_assert_int_eq(pg_page_header_is_sane(page), headers[_i].sane);
}
END_TEST

START_TEST(header_fields)
{
	_cleanup_free_ uint8_t *page = calloc(1, PG_BLCKSZ);

	put_le32(page, 0x12);
	put_le32(page + 4, 0x89abcdef);
	put_le16(page + 8, 0xbeef);
	ck_assert_uint_eq(pg_page_lsn(page), UINT64_C(0x1289abcdef));
	ck_assert_uint_eq(pg_page_checksum(page), 0xbeef);
}
END_TEST

/* ---- pg_control ---- */

START_TEST(control_of_15)
{
	size_t len;
	_cleanup_free_ uint8_t *data = unit_data("pg_control_15.bin", &len);
	struct pg_control c;

	/* What pg_controldata printed for this file. */
	ck_assert_int_eq(pg_control_parse(data, len, &c, NULL), 0);
	ck_assert_uint_eq(c.system_identifier, UINT64_C(7710400604892926499));
	ck_assert_uint_eq(c.control_version, 1300);
	ck_assert_uint_eq(c.catalog_version, 202209061);
	ck_assert_uint_eq(pg_major_of_catalog(c.catalog_version), 15);
	ck_assert_str_eq(pg_state_name(c.state), "shut down");
	ck_assert_int_eq(c.time, 1795217536);
	ck_assert_uint_eq(c.checkpoint, 0x17529B0);
	ck_assert_uint_eq(c.redo, 0x17529B0);
	ck_assert_uint_eq(c.timeline, 1);
	ck_assert_uint_eq(c.min_recovery_point, 0);
	ck_assert_uint_eq(c.backup_start_point, 0);
	ck_assert(!c.backup_end_required);
	ck_assert_uint_eq(c.max_connections, 100);
	ck_assert_uint_eq(c.max_worker_processes, 8);
	ck_assert_uint_eq(c.max_wal_senders, 10);
	ck_assert_uint_eq(c.max_prepared_xacts, 0);
	ck_assert_uint_eq(c.max_locks_per_xact, 64);
	ck_assert_uint_eq(c.blcksz, 8192);
	ck_assert_uint_eq(c.segment_blocks, PG_SEGMENT_BLOCKS);
	ck_assert_uint_eq(c.wal_blcksz, 8192);
	ck_assert_uint_eq(c.wal_segment_size, 16 << 20);
	ck_assert_uint_eq(c.checksum_version, 1);
}
END_TEST

static const struct {
	const char *file;
	uint32_t control, catalog, major;
} newer[] = {
	{"pg_control_17.bin", 1700, 202406281, 17},
	{"pg_control_18.bin", 1800, 202506291, 18},
};

START_TEST(control_of_newer_versions)
{
	size_t len;
	_cleanup_free_ uint8_t *data = unit_data(newer[_i].file, &len);
	struct pg_control c;

	ck_assert_int_eq(pg_control_parse(data, len, &c, NULL), 0);
	ck_assert_uint_eq(c.control_version, newer[_i].control);
	ck_assert_uint_eq(c.catalog_version, newer[_i].catalog);
	ck_assert_uint_eq(pg_major_of_catalog(c.catalog_version), newer[_i].major);
	ck_assert_str_eq(pg_state_name(c.state), "in production");
	ck_assert_uint_eq(c.blcksz, 8192);
	ck_assert_uint_eq(c.wal_segment_size, 1 << 20);
	ck_assert_uint_eq(c.checksum_version, 1);
	ck_assert_uint_eq(c.max_wal_senders, 4);
}
END_TEST

static void seal(uint8_t *data)
{
	put_le32(data + 288, crc32c(0, data, 288));
}

START_TEST(control_of_other_versions)
{
	size_t len;
	_cleanup_free_ uint8_t *data = unit_data("pg_control_15.bin", &len);
	struct pg_control c = {.timeline = 77};
	struct errmsg e = {0};

	/* 12 differs by nothing that is read here. */
	put_le32(data + 8, 1201);
	seal(data);
	ck_assert_int_eq(pg_control_parse(data, len, &c, NULL), 0);
	c.timeline = 77;
	put_le32(data + 8, 1900);
	ck_assert_int_eq(pg_control_parse(data, len, &c, &e), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(e.text, "1900"));
	ck_assert_uint_eq(c.timeline, 77);
	ck_assert_uint_eq(pg_major_of_catalog(201909212), 12);
	ck_assert_uint_eq(pg_major_of_catalog(202007201), 13);
	ck_assert_uint_eq(pg_major_of_catalog(202107181), 14);
	ck_assert_uint_eq(pg_major_of_catalog(202307071), 16);
	ck_assert_uint_eq(pg_major_of_catalog(1), 0);
}
END_TEST

START_TEST(control_damage)
{
	size_t len;
	_cleanup_free_ uint8_t *data = unit_data("pg_control_15.bin", &len);
	struct errmsg e = {0};
	struct pg_control c;

	for (size_t cut = 0; cut < 292; cut++) {
		_cleanup_free_ uint8_t *piece = malloc(cut > 0 ? cut : 1);

		memcpy(piece, data, cut);
		ck_assert_int_eq(pg_control_parse(piece, cut, &c, NULL), -EUCLEAN);
	}
	ck_assert_int_eq(pg_control_parse(data, 292, &c, NULL), 0);
	for (unsigned bit = 0; bit < 292 * 8; bit++) {
		int want = bit / 32 == 2 ? -ENOTSUP : -EBADMSG;

		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(pg_control_parse(data, len, &c, NULL), want);
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	/* With a wrong CRC the facts are there nevertheless. */
	memset(&c, 0, sizeof(c));
	data[280] ^= 1;
	ck_assert_int_eq(pg_control_parse(data, len, &c, &e), -EBADMSG);
	ck_assert_uint_eq(c.blcksz, 8192);
	ck_assert_str_ne(e.text, "");
}
END_TEST

START_TEST(control_with_impossible_values)
{
	static const struct {
		unsigned off;
		uint32_t value;
	} cases[] = {{16, 7},  {16, UINT32_MAX}, {216, 0}, {216, 8193},
		     {220, 0}, {224, 3},	 {228, 0}};
	size_t len;
	_cleanup_free_ uint8_t *data = unit_data("pg_control_15.bin", &len);
	struct pg_control c;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t old = get_le32(data + cases[i].off);

		put_le32(data + cases[i].off, cases[i].value);
		seal(data);
		ck_assert_int_eq(pg_control_parse(data, len, &c, NULL), -EUCLEAN);
		put_le32(data + cases[i].off, old);
	}
	ck_assert_str_eq(pg_state_name(PG_STATE_MAX_), "unrecognized status code");
	for (int i = 0; i < PG_STATE_MAX_; i++)
		ck_assert_ptr_nonnull(pg_state_name((enum pg_state)i));
}
END_TEST

/* ---- paths ---- */

static const struct {
	const char *path;
	struct pg_relpath rel;
} relations[] = {
	{"base/1/1259", {1663, 1, 1259, PG_FORK_MAIN, 0}},
	{"base/5/1259_fsm", {1663, 5, 1259, PG_FORK_FSM, 0}},
	{"base/16384/16385_vm", {1663, 16384, 16385, PG_FORK_VM, 0}},
	{"base/16384/16385_init", {1663, 16384, 16385, PG_FORK_INIT, 0}},
	{"base/16384/16385.1", {1663, 16384, 16385, PG_FORK_MAIN, 1}},
	{"base/16384/16385_vm.32767", {1663, 16384, 16385, PG_FORK_VM, 32767}},
	{"base/4294967295/4294967295.10", {1663, UINT32_MAX, UINT32_MAX, PG_FORK_MAIN, 10}},
	{"global/1262", {1664, 0, 1262, PG_FORK_MAIN, 0}},
	{"global/1262_fsm", {1664, 0, 1262, PG_FORK_FSM, 0}},
	{"pg_tblspc/16400/PG_15_202209061/5/16401.2", {16400, 5, 16401, PG_FORK_MAIN, 2}},
};

static const char *const not_relations[] = {
	"",
	"base",
	"base/",
	"base/1",
	"base/1/",
	"base/1/PG_VERSION",
	"base/1/pg_filenode.map",
	"base/1/pg_internal.init",
	"base/0/1259",
	"base/01/1259",
	"base/1/01259",
	"base/1/0",
	"base/1/4294967296",
	"base/1/99999999999999999999",
	"base/4294967296/1",
	"base/1/1259.",
	"base/1/1259.0",
	"base/1/1259.01",
	"base/1/1259.1x",
	"base/1/1259.1.2",
	"base/1/1259.32768",
	"base/1/1259_",
	"base/1/1259_main",
	"base/1/1259_fs",
	"base/1/1259_fsmx",
	"base/1/1259_fsm_vm",
	"base/1/1259_FSM",
	"base/1/1259.1_fsm",
	"base/1/t3_16384",
	"base/1/1259/",
	"base/1/2/1259",
	"/base/1/1259",
	"base//1/1259",
	"base/-1/1259",
	"base/1/+1259",
	"base/1/ 1259",
	"base/pgsql_tmp/pgsql_tmp123.0",
	"global/pg_control",
	"global/1/1262",
	"global/",
	"pg_tblspc/16400",
	"pg_tblspc/16400/5/16401",
	"pg_tblspc/16400/PG_/5/16401",
	"pg_tblspc/16400/PG_15_202209061",
	"pg_tblspc/16400/PG_15_202209061/16401",
	"pg_tblspc/x/PG_15_202209061/5/16401",
	"pg_tblspc/0/PG_15_202209061/5/16401",
	"pg_wal/000000010000000000000001",
	"pg_xact/0000",
	"postgresql.conf",
};

START_TEST(relation_paths)
{
	for (size_t i = 0; i < ARRAY_SIZE(relations); i++) {
		struct pg_relpath rel;

		ck_assert_msg(pg_relpath_parse(relations[i].path, &rel), "'%s'", relations[i].path);
		ck_assert_mem_eq(&rel, &relations[i].rel, sizeof(rel));
	}
}
END_TEST

START_TEST(other_paths)
{
	for (size_t i = 0; i < ARRAY_SIZE(not_relations); i++) {
		struct pg_relpath rel = {.segno = 77};

		ck_assert_msg(!pg_relpath_parse(not_relations[i], &rel), "'%s'", not_relations[i]);
		ck_assert_uint_eq(rel.segno, 77);
	}
	ck_assert_str_eq(pg_fork_name(PG_FORK_MAIN), "main");
	ck_assert_str_eq(pg_fork_name(PG_FORK_INIT), "init");
	ck_assert_str_eq(pg_fork_name(PG_FORK_MAX_), "?");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pg");
	TCase *t = tcase_create("pg");

	tcase_add_test(t, checksum_of_a_real_page);
	tcase_add_test(t, checksum_of_a_page_stored_with_pglz);
	tcase_add_test(t, checksum_of_random_pages);
	tcase_add_test(t, zero_pages);
	tcase_add_loop_test(t, header_sanity, 0, ARRAY_SIZE(headers));
	tcase_add_test(t, header_fields);
	tcase_add_test(t, control_of_15);
	tcase_add_loop_test(t, control_of_newer_versions, 0, ARRAY_SIZE(newer));
	tcase_add_test(t, control_of_other_versions);
	tcase_add_test(t, control_damage);
	tcase_add_test(t, control_with_impossible_values);
	tcase_add_test(t, relation_paths);
	tcase_add_test(t, other_paths);
	suite_add_tcase(s, t);
	return unit_run(s);
}
