/*
 * Tests of what `up` gives the server instead of the backup's settings.
 */
#include "cmd/preload.h"
#include "cmd/settings.h"

#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static struct pgconf conf;
static struct pgbin bin;
static struct settings_input input;
static struct settings settings;
static char lib_dir[512];

static void setup(void)
{
	unit_setup();
	ck_assert_int_eq(mkdirat(unit_dir, "lib", 0700), 0);
	ck_assert_int_eq(mkdirat(unit_dir, "lib/plugins", 0700), 0);
	unit_put_file("lib/pg_cron.so", "");
	unit_put_file("lib/auto_explain.so", "");
	unit_put_file("lib/timescaledb.so", "");
	unit_put_file("lib/plugins/plug.so", "");
	snprintf(lib_dir, sizeof(lib_dir), "%s/lib", unit_path);
	bin = (struct pgbin){.major = 15, .lib_dir = lib_dir};
	input = (struct settings_input){.major = 15,
					.conf = &conf,
					.bin = &bin,
					.data_dir = unit_path,
					.socket_dir = "/run/x",
					.hba_file = "/run/x/pg_hba.conf",
					.ident_file = "/run/x/pg_ident.conf",
					.port = 5433,
					.memory = UINT64_C(4) << 30};
}

static void teardown(void)
{
	settings_free(&settings);
	pgconf_free(&conf);
	unit_teardown();
}

static void decide(const char *text)
{
	struct errmsg e = {0};

	settings_free(&settings);
	pgconf_free(&conf);
	unit_put_file("postgresql.conf", text);
	ck_assert_int_eq(pgconf_read(unit_path, &e, &conf), 0);
	ck_assert_int_eq(settings_decide(&input, &e, &settings), 0);
}

/* value NULL: it is not given. */
static const struct setting *given(const char *name, const char *value)
{
	const struct setting *s = settings_find(&settings, name);

	if (value == NULL) {
		ck_assert_msg(s == NULL, "%s is given", name);
		return NULL;
	}
	ck_assert_msg(s != NULL, "%s is not given", name);
	ck_assert_str_eq(s->value, value);
	return s;
}

static void changed(const char *name, const char *value, const char *was)
{
	const struct setting *s = given(name, value);

	ck_assert_msg(s->changed, "%s is not told", name);
	if (was == NULL)
		ck_assert_ptr_null(s->was);
	else
		ck_assert_str_eq(s->was, was);
	ck_assert_int_gt((int)strlen(s->reason), 0);
}

static void silent(const char *name, const char *value)
{
	ck_assert_msg(!given(name, value)->changed, "%s is told", name);
}

START_TEST(harmless_configuration)
{
	decide("archive_mode = no\nfsync = true\nwork_mem = 1MB\n");
	silent("archive_mode", "off");
	silent("archive_command", "");
	silent("restore_command", "");
	silent("synchronous_standby_names", "");
	silent("fsync", "on");
	changed("port", "5433", NULL);
	changed("listen_addresses", "", NULL);
	changed("unix_socket_directories", "/run/x", NULL);
	changed("hba_file", "/run/x/pg_hba.conf", NULL);
	given("work_mem", NULL);
	given("config_file", NULL);
	given("ssl", NULL);
	given("huge_pages", NULL);
	given("shared_buffers", NULL);
	given("shared_preload_libraries", NULL);
}
END_TEST

START_TEST(harmful_configuration)
{
	decide("data_directory = '/prod'\narchive_mode = always\narchive_command = 'cp %p "
	       "/a'\nrestore_command = 'x'\n"
	       "primary_conninfo = 'host=prod'\nsynchronous_standby_names = "
	       "'*'\nrecovery_target_lsn = '0/1'\n"
	       "max_logical_replication_workers = 4\nexternal_pid_file = '/run/p'\nlog_directory = "
	       "'/var/log/p'\n"
	       "logging_collector = on\nlog_destination = 'syslog'\nfsync = off\nfull_page_writes "
	       "= off\nhuge_pages = ON\n"
	       "recovery_init_sync_method = fsync\nssl = on\nunix_socket_group = g\n");
	changed("data_directory", unit_path, "/prod");
	changed("archive_mode", "off", "always");
	changed("archive_command", "", "cp %p /a");
	changed("restore_command", "", "x");
	changed("primary_conninfo", "", "host=prod");
	changed("synchronous_standby_names", "", "*");
	changed("recovery_target_lsn", "", "0/1");
	changed("max_logical_replication_workers", "0", "4");
	changed("external_pid_file", "/run/x/postmaster.pid", "/run/p");
	changed("log_directory", "log", "/var/log/p");
	changed("logging_collector", "off", "on");
	changed("log_destination", "stderr", "syslog");
	changed("fsync", "on", "off");
	changed("full_page_writes", "on", "off");
	changed("huge_pages", "try", "ON");
	changed("recovery_init_sync_method", "syncfs", "fsync");
	changed("ssl", "off", "on");
	changed("unix_socket_group", "", "g");
}
END_TEST

START_TEST(versions)
{
	input.major = 10;
	decide("stats_temp_directory = '/run/stats'\n");
	given("restore_command", NULL);
	given("primary_conninfo", NULL);
	given("recovery_target", NULL);
	given("archive_library", NULL);
	given("recovery_init_sync_method", NULL);
	given("data_sync_retry", NULL);
	changed("stats_temp_directory", "pg_stat_tmp", "/run/stats");
	input.major = 14;
	decide("");
	given("archive_library", NULL);
	silent("recovery_init_sync_method", "syncfs");
	silent("promote_trigger_file", "");
	input.major = 17;
	decide("stats_temp_directory = '/run/stats'\n");
	silent("archive_library", "");
	given("stats_temp_directory", NULL);
	given("promote_trigger_file", NULL);
	silent("synchronized_standby_slots", "");
}
END_TEST

START_TEST(memory)
{
	decide("shared_buffers = 1GB\n");
	given("shared_buffers", NULL);
	decide("shared_buffers = 1025MB\n");
	changed("shared_buffers", "1024MB", "1025MB");
	decide("shared_buffers = 262144\n");
	changed("shared_buffers", "1024MB", "262144");
	decide("shared_buffers = what\n"); /* the server says so itself */
	given("shared_buffers", NULL);
	input.memory = UINT64_C(256) << 20;
	decide("");
	changed("shared_buffers", "64MB", NULL);
	input.memory = UINT64_C(2) << 20;
	decide("");
	changed("shared_buffers", "512kB", NULL);
	input.memory = 0;
	decide("shared_buffers = 900GB\n");
	given("shared_buffers", NULL);
}
END_TEST

START_TEST(ssl_with_tcp)
{
	input.listen = "127.0.0.1";
	decide("ssl = on\n");
	changed("ssl", "off", "on");
	changed("listen_addresses", "127.0.0.1", NULL);
	unit_put_file("server.crt", "");
	unit_put_file("server.key", "");
	decide("ssl = on\n");
	given("ssl", NULL);
	decide("ssl = on\nssl_ca_file = '/none/ca.crt'\n");
	changed("ssl", "off", "on");
	decide("ssl = on\nssl_passphrase_command = 'ask'\n");
	changed("ssl", "off", "on");
	changed("ssl_passphrase_command", "", "ask");
}
END_TEST

START_TEST(libraries)
{
	decide("shared_preload_libraries = 'auto_explain, pg_cron,\"$libdir/auto_explain\", none'\n"
	       "session_preload_libraries = 'pg_cron'\nlocal_preload_libraries = 'plug, "
	       "auto_explain'\n");
	changed("shared_preload_libraries", "\"auto_explain\", \"$libdir/auto_explain\"",
		"auto_explain, pg_cron,\"$libdir/auto_explain\", none");
	ck_assert_str_eq(settings_find(&settings, "shared_preload_libraries")->reason,
			 "pg_cron runs jobs on a schedule; none is not installed here");
	given("session_preload_libraries",
	      NULL); /* a schedule is kept by a background worker, which it cannot start */
	changed("local_preload_libraries", "\"plug\"", "plug, auto_explain");
	decide("shared_preload_libraries = 'pg_cron'\n");
	changed("shared_preload_libraries", "", "pg_cron");
	decide("shared_preload_libraries = 'auto_explain'\n");
	given("shared_preload_libraries", NULL);
	input.keep_preload = true;
	decide("shared_preload_libraries = 'pg_cron, none'\n");
	given("shared_preload_libraries", NULL);
}
END_TEST

START_TEST(library_search)
{
	char text[700];

	ck_assert_int_eq(mkdirat(unit_dir, "more", 0700), 0);
	unit_put_file("more/extra.so", "");
	snprintf(text, sizeof(text),
		 "dynamic_library_path = '$libdir:%s/more'\nshared_preload_libraries = 'extra, "
		 "auto_explain'\n",
		 unit_path);
	decide(text);
	given("shared_preload_libraries", NULL);
	snprintf(text, sizeof(text),
		 "shared_preload_libraries = '%s/more/extra, %s/more/none.so'\n", unit_path,
		 unit_path);
	decide(text);
	ck_assert_ptr_nonnull(
		strstr(settings_find(&settings, "shared_preload_libraries")->reason, "none.so"));
	bin.lib_dir = NULL; /* nothing can be told */
	decide("shared_preload_libraries = 'none'\n");
	given("shared_preload_libraries", NULL);
}
END_TEST

START_TEST(timescale)
{
	decide("shared_preload_libraries = 'timescaledb'\ntimescaledb.max_background_workers = "
	       "16\n");
	given("shared_preload_libraries", NULL);
	changed("timescaledb.max_background_workers", "0", "16");
	changed("timescaledb.telemetry_level", "off", NULL);
	decide("");
	given("timescaledb.max_background_workers", NULL);
}
END_TEST

START_TEST(schedulers)
{
	ck_assert_ptr_nonnull(preload_scheduler("pg_cron"));
	ck_assert_ptr_nonnull(preload_scheduler("$libdir/pg_cron.so"));
	ck_assert_ptr_null(preload_scheduler("pg_cron2"));
	ck_assert_ptr_null(preload_scheduler("pg_stat_statements"));
}
END_TEST

static int set(const char *assignment)
{
	struct errmsg e = {0};
	int rc = settings_override(&settings, assignment, &conf, &e);

	ck_assert(rc == 0 || e.text[0] != '\0');
	return rc;
}

/* The clone's own recovery: its settings instead of none, and no second target beside it. */
START_TEST(own_recovery)
{
	static const struct setting_pair own[] = {{"restore_command", "get %f"},
						  {"recovery_target_xid", "781"},
						  {"recovery_target_action", "pause"}};
	const struct setting *s;

	input.recovery = own;
	input.recovery_count = 3;
	input.needs_queries = true;
	decide("restore_command = 'get %f'\nhot_standby = off\n");
	s = settings_find(&settings, "restore_command");
	ck_assert_str_eq(s->value, "get %f");
	ck_assert(!s->changed);
	ck_assert_str_eq(settings_find(&settings, "recovery_target_xid")->value, "781");
	ck_assert_str_eq(settings_find(&settings, "recovery_target_action")->value, "pause");
	ck_assert_ptr_null(settings_find(&settings, "recovery_target_name"));
	ck_assert_ptr_null(settings_find(&settings, "recovery_target"));
	ck_assert_str_eq(settings_find(&settings, "hot_standby")->value, "on");
	ck_assert_str_eq(settings_find(&settings, "primary_conninfo")->value, "");
	/* When it is over, they are turned off, and nobody need be told. */
	settings_free(&settings);
	input.recovery_count = 0;
	input.needs_queries = false;
	input.recovered = true;
	decide("restore_command = 'get %f'\nrecovery_target_xid = '781'\nprimary_conninfo = 'x'\n");
	s = settings_find(&settings, "recovery_target_xid");
	ck_assert_str_eq(s->value, "");
	ck_assert(!s->changed);
	ck_assert(!settings_find(&settings, "restore_command")->changed);
	ck_assert(settings_find(&settings, "primary_conninfo")->changed);
}
END_TEST

START_TEST(overrides)
{
	decide("archive_mode = on\nwork_mem = 1MB\n");
	ck_assert_int_eq(set("archive_mode=on"), 0);
	changed("archive_mode", "on", "on");
	ck_assert(settings_find(&settings, "archive_mode")->given);
	ck_assert_int_eq(set("Work_Mem=2MB"), 0);
	changed("work_mem", "2MB", "1MB");
	ck_assert_int_eq(set("x.y=a=b"), 0);
	changed("x.y", "a=b", NULL);
	ck_assert_int_eq(set("archive_command="), 0);
	changed("archive_command", "", NULL);
	ck_assert_int_eq(set("work_mem"), -EINVAL);
	ck_assert_int_eq(set("=1"), -EINVAL);
	ck_assert_int_eq(set("a b=1"), -EINVAL);
	ck_assert_int_eq(set("port=1"), -EINVAL);
	ck_assert_int_eq(set("DATA_directory=/x"), -EINVAL);
	ck_assert_int_eq(set("config_file=/x"), -EINVAL);
	ck_assert_int_eq(set("listen_addresses=*"), -EINVAL);
	ck_assert_int_eq(set("unix_socket_directories=/x"), -EINVAL);
}
END_TEST

START_TEST(own_files)
{
	input.config_file = "/run/x/postgresql.conf";
	input.hba_file = NULL;
	decide("");
	changed("config_file", "/run/x/postgresql.conf", NULL);
	given("hba_file", NULL);
	ck_assert_uint_gt(settings_memory(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_settings");
	TCase *t = tcase_create("settings");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, harmless_configuration);
	tcase_add_test(t, harmful_configuration);
	tcase_add_test(t, versions);
	tcase_add_test(t, memory);
	tcase_add_test(t, ssl_with_tcp);
	tcase_add_test(t, libraries);
	tcase_add_test(t, library_search);
	tcase_add_test(t, timescale);
	tcase_add_test(t, schedulers);
	tcase_add_test(t, own_recovery);
	tcase_add_test(t, overrides);
	tcase_add_test(t, own_files);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
