/*
 * Tests of the parsers of src/layer/probackup: backup.control, backup_content.control,
 * tablespace_map, postgresql.auto.conf.
 */
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "layer_make.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* ---- backup.control ---- */

#define NEEDED "backup-mode = FULL\nstatus = OK\n"

static int parse_control(const char *text, struct probackup_control *ret, struct errmsg *e)
{
	e->text[0] = '\0';
	return probackup_control_parse(text, strlen(text), ret, e);
}

START_TEST(control_of_a_real_backup)
{
	static const char text[] =
		"#Configuration\nbackup-mode = PAGE\nstream = true\ncompress-alg = "
		"zlib\ncompress-level = 1\n"
		"from-replica = false\n\n#Compatibility\nblock-size = 8192\nxlog-block-size = "
		"8192\n"
		"checksum-version = 1\nprogram-version = 2.5.16\nserver-version = 15\n\n"
		"#Result backup info\ntimelineid = 3\nstart-lsn = 0/17000D8\nstop-lsn = A/18000B8\n"
		"start-time = '2026-11-20 10:38:24+00'\nend-time = '2026-11-20 10:38:26+00'\n"
		"recovery-xid = 789\nrecovery-time = '2026-11-20 10:38:26+00'\ndata-bytes = "
		"2877662\n"
		"wal-bytes = 2097152\nuncompressed-bytes = 8166839\npgdata-bytes = "
		"39385700\nstatus = OK\n"
		"parent-backup-id = 'TOSQVQ'\nprimary_conninfo = 'user=postgres host=/tmp'\n"
		"external-dirs = '/a:/b'\ncontent-crc = 1884205209\n";
	struct probackup_control c;
	struct errmsg e;

	ck_assert_int_eq(parse_control(text, &c, &e), 0);
	ck_assert_int_eq(c.mode, PROBACKUP_MODE_PAGE);
	ck_assert_int_eq(c.status, PROBACKUP_STATUS_OK);
	ck_assert(c.stream && c.has_external && c.has_crc);
	ck_assert_uint_eq(c.content_crc, 1884205209);
	ck_assert_uint_eq(c.block_size, 8192);
	ck_assert_uint_eq(c.program_version, 20516);
	ck_assert_uint_eq(c.pg_version, 15);
	ck_assert_uint_eq(c.timeline, 3);
	ck_assert_uint_eq(c.start_lsn, 0x17000D8);
	ck_assert_uint_eq(c.stop_lsn, UINT64_C(0xA018000B8));
	ck_assert_int_eq(c.start_time, 1795171104);
	ck_assert_int_eq(c.data_bytes, 2877662);
	ck_assert_str_eq(c.parent, "TOSQVQ");
	ck_assert_str_eq(c.unknown_key, "");
}
END_TEST

START_TEST(control_reads_what_the_writer_does_not_escape)
{
	struct probackup_control c;
	struct errmsg e;

	ck_assert_int_eq(parse_control(NEEDED "note = 'it's # not a comment'\n", &c, &e), 0);
	ck_assert_str_eq(c.unknown_key, "");
	ck_assert_int_eq(parse_control("Backup_Mode = delta\nSTATUS = DONE\n", &c, &e), 0);
	ck_assert_int_eq(c.mode, PROBACKUP_MODE_DELTA);
	ck_assert_int_eq(c.status, PROBACKUP_STATUS_DONE);
	ck_assert_int_eq(parse_control(NEEDED "future-key = 1\n", &c, &e), 0);
	ck_assert_str_eq(c.unknown_key, "future-key");
	ck_assert_int_eq(parse_control("backup-mode = FULL\nstatus = WHATEVER\n", &c, &e), 0);
	ck_assert_int_eq(c.status, PROBACKUP_STATUS_UNKNOWN);
	ck_assert_int_eq(parse_control(NEEDED "server-version = 9.6\n", &c, &e), 0);
	ck_assert_uint_eq(c.pg_version, 9);
}
END_TEST

START_TEST(control_knows_offsets_of_times)
{
	struct probackup_control c;
	struct errmsg e;

	ck_assert_int_eq(parse_control(NEEDED "start-time = '2026-11-20 13:38:24+03'\n", &c, &e),
			 0);
	ck_assert_int_eq(c.start_time, 1795171104);
	ck_assert_int_eq(parse_control(NEEDED "start-time = '2026-11-20 06:08:24-04:30'\n", &c, &e),
			 0);
	ck_assert_int_eq(c.start_time, 1795171104);
	ck_assert_int_eq(parse_control(NEEDED "start-time = 'yesterday'\n", &c, &e), 0);
	ck_assert_int_eq(c.start_time, 0);
}
END_TEST

START_TEST(control_refuses_damage)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{"", "the file is empty"},
		{"\n", "no backup-mode"},
		{"status = OK\n", "no backup-mode"},
		{"backup-mode = FULL\n", "no status"},
		{NEEDED "stream = maybe\n", "stream"},
		{NEEDED "block-size = -8192\n", "block-size"},
		{NEEDED "block-size = 8192k\n", "block-size"},
		{NEEDED "content-crc = 4294967296\n", "content-crc"},
		{NEEDED "start-lsn = 17000D8\n", "start-lsn"},
		{NEEDED "start-lsn = 0/17000D8G\n", "start-lsn"},
		{NEEDED "parent-backup-id = '../TOSQVQ'\n", "parent-backup-id"},
		{NEEDED "parent-backup-id = ''\n", "parent-backup-id"},
		{NEEDED "program-version = 2.5\n", "program-version"},
		{NEEDED "program-version = -2.5.1\n", "program-version"},
		{"backup-mode = SOMETIMES\n", "backup-mode"},
		{"a line without a sign\n", "line 1"},
	};
	struct probackup_control c;
	struct errmsg e;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(parse_control(bad[i].text, &c, &e), -EUCLEAN);
		ck_assert_msg(strstr(e.text, bad[i].message) != NULL, "%u: %s", i, e.text);
	}
}
END_TEST

START_TEST(ids_are_numbers_in_base_36)
{
	uint64_t n;

	ck_assert_int_eq(probackup_id_parse("TOSPOV", &n), 0);
	ck_assert_uint_eq(n, 1795169551);
	ck_assert_int_eq(probackup_id_parse("3W5E11264SGSF", &n), 0);
	ck_assert_uint_eq(n, UINT64_MAX);
	ck_assert_int_eq(probackup_id_parse("3W5E11264SGSG", &n), -EINVAL);
	ck_assert_int_eq(probackup_id_parse("", &n), -EINVAL);
	ck_assert_int_eq(probackup_id_parse("tospov", &n), -EINVAL);
	ck_assert_int_eq(probackup_id_parse("TOSPOV.old", &n), -EINVAL);
}
END_TEST

/* ---- backup_content.control ---- */

#define PATH(p) "{\"path\":\"" p "\", \"size\":\"12\", "
#define REST	"\"mode\":\"33152\", \"is_datafile\":\"0\", \"crc\":\"0\", \"compress_alg\":\"none\"}"

static int parse_line(const char *text, struct content_line *ret, const char **problem)
{
	return content_parse_line(text, strlen(text), ret, problem);
}

START_TEST(line_with_everything)
{
	static const char text[] =
		"{\"path\":\"base/5/1259\", \"size\":\"24741\", \"mode\":\"33152\", "
		"\"is_datafile\":\"1\", "
		"\"is_cfs\":\"0\", \"crc\":\"4294967295\", \"compress_alg\":\"zlib\", "
		"\"external_dir_num\":\"2\", "
		"\"dbOid\":\"5\",\"full_size\":\"114688\",\"segno\":\"1\","
		"\"n_blocks\":\"14\",\"n_headers\":\"13\",\"hdr_crc\":\"7\",\"hdr_off\":"
		"\"5000000000\","
		"\"hdr_size\":\"210\"}";
	struct content_line line;
	const char *problem;

	ck_assert_int_eq(parse_line(text, &line, &problem), 0);
	ck_assert_ptr_null(problem);
	ck_assert_str_eq(line.path, "base/5/1259");
	ck_assert_uint_eq(line.path_len, 11);
	ck_assert_int_eq(line.size, 24741);
	ck_assert_uint_eq(line.mode, 0100600);
	ck_assert(line.is_datafile && !line.is_cfs && line.has_full_size);
	ck_assert_uint_eq(line.crc, UINT32_MAX);
	ck_assert_str_eq(line.compress_alg, "zlib");
	ck_assert_uint_eq(line.external_dir_num, 2);
	ck_assert_uint_eq(line.full_size, 114688);
	ck_assert_uint_eq(line.segno, 1);
	ck_assert_uint_eq(line.n_blocks, 14);
	ck_assert_uint_eq(line.n_headers, 13);
	ck_assert_uint_eq(line.hdr_crc, 7);
	ck_assert_uint_eq(line.hdr_off, 5000000000);
	ck_assert_uint_eq(line.hdr_size, 210);
}
END_TEST

START_TEST(line_paths_are_taken_as_they_are)
{
	static const char *const paths[] = {"a, b",
					    "a}b",
					    "say \\\"hi\\\"",
					    "a\", \"mode\":\"1",
					    "name with space",
					    "{\\\"path\\\":\\\"x"};
	struct content_line line;
	const char *problem;
	char text[512];

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(text, sizeof(text), PATH("%s") REST, paths[i]);
		ck_assert_msg(parse_line(text, &line, &problem) == 0, "%u: %s", i, problem);
		ck_assert_str_eq(line.path, paths[i]);
	}
	/* What looks like the end of the path inside of it is not the last one. */
	ck_assert_int_eq(parse_line(PATH("a\", \"size\":\"3") REST, &line, &problem), 0);
	ck_assert_str_eq(line.path, "a\", \"size\":\"3");
	ck_assert_int_eq(line.size, 12);
}
END_TEST

START_TEST(line_in_any_order)
{
	struct content_line line;
	const char *problem;

	ck_assert_int_eq(
		parse_line(PATH("x") "\"crc\":\"9\",\"compress_alg\":\"none\", "
				     "\"is_datafile\":\"0\" , \"mode\":\"33152\", \"new\":\"1\"}",
			   &line, &problem),
		0);
	ck_assert_uint_eq(line.crc, 9);
	ck_assert_str_eq(line.unknown_key, "new");
}
END_TEST

START_TEST(line_refuses_damage)
{
	static const struct {
		const char *text, *problem;
	} bad[] = {
		{"", "path"},
		{"{}", "path"},
		{"{\"path\":\"x\"}", "no size"},
		{"{\"path\":\"x\", \"mode\":\"33152\", \"is_datafile\":\"0\"}", "no size"},
		{PATH("x") "\"mode\":\"33152\"}", "no is_datafile"},
		{PATH("../x") REST, "leads out"},
		{PATH("/etc/x") REST, "leads out"},
		{PATH("a/../../x") REST, "leads out"},
		{PATH("a//x") REST, "leads out"},
		{PATH("a/./x") REST, "leads out"},
		{PATH("a/") REST, "leads out"},
		{PATH("") REST, "leads out"},
		{PATH("x") REST " ", "follows"},
		{PATH("x") REST "}", "follows"},
		{PATH("x") "\"mode\":\"33152\", \"is_datafile\":\"0\", \"crc\":\"0\", "
			   "\"compress_alg\":\"none\"",
		 "no end"},
		{PATH("x") "\"mode\":\"33152", "value"},
		{PATH("x") "\"mode\" \"33152\"}", "colon"},
		{PATH("x") "mode:33152}", "key in quotes"},
		{PATH("x") "\"mode\":33152}", "value in quotes"},
		{PATH("x") "\"mode\":\"33152\", " REST, "twice"},
		{PATH("x") "\"mode\":\"\"}", "not valid"},
		{PATH("x") "\"mode\":\"0x81a4\"}", "not valid"},
		{PATH("x") "\"mode\":\"41471\"}", "not valid"}, /* a symbolic link */
		{PATH("x") "\"mode\":\"99999999999\"}", "not valid"},
		{PATH("x") "\"is_datafile\":\"2\"}", "not valid"},
		{PATH("x") "\"compress_alg\":\"\"}", "not valid"},
		{PATH("x") "\"compress_alg\":\"averyveryverylongname\"}", "not valid"},
		{PATH("x") "\"crc\":\"-1\"}", "not valid"},
		{"{\"path\":\"x\", \"size\":\"-2\", " REST, "not valid"},
		{"{\"path\":\"x\", \"size\":\"+2\", " REST, "not valid"},
		{"{\"path\":\"x\", \"size\":\"9223372036854775808\", " REST, "not valid"},
		{"{\"path\":\"x\", \"size\":\"99999999999999999999999999\", " REST, "not valid"},
		{PATH("x") "\"mode\":\"16832\", \"is_datafile\":\"0\", \"crc\":\"0\", "
			   "\"compress_alg\":\"none\"}",
		 "directory with content"},
	};
	struct content_line line;
	const char *problem;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(parse_line(bad[i].text, &line, &problem) == -EUCLEAN, "%u", i);
		ck_assert_msg(strstr(problem, bad[i].problem) != NULL, "%u: %s", i, problem);
	}
	ck_assert_int_eq(content_parse_line("{\"path\":\"a\0b\", \"size\":\"1\", " REST, 100, &line,
					    &problem),
			 -EUCLEAN);
	ck_assert_str_eq(problem, "a NUL byte");
	/* A key that begins like a known one and goes on behind a NUL. */
	ck_assert_int_eq(content_parse_line(PATH("x") "\"crc\0abcdefghijklmnopqrstuvw\":\"1\"}", 60,
					    &line, &problem),
			 -EUCLEAN);
}
END_TEST

START_TEST(line_limits_names)
{
	struct content_line line;
	const char *problem;
	char name[1100], text[2000];

	memset(name, 'a', sizeof(name));
	snprintf(text, sizeof(text), PATH("%.255s/b") REST, name);
	ck_assert_int_eq(parse_line(text, &line, &problem), 0);
	snprintf(text, sizeof(text), PATH("%.256s/b") REST, name);
	ck_assert_int_eq(parse_line(text, &line, &problem), -EUCLEAN);
	for (unsigned i = 100; i < sizeof(name); i += 100)
		name[i] = '/';
	snprintf(text, sizeof(text), PATH("%.1023s") REST, name);
	ck_assert_int_eq(parse_line(text, &line, &problem), 0);
	snprintf(text, sizeof(text), PATH("%.1024s") REST, name);
	ck_assert_int_eq(parse_line(text, &line, &problem), -EUCLEAN);
	ck_assert_str_eq(problem, "the path is too long");
}
END_TEST

struct counted {
	uint64_t lines, bytes;
	int64_t fail_at; /* -1: never */
};

static int count_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct counted *c = ctx;

	if ((int64_t)c->lines == c->fail_at)
		return errmsg_set(e, -ENOTSUP, "enough");
	ck_assert_int_eq(line->size, (int64_t)c->lines);
	c->lines++;
	c->bytes += line->path_len;
	return 0;
}

/* Lines of all lengths, so that pieces end everywhere in them. */
static uint32_t write_list(unsigned lines, const char *tail, uint64_t *ret_paths)
{
	FILE *f = fdopen(
		openat(unit_dir, "backup_content.control", O_RDWR | O_CREAT | O_TRUNC, 0600), "w+");
	char name[256];
	uint32_t crc = 0;
	char buf[4096];
	size_t n;

	memset(name, 'n', sizeof(name));
	*ret_paths = 0;
	for (unsigned i = 0; i < lines; i++) {
		int len = 1 + (int)(i * 7 % 250);

		fprintf(f, "{\"path\":\"%.*s\", \"size\":\"%u\", " REST "\n", len, name, i);
		*ret_paths += (uint64_t)len;
	}
	fputs(tail, f);
	rewind(f);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		crc = crc32c(crc, buf, n);
	fclose(f);
	return crc;
}

START_TEST(reader_reads_by_pieces)
{
	struct counted c = {.fail_at = -1};
	struct content_sums sums;
	struct errmsg e = {""};
	uint64_t paths;
	uint32_t crc = write_list(5000, "", &paths);

	ck_assert_int_eq(content_read(unit_dir, "X", count_line, &c, &sums, &e), 0);
	ck_assert_uint_eq(c.lines, 5000);
	ck_assert_uint_eq(c.bytes, paths);
	ck_assert_uint_eq(sums.lines, 5000);
	ck_assert_uint_eq(sums.crc, crc);
}
END_TEST

START_TEST(reader_names_the_line)
{
	struct counted c = {.fail_at = -1};
	struct content_sums sums;
	struct errmsg e = {""};
	uint64_t paths;

	write_list(3000, "{\"path\":\"cut", &paths);
	ck_assert_int_eq(content_read(unit_dir, "X", count_line, &c, &sums, &e), -EUCLEAN);
	ck_assert_str_eq(e.text,
			 "backup X: backup_content.control, line 3001: it has no end, the file was "
			 "cut off");
	c = (struct counted){.fail_at = 2000};
	e.text[0] = '\0';
	ck_assert_int_eq(content_read(unit_dir, "X", count_line, &c, &sums, &e), -ENOTSUP);
	ck_assert_str_eq(e.text, "backup X: backup_content.control, line 2001: enough");
	c = (struct counted){.fail_at = -1};
	e.text[0] = '\0';
	write_list(10, "\n", &paths);
	ck_assert_int_eq(content_read(unit_dir, "X", count_line, &c, &sums, &e), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(e.text, "line 11"));
}
END_TEST

START_TEST(reader_bounds_lines)
{
	struct counted c = {.fail_at = -1};
	struct content_sums sums;
	struct errmsg e = {""};
	char *line = malloc(CONTENT_LINE_MAX + 3);
	uint64_t paths;

	memset(line, ' ', CONTENT_LINE_MAX + 2);
	line[CONTENT_LINE_MAX + 1] = '\n';
	line[CONTENT_LINE_MAX + 2] = '\0';
	write_list(1, line, &paths);
	ck_assert_int_eq(content_read(unit_dir, "X", count_line, &c, &sums, &e), -EUCLEAN);
	ck_assert_str_eq(e.text,
			 "backup X: backup_content.control, line 2: longer than 8192 bytes");
	free(line);
}
END_TEST

/* ---- small files ---- */

static int collect_oid(void *ctx, const char *oid, size_t len)
{
	char *all = ctx;

	strncat(all, oid, len);
	strcat(all, ",");
	return 0;
}

START_TEST(tablespace_map_lines)
{
	static const struct {
		const char *text, *oids; /* NULL: refused */
	} maps[] = {
		{"", ""},
		{"16384 /srv/ts1\n", "16384,"},
		{"16384 /srv/a b\n4294967295\t/x", "16384,4294967295,"},
		{"16384   /srv/with\\\nnewline 5 x\n16385 /b\n", "16384,16385,"},
		{"16384 /ends with\\", "16384,"},
		{"16384\n", NULL},
		{"16384", NULL},
		{"\n", NULL},
		{"x /a\n", NULL},
		{"01 /a\n", NULL},
		{"42949672950 /a\n", NULL},
		{" 16384 /a\n", NULL},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(maps); i++) {
		char all[256] = "";
		int rc = present_parse_tablespace_map(maps[i].text, strlen(maps[i].text),
						      collect_oid, all);

		ck_assert_msg(rc == (maps[i].oids != NULL ? 0 : -EUCLEAN), "%u: %d", i, rc);
		if (maps[i].oids != NULL)
			ck_assert_str_eq(all, maps[i].oids);
	}
}
END_TEST

START_TEST(auto_conf_without_recovery)
{
	char text[] =
		"# Do not edit\nwork_mem = '4MB'\nrestore_command = 'x'\n#recovery_target = 'y'\n"
		"recovery_target_timeline = 'current'\ninclude = 'probackup_recovery.conf'\n"
		"include = 'other.conf'\nprimary_conninfo = 'host=a'\nlast";
	size_t len = present_filter_auto_conf(text, strlen(text));

	text[len] = '\0';
	ck_assert_str_eq(text, "# Do not edit\nwork_mem = '4MB'\ninclude = 'other.conf'\n"
			       "primary_conninfo = 'host=a'\nlast");
	ck_assert_uint_eq(present_filter_auto_conf(text, 0), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_lists");
	TCase *t = tcase_create("lists");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_add_test(t, control_of_a_real_backup);
	tcase_add_test(t, control_reads_what_the_writer_does_not_escape);
	tcase_add_test(t, control_knows_offsets_of_times);
	tcase_add_test(t, control_refuses_damage);
	tcase_add_test(t, ids_are_numbers_in_base_36);
	tcase_add_test(t, line_with_everything);
	tcase_add_test(t, line_paths_are_taken_as_they_are);
	tcase_add_test(t, line_in_any_order);
	tcase_add_test(t, line_refuses_damage);
	tcase_add_test(t, line_limits_names);
	tcase_add_test(t, reader_reads_by_pieces);
	tcase_add_test(t, reader_names_the_line);
	tcase_add_test(t, reader_bounds_lines);
	tcase_add_test(t, tablespace_map_lines);
	tcase_add_test(t, auto_conf_without_recovery);
	suite_add_tcase(s, t);
	return unit_run(s);
}
