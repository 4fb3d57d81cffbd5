/*
 * Stores made to mislead: what would lead out of the store, hang, or show one file as another is
 * refused with a line that says so. And what may be opened by force, and what not even then.
 */
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static void in_full(const char *name, char *ret)
{
	snprintf(ret, 512, "%s/backups/main/" FULL "/%s", unit_path, name);
}

/* The file of the backup becomes a link to a copy of it beside the store. */
static void make_link(const char *path)
{
	char from[512], to[512];

	snprintf(from, sizeof(from), "%s/%s", unit_path, path);
	snprintf(to, sizeof(to), "%s/../outside-%d", unit_path, (int)getpid());
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert_int_eq(symlink(to, from), 0);
}

static void undo_link(const char *path)
{
	char from[512], to[512];

	snprintf(to, sizeof(to), "%s/%s", unit_path, path);
	snprintf(from, sizeof(from), "%s/../outside-%d", unit_path, (int)getpid());
	ck_assert_int_eq(unlink(to), 0);
	ck_assert_int_eq(rename(from, to), 0);
}

START_TEST(links_are_not_followed)
{
#define IN_FULL "backups/main/" FULL
	static const struct {
		const char *path, *text;
	} cases[] = {
		{IN_FULL, "symbolic link"},
		{IN_FULL "/backup.control", "backup.control: a symbolic link"},
		{IN_FULL "/backup_content.control", "backup_content.control: a symbolic link"},
		{IN_FULL "/page_header_map", "page_header_map: a symbolic link"},
		{IN_FULL "/database", "global/pg_control"},
		{IN_FULL "/database/global/pg_control", "global/pg_control"},
		{"backups/main", "/backups/main: a symbolic link"},
		{"backups/main", "mount --bind DIRECTORY "},
		{"backups", "/backups: a symbolic link"},
	};

	make_full("aaa");
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_link(cases[i].path);
		check_refused(FULL, -ELOOP, cases[i].text);
		undo_link(cases[i].path);
		check_opens(FULL);
		check_close();
	}
}
END_TEST

/* backup.pid and the lines of the readers are read too. */
START_TEST(links_in_the_place_of_locks)
{
	static const char *const names[] = {"backup.pid", "backup_ro.pid"};
	char path[512], target[512];
	struct stat st;

	make_full("aaa");
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		in_full(names[i], path);
		snprintf(target, sizeof(target), "%s/victim", unit_path);
		unit_put_file("victim", "0\n");
		ck_assert_int_eq(symlink(target, path), 0);
		ck_assert_int_eq(check_open(NULL), 0); /* without locks they do not matter */
		store->driver->close_chain(chain);
		chain = NULL;
		ck_assert_int_eq(
			store->driver->open_chain(store, NULL, FULL, getpid(), &message, &chain),
			-ELOOP);
		ck_assert_ptr_nonnull(strstr(message.text, "a symbolic link"));
		unit_assert_file("victim", "0\n");
		ck_assert_int_eq(lstat(path, &st), 0);
		ck_assert(S_ISLNK(st.st_mode));
		ck_assert_int_eq(unlink(path), 0);
		check_close();
	}
}
END_TEST

/* Neither hangs. */
START_TEST(fifos_and_directories_are_no_files)
{
	static const char *const names[] = {"backup.control", "backup_content.control",
					    "page_header_map", "database/global/pg_control"};
	char path[512];

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(names); i++) {
		make_full("aaa");
		in_full(names[i / 2], path);
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(i % 2 == 0 ? mkfifo(path, 0600) : mkdir(path, 0700), 0);
		ck_assert_int_lt(check_open(FULL), 0);
		ck_assert_ptr_nonnull(strstr(message.text, FULL));
		check_close();
		ck_assert_int_eq(i % 2 == 0 ? unlink(path) : rmdir(path), 0);
	}
}
END_TEST

START_TEST(names_that_are_taken)
{
	static const char *const twice[] = {"tablespace_map", "database_map",
					    "postgresql.auto.conf"};
	struct made_backup b;

	make_cluster(&b, FULL);
	make_dir(&b, ".pgoverlay", 0700);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "'.pgoverlay' has the name of what a mount adds");
	make_cluster(&b, FULL);
	make_plain(&b, ".pgoverlay/tblspc/1", "x", 1);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -ENOTSUP, "has the name of what a mount adds");
	/* Hidden or made anew, but still listed twice. */
	for (unsigned i = 0; i < ARRAY_SIZE(twice); i++) {
		make_cluster(&b, FULL);
		make_plain(&b, twice[i], "1 /x\n", 5);
		make_plain(&b, twice[i], "1 /x\n", 5);
		make_end(&b, "FULL", NULL, "OK", NULL);
		check_refused(FULL, -EUCLEAN, "is listed twice");
	}
}
END_TEST

/* hdr_crc would fit: it is the same piece. */
START_TEST(headers_belong_to_one_file)
{
	static const char line[] =
		"{\"path\":\"base/5/%u\", \"size\":\"100\", \"mode\":\"33152\", "
		"\"is_datafile\":\"1\", \"crc\":\"0\", \"compress_alg\":\"zlib\", "
		"\"n_blocks\":\"1\", \"n_headers\":\"1\", \"hdr_crc\":\"0\", "
		"\"hdr_off\":\"%u\", \"hdr_size\":\"%u\"}";
	static const struct {
		unsigned off, size, off2, size2;
		bool refused;
	} cases[] = {
		{0, 10, 10, 10, false},
		{0, 10, 9, 10, true},
		{0, 10, 0, 10, true},
		{10, 10, 0, 10, false},
		{10, 10, 0, 11, true},
		{0, 10, 3, 2, true},
		{0, 4294967295u, 4294967295u, 5, false},
	};
	struct made_backup b;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_cluster(&b, FULL);
		make_line(&b, line, 1, cases[i].off, cases[i].size);
		make_line(&b, line, 2, cases[i].off2, cases[i].size2);
		make_end(&b, "FULL", NULL, "OK", NULL);
		if (cases[i].refused)
			check_refused(FULL, -EUCLEAN, "two files have the same page headers");
		else
			check_opens(FULL);
		check_close();
		/* And in a backup below. */
		make_cluster(&b, MIDDLE);
		make_end(&b, "DELTA", FULL, "OK", NULL);
		if (cases[i].refused)
			check_refused(MIDDLE, -EUCLEAN,
				      "backup " FULL ": backup_content.control: "
				      "two files");
		else
			check_opens(MIDDLE);
		check_close();
	}
}
END_TEST

START_TEST(only_suspects_open_by_force)
{
	static const struct {
		const char *status;
		bool opens;
	} cases[] = {
		{"ORPHAN", true},   {"CORRUPT", true},	  {"RUNNING", false},  {"ERROR", false},
		{"MERGING", false}, {"MERGED", false},	  {"DELETING", false}, {"DELETED", false},
		{"UNKNOWN", false}, {"SOMETHING", false},
	};
	struct made_backup b;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_cluster(&b, FULL);
		make_rel(&b, REL, 3, "aaa");
		make_end(&b, "FULL", NULL, cases[i].status, NULL);
		make_cluster(&b, MIDDLE);
		make_data_unchanged(&b, REL, 3);
		make_end(&b, "DELTA", FULL, "OK", NULL);
		check_refused(FULL, -ENOTSUP, "status ");
		check_refused(MIDDLE, -ENOTSUP, "status ");
		store->options.force = true;
		check_refused(NULL, -ENOTSUP, "status "); /* it has to be named */
		if (cases[i].opens) {
			check_opens(MIDDLE);
			ck_assert_str_eq(blocks_of(REL), "aaa");
			ck_assert_ptr_nonnull(strstr(chain->warnings, "was opened by force"));
			ck_assert_ptr_null(strstr(chain->warnings, "missing"));
		} else {
			check_refused(FULL, -ENOTSUP, "status ");
			check_refused(MIDDLE, -ENOTSUP, "status ");
		}
		check_close();
	}
	/* Force is for the status alone, and says what is not there. */
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", "TOSPNZ", "ORPHAN", NULL);
	make_cluster(&b, FULL);
	make_rel(&b, REL, 3, "aaa");
	make_end(&b, "FULL", NULL, "CORRUPT", NULL);
	make_file("backups/main/" FULL "/database/" REL, "", 0);
	ck_assert_int_lt(check_open(MIDDLE), 0);
	store->options.force = true;
	check_refused(MIDDLE, -EUCLEAN, "TOSPNZ, the parent of " MIDDLE ", is missing");
	check_opens(FULL);
	ck_assert_ptr_nonnull(strstr(chain->warnings, "1 files are missing or not as long"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_hostile");
	TCase *t = tcase_create("hostile");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, links_are_not_followed);
	tcase_add_test(t, links_in_the_place_of_locks);
	tcase_add_test(t, fifos_and_directories_are_no_files);
	tcase_add_test(t, names_that_are_taken);
	tcase_add_test(t, headers_belong_to_one_file);
	tcase_add_test(t, only_suspects_open_by_force);
	suite_add_tcase(s, t);
	return unit_run(s);
}
