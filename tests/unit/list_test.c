/*
 * Tests of `pgoverlay list`: the table, the JSON that scripts rely on, exit statuses.
 */
#include "cmd/cmd.h"
#include "layer_check.h"
#include "unit.h"

#include <cjson/cJSON.h>
#include <string.h>

static char *out, *err; /* what the last run printed */

static char *take(FILE *f)
{
	char *text = NULL;
	size_t len = 0;

	rewind(f);
	if (getdelim(&text, &len, '\0', f) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(f);
	return text;
}

static void teardown(void)
{
	free(out);
	free(err);
	out = err = NULL;
	check_teardown();
}

/* Words separated by blanks; STORE is the store's path. */
static int run(const char *line)
{
	char words[512], *argv[16] = {NULL};
	FILE *old_out = stdout, *old_err = stderr;
	int argc = 0, status;

	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = strcmp(word, "STORE") == 0 ? unit_path : word;
	stdout = tmpfile();
	stderr = tmpfile();
	status = cmd_list(argc, argv);
	free(out);
	free(err);
	out = take(stdout);
	err = take(stderr);
	stdout = old_out;
	stderr = old_err;
	return status;
}

static void make_store(void)
{
	struct made_backup b;

	make_full("aaa");
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", FULL, "OK", "data-bytes = 1234567\nwal-bytes = 0\n");
	make_cluster(&b, TOP);
	make_end(&b, "PAGE", MIDDLE, "CORRUPT", NULL);
}

START_TEST(table)
{
	make_store();
	ck_assert_int_eq(run("list STORE"), CMD_GOOD);
	ck_assert_str_eq(err, "");
	ck_assert_int_eq(strncmp(out, "instance main\nID ", 17), 0);
	ck_assert_ptr_nonnull(strstr(out, MIDDLE "  DELTA  " FULL));
	ck_assert_ptr_nonnull(strstr(out, "1.2 MB  STREAM   1  OK       yes\n"));
	ck_assert_ptr_nonnull(strstr(out, "CORRUPT  no: backup " TOP " has status CORRUPT"));
	make_file("backups/second/pg_probackup.conf", "", 0);
	ck_assert_int_eq(run("list STORE --instance second"), CMD_GOOD);
	ck_assert_str_eq(out, "no backups\n");
}
END_TEST

static const char *text_at(const cJSON *o, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

START_TEST(json)
{
	const cJSON *backups, *b;
	cJSON *o;

	make_store();
	ck_assert_int_eq(run("list STORE --format json"), CMD_GOOD);
	o = cJSON_Parse(out);
	ck_assert_ptr_nonnull(o);
	ck_assert_str_eq(text_at(o, "kind"), "pg_probackup");
	backups = cJSON_GetObjectItemCaseSensitive(o, "backups");
	ck_assert_int_eq(cJSON_GetArraySize(backups), 3);
	b = cJSON_GetArrayItem(backups, 0);
	ck_assert(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(b, "parent")));
	ck_assert_str_eq(text_at(b, "reason"), "");
	b = cJSON_GetArrayItem(backups, 2);
	ck_assert_str_eq(text_at(b, "instance"), "main");
	ck_assert_str_eq(text_at(b, "id"), TOP);
	ck_assert_str_eq(text_at(b, "mode"), "PAGE");
	ck_assert_str_eq(text_at(b, "parent"), MIDDLE);
	ck_assert_str_eq(text_at(b, "status"), "CORRUPT");
	ck_assert_str_eq(text_at(b, "start_time"), "2026-11-20T10:38:24Z");
	ck_assert_str_eq(text_at(b, "stop_lsn"), "1/2000100");
	ck_assert(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(b, "mountable")));
	ck_assert_ptr_nonnull(strstr(text_at(b, "reason"), "CORRUPT"));
	cJSON_Delete(o);
}
END_TEST

START_TEST(statuses)
{
	make_store();
	ck_assert_int_eq(run("list"), CMD_USAGE);
	ck_assert_ptr_nonnull(strstr(err, "pgoverlay: no store given"));
	ck_assert_int_eq(run("list STORE STORE"), CMD_USAGE);
	ck_assert_int_eq(run("list STORE --format yaml"), CMD_USAGE);
	ck_assert_int_eq(run("list STORE --instance"), CMD_USAGE);
	ck_assert_int_eq(run("list STORE --no-such-option"), CMD_USAGE);
	ck_assert_ptr_nonnull(strstr(err, "--no-such-option"));
	ck_assert_int_eq(run("list STORE --instance none"), CMD_FAILED);
	ck_assert_ptr_nonnull(strstr(err, "no instance 'none'"));
	ck_assert_str_eq(out, "");
	ck_assert_int_eq(run("list /nonexistent"), CMD_FAILED);
	ck_assert_int_eq(run("list --help"), CMD_GOOD);
	ck_assert_ptr_nonnull(strstr(out, "Usage: pgoverlay list STORE"));
	ck_assert_int_eq(run("list --version"), CMD_GOOD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("list");
	TCase *t = tcase_create("list");

	tcase_add_checked_fixture(t, unit_setup, teardown);
	tcase_add_test(t, table);
	tcase_add_test(t, json);
	tcase_add_test(t, statuses);
	suite_add_tcase(s, t);
	return unit_run(s);
}
