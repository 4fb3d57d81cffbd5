/*
 * pg/wal_records.h: WAL made here, of random records over pages and segments: walked from its start to its stop;
 * and each byte of it that is changed is noticed.
 */
#include "base/util.h"
#include "pg/wal_records.h"
#include "unit.h"

#define SEGMENT PG_WAL_SEGMENT_MIN
#define FIRST	(UINT64_C(7) * SEGMENT)
#define PAGES	160u /* more than a segment has */
#define BYTES	((size_t)PAGES * PG_WAL_PAGE)
#define RECORDS 4096u

static uint8_t *wal;
static uint64_t at;	  /* LSN of the next byte */
static uint64_t previous; /* record */
static uint64_t starts[RECORDS], ends[RECORDS];
static unsigned count;
static unsigned long long seed;

/* The next page, if `at` is the begin of one: its header, with what is left of a record. */
static void page_header(uint32_t left, unsigned info)
{
	uint8_t *p = wal + (at - FIRST);
	bool is_long = at % SEGMENT == 0;

	if (at % PG_WAL_PAGE != 0)
		return;
	put_le16(p, 0xd110);
	put_le16(p + 2, (uint16_t)((left > 0 ? 1 : 0) | (is_long ? 2 : 0) | info));
	put_le32(p + 4, 1);
	put_le64(p + 8, at);
	put_le32(p + 16, left);
	at += is_long ? PG_WAL_HEADER_BYTES : 24;
}

static void put_bytes(const uint8_t *data, uint32_t len)
{
	while (len > 0) {
		uint32_t n;

		page_header(len, 0);
		n = MIN(len, (uint32_t)(PG_WAL_PAGE - at % PG_WAL_PAGE));
		memcpy(wal + (at - FIRST), data, n);
		at += n;
		data += n;
		len -= n;
	}
}

static void put_record(unsigned rmgr, unsigned info, const uint8_t *data, uint32_t len)
{
	uint8_t *r = calloc(1, 24 + len);

	ck_assert(r != NULL && count < RECORDS);
	page_header(0, 0);
	put_le32(r, 24 + len);
	put_le64(r + 8, previous);
	r[16] = (uint8_t)info;
	r[17] = (uint8_t)rmgr;
	if (len > 0)
		memcpy(r + 24, data, len);
	put_le32(r + 20, crc32c(crc32c(0, r + 24, len), r, 20));
	starts[count] = previous = at;
	put_bytes(r, 24 + len);
	at = round_up_u64(at, 8);
	ends[count++] = at;
	free(r);
}

static void put_random(void)
{
	static uint8_t data[30000];
	uint32_t len = unit_random(&seed) % 20 == 0 ? unit_random(&seed) % sizeof(data)
						    : unit_random(&seed) % 600;

	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)unit_random(&seed);
	put_record(1 + unit_random(&seed) % 20, unit_random(&seed) % 16 * 16, data, len);
}

static void put_backup_end(uint64_t start)
{
	uint8_t data[10] = {0xff, 8};

	put_le64(data + 2, start);
	put_record(0, 0x50, data, sizeof(data));
}

static void begin(unsigned long long with)
{
	wal = calloc(1, BYTES);
	ck_assert(wal != NULL);
	at = FIRST + PG_WAL_PAGE * 3;
	previous = FIRST;
	count = 0;
	seed = with;
	put_random();
}

/* From the page of the start to that of the stop. */
static void walk(struct pg_wal_walk *w, uint64_t start, uint64_t stop)
{
	pg_wal_walk_init(w, start, stop, SEGMENT);
	for (uint64_t lsn = round_down_u64(start, PG_WAL_PAGE); lsn < stop && lsn < FIRST + BYTES;
	     lsn += PG_WAL_PAGE)
		pg_wal_walk_page(w, lsn, wal + (lsn - FIRST));
}

START_TEST(records_are_followed)
{
	struct pg_wal_walk w;
	uint64_t start;

	begin((unsigned long long)_i + 1);
	for (unsigned i = 0; i < 40; i++)
		put_random();
	start = starts[10];
	while (at < FIRST + (UINT64_C(150) * PG_WAL_PAGE))
		put_random();
	put_backup_end(start);
	put_random();
	walk(&w, start, ends[count - 2]);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.at, ends[count - 2]);
	ck_assert_uint_eq(w.backup_start, start);
	/* Every earlier end is one of a record, and of no backup. */
	for (unsigned i = 11; i < count - 2; i++) {
		walk(&w, start, ends[i]);
		ck_assert_int_eq(w.state, PG_WAL_STOPPED);
		ck_assert_uint_eq(w.at, ends[i]);
		ck_assert_uint_eq(w.backup_start, 0);
	}
	walk(&w, start, ends[count - 2] - 8);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.at, ends[count - 2]);
	walk(&w, start, ends[count - 1]);
	ck_assert_uint_eq(w.backup_start, 0);
	walk(&w, start, ends[count - 1] + 64);
	ck_assert_int_eq(w.state, PG_WAL_BROKEN);
	ck_assert_uint_eq(w.at, ends[count - 1]);
	free(wal);
}
END_TEST

/* Where the page ends with the record, the stop may be told as the begin of the next one. */
START_TEST(a_stop_at_a_page)
{
	static const uint8_t data[PG_WAL_PAGE];
	struct pg_wal_walk w;
	uint64_t start;

	begin(3);
	start = previous;
	put_record(1, 0, data, (uint32_t)(PG_WAL_PAGE - at % PG_WAL_PAGE) - 24 - 40); /* room for one of 34 */
	put_backup_end(start);
	ck_assert_uint_eq(at % PG_WAL_PAGE, 0);
	put_random();
	walk(&w, start, ends[count - 2]);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.at, ends[count - 2]);
	ck_assert_uint_eq(w.backup_start, start);
	walk(&w, start, ends[count - 2] + 24);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.at, ends[count - 2] + 24);
	ck_assert_uint_eq(w.backup_start, start);
	free(wal);
}
END_TEST

START_TEST(a_switch_ends_the_segment)
{
	struct pg_wal_walk w;
	uint64_t start;

	begin(4);
	start = previous;
	put_record(0, 0x40, NULL, 0);
	memset(wal + (at - FIRST), 0x55, SEGMENT - at % SEGMENT); /* of a recycled file */
	at = FIRST + SEGMENT;
	put_random();
	put_backup_end(start);
	walk(&w, start, ends[count - 1]);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.at, ends[count - 1]);
	ck_assert_uint_eq(w.backup_start, start);
	free(wal);
}
END_TEST

/* A crash in the middle of a record: the next page begins anew, and says so. */
START_TEST(a_record_that_was_never_finished)
{
	struct pg_wal_walk w;
	uint64_t start, page;
	uint8_t data[9000] = {0};

	begin(5);
	start = previous;
	page = round_up_u64(at, PG_WAL_PAGE);
	put_record(1, 0, data, sizeof(data));
	at = page;
	page_header(0, 8);
	put_random();
	put_backup_end(start);
	walk(&w, start, ends[count - 1]);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	ck_assert_uint_eq(w.backup_start, start);
	free(wal);
}
END_TEST

/* All but what recovery does not look at either: timelines of pages, and bytes that only align. */
START_TEST(every_changed_byte_is_noticed)
{
	unsigned noticed = 0, tried = 0;
	uint64_t start;

	begin((unsigned long long)_i + 20);
	start = previous;
	while (count < 60)
		put_random();
	put_backup_end(start);
	for (unsigned i = 0; i < count; i++) {
		for (unsigned k = 0; k < 12; k++) {
			uint32_t len = get_le32(wal + (starts[i] - FIRST));
			uint64_t to = starts[i] + unit_random(&seed) % MIN(len, 2000u);
			uint8_t *byte = wal + (to - FIRST), was = *byte;
			struct pg_wal_walk w;

			if (to % PG_WAL_PAGE < PG_WAL_HEADER_BYTES)
				continue;
			*byte ^= (uint8_t)(1u << unit_random(&seed) % 8);
			walk(&w, start, ends[count - 1]);
			tried++;
			noticed += w.state != PG_WAL_STOPPED || w.at != ends[count - 1] ||
				   w.backup_start != start;
			*byte = was;
		}
	}
	ck_assert_uint_gt(tried, 300);
	ck_assert_uint_eq(noticed, tried);
	free(wal);
}
END_TEST

START_TEST(pages_that_are_none)
{
	static const unsigned offsets[] = {0, 2, 8, 16};
	struct pg_wal_walk w;
	uint64_t start;
	uint8_t data[9000] = {0};
	uint8_t *page;

	begin(6);
	start = previous;
	put_record(1, 0, data, sizeof(data));
	put_backup_end(start);
	page = wal + (round_down_u64(ends[count - 1], PG_WAL_PAGE) - FIRST);
	for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
		page[offsets[i]] ^= offsets[i] == 0 ? 0x10 : 1; /* the low bits of the magic are the version */
		if (offsets[i] == 0)
			page[1] ^= 0x80;
		walk(&w, start, ends[count - 1]);
		ck_assert_int_eq(w.state, PG_WAL_BROKEN);
		ck_assert_uint_eq(w.at, starts[count - 2]);
		page[offsets[i]] ^= offsets[i] == 0 ? 0x10 : 1;
		if (offsets[i] == 0)
			page[1] ^= 0x80;
	}
	walk(&w, start, ends[count - 1]);
	ck_assert_int_eq(w.state, PG_WAL_STOPPED);
	/* A segment that is given twice, or not at all, is none either. */
	pg_wal_walk_init(&w, start, ends[count - 1], SEGMENT);
	pg_wal_walk_page(&w, round_down_u64(start, PG_WAL_PAGE) + PG_WAL_PAGE, page);
	ck_assert_int_eq(w.state, PG_WAL_BROKEN);
	free(wal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wal_records");
	TCase *tcase = tcase_create("wal_records");

	tcase_add_loop_test(tcase, records_are_followed, 0, 6);
	tcase_add_test(tcase, a_stop_at_a_page);
	tcase_add_test(tcase, a_switch_ends_the_segment);
	tcase_add_test(tcase, a_record_that_was_never_finished);
	tcase_add_loop_test(tcase, every_changed_byte_is_noticed, 0, 4);
	tcase_add_test(tcase, pages_that_are_none);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
