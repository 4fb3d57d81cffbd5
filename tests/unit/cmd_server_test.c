/*
 * Tests of what `up` and `down` stand on: programs run for the owner, the note that finds a server
 * again, the server's complaints, the role to connect as. No PostgreSQL is needed.
 */
#include "base/util.h"
#include "cmd/clone_config.h"
#include "cmd/server.h"
#include "cmd/superuser.h"

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct owner me;

static void setup(void)
{
	struct errmsg e = {0};

	unit_setup();
	ck_assert_int_eq(owner_find(getuid(), getgid(), &e, &me), 0);
}

static void teardown(void)
{
	owner_clear(&me);
	unit_teardown();
}

static char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", unit_path, name);
	return path;
}

/* ---- programs ---- */

static void run_shell(const char *script, const char *const *env, const char *input,
		      const char *wanted, int wanted_status)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct errmsg e = {0};
	struct process process;
	char *output;
	int status;

	ck_assert_int_eq(process_begin(&me, argv, env, input, &e, &process), 0);
	ck_assert_int_eq(process_end(&process, 20000, &e, &output, &status), 0);
	ck_assert_str_eq(output, wanted);
	ck_assert_int_eq(status, wanted_status);
	free(output);
}

START_TEST(output_and_status)
{
	const char *env[] = {"LANG=xx", "EXTRA=1", NULL};

	setenv("PGHOST", "elsewhere", 1);
	setenv("LANG", "ours", 1);
	run_shell("echo out; echo err >&2; exit 3", NULL, NULL, "out\nerr\n", 3);
	run_shell("kill -9 $$", NULL, NULL, "", 128 + 9);
	run_shell("cat", NULL, "one\ntwo\n", "one\ntwo\n", 0);
	run_shell("cat", NULL, NULL, "", 0);
	run_shell("echo \"$LANG $EXTRA $PGHOST.\"; pwd", env, NULL, "xx 1 .\n/\n", 0);
	run_shell("echo \"$LANG\"", NULL, NULL, "ours\n", 0);
	run_shell("ls /proc/self/fd | wc -l", NULL, NULL, "4\n",
		  0); /* 0, 1, 2 and the listing itself */
	run_shell("umask", NULL, NULL, "0077\n", 0);
}
END_TEST

START_TEST(much_output)
{
	const char *argv[] = {"/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", NULL};
	char *output;
	int status;

	ck_assert_int_eq(process_run(&me, argv, NULL, 20000, NULL, &output, &status), 0);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_le(strlen(output), 1u << 20);
	ck_assert_uint_gt(strlen(output), 1u << 19);
	free(output);
}
END_TEST

START_TEST(no_program_and_no_time)
{
	const char *missing[] = {"/nonexistent/program", NULL};
	const char *slow[] = {"/bin/sleep", "60", NULL};
	struct errmsg e = {0};
	uint64_t begin = process_now_ms();
	char *output;
	int status;

	ck_assert_int_eq(process_run(&me, missing, NULL, 20000, &e, &output, &status), 0);
	ck_assert_int_eq(status, 127);
	ck_assert_ptr_nonnull(strstr(output, "/nonexistent/program"));
	free(output);
	ck_assert_int_eq(process_run(&me, slow, NULL, 100, &e, &output, &status), -ETIMEDOUT);
	ck_assert_uint_lt(process_now_ms() - begin, 20000);
}
END_TEST

START_TEST(a_process)
{
	const char *argv[] = {"/bin/sh", "-c", "echo started; exec sleep 60", NULL};
	_cleanup_free_ char *cwd = NULL;
	struct errmsg e = {0};
	volatile bool stop = false;
	char *tail;
	pid_t pid;

	unit_put_file("log", "old\n");
	ck_assert_int_eq(process_start(&me, argv, path_of("log"), &e, &pid), 0);
	ck_assert(process_is_alive(pid));
	ck_assert_uint_gt(process_start_time(pid), 0);
	cwd = process_directory(getpid());
	ck_assert_ptr_nonnull(cwd);
	for (unsigned i = 0; i < 400; i++) {
		tail = server_log_tail(path_of("log"), 4, 5);
		if (tail[0] != '\0')
			break;
		free(tail);
		process_sleep_ms(10);
	}
	ck_assert_str_eq(tail, "    started\n");
	free(tail);
	ck_assert_int_eq(server_stop(pid, SERVER_STOP_FAST, NULL, &stop, &e), 0);
	ck_assert(!process_is_alive(pid));
	ck_assert_uint_eq(process_start_time(pid), 0);
}
END_TEST

START_TEST(a_zombie_is_not_alive)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	for (unsigned i = 0; i < 400 && process_is_alive(pid); i++)
		process_sleep_ms(10);
	ck_assert(!process_is_alive(pid));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(!process_is_alive(0));
	ck_assert(!process_is_alive(-1));
}
END_TEST

/* ---- the note ---- */

START_TEST(the_note)
{
	struct server_facts facts = {.pid = getpid(), .port = 5433, .own_host = true}, got;
	struct errmsg e = {0};

	facts.start_time = process_start_time(facts.pid);
	facts.host = strdup("/tmp/it's # here");
	facts.user = strdup("some 'body'");
	facts.log = strdup("/x y");
	ck_assert_int_eq(server_facts_read(unit_path, &got), -ENOENT);
	ck_assert_int_eq(server_facts_write(unit_path, &me, &facts, &e), 0);
	ck_assert_int_eq(server_facts_read(unit_path, &got), 0);
	ck_assert_int_eq(got.pid, facts.pid);
	ck_assert_str_eq(got.host, facts.host);
	ck_assert_str_eq(got.user, facts.user);
	ck_assert_str_eq(got.log, facts.log);
	ck_assert_uint_eq(got.port, 5433);
	ck_assert(got.own_host);
	ck_assert(server_facts_alive(&got));
	got.start_time++; /* another process with the same number */
	ck_assert(!server_facts_alive(&got));
	server_facts_clear(&got);
	server_facts_clear(&facts);
	unit_put_file("server", "pid = 0\n");
	ck_assert_int_eq(server_facts_read(unit_path, &got), -EUCLEAN);
	unit_put_file("server", "nonsense");
	ck_assert_int_eq(server_facts_read(unit_path, &got), -EUCLEAN);
}
END_TEST

START_TEST(socket_directory)
{
	char longest[200];
	struct errmsg e = {0};
	struct stat st;
	char *dir;
	bool own;

	ck_assert_int_eq(server_socket_dir(unit_path, &me, &e, &dir, &own), 0);
	ck_assert_str_eq(dir, unit_path);
	ck_assert(!own);
	free(dir);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(server_socket_dir(longest, &me, &e, &dir, &own), 0);
	ck_assert(own);
	ck_assert_uint_lt(strlen(dir), 40);
	ck_assert_int_eq(stat(dir, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_uint_eq(st.st_uid, me.uid);
	server_socket_dir_remove(dir);
	ck_assert_int_eq(stat(dir, &st), -1);
	free(dir);
	ck_assert_uint_ge(server_free_port(20000), 20000);
}
END_TEST

START_TEST(log_tail)
{
	char *tail;

	tail = server_log_tail(path_of("log"), 0, 3);
	ck_assert_str_eq(tail, "");
	free(tail);
	unit_put_file("log", "one\ntwo\nthree\nfour\n");
	tail = server_log_tail(path_of("log"), 0, 2);
	ck_assert_str_eq(tail, "    three\n    four\n");
	free(tail);
	tail = server_log_tail(path_of("log"), 14, 5);
	ck_assert_str_eq(tail, "    four\n");
	free(tail);
	tail = server_log_tail(path_of("log"), 19, 5);
	ck_assert_str_eq(tail, "");
	free(tail);
}
END_TEST

START_TEST(nobody_works_there)
{
	char text[512];

	ck_assert_int_eq(server_find(unit_path), 0);
	unit_put_file("postmaster.pid", "999999999\n");
	ck_assert_int_eq(server_find(unit_path), 0);
	snprintf(text, sizeof(text), "%d\n%s\n", (int)getpid(), unit_path); /* works elsewhere */
	unit_put_file("postmaster.pid", text);
	ck_assert_int_eq(server_find(unit_path), 0);
	ck_assert_int_eq(chdir(unit_path), 0);
	ck_assert_int_eq(server_find(unit_path), getpid());
	server_wait_gone(unit_path); /* is no postgres */
}
END_TEST

/* ---- complaints ---- */

static void complains(const char *text, const char *name, const char *file, unsigned line)
{
	char got_name[64], got_file[64];
	unsigned got_line;
	bool understood =
		clone_config_complaint(text, got_name, got_file, sizeof(got_name), &got_line);

	ck_assert_int_eq(understood, name != NULL || file != NULL);
	if (name != NULL)
		ck_assert_str_eq(got_name, name);
	if (file != NULL)
		ck_assert_str_eq(got_file, file);
	if (understood)
		ck_assert_uint_eq(got_line, line);
}

START_TEST(complaints)
{
	complains("LOG:  unrecognized configuration parameter \"nosuch\" in file \"/a/b.conf\" "
		  "line 3",
		  "nosuch", NULL, 0);
	complains("2026-11-20 GMT [1] LOG:  invalid value for parameter \"TimeZone\": \"No/Where\"",
		  "TimeZone", NULL, 0);
	complains("LOG:  parameter \"ssl\" requires a Boolean value", "ssl", NULL, 0);
	complains("LOG:  12 is outside the valid range for parameter \"port\" (1 .. 65535)", "port",
		  NULL, 0);
	complains("FATAL:  invalid configuration parameter name \"a.b\"", "a.b", NULL, 0);
	complains("LOG:  syntax error in file \"/a/b.conf\" line 5, near token \"a.b\"", NULL,
		  "/a/b.conf", 5);
	complains("LOG:  syntax error in file \"/a/b.conf\" line 6, near end of line", NULL,
		  "/a/b.conf", 6);
	complains("LOG:  Bonjour is not supported by this build", NULL, NULL, 0);
	complains("HINT:  Valid units for parameter \"x\" are", NULL, NULL, 0);
	complains("FATAL:  configuration file \"/a/b.conf\" contains errors", NULL, NULL, 0);
	complains("LOG:  parameter \"unterminated", NULL, NULL, 0);
	complains("LOG:  parameter \"much too long for the buffer, much too long for the buffer, "
		  "much too long\"",
		  NULL, NULL, 0);
}
END_TEST

/* ---- the role ---- */

static void put_role(unsigned char *page, unsigned index, unsigned at, unsigned major, unsigned oid,
		     const char *name, bool super, bool login, bool replaced)
{
	unsigned hoff = major >= 12 ? 32 : 36, data = at + hoff, flags;
	unsigned char *row;

	put_le32(page + 24 + (size_t)index * 4, at | 1u << 15 | 180u << 17);
	put_le16(page + 12, (uint16_t)(24 + (index + 1) * 4));
	put_le32(page + at + 4, replaced ? 700 : 0);
	page[at + 22] = (unsigned char)hoff;
	put_le32(page + (major >= 12 ? data : data - 4), oid);
	row = page + data + (major >= 12 ? 4 : 0);
	memset(row, 0, 72);
	memcpy(row, name, strlen(name));
	flags = 64;
	row[flags] = super;
	row[flags + 4] = login;
}

static void best_role(unsigned major)
{
	unsigned char page[8192] = {0};
	char name[SUPERUSER_NAME_SIZE] = "?";
	unsigned rank = 0;

	put_role(page, 0, 8000, major, 16384, "app", false, true, false);
	superuser_scan_page(page, sizeof(page), major, &rank, name);
	ck_assert_str_eq(name, "app");
	put_role(page, 1, 7800, major, 4200, "pg_monitor", true, false, false);
	put_role(page, 2, 7600, major, 16385, "dba", true, true, false);
	superuser_scan_page(page, sizeof(page), major, &rank, name);
	ck_assert_str_eq(name, "dba");
	put_role(page, 3, 7400, major, 10, "old", true, true, true);
	put_role(page, 4, 7200, major, 10, "alice", true, true, false);
	superuser_scan_page(page, sizeof(page), major, &rank, name);
	ck_assert_str_eq(name, "alice");
}

START_TEST(roles)
{
	best_role(11);
	best_role(12);
	best_role(17);
}
END_TEST

START_TEST(random_pages)
{
	unsigned char *page = malloc(8192);
	char name[SUPERUSER_NAME_SIZE];
	unsigned long long seed = 3;
	unsigned rank = 0;

	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < 8192; i++)
			page[i] = (unsigned char)unit_random(&seed);
		put_le16(page + 12, (uint16_t)(unit_random(&seed) % 65536));
		superuser_scan_page(page, 8192, round % 2 != 0 ? 11 : 15, &rank, name);
	}
	free(page);
	ck_assert_int_eq(superuser_find(unit_path, 15, name), -ENOENT);
}
END_TEST

START_TEST(major_version)
{
	struct errmsg e = {0};
	unsigned major;

	ck_assert_int_eq(pgbin_read_major(unit_path, &e, &major), -ENOENT);
	unit_put_file("PG_VERSION", "15\n");
	ck_assert_int_eq(pgbin_read_major(unit_path, &e, &major), 0);
	ck_assert_uint_eq(major, 15);
	unit_put_file("PG_VERSION", "9.6\n");
	ck_assert_int_eq(pgbin_read_major(unit_path, &e, &major), 0);
	ck_assert_uint_eq(major, 9);
	unit_put_file("PG_VERSION", "what\n");
	ck_assert_int_eq(pgbin_read_major(unit_path, &e, &major), -EUCLEAN);
}
END_TEST

START_TEST(missing_package)
{
	struct errmsg e = {0};
	struct pgbin bin;

	ck_assert_int_eq(pgbin_find(98, &me, &e, &bin), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.text, "apt install postgresql-98"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_server");
	TCase *t = tcase_create("server");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, output_and_status);
	tcase_add_test(t, much_output);
	tcase_add_test(t, no_program_and_no_time);
	tcase_add_test(t, a_process);
	tcase_add_test(t, a_zombie_is_not_alive);
	tcase_add_test(t, the_note);
	tcase_add_test(t, socket_directory);
	tcase_add_test(t, log_tail);
	tcase_add_test(t, nobody_works_there);
	tcase_add_test(t, complaints);
	tcase_add_test(t, roles);
	tcase_add_test(t, random_pages);
	tcase_add_test(t, major_version);
	tcase_add_test(t, missing_package);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
