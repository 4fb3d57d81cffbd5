/*
 * Lists and backups that are refused, and why.
 */
#include "../model/naive.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what is refused ---- */

START_TEST(lists_with_doubts_are_refused)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain(&b, "twice", "x", 1);
	make_plain(&b, "twice", "x", 1);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "'twice' is listed twice");

	make_cluster(&b, FULL);
	make_line(&b, "{\"path\":\"base/5/1\", \"size\":\"8192\", \"mode\":\"33152\", "
		      "\"is_datafile\":\"1\", "
		      "\"is_cfs\":\"1\", \"crc\":\"0\", \"compress_alg\":\"none\"}");
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "CFS");

	make_cluster(&b, FULL);
	make_plain(&b, "base/5/pg_compression", "x", 1);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "CFS");

	make_cluster(&b, FULL);
	make_line(&b, "{\"path\":\"" REL
		      "\", \"size\":\"100\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
		      "\"crc\":\"0\", \"compress_alg\":\"lzma\", \"n_blocks\":\"1\", "
		      "\"n_headers\":\"1\"}");
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "'" REL "' is compressed with lzma");

	make_cluster(&b, FULL);
	make_line(&b, "{\"path\":\"" REL
		      "\", \"size\":\"100\", \"mode\":\"33152\", \"is_datafile\":\"1\", "
		      "\"crc\":\"0\", \"compress_alg\":\"zlib\", \"n_blocks\":\"1\"}");
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "stores 0 pages");

	make_cluster(&b, FULL);
	make_data_unchanged(&b, REL, 131073);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "131073 blocks");

	make_begin(&b, FULL);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "pg_control is not in its list");
}
END_TEST

START_TEST(a_changed_list_is_refused)
{
	struct made_backup b;

	make_full("aaa");
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 2);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_file("backups/main/" FULL "/backup_content.control", "", 0);
	check_refused(MIDDLE, -EBADMSG, "backup " FULL ": backup_content.control does not match");
}
END_TEST

START_TEST(damage_elsewhere_does_not_matter)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_rel(&b, REL, 3, "aaa");
	/* Not in the target's tree: nobody asks how it is compressed. */
	make_line(&b, "{\"path\":\"base/5/99\", \"size\":\"9\", \"mode\":\"33152\", "
		      "\"is_datafile\":\"1\", "
		      "\"crc\":\"0\", \"compress_alg\":\"lzma\", \"n_blocks\":\"1\", "
		      "\"n_headers\":\"1\"}");
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_end(&b, "DELTA", MIDDLE, "CORRUPT", NULL);
	check_refused(FULL, -ENOTSUP, "lzma");
	check_opens(NULL); /* the newest that can be mounted */
	ck_assert_str_eq(chain->layers[chain->count - 1]->id, MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "aaa");
}
END_TEST

START_TEST(versions_and_block_sizes)
{
#define SIZES "block-size = 8192\nxlog-block-size = 8192\n"
	static const struct {
		const char *lines, *text; /* NULL: opened */
		int rc;
	} cases[] = {
		{SIZES "program-version = 2.4.0\n", "only backups of 2.4.1", -ENOTSUP},
		{SIZES "program-version = 2.4.1\n", NULL, 0},
		{SIZES "program-version = 2.8.2\n", NULL, 0},
		{SIZES "program-version = 2.8.2\nnew-key = 1\n", "the key new-key", -ENOTSUP},
		{SIZES "program-version = 2.5.16\nnew-key = 1\n", NULL, 0},
		{SIZES "program-version = 3.0.0\n", "not known yet", -ENOTSUP},
		{SIZES, "does not say which", -ENOTSUP},
		{"block-size = 4096\nxlog-block-size = 8192\nprogram-version = 2.5.16\n", "4096",
		 -ENOTSUP},
		{"block-size = 8192\nxlog-block-size = 4096\nprogram-version = 2.5.16\n", "4096",
		 -ENOTSUP},
		{"program-version = 2.5.16\n", "blocks of 0 bytes", -ENOTSUP},
	};
	struct made_backup b;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_cluster(&b, FULL);
		make_end_as(&b, "FULL", NULL, "OK", cases[i].lines);
		if (cases[i].text != NULL) {
			check_refused(FULL, cases[i].rc, cases[i].text);
			continue;
		}
		check_opens(FULL);
		ck_assert_int_eq(strstr(chain->warnings, "untested") != NULL, i == 2);
		store->driver->close_chain(chain);
		chain = NULL;
	}
}
END_TEST

START_TEST(unknown_keys_of_newer_lists)
{
	static const char line[] =
		"{\"path\":\"x\", \"size\":\"0\", \"mode\":\"33152\", \"is_datafile\":\"0\", "
		"\"crc\":\"0\", \"compress_alg\":\"none\", \"magic\":\"1\"}";
	struct made_backup b;

	make_cluster(&b, FULL);
	make_line(&b, "%s", line);
	make_end_as(&b, "FULL", NULL, "OK", SIZES "program-version = 2.7.0\n");
	check_refused(FULL, -ENOTSUP, "the key magic of pg_probackup 2.7.0");
	make_cluster(&b, FULL);
	make_line(&b, "%s", line);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_opens(FULL);
}
END_TEST

START_TEST(foreign_builds_are_told_apart)
{
	char big[16384] = {0};
	struct made_backup b;

	make_begin(&b, FULL);
	make_dir(&b, "global", 0700);
	make_plain(&b, "global/pg_control", big, sizeof(big));
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "16384 bytes");
	make_begin(&b, FULL);
	make_dir(&b, "global", 0700);
	make_plain(&b, "global/pg_control", big, 8192);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "format version is 0");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_refuse");
	TCase *t = tcase_create("refuse");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, lists_with_doubts_are_refused);
	tcase_add_test(t, a_changed_list_is_refused);
	tcase_add_test(t, damage_elsewhere_does_not_matter);
	tcase_add_test(t, versions_and_block_sizes);
	tcase_add_test(t, unknown_keys_of_newer_lists);
	tcase_add_test(t, foreign_builds_are_told_apart);
	suite_add_tcase(s, t);
	return unit_run(s);
}
