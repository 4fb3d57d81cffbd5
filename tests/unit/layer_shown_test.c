/*
 * What the mount shows differently from the list: tablespaces, configuration, what is left out.
 */
#include "../model/naive.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what is shown ---- */

static void cluster_with_spaces(struct made_backup *b, const char *id, const char *map)
{
	make_cluster(b, id);
	make_dir(b, "pg_tblspc", 0750);
	make_dir(b, "pg_tblspc/16384", 0700);
	make_dir(b, "pg_tblspc/16384/PG_15", 0700);
	make_dir(b, "pg_tblspc/163", 0700);
	make_plain(b, "pg_tblspc/163/file", "in place", 8);
	if (map != NULL)
		make_plain(b, "tablespace_map", map, strlen(map));
	make_plain(b, "database_map", "{\"dbOid\":\"5\"}\n", 14);
}

START_TEST(tablespaces_are_links_into_the_hidden_directory)
{
	const struct layer_entry *e;
	struct made_backup b;

	cluster_with_spaces(&b, FULL, "16384 /srv/ts\n99 /not/listed\n");
	make_plain(&b, "pg_tblspc/16384/PG_15/note", "old", 3);
	make_rel(&b, "pg_tblspc/16384/PG_15/77", 2, "aa");
	make_end(&b, "FULL", NULL, "OK", NULL);
	cluster_with_spaces(&b, MIDDLE, "16384 /srv/ts\n");
	make_plain_unchanged(&b, "pg_tblspc/16384/PG_15/note", 3);
	make_rel(&b, "pg_tblspc/16384/PG_15/77", 2, ".b");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(MIDDLE);

	e = naive_find(chain, "pg_tblspc/16384");
	ck_assert_int_eq(e->kind, LAYER_SYMLINK);
	ck_assert_uint_eq(e->mode, S_IFLNK | 0777);
	ck_assert_str_eq(e->target, "../.pgoverlay/tblspc/16384");
	e = naive_find(chain, ".pgoverlay/tblspc/16384");
	ck_assert_int_eq(e->kind, LAYER_DIR);
	ck_assert_uint_eq(e->mode, S_IFDIR | 0750);
	ck_assert_uint_eq(naive_find(chain, ".pgoverlay")->mode, S_IFDIR | 0700);
	ck_assert_uint_eq(naive_find(chain, ".pgoverlay/tblspc")->mode, S_IFDIR | 0700);
	ck_assert_int_eq(naive_find(chain, ".pgoverlay/tblspc/16384/PG_15")->kind, LAYER_DIR);
	ck_assert_str_eq(text_of(".pgoverlay/tblspc/16384/PG_15/note"), "old");
	ck_assert_str_eq(blocks_of(".pgoverlay/tblspc/16384/PG_15/77"), "ab");
	ck_assert_ptr_null(naive_find(chain, "pg_tblspc/16384/PG_15"));
	ck_assert_ptr_null(naive_find(chain, "tablespace_map"));
	ck_assert_ptr_null(naive_find(chain, "database_map"));
	/* Not in the map: stays as it is. */
	ck_assert_str_eq(text_of("pg_tblspc/163/file"), "in place");
	ck_assert_ptr_null(naive_find(chain, ".pgoverlay/tblspc/99"));
	for (unsigned i = 0; i < chain->count; i++)
		for (uint32_t j = 1; j < chain->layers[i]->entry_count; j++)
			ck_assert_int_lt(strcmp(chain->layers[i]->entries[j - 1].path,
						chain->layers[i]->entries[j].path),
					 0);
}
END_TEST

START_TEST(without_tablespaces_nothing_is_added)
{
	struct made_backup b;

	cluster_with_spaces(&b, FULL, NULL);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_opens(FULL);
	ck_assert_ptr_null(naive_find(chain, ".pgoverlay"));
	ck_assert_int_eq(naive_find(chain, "pg_tblspc/16384")->kind, LAYER_DIR);
}
END_TEST

START_TEST(a_damaged_tablespace_map_is_refused)
{
	struct made_backup b;

	cluster_with_spaces(&b, FULL, "no oid\n");
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "tablespace_map is damaged");
	check_close();
	cluster_with_spaces(&b, FULL, "16384 /srv/ts\n");
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_file("backups/main/" FULL "/database/tablespace_map", "16384 /srv/tx\n", 14);
	check_refused(FULL, -EBADMSG, "tablespace_map: does not match the crc");
	make_file("backups/main/" FULL "/database/tablespace_map", "16384 /srv/ts", 13);
	check_refused(FULL, -EUCLEAN, "tablespace_map: not as long");
	make_file("backups/main/" FULL "/database/tablespace_map", "16384 /srv/ts\n\n", 15);
	check_refused(FULL, -EUCLEAN, "tablespace_map: not as long");
}
END_TEST

START_TEST(auto_conf_is_filtered_wherever_it_is_stored)
{
	static const char conf[] = "# first\nrestore_command = 'x'\nwork_mem = 1\n";
	const struct layer_entry *e;
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain(&b, "postgresql.auto.conf", conf, strlen(conf));
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_plain_unchanged(&b, "postgresql.auto.conf", strlen(conf));
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(FULL);
	e = naive_find(chain, "postgresql.auto.conf");
	ck_assert_int_eq(e->kind, LAYER_INLINE);
	store->driver->close_chain(chain);
	check_opens(MIDDLE);
	e = naive_find(chain, "postgresql.auto.conf");
	ck_assert_int_eq(e->kind, LAYER_INLINE);
	ck_assert_int_eq(e->origin, LAYER_ORIGIN_NONE);
	ck_assert_uint_eq(e->mode, S_IFREG | 0600);
	ck_assert_uint_eq(e->size, strlen("# first\nwork_mem = 1\n"));
	ck_assert_int_eq(memcmp(e->data, "# first\nwork_mem = 1\n", e->size), 0);
}
END_TEST

START_TEST(external_directories_are_left_out)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_line(&b,
		  "{\"path\":\"base\", \"size\":\"0\", \"mode\":\"16832\", \"is_datafile\":\"0\", "
		  "\"crc\":\"0\", \"compress_alg\":\"none\", \"external_dir_num\":\"1\"}");
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_opens(FULL);
	ck_assert_ptr_nonnull(strstr(chain->warnings, "external directories"));
	ck_assert_uint_eq(naive_find(chain, "global/pg_control")->mode, S_IFREG | 0600);
}
END_TEST

static void external_line(struct made_backup *b, const char *path, const char *size, unsigned mode,
			  const char *crc)
{
	make_line(b,
		  "{\"path\":\"%s\", \"size\":\"%s\", \"mode\":\"%u\", \"is_datafile\":\"0\", "
		  "\"crc\":\"%s\", \"compress_alg\":\"none\", \"external_dir_num\":\"2\"}",
		  path, size, mode, crc);
}

START_TEST(external_directories_are_shown_if_asked_for)
{
	struct made_backup b;
	char crc[16], name[128];

	snprintf(crc, sizeof(crc), "%u", crc32c(0, "one", 3));
	snprintf(name, sizeof(name),
		 "backups/main/" FULL "/external_directories/externaldir2/PG_VERSION");
	make_cluster(&b, FULL);
	make_plain(&b, "PG_VERSION", "15\n", 3);
	external_line(&b, "PG_VERSION", "3", 33152, crc);
	make_file(name, "one", 3);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_plain_unchanged(&b, "PG_VERSION", 3);
	external_line(&b, "PG_VERSION", "-1", 33184, crc);
	external_line(&b, "empty", "0", 33152, "0");
	external_line(&b, "dir", "0", 16832, "0");
	make_end(&b, "DELTA", FULL, "OK", "external-dirs = '/srv/b:/srv/a'\n");
	ck_assert_int_eq(check_open(NULL), 0);
	ck_assert_ptr_null(naive_find(chain, ".pgoverlay"));
	store->driver->close_chain(chain);
	store->options.external = true;
	check_opens(MIDDLE);
	ck_assert_ptr_nonnull(
		strstr(chain->warnings, "directory 2 is shown below .pgoverlay/external/2: /srv/b"));
	ck_assert_str_eq(text_of(".pgoverlay/external/2/PG_VERSION"), "one");
	ck_assert_uint_eq(naive_find(chain, ".pgoverlay/external/2/PG_VERSION")->mode,
			  S_IFREG | 0640);
	ck_assert_str_eq(text_of(".pgoverlay/external/2/empty"), "");
	ck_assert_int_eq(naive_find(chain, ".pgoverlay/external/2/dir")->kind, LAYER_DIR);
	ck_assert_int_eq(naive_find(chain, ".pgoverlay/external/2")->kind, LAYER_DIR);
	ck_assert_int_eq(naive_find(chain, ".pgoverlay/external")->kind, LAYER_DIR);
	ck_assert_int_eq(naive_find(chain, ".pgoverlay")->kind, LAYER_DIR);
	ck_assert_str_eq(text_of("PG_VERSION"), "15\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_shown");
	TCase *t = tcase_create("shown");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, tablespaces_are_links_into_the_hidden_directory);
	tcase_add_test(t, without_tablespaces_nothing_is_added);
	tcase_add_test(t, a_damaged_tablespace_map_is_refused);
	tcase_add_test(t, auto_conf_is_filtered_wherever_it_is_stored);
	tcase_add_test(t, external_directories_are_left_out);
	tcase_add_test(t, external_directories_are_shown_if_asked_for);
	suite_add_tcase(s, t);
	return unit_run(s);
}
