/*
 * Tests of how PostgreSQL's configuration files are read: lines, values, includes, writing out
 * again.
 */
#include "cmd/pgconf.h"

#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- lines ---- */

struct line {
	const char *text;
	enum pgconf_line kind;
	const char *name, *value;
};

/* What PostgreSQL 15 says to the same lines was tried with `postgres -C`. */
static const struct line lines[] = {
	{"", PGCONF_EMPTY, NULL, NULL},
	{"   # only a comment", PGCONF_EMPTY, NULL, NULL},
	{"\t\r", PGCONF_EMPTY, NULL, NULL},
	{"work_mem = 4MB", PGCONF_SETTING, "work_mem", "4MB"},
	{"work_mem 4MB # with a comment", PGCONF_SETTING, "work_mem", "4MB"},
	{"work_mem=4MB#glued", PGCONF_SETTING, "work_mem", "4MB"},
	{"  fsync\t=\toff\r", PGCONF_SETTING, "fsync", "off"},
	{"geqo_threshold = -1", PGCONF_SETTING, "geqo_threshold", "-1"},
	{"random_page_cost = 1.1", PGCONF_SETTING, "random_page_cost", "1.1"},
	{"seq_page_cost = .5", PGCONF_SETTING, "seq_page_cost", ".5"},
	{"cpu_tuple_cost = 1.5e-3", PGCONF_SETTING, "cpu_tuple_cost", "1.5e-3"},
	{"unix_socket_permissions = 0777", PGCONF_SETTING, "unix_socket_permissions", "0777"},
	{"port = 0x1538", PGCONF_SETTING, "port", "0x1538"},
	{"log_directory = /var/log", PGCONF_SYNTAX, NULL, NULL},
	{"ssl_cert_file = certs/server-1.crt", PGCONF_SETTING, "ssl_cert_file",
	 "certs/server-1.crt"},
	{"timezone = Europe/Berlin", PGCONF_SETTING, "timezone", "Europe/Berlin"},
	{"search_path = a.b", PGCONF_SYNTAX, NULL, NULL},
	{"shared_buffers = 1.5GB", PGCONF_SYNTAX, NULL, NULL},
	{"shared_buffers = '1.5GB'", PGCONF_SETTING, "shared_buffers", "1.5GB"},
	{"archive_command = 'cp %p /a/%f'", PGCONF_SETTING, "archive_command", "cp %p /a/%f"},
	{"x = 'it''s'", PGCONF_SETTING, "x", "it's"},
	{"x = 'a\\'b\\\\c'", PGCONF_SETTING, "x", "a'b\\c"},
	{"x = 'tab\\tnl\\n\\101\\7'", PGCONF_SETTING, "x", "tab\tnl\nA\a"},
	{"x = ''", PGCONF_SETTING, "x", ""},
	{"x = '# no comment'", PGCONF_SETTING, "x", "# no comment"},
	{"x = 'open", PGCONF_SYNTAX, NULL, NULL},
	{"x = 'open\\'", PGCONF_SYNTAX, NULL, NULL},
	{"x = 'a' b", PGCONF_SYNTAX, NULL, NULL},
	{"x = a b", PGCONF_SYNTAX, NULL, NULL},
	{"x =", PGCONF_SYNTAX, NULL, NULL},
	{"x", PGCONF_SYNTAX, NULL, NULL},
	{"= 1", PGCONF_SYNTAX, NULL, NULL},
	{"1 = 1", PGCONF_SYNTAX, NULL, NULL},
	{"x == 1", PGCONF_SYNTAX, NULL, NULL},
	{"pg_stat_statements.max = 100", PGCONF_SETTING, "pg_stat_statements.max", "100"},
	{"include 'x.conf'", PGCONF_SETTING, "include", "x.conf"},
};

START_TEST(a_line)
{
	const struct line *l = &lines[_i];
	size_t len = strlen(l->text);
	char *text = malloc(len), *name = malloc(len + 1), *value = malloc(len + 1);

	/* Exactly as large as promised, and without a NUL, for the sanitizer to see. */
	memcpy(text, l->text, len);
	ck_assert_int_eq(pgconf_parse_line(text, len, name, value), l->kind);
	if (l->kind == PGCONF_SETTING) {
		ck_assert_str_eq(name, l->name);
		ck_assert_str_eq(value, l->value);
	}
	free(text);
	free(name);
	free(value);
}
END_TEST

/* Random lines never make the parser leave its buffers. */
START_TEST(random_lines)
{
	static const char alphabet[] = "a1.'\\#=+- \tx0eE/_:$\xc3\"\n";
	unsigned long long seed = 7;

	for (unsigned round = 0; round < 200000; round++) {
		size_t len = unit_random(&seed) % 24;
		char *text = malloc(len), *name = malloc(len + 1), *value = malloc(len + 1);

		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[unit_random(&seed) % (sizeof(alphabet) - 1)];
		(void)pgconf_parse_line(text, len, name, value);
		free(text);
		free(name);
		free(value);
	}
}
END_TEST

/* ---- values ---- */

START_TEST(booleans)
{
	ck_assert_int_eq(pgconf_bool("on"), 1);
	ck_assert_int_eq(pgconf_bool("TRUE"), 1);
	ck_assert_int_eq(pgconf_bool("t"), 1);
	ck_assert_int_eq(pgconf_bool("1"), 1);
	ck_assert_int_eq(pgconf_bool("of"), 0);
	ck_assert_int_eq(pgconf_bool("no"), 0);
	ck_assert_int_eq(pgconf_bool("o"), -1);
	ck_assert_int_eq(pgconf_bool(""), -1);
	ck_assert_int_eq(pgconf_bool("always"), -1);
	ck_assert_int_eq(pgconf_bool("onn"), -1);
}
END_TEST

START_TEST(sizes)
{
	ck_assert_int_eq(pgconf_kilobytes("128MB", 8), 131072);
	ck_assert_int_eq(pgconf_kilobytes("16384", 8), 131072);
	ck_assert_int_eq(pgconf_kilobytes("1 GB ", 8), 1048576);
	ck_assert_int_eq(pgconf_kilobytes("0.5GB", 8), 524288);
	ck_assert_int_eq(pgconf_kilobytes("2048B", 8), 2);
	ck_assert_int_eq(pgconf_kilobytes("1TB", 8), 1073741824);
	ck_assert_int_eq(pgconf_kilobytes("1mb", 8), -EINVAL);
	ck_assert_int_eq(pgconf_kilobytes("1 MB x", 8), -EINVAL);
	ck_assert_int_eq(pgconf_kilobytes("", 8), -EINVAL);
	ck_assert_int_eq(pgconf_kilobytes("-1", 8), -EINVAL);
	ck_assert_int_eq(pgconf_kilobytes("nan", 8), -EINVAL);
}
END_TEST

static int join_name(void *ctx, const char *name)
{
	strcat(ctx, "[");
	strcat(ctx, name);
	strcat(ctx, "]");
	return 0;
}

static void split_is(const char *list, const char *wanted)
{
	char got[256] = "";

	ck_assert_int_eq(pgconf_split(list, join_name, got), 0);
	ck_assert_str_eq(got, wanted);
}

START_TEST(lists)
{
	split_is("", "");
	split_is("a", "[a]");
	split_is(" a , b,c ", "[a][b][c]");
	split_is("\"$libdir/x y\", b", "[$libdir/x y][b]");
	split_is("\"a\"\"b\"", "[a\"b]");
	split_is(",,a,", "[a]");
	split_is("\"open", "[open]");
}
END_TEST

/* ---- files ---- */

static struct pgconf conf;

static void read_conf(void)
{
	struct errmsg e = {0};

	ck_assert_msg(pgconf_read(unit_path, &e, &conf) == 0, "%s", e.text);
}

static void value_is(const char *name, const char *wanted)
{
	const char *value = pgconf_get(&conf, name);

	if (wanted == NULL) {
		ck_assert_ptr_null(value);
		return;
	}
	ck_assert_ptr_nonnull(value);
	ck_assert_str_eq(value, wanted);
}

START_TEST(no_files)
{
	read_conf();
	ck_assert(!conf.has_main);
	ck_assert_uint_eq(conf.count, 0);
	ck_assert_uint_eq(conf.problem_count, 0);
	pgconf_free(&conf);
}
END_TEST

START_TEST(the_last_one_counts)
{
	unit_put_file("postgresql.conf", "a = 1\nA = 2\nb = 1\ninclude 'more.conf'\nc = 1\n");
	unit_put_file("more.conf", "b = 2\nc = 2\nd = 2");
	unit_put_file("postgresql.auto.conf", "d = 3\n");
	read_conf();
	ck_assert(conf.has_main);
	value_is("a", "2");
	value_is("b", "2");
	value_is("C", "1");
	value_is("d", "3");
	value_is("e", NULL);
	ck_assert_uint_eq(conf.problem_count, 0);
	pgconf_free(&conf);
}
END_TEST

/* Ten levels of thirty includes would be read till the end of time. */
START_TEST(includes_are_bounded)
{
	FILE *f;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/postgresql.conf", unit_path);
	f = fopen(path, "w");
	for (unsigned i = 0; i < 30; i++)
		(void)fputs("include 'postgresql.conf'\n", f);
	(void)fputs("last = 1\n", f);
	ck_assert_int_eq(fclose(f), 0);
	read_conf();
	ck_assert_str_eq(pgconf_get(&conf, "last"), "1");
	ck_assert_uint_gt(conf.problem_count, 0);
	ck_assert_uint_lt(conf.problem_count, 100000);
	ck_assert_ptr_nonnull(strstr(conf.problems[conf.problem_count - 1].text, "too many files"));
	pgconf_free(&conf);
}
END_TEST

START_TEST(includes)
{
	char text[512];

	ck_assert_int_eq(mkdirat(unit_dir, "conf.d", 0700), 0);
	ck_assert_int_eq(mkdirat(unit_dir, "conf.d/dir.conf", 0700), 0);
	unit_put_file("conf.d/2.conf", "a = 2\n");
	unit_put_file("conf.d/10.conf", "a = 10\nb = 10\ninclude 'sub.inc'\n");
	unit_put_file("conf.d/.hidden.conf", "a = hidden\n");
	unit_put_file("conf.d/other.txt", "a = other\n");
	unit_put_file("conf.d/sub.inc", "s = beside\n");
	snprintf(text, sizeof(text),
		 "include_dir = 'conf.d'\ninclude_if_exists 'none.conf'\nINCLUDE '%s/abs.inc'\n",
		 unit_path);
	unit_put_file("abs.inc", "abs = 1\n");
	unit_put_file("postgresql.conf", text);
	read_conf();
	value_is("a", "2"); /* 10.conf comes before 2.conf */
	value_is("b", "10");
	value_is("s", "beside");
	value_is("abs", "1");
	ck_assert_uint_eq(conf.problem_count, 0);
	pgconf_free(&conf);
}
END_TEST

START_TEST(what_the_server_would_stop_at)
{
	unit_put_file("postgresql.conf",
		      "include 'none.conf'\ninclude_dir 'none.d'\nno line at all\ninclude ''\n"
		      "include 'self.conf'\nok = 1\n");
	unit_put_file("self.conf", "n = 1\ninclude 'self.conf'\n");
	unit_put_file("postgresql.auto.conf", "broken\n");
	read_conf();
	ck_assert_uint_eq(conf.problem_count, 6);
	ck_assert_uint_eq(conf.problems[0].line, 1);
	ck_assert_ptr_nonnull(strstr(conf.problems[0].text, "none.conf"));
	ck_assert_ptr_nonnull(strstr(conf.problems[1].text, "none.d"));
	ck_assert_uint_eq(conf.problems[2].line, 3);
	ck_assert(!conf.problems[4].from_auto);
	ck_assert_ptr_nonnull(strstr(conf.problems[4].text, "too many"));
	ck_assert(conf.problems[5].from_auto);
	value_is("ok", "1");
	pgconf_free(&conf);
}
END_TEST

START_TEST(writing_out)
{
	struct pgconf_dropped dropped;
	char *text = NULL;

	unit_put_file("postgresql.conf", "a = 'it''s \\\\ \\n'\nb = 1\nb = 2\nc = on\nline = 5\n");
	unit_put_file("postgresql.auto.conf", "b = 3\nd = 4\n");
	read_conf();
	dropped = pgconf_drop(&conf, "B");
	ck_assert_uint_eq(dropped.from_main, 2);
	ck_assert_uint_eq(dropped.from_auto, 1);
	value_is("b", NULL);
	dropped = pgconf_drop_at(&conf, conf.items[4].file, 5);
	ck_assert_uint_eq(dropped.from_main, 1);
	ck_assert_uint_eq(dropped.from_auto, 0);
	ck_assert_int_eq(pgconf_format(&conf, false, "# head\n", &text), 0);
	ck_assert_str_eq(text, "# head\na = 'it''s \\\\ \\n'\nc = 'on'\n");
	free(text);
	ck_assert_int_eq(pgconf_format(&conf, true, "", &text), 0);
	ck_assert_str_eq(text, "d = '4'\n");
	free(text);
	pgconf_free(&conf);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_pgconf");
	TCase *pure = tcase_create("pure");
	TCase *files = tcase_create("files");

	tcase_add_loop_test(pure, a_line, 0, sizeof(lines) / sizeof(lines[0]));
	tcase_add_test(pure, random_lines);
	tcase_add_test(pure, booleans);
	tcase_add_test(pure, sizes);
	tcase_add_test(pure, lists);
	tcase_set_timeout(pure, 60);
	suite_add_tcase(suite, pure);
	tcase_add_checked_fixture(files, unit_setup, unit_teardown);
	tcase_add_test(files, no_files);
	tcase_add_test(files, the_last_one_counts);
	tcase_add_test(files, includes);
	tcase_add_test(files, includes_are_bounded);
	tcase_add_test(files, what_the_server_would_stop_at);
	tcase_add_test(files, writing_out);
	suite_add_tcase(suite, files);
	return unit_run(suite);
}
