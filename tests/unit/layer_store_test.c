/*
 * Chains as a whole, the listing, and kinds of store.
 */
#include "../model/naive.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- chains ---- */

START_TEST(warnings_for_the_user)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_end(&b, "FULL", NULL, "DONE", NULL);
	make_cluster(&b, MIDDLE);
	make_end(&b, "PTRACK", FULL, "OK", "note = 'it's'\n");
	check_opens(MIDDLE);
	ck_assert_ptr_nonnull(strstr(chain->warnings, "backup " FULL " has status DONE"));
	ck_assert_ptr_nonnull(strstr(chain->warnings, "backup " MIDDLE " is a PTRACK backup"));
	ck_assert_uint_eq(chain->pg_version, 15);
	ck_assert_int_eq(chain->needs_archive, false);
	ck_assert_int_eq(chain->start_time, 1795171104);
	ck_assert_str_eq(chain->instance, "main");
}
END_TEST

START_TEST(the_content_hash_follows_the_content)
{
	uint8_t first[16];
	struct made_backup b;

	make_full("aaa");
	check_opens(FULL);
	memcpy(first, chain->content_hash, 16);
	check_close();
	/* Status, note, pin: no content. */
	make_cluster(&b, FULL);
	make_rel(&b, REL, 3, "aaa");
	make_end(&b, "FULL", NULL, "DONE", "note = 'x'\nexpire-time = '2030-01-01 00:00:00+00'\n");
	check_opens(FULL);
	ck_assert_int_eq(memcmp(first, chain->content_hash, 16), 0);
	check_close();
	make_full("aab");
	check_opens(FULL);
	ck_assert_int_ne(memcmp(first, chain->content_hash, 16), 0);
}
END_TEST

START_TEST(header_map_missing)
{
	char path[512];

	make_full("aba");
	snprintf(path, sizeof(path), "%s/backups/main/" FULL "/page_header_map", unit_path);
	ck_assert_int_eq(unlink(path), 0);
	check_opens(FULL);
	ck_assert_ptr_nonnull(strstr(chain->warnings, "page_header_map is missing"));
	ck_assert_str_eq(blocks_of(REL), "aba");
}
END_TEST

START_TEST(names_of_instances_and_backups)
{
	struct made_backup b;

	make_full("a");
	check_opens("tospo0"); /* whatever the case */
	check_close();
	check_refused("NOSUCH", -ENOENT, "no backup 'NOSUCH'");
	ck_assert_int_eq(store->driver->open_chain(store, "../main", FULL, 0, &message, &chain),
			 -EINVAL);
	message.text[0] = '\0';
	ck_assert_int_eq(store->driver->open_chain(store, "other", FULL, 0, &message, &chain),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(message.text, "no instance 'other'"));
	make_file("backups/other/pg_probackup.conf", "", 0);
	check_refused(FULL, -EINVAL, "--instance");
	message.text[0] = '\0';
	ck_assert_int_eq(store->driver->open_chain(store, "other", NULL, 0, &message, &chain),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(message.text, "instance other has no backups"));
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", "TOSPNZ", "OK", NULL);
	message.text[0] = '\0';
	ck_assert_int_eq(store->driver->open_chain(store, "main", MIDDLE, 0, &message, &chain),
			 -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(message.text, "TOSPNZ, the parent of " MIDDLE ", is missing"));
}
END_TEST

START_TEST(listing)
{
	struct backup_list list;
	struct made_backup b;

	make_full("a");
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", FULL, "DONE", "data-bytes = 1000\nwal-bytes = 24\n");
	make_cluster(&b, TOP);
	make_end(&b, "PAGE", MIDDLE, "RUNNING", NULL);
	make_file("backups/main/TOSPO3/backup.control", "\1\2\3", 3);
	make_file("backups/main/TOSPO4/other", "", 0);
	make_file("backups/main/TOSPO0.old/backup.control", "", 0);
	make_file("backups/main/.hidden/backup.control", "", 0);
	make_file("backups/main/pg_probackup.conf", "", 0);
	ck_assert_int_eq(store_open(unit_path, &message, &store), 0);
	ck_assert_int_eq(store->driver->list(store, NULL, &message, &list), 0);
	ck_assert_uint_eq(list.count, 5);
	ck_assert_str_eq(list.items[0].id, FULL);
	ck_assert_str_eq(list.items[0].mode, "FULL");
	ck_assert_str_eq(list.items[0].parent, "");
	ck_assert(list.items[0].mountable && list.items[0].stream);
	ck_assert_str_eq(list.items[0].reason, "");
	ck_assert_uint_eq(list.items[0].stop_lsn, UINT64_C(0x102000100));
	ck_assert_str_eq(list.items[1].parent, FULL);
	ck_assert_str_eq(list.items[1].status, "DONE");
	ck_assert(list.items[1].mountable);
	ck_assert_ptr_nonnull(strstr(list.items[1].reason, "validate"));
	ck_assert_uint_eq(list.items[1].bytes, 1024);
	ck_assert(!list.items[2].mountable);
	ck_assert_ptr_nonnull(strstr(list.items[2].reason, "RUNNING"));
	ck_assert(!list.items[3].mountable && !list.items[4].mountable);
	ck_assert_ptr_nonnull(strstr(list.items[3].reason, "backup.control"));
	ck_assert_ptr_nonnull(strstr(list.items[4].reason, "backup.control"));
	ck_assert_str_eq(list.items[4].status, "UNKNOWN");
	store->driver->list_free(&list);
	ck_assert_int_eq(store->driver->list(store, "none", &message, &list), -ENOENT);
}
END_TEST

/* ---- kinds of store ---- */

START_TEST(strangers_are_named)
{
	static const struct {
		const char *dir, *file, *file2, *text;
		int rc;
	} cases[] = {
		{"r", "backup/main/backup.info", "archive/main/x",
		 "a pgBackRest repository; no driver", -ENOTSUP},
		{"n", "backup_manifest", "x", "PostgreSQL backup directory", -ENOTSUP},
		{"n2", "full/backup_manifest", "x", "PostgreSQL backup directory", -ENOTSUP},
		{"d", "PG_VERSION", "global/pg_control", "plain data directory", -ENOTSUP},
		{"b", "base/x", "wals/x", "Barman", -ENOTSUP},
		{"e", "nothing", "x", "not a backup store", -EINVAL},
		{"i", "pg_probackup.conf", "x", "an instance of a pg_probackup store", -EINVAL},
		{"s", "backup_content.control", "x", "a single backup", -EINVAL},
	};
	char path[512];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(path, sizeof(path), "%s/%s", cases[i].dir, cases[i].file);
		make_file(path, "", 0);
		snprintf(path, sizeof(path), "%s/%s", cases[i].dir, cases[i].file2);
		make_file(path, "", 0);
		snprintf(path, sizeof(path), "%s/%s", unit_path, cases[i].dir);
		message.text[0] = '\0';
		ck_assert_int_eq(store_open(path, &message, &store), cases[i].rc);
		ck_assert_msg(strstr(message.text, cases[i].text) != NULL, "%s", message.text);
	}
	snprintf(path, sizeof(path), "%s/e/nothing", unit_path);
	message.text[0] = '\0';
	ck_assert_int_eq(store_open(path, &message, &store), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(message.text, "packed image"));
	snprintf(path, sizeof(path), "%s/absent", unit_path);
	message.text[0] = '\0';
	ck_assert_int_eq(store_open(path, &message, &store), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_store");
	TCase *t = tcase_create("store");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, warnings_for_the_user);
	tcase_add_test(t, the_content_hash_follows_the_content);
	tcase_add_test(t, header_map_missing);
	tcase_add_test(t, names_of_instances_and_backups);
	tcase_add_test(t, listing);
	tcase_add_test(t, strangers_are_named);
	suite_add_tcase(s, t);
	return unit_run(s);
}
