/*
 * tests/unit/cmd_restore_test.c: the recovery settings of `restore`, its lists of databases, its
 * progress line.
 */
#include "cmd/progress.h"
#include "cmd/restore.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

static struct restore_conf_files files;

static void make(const struct restore_recovery *r, bool archive, uint32_t version)
{
	const struct restore_conf conf = {.backup = "TOSPOV",
					  .local_time = "2026-11-20 10:42:20+00",
					  .restore_command = "\"/p\" wal-get",
					  .primary_conninfo = "host=a",
					  .needs_archive = archive,
					  .pg_version = version};

	ck_assert_int_eq(restore_conf_make(r, &conf, &files), 0);
}

#define COMMENT                                                                                    \
	"\n# recovery settings added by pgoverlay restore of backup TOSPOV at '2026-11-20 "        \
	"10:42:20+00'\n"

START_TEST(a_stream_backup_gets_the_comment_alone)
{
	const struct restore_recovery none = {0};

	make(&none, false, 15);
	ck_assert_str_eq(files.auto_conf, COMMENT);
	ck_assert(!files.recovery_signal && !files.standby_signal && files.recovery_conf == NULL);
	restore_conf_free(&files);
	make(&none, false, 11);
	ck_assert_str_eq(files.auto_conf, "");
	ck_assert_ptr_null(files.recovery_conf);
	restore_conf_free(&files);
}
END_TEST

START_TEST(an_archive_backup_recovers_on_its_timeline)
{
	const struct restore_recovery none = {0};

	make(&none, true, 15);
	ck_assert_str_eq(files.auto_conf,
			 COMMENT "## recovery settings\nrecovery_target_timeline = 'current'\n"
				 "recovery_target_action = 'pause'\n"
				 "restore_command = '\"/p\" wal-get'\n");
	ck_assert(files.recovery_signal);
	restore_conf_free(&files);
	make(&none, true, 11);
	ck_assert_str_eq(files.auto_conf, "");
	ck_assert_str_eq(files.recovery_conf,
			 COMMENT "## recovery settings\nrecovery_target_action = 'pause'\n"
				 "restore_command = '\"/p\" wal-get'\n");
	ck_assert(!files.recovery_signal);
	restore_conf_free(&files);
}
END_TEST

START_TEST(targets_are_written_in_order)
{
	const struct restore_recovery r = {.time = "2026-11-20 10:00:00",
					   .inclusive = "false",
					   .timeline = "3",
					   .action = "promote",
					   .restore_command = "cp '/a b/%f' \\%p"};

	ck_assert_int_eq(restore_recovery_check(&r, NULL), 0);
	make(&r, false, 17);
	ck_assert_str_eq(files.auto_conf, COMMENT "## recovery settings\n"
						  "recovery_target_time = '2026-11-20 10:00:00'\n"
						  "recovery_target_inclusive = 'false'\n"
						  "recovery_target_timeline = '3'\n"
						  "recovery_target_action = 'promote'\n"
						  "restore_command = 'cp ''/a b/%f'' \\\\%p'\n");
	ck_assert(files.recovery_signal);
	restore_conf_free(&files);
}
END_TEST

START_TEST(latest_names_no_target)
{
	const struct restore_recovery latest = {.stop = "latest"}, now = {.stop = "immediate"};

	make(&latest, false, 15);
	ck_assert_ptr_null(strstr(files.auto_conf, "recovery_target ="));
	ck_assert(files.recovery_signal);
	restore_conf_free(&files);
	make(&now, false, 15);
	ck_assert_ptr_nonnull(strstr(files.auto_conf, "\nrecovery_target = 'immediate'\n"));
	restore_conf_free(&files);
}
END_TEST

START_TEST(a_standby_knows_its_primary)
{
	const struct restore_recovery r = {.as_replica = true, .slot = "s1"};

	make(&r, false, 15);
	ck_assert_str_eq(files.auto_conf,
			 COMMENT "\n## standby settings\nprimary_conninfo = 'host=a'\n"
				 "primary_slot_name = 's1'\n");
	ck_assert(files.standby_signal && !files.recovery_signal);
	restore_conf_free(&files);
	make(&r, true, 11);
	ck_assert_ptr_nonnull(strstr(files.recovery_conf, "standby_mode = 'on'\n"));
	ck_assert(!files.standby_signal);
	restore_conf_free(&files);
}
END_TEST

START_TEST(bad_targets_are_refused)
{
	const struct restore_recovery bad[] = {
		{.xid = "12x"},
		{.lsn = "12"},
		{.lsn = "1/2/3"},
		{.stop = "sometime"},
		{.timeline = "newest"},
		{.action = "stop"},
		{.inclusive = "maybe", .time = "now"},
		{.inclusive = "true"},
		{.xid = "12", .lsn = "1/2"},
		{.stop = "latest", .name = "n"},
	};
	const struct restore_recovery good[] = {
		{.xid = "12"}, {.lsn = "16/B374D848"},		 {.timeline = "latest"},
		{.name = "x"}, {.xid = "1", .inclusive = "off"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct errmsg e = {""};

		ck_assert_int_eq(restore_recovery_check(&bad[i], &e), -EINVAL);
		ck_assert_str_ne(e.text, "");
	}
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_int_eq(restore_recovery_check(&good[i], NULL), 0);
}
END_TEST

START_TEST(the_command_survives_the_shell_and_the_server)
{
	char *text = restore_conf_command("/opt/a$b/pgoverlay", "/s t/100%/\"x`", "main");

	ck_assert_str_eq(text,
			 "\"/opt/a\\$b/pgoverlay\" wal-get \"/s t/100%%/\\\"x\\`\" \"%f\" \"%p\" "
			 "--instance \"main\"");
	free(text);
}
END_TEST

/* ---- databases ---- */

#define MAP                                                                                        \
	"{\"dbOid\":\"5\", \"datname\":\"postgres\"}\n{\"dbOid\":\"16385\", "                      \
	"\"datname\":\"a\\\"b\"}\n"                                                                \
	"{\"dbOid\":\"16400\", \"datname\":\"shop\"}\n"

static int choose(const char *include, const char *exclude, const char *map, uint32_t **oids,
		  size_t *count)
{
	struct restore_mapping in = {.from = include ? strdup(include) : NULL};
	struct restore_mapping out = {.from = exclude ? strdup(exclude) : NULL};
	const struct restore_request r = {.include = {.items = &in, .count = include != NULL},
					  .exclude = {.items = &out, .count = exclude != NULL}};
	int rc = restore_databases(&r, map, NULL, oids, count);

	free(in.from);
	free(out.from);
	return rc;
}

START_TEST(databases_are_found_by_name)
{
	uint32_t *oids;
	size_t count;

	ck_assert_int_eq(choose(NULL, "shop", MAP, &oids, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(oids[0], 16400);
	free(oids);
	ck_assert_int_eq(choose("shop", NULL, MAP, &oids, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(oids[0], 5);
	ck_assert_uint_eq(oids[1], 16385);
	free(oids);
	ck_assert_int_eq(choose("a\\\"b", NULL, MAP, &oids, &count), 0);
	ck_assert_uint_eq(oids[1], 16400);
	free(oids);
	ck_assert_int_eq(choose(NULL, NULL, "", &oids, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(choose("nobody", NULL, MAP, &oids, &count), -EINVAL);
	ck_assert_int_eq(choose("shop", NULL, "", &oids, &count), -ENOENT);
	ck_assert_int_eq(choose("shop", NULL, "{\"dbOid\":\"x\"}\n", &oids, &count), -EUCLEAN);
}
END_TEST

START_TEST(paths_belong_to_databases)
{
	ck_assert_uint_eq(restore_database_of("base/16400/2619"), 16400);
	ck_assert_uint_eq(restore_database_of("base/16400/PG_VERSION"), 16400);
	ck_assert_uint_eq(restore_database_of("base/16400"), 0);
	ck_assert_uint_eq(restore_database_of("base/pgsql_tmp/x"), 0);
	ck_assert_uint_eq(restore_database_of("global/1262"), 0);
	ck_assert_uint_eq(restore_database_of(".pgoverlay/tblspc/16384/PG_15_202209061/16385/1"),
			  16385);
	ck_assert_uint_eq(restore_database_of(".pgoverlay/tblspc/16384/PG_15_202209061"), 0);
}
END_TEST

START_TEST(progress_says_what_it_knows)
{
	char text[160];

	progress_format(450000000, 1000000000, 1.5, text, sizeof(text));
	ck_assert_str_eq(text, "45 %, 450 MB of 1.0 GB, 300 MB/s, 0:02 left");
	progress_format(0, 1000000000, 1.5, text, sizeof(text));
	ck_assert_str_eq(text, "0 %, 0 B of 1.0 GB");
	progress_format(1000, 100000000000, 1, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, " left"));
	progress_format(0, 0, 0, text, sizeof(text));
	ck_assert_str_eq(text, "100 %, 0 B of 0 B");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_restore");
	TCase *tcase = tcase_create("restore");

	tcase_add_test(tcase, a_stream_backup_gets_the_comment_alone);
	tcase_add_test(tcase, an_archive_backup_recovers_on_its_timeline);
	tcase_add_test(tcase, targets_are_written_in_order);
	tcase_add_test(tcase, latest_names_no_target);
	tcase_add_test(tcase, a_standby_knows_its_primary);
	tcase_add_test(tcase, bad_targets_are_refused);
	tcase_add_test(tcase, the_command_survives_the_shell_and_the_server);
	tcase_add_test(tcase, databases_are_found_by_name);
	tcase_add_test(tcase, paths_belong_to_databases);
	tcase_add_test(tcase, progress_says_what_it_knows);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
