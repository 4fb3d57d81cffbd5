/*
 * Backups that are made more rarely: of a standby, with PTRACK, after a merge, with tablespaces
 * that come and move, of relations of more than one segment.
 */
#include "../model/naive.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <string.h>
#include <sys/stat.h>

/* ---- how it was taken ---- */

/* Stored like any other: what the increment has goes first, its length counts. */
START_TEST(of_a_standby_with_ptrack)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_rel(&b, REL, 6, "aaaaaa");
	make_plain(&b, "backup_label", "BACKUP FROM: standby\n", 21);
	make_end(&b, "FULL", NULL, "OK", "from-replica = true\n");
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 5, ".b.b");
	make_rel(&b, "base/5/16385", 2, "bb");
	make_plain(&b, "backup_label", "BACKUP FROM: standby\nmore\n", 26);
	make_end(&b, "PTRACK", FULL, "DONE", "from-replica = true\n");
	make_cluster(&b, TOP);
	make_data_unchanged(&b, REL, 5);
	make_rel(&b, "base/5/16385", 3, "..c");
	make_plain_unchanged(&b, "backup_label", 26);
	make_end(&b, "PTRACK", MIDDLE, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "ababa");
	ck_assert_str_eq(text_of("backup_label"), "BACKUP FROM: standby\nmore\n");
	store->driver->close_chain(chain);
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "ababa");
	ck_assert_str_eq(blocks_of("base/5/16385"), "bbc");
	ck_assert_str_eq(text_of("backup_label"), "BACKUP FROM: standby\nmore\n");
}
END_TEST

/* A FULL with the id of the increment that it was merged with; what is left over is in no list. */
START_TEST(after_a_merge)
{
	struct made_backup b;

	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 4, "abab");
	make_end(&b, "FULL", NULL, "OK",
		 "merge-time = '2026-11-20 11:00:00+00'\nexternal-dirs = '/etc/old'\n");
	make_file("backups/main/" MIDDLE "/database/base/5/999", "left", 4);
	make_file("backups/main/" MIDDLE "/database/base/5/16384_tmp1", "left", 4);
	make_file("backups/main/" MIDDLE "/external_directories/externaldir1/x", "left", 4);
	make_file("backups/main/" MIDDLE "/page_header_map_tmp", "left", 4);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 4, "..c");
	make_end(&b, "DELTA", MIDDLE, "OK", NULL);
	check_opens(TOP);
	ck_assert_uint_eq(chain->count, 2);
	ck_assert_str_eq(blocks_of(REL), "abcb");
	ck_assert_ptr_null(naive_find(chain, "base/5/999"));
	ck_assert_ptr_null(naive_find(chain, "base/5/16384_tmp1"));
}
END_TEST

/* ---- tablespaces ---- */

static void with_spaces(struct made_backup *b, const char *id, const char *map)
{
	make_cluster(b, id);
	make_dir(b, "pg_tblspc", 0700);
	if (map != NULL)
		make_plain(b, "tablespace_map", map, strlen(map));
}

static void space(struct made_backup *b, const char *oid, const char *rel, const char *text)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "pg_tblspc/%s", oid);
	make_dir(b, path, 0700);
	(void)snprintf(path, sizeof(path), "pg_tblspc/%s/PG_15", oid);
	make_dir(b, path, 0700);
	(void)snprintf(path, sizeof(path), "pg_tblspc/%s/PG_15/%s", oid, rel);
	make_rel(b, path, (uint32_t)strlen(text), text);
}

static void check_space(const struct layer_extras *extras, size_t i, const char *link,
			const char *path)
{
	ck_assert_uint_gt(extras->space_count, i);
	ck_assert_str_eq(extras->spaces[i].link, link);
	ck_assert_str_eq(extras->spaces[i].path, path);
	ck_assert_int_eq(naive_find(chain, link)->kind, LAYER_SYMLINK);
	ck_assert_int_eq(naive_find(chain, extras->spaces[i].shown)->kind, LAYER_DIR);
}

/* None at first; one; it moves, a second and a third come; the first is dropped. */
START_TEST(tablespaces_come_move_and_go)
{
	struct layer_extras extras;
	struct made_backup b;

	with_spaces(&b, FULL, NULL);
	make_end(&b, "FULL", NULL, "OK", NULL);
	with_spaces(&b, MIDDLE, "16384 /srv/old place\n");
	space(&b, "16384", "77", "aaa");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	with_spaces(&b, TOP, "16384 /srv/new\n16390 /srv/two\n16391 /srv/three\n");
	space(&b, "16384", "77", "..b");
	space(&b, "16390", "78", "c");
	space(&b, "16391", "79", "dd");
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	with_spaces(&b, "TOSPO3", "16390 /srv/two\n16391 /srv/three\n");
	space(&b, "16390", "78", ".e");
	space(&b, "16391", "79", ".f");
	make_end(&b, "DELTA", TOP, "OK", NULL);

	check_opens(FULL);
	ck_assert_int_eq(store->driver->extras(chain, &message, &extras), 0);
	ck_assert_uint_eq(extras.space_count, 0);
	layer_extras_free(&extras);
	store->driver->close_chain(chain);
	check_opens(MIDDLE);
	ck_assert_int_eq(store->driver->extras(chain, &message, &extras), 0);
	check_space(&extras, 0, "pg_tblspc/16384", "/srv/old place");
	layer_extras_free(&extras);
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16384/PG_15/77"), "aaa");
	store->driver->close_chain(chain);
	check_opens(TOP);
	ck_assert_int_eq(store->driver->extras(chain, &message, &extras), 0);
	ck_assert_uint_eq(extras.space_count, 3);
	check_space(&extras, 0, "pg_tblspc/16384", "/srv/new");
	check_space(&extras, 1, "pg_tblspc/16390", "/srv/two");
	check_space(&extras, 2, "pg_tblspc/16391", "/srv/three");
	layer_extras_free(&extras);
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16384/PG_15/77"), "aab");
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16391/PG_15/79"), "dd");
	store->driver->close_chain(chain);
	check_opens("TOSPO3");
	ck_assert_int_eq(store->driver->extras(chain, &message, &extras), 0);
	ck_assert_uint_eq(extras.space_count, 2);
	check_space(&extras, 1, "pg_tblspc/16391", "/srv/three");
	layer_extras_free(&extras);
	ck_assert_ptr_null(naive_find(chain, "pg_tblspc/16384"));
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16390/PG_15/78"), "ce");
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16391/PG_15/79"), "df");
}
END_TEST

/* ---- segments ---- */

#define REL1 REL ".1"
#define REL2 REL ".2"

/* Each is a file of its own, with blocks from 0; a truncation leaves an empty one. */
START_TEST(segments_are_files_of_their_own)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_rel(&b, REL, 3, "aaa");
	make_rel(&b, REL1, 2, "bb");
	make_rel(&b, REL2, 1, "c");
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 3);
	make_rel(&b, REL1, 4, "d..d");
	make_data_unchanged(&b, REL2, 1);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 2, "e");
	make_data_empty(&b, REL1);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "aaa");
	ck_assert_str_eq(blocks_of(REL1), "db0d");
	ck_assert_str_eq(blocks_of(REL2), "c");
	ck_assert_uint_eq(naive_find(chain, REL)->segno, 0);
	ck_assert_uint_eq(naive_find(chain, REL1)->segno, 1);
	store->driver->close_chain(chain);
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "ea");
	ck_assert_str_eq(blocks_of(REL1), "");
	ck_assert_ptr_null(naive_find(chain, REL2));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_odd");
	TCase *t = tcase_create("odd");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, of_a_standby_with_ptrack);
	tcase_add_test(t, after_a_merge);
	tcase_add_test(t, tablespaces_come_move_and_go);
	tcase_add_test(t, segments_are_files_of_their_own);
	suite_add_tcase(s, t);
	return unit_run(s);
}
