/*
 * Recovery targets: their options, the way through timelines, the record of a recovery, restore
 * points in WAL.
 */
#include "base/util.h"
#include "cmd/extract_name.h"
#include "cmd/place.h"
#include "cmd/recovery.h"
#include "cmd/server_recovery.h"
#include "cmd/target.h"
#include "cmd/wal_path.h"
#include "pg/wal_scan.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MB UINT64_C(1048576)

START_TEST(times)
{
	static const struct {
		const char *text;
		int64_t seconds, micros;
	} good[] = {
		{"2026-11-20 10:41:23+00", 1795171283, 0},
		{"2026-11-20T10:41:23Z", 1795171283, 0},
		{"2026-11-20 10:41:23.5 UTC", 1795171283, 500000},
		{"2026-11-20 10:41:23.123456789+00", 1795171283, 123456},
		{"2026-11-20 12:11:23+01:30", 1795171283, 0},
		{"2026-11-20 06:41:23-0400", 1795171283, 0},
		{"2026-11-20 10:41+00", 1795171260, 0},
		{"2026-11-20 10:41:23", 1795171283, 0}, /* TZ of the test is UTC */
	};
	static const char *const wrong[] = {"",
					    "yesterday",
					    "2026-11-20",
					    "2026-13-20 10:00",
					    "2026-02-30 10:00",
					    "2026-11-20 25:00",
					    "2026-11-20 10:41:23+1:2:3",
					    "2026-11-20 10:41:23 Mars",
					    "2026-11-20 10:41:23+00x",
					    "2026-11-20 10:41:61",
					    "1969-12-31 23:59:59+00",
					    "1970-01-01 00:00:00.25+02"};
	int64_t time;

	setenv("TZ", "UTC", 1);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(target_time_parse(good[i].text, &time) == 0, "%s", good[i].text);
		ck_assert_msg(time == good[i].seconds * 1000000 + good[i].micros, "%s",
			      good[i].text);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(target_time_parse(wrong[i], &time) == -EINVAL, "%s", wrong[i]);
	setenv("TZ", "Asia/Tokyo", 1);
	ck_assert_int_eq(target_time_parse("2026-11-20 19:41:23", &time), 0);
	ck_assert_int_eq(time, INT64_C(1795171283) * 1000000);
}
END_TEST

static int take(struct target *t, const char *name, const char *value)
{
	return target_option(t, name, value, NULL);
}

START_TEST(options)
{
	char text[TARGET_TEXT_SIZE];
	struct target t = {0};

	ck_assert_int_eq(take(&t, "target-lsn", "0/133D198"), 0);
	ck_assert_int_eq(take(&t, "target-xid", "781"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-action", "pause"), 0);
	ck_assert_int_eq(take(&t, "target-action", "stop"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-inclusive", "false"), 0);
	ck_assert(t.exclusive);
	ck_assert_int_eq(take(&t, "target-timeline", "0"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-timeline", "2"), 0);
	ck_assert_int_eq(target_check(&t, NULL), 0);
	ck_assert_str_eq(target_text(&t, text), "lsn 0/133D198");

	t = (struct target){.kind = TARGET_AUTO};
	ck_assert_int_eq(target_check(&t, NULL), 0);
	ck_assert_int_eq(take(&t, "target-timeline", "latest"), 0);
	ck_assert_int_eq(target_check(&t, NULL), -EINVAL);
	ck_assert_int_eq(take(&t, "target", "never"), -EINVAL);
	ck_assert_int_eq(take(&t, "target", "latest"), 0);
	ck_assert_int_eq(target_check(&t, NULL), 0);
	ck_assert_int_eq(take(&t, "target-action", "pause"), 0);
	ck_assert_int_eq(target_check(&t, NULL), -EINVAL);

	t = (struct target){0};
	ck_assert_int_eq(take(&t, "target-name", ""), -EINVAL);
	ck_assert_int_eq(take(&t, "target-name", "a\nb"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-xid", "-1"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-xid", "0"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-xid", "99999999999999999999"), -EINVAL);
	ck_assert_int_eq(take(&t, "target-lsn", "12"), -EINVAL);
	ck_assert_int_eq(t.kind, TARGET_NONE);
}
END_TEST

/* ---- timelines ---- */

/* Timeline 1 to 0/350000 (segments 1 to 3), 2 from there (3 to 5), 3 from 0/450000 of timeline 2 (4
 * to 7, without 6). */
static struct pg_wal_switch of_two[] = {{1, 0x350000}};
static struct pg_wal_switch of_three[] = {{1, 0x350000}, {2, 0x450000}};
static struct wal_segment segments[] = {{1, false, 1}, {1, false, 2}, {1, true, 3},  {1, false, 4},
					{2, false, 3}, {2, false, 4}, {2, false, 5}, {3, false, 4},
					{3, false, 5}, {3, false, 7}};
static struct wal_history histories[] = {{2, of_two, 1}, {3, of_three, 2}, {5, NULL, 0}};
static const struct wal_list list = {
	.segment_size = MB,
	.segments = segments,
	.count = ARRAY_SIZE(segments),
	.histories = histories,
	.history_count = ARRAY_SIZE(histories),
};

START_TEST(ways)
{
	struct wal_path path;
	char name[PG_WAL_NAME_SIZE];

	ck_assert_uint_eq(wal_path_latest(&list, 1), 3);
	ck_assert_uint_eq(wal_path_latest(&list, 4), 5);
	ck_assert_int_eq(wal_path_make(&list, 4, &path), -ENOENT);
	ck_assert_int_eq(wal_path_make(&list, 5, &path), -ENOENT);
	ck_assert_int_eq(wal_path_make(&list, 3, &path), 0);
	ck_assert(wal_path_has(&path, 1, 0x350000));
	ck_assert(!wal_path_has(&path, 1, 0x350001));
	ck_assert(!wal_path_has(&path, 2, 0x34ffff));
	ck_assert(wal_path_has(&path, 2, 0x450000));
	ck_assert(!wal_path_has(&path, 2, 0x450001));
	ck_assert(wal_path_has(&path, 3, 0x450000));
	ck_assert(!wal_path_has(&path, 3, 0x44ffff));
	ck_assert(!wal_path_has(&path, 4, 0x450000));
	ck_assert_uint_eq(wal_path_find(&path, 0), 0);
	ck_assert_uint_eq(wal_path_find(&path, 2), 1);
	ck_assert_uint_eq(wal_path_find(&path, 3), 2); /* the newer one of the two */
	ck_assert_uint_eq(wal_path_find(&path, 4), 3);
	ck_assert_uint_eq(wal_path_find(&path, 6), 0);
	ck_assert_uint_eq(wal_path_missing(&path, 1), 6);
	ck_assert_uint_eq(wal_path_end(&path), 8);
	wal_path_name(&path, 6, name);
	ck_assert_str_eq(name, "000000030000000000000006");
	wal_path_name(&path, 0, name);
	ck_assert_str_eq(name, "000000010000000000000000");
	/* On timeline 1 alone, what was written there after the others left it counts. */
	ck_assert_int_eq(wal_path_make(&list, 1, &path), 0);
	ck_assert_uint_eq(wal_path_missing(&path, 1), 5);
	ck_assert_uint_eq(wal_path_find(&path, 3), 1);
}
END_TEST

/* ---- the settings ---- */

/*
 * To the letter, what a server is to read. The names and values are those of "Recovery Target
 * Settings" and "Archive Recovery Settings" in PostgreSQL's documentation: in recovery.conf up to
 * version 11, in postgresql.conf from 12 on; at most one of the targets; 'immediate' is the only
 * value of recovery_target.
 */
START_TEST(settings_of_each_target)
{
	static const struct {
		struct target target;
		const char *text;
	} cases[] = {
		{{.kind = TARGET_IMMEDIATE, .action = TARGET_PROMOTE},
		 "recovery_target = 'immediate'\n"
		 "recovery_target_inclusive = 'on'\n"
		 "recovery_target_action = 'promote'\n"},
		{{.kind = TARGET_NAME, .name = "be'fore \\ drop", .action = TARGET_PAUSE},
		 "recovery_target_name = 'be''fore \\\\ drop'\n"
		 "recovery_target_inclusive = 'on'\n"
		 "recovery_target_action = 'pause'\n"},
		{{.kind = TARGET_LSN,
		  .lsn = UINT64_C(0x1600000028),
		  .exclusive = true,
		  .action = TARGET_SHUTDOWN},
		 "recovery_target_lsn = '16/28'\n"
		 "recovery_target_inclusive = 'off'\n"
		 "recovery_target_action = 'shutdown'\n"},
		{{.kind = TARGET_XID, .xid = 4711, .action = TARGET_PROMOTE},
		 "recovery_target_xid = '4711'\n"
		 "recovery_target_inclusive = 'on'\n"
		 "recovery_target_action = 'promote'\n"},
		{{.kind = TARGET_LATEST, .action = TARGET_PROMOTE}, ""},
	};
	const struct target_choice choice = {
		.timeline = 2, .segment_size = MB, .has_archive = true};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = NULL, *wanted = NULL;
		struct recovery r;

		ck_assert_int_eq(recovery_make(&cases[i].target, &choice, "/usr/bin/pgoverlay",
					       "/srv/store", "main", &r),
				 0);
		ck_assert_int_gt(asprintf(&wanted,
					  "\n# Made by pgoverlay for the recovery of this clone; "
					  "without effect when that is over.\n"
					  "restore_command = '''/usr/bin/pgoverlay'' wal-get "
					  "''/srv/store'' %%f \"%%p\" --instance ''main'''\n"
					  "%srecovery_target_timeline = '2'\n",
					  cases[i].text),
				 0);
		text = recovery_conf_text(&r);
		ck_assert_str_eq(text, wanted);
		recovery_clear(&r);
	}
	ck_assert_str_eq(recovery_signal_name(11), "recovery.conf");
	ck_assert_str_eq(recovery_signal_name(12), "recovery.signal");
}
END_TEST

/* ---- where indexes are kept ---- */

START_TEST(places_of_the_cache)
{
	_cleanup_free_ char *diff = NULL, *home = NULL, *other = NULL, *mine = NULL, *xdg = NULL;
	uid_t me = geteuid();

	(void)unsetenv("PGOVERLAY_HOME");
	(void)unsetenv("XDG_CACHE_HOME");
	(void)setenv("HOME", "/home/me", 1);
	ck_assert_int_eq(place_cache("/srv/diff", me, "/nowhere", &diff), 0);
	ck_assert_str_eq(diff, "/srv/diff/cache");
	ck_assert_int_eq(place_cache(NULL, me, "/nowhere", &mine), 0);
	ck_assert_str_eq(mine, "/home/me/.cache/pgoverlay");
	(void)setenv("XDG_CACHE_HOME", "/fast", 1);
	ck_assert_int_eq(place_cache(NULL, me, "/nowhere", &xdg), 0);
	ck_assert_str_eq(xdg, "/fast/pgoverlay");
	/* Of another owner than the caller. */
	ck_assert_int_eq(place_cache(NULL, me + 1, "/home/other", &other), 0);
	ck_assert_str_eq(other, "/home/other/.cache/pgoverlay");
	(void)setenv("PGOVERLAY_HOME", "/apart", 1);
	ck_assert_int_eq(place_cache(NULL, me, "/nowhere", &home), 0);
	ck_assert_str_eq(home, "/apart/cache");
}
END_TEST

/* ---- the record ---- */

START_TEST(records_come_back)
{
	struct target t = {.kind = TARGET_NAME, .name = "it's 50% \\ #1", .action = TARGET_PAUSE};
	const struct target_choice choice = {.timeline = 3,
					     .segment_size = MB,
					     .start_lsn = 5,
					     .end_lsn = 0x100000007,
					     .has_archive = true};
	_cleanup_free_ char *text = NULL, *conf = NULL;
	struct recovery r, back;

	ck_assert_int_eq(recovery_make(&t, &choice, "/usr/bin/pgoverlay", "/srv/o'x%y", "main", &r),
			 0);
	ck_assert_str_eq(
		r.command,
		"'/usr/bin/pgoverlay' wal-get '/srv/o'\\''x%%y' %f \"%p\" --instance 'main'");
	text = recovery_format(&r);
	ck_assert_int_eq(recovery_parse(text, strlen(text), NULL, &back), 0);
	ck_assert_str_eq(back.value, t.name);
	ck_assert_str_eq(back.command, r.command);
	ck_assert_int_eq(back.kind, TARGET_NAME);
	ck_assert_int_eq(back.action, TARGET_PAUSE);
	ck_assert_uint_eq(back.timeline, 3);
	ck_assert_uint_eq(back.segment_size, MB);
	ck_assert_uint_eq(back.end_lsn, 0x100000007);
	ck_assert_int_eq(recovery_compare(&back, &t, NULL), 0);
	t.action = TARGET_PROMOTE;
	ck_assert_int_eq(recovery_compare(&back, &t, NULL), -EINVAL);
	t = (struct target){.kind = TARGET_LATEST, .action = TARGET_PAUSE};
	ck_assert_int_eq(recovery_compare(&back, &t, NULL), -EINVAL);

	conf = recovery_conf_text(&r);
	ck_assert_ptr_nonnull(strstr(conf, "recovery_target_name = 'it''s 50% \\\\ #1'\n"));
	ck_assert_ptr_nonnull(strstr(conf, "recovery_target_action = 'pause'\n"));
	ck_assert_ptr_nonnull(strstr(conf, "recovery_target_timeline = '3'\n"));
	ck_assert_int_eq(recovery_parse("target = time\n", 14, NULL, &back), -EUCLEAN);
	ck_assert_int_eq(recovery_parse("", 0, NULL, &back), -EUCLEAN);
	recovery_clear(&r);
	recovery_clear(&back);
}
END_TEST

/* Neither the record nor the server's settings can hold one. */
START_TEST(a_newline_in_a_path_is_refused)
{
	const struct target t = {.kind = TARGET_LATEST};
	const struct target_choice choice = {.timeline = 1, .has_archive = true};
	struct recovery r = {0};

	ck_assert_int_eq(recovery_make(&t, &choice, "/bin/p", "/srv/a\nb", "main", &r), -EINVAL);
	ck_assert_int_eq(recovery_make(&t, &choice, "/bin/p\r", "/srv", "main", &r), -EINVAL);
	recovery_clear(&r);
}
END_TEST

START_TEST(progress)
{
	ck_assert_uint_eq(
		server_recovery_lsn("postgres: startup recovering 000000010000000000000015", MB),
		0x1500000);
	ck_assert_uint_eq(
		server_recovery_lsn("postgres: one 7: startup waiting for 000000020000000100000001",
				    16 * MB),
		UINT64_C(0x101000000));
	ck_assert_uint_eq(server_recovery_lsn("postgres: startup", MB), 0);
	ck_assert_uint_eq(server_recovery_lsn("postgres: checkpointer", MB), 0);
}
END_TEST

/* ---- restore points ---- */

#define PAGES 4

/* Contents of pages without their headers, and the same with them. */
static unsigned char stream[PAGES * 8192], pages[PAGES][8192];

static void put_record(size_t at, const char *name, unsigned info, bool broken)
{
	unsigned char *r = stream + at;
	uint32_t crc;

	memset(r, 0, PG_RESTORE_POINT_BYTES);
	put_le32(r, PG_RESTORE_POINT_BYTES);
	r[16] = (unsigned char)info;
	r[24] = 0xff;
	r[25] = 72;
	put_le64(r + 26, 12345);
	memcpy(r + 34, name, strlen(name));
	crc = crc32c(crc32c(0, r + 24, PG_RESTORE_POINT_BYTES - 24), r, 20);
	put_le32(r + 20, crc + broken);
}

static void make_pages(void)
{
	size_t from = 0;

	for (unsigned i = 0; i < PAGES; i++) {
		size_t header = i == 0 ? 40 : 24;

		memset(pages[i], 0, 8192);
		put_le16(pages[i], 0xd110);
		put_le16(pages[i] + 2, i == 0 ? 2 : 0);
		put_le64(pages[i] + 8, MB + i * 8192);
		memcpy(pages[i] + header, stream + from, 8192 - header);
		from += 8192 - header;
	}
}

static bool scan_pages(const char *name, uint64_t *ret_lsn)
{
	struct pg_wal_scan *scan = malloc(sizeof(*scan));
	bool found;

	pg_wal_scan_init(scan, name);
	for (unsigned i = 0; i < PAGES; i++)
		pg_wal_scan_page(scan, pages[i]);
	found = scan->found;
	*ret_lsn = scan->lsn;
	free(scan);
	return found;
}

/* At every place around the border of two pages. */
START_TEST(restore_points)
{
	uint64_t lsn;

	for (size_t at = 8152 - 110; at <= 8152 + 8; at++) {
		memset(stream, 0xff, sizeof(stream));
		put_record(at, "one", 0x70, false);
		make_pages();
		ck_assert_msg(scan_pages("one", &lsn), "at %zu", at);
		if (at + PG_RESTORE_POINT_BYTES <= 8152)
			ck_assert_uint_eq(lsn, MB + 40 + at);
		else if (at >= 8152)
			ck_assert_uint_eq(lsn, MB + 8192 + 24 + at - 8152);
		else
			ck_assert_uint_eq(lsn, MB + 8192);
		ck_assert(!scan_pages("on", &lsn));
		ck_assert(!scan_pages("one1", &lsn));
	}
	put_record(100, "two", 0x70, true);
	put_record(300, "two", 0x10, false);
	make_pages();
	ck_assert(!scan_pages("two", &lsn));
	put_record(500, "two", 0x70, false);
	put_record(9000, "two", 0x70, false);
	make_pages();
	ck_assert(scan_pages("two", &lsn));
	ck_assert_uint_eq(lsn, MB + 8192 + 24 + 9000 - 8152);
}
END_TEST

/* ---- names for pg_dump ---- */

START_TEST(names_of_tables)
{
	static const struct {
		const char *text, *dbname, *pattern;
	} good[] = {
		{"shop.public.t", "dbname='shop'", "\"public\".\"t\""},
		{"Shop.PUBLIC.T_1", "dbname='shop'", "\"public\".\"t_1\""},
		{"\"a.b\".\"My \"\"S\"\"\".\"x*\"", "dbname='a.b'", "\"My \"\"S\"\"\".\"x*\""},
		{"\"it's\\\".s.t", "dbname='it\\'s\\\\'", "\"s\".\"t\""},
	};
	static const char *const wrong[] = {"",		"t",	   "s.t",     "a.b.c.d",
					    "a.b.",	".b.c",	   "a..c",    "a.b.\"",
					    "a.b.\"\"", "a.b.\"c", "a.b.c\"", "a.\"b\"x.c"};
	char *dbname, *pattern;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(extract_table(good[i].text, &dbname, &pattern, NULL) == 0, "%s",
			      good[i].text);
		ck_assert_str_eq(dbname, good[i].dbname);
		ck_assert_str_eq(pattern, good[i].pattern);
		free(dbname);
		free(pattern);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(extract_table(wrong[i], &dbname, &pattern, NULL) == -EINVAL, "%s",
			      wrong[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("target");
	TCase *t = tcase_create("target");

	tcase_add_test(t, times);
	tcase_add_test(t, options);
	tcase_add_test(t, ways);
	tcase_add_test(t, settings_of_each_target);
	tcase_add_test(t, places_of_the_cache);
	tcase_add_test(t, records_come_back);
	tcase_add_test(t, a_newline_in_a_path_is_refused);
	tcase_add_test(t, progress);
	tcase_add_test(t, restore_points);
	tcase_add_test(t, names_of_tables);
	suite_add_tcase(s, t);
	return unit_run(s);
}
