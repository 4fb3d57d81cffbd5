/*
 * Tests of libpgoverlay through its header alone: every file of a sample backup against the list of
 * its real restore, reads at all offsets, blocks, and what is refused.
 */
#include <pgoverlay/pgoverlay.h>

#include "layer_stores.h"
#include "sha256.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEWEST "TOSQQ2"

static char store_path[512], golden_path[512];
static struct pgoverlay_store *store;
static struct pgoverlay_chain *chain;
static struct pgoverlay_error message;

static void setup(void)
{
	message.text[0] = '\0';
	ck_assert_msg(pgoverlay_store_open(store_path, &message, &store) == 0, "%s", message.text);
	chain = NULL;
}

static void teardown(void)
{
	pgoverlay_chain_close(chain);
	pgoverlay_store_close(store);
}

static void open_chain(const char *backup, unsigned threads, uint64_t index_bytes)
{
	struct pgoverlay_options options = {.size = sizeof(options),
					    .backup = backup,
					    .threads = threads,
					    .index_bytes = index_bytes};

	ck_assert_msg(pgoverlay_chain_open(store, &options, &message, &chain) == 0, "%s",
		      message.text);
}

START_TEST(lists_backups)
{
	struct pgoverlay_list *list;

	ck_assert_str_eq(pgoverlay_store_kind(store), "pg_probackup");
	ck_assert_int_eq(pgoverlay_list(store, NULL, &message, &list), 0);
	ck_assert_uint_eq(pgoverlay_list_count(list), 5);
	ck_assert_str_eq(pgoverlay_list_get(list, 0)->mode, "FULL");
	ck_assert_str_eq(pgoverlay_list_get(list, 4)->id, NEWEST);
	ck_assert_int_eq(pgoverlay_list_get(list, 4)->mountable, 1);
	ck_assert_ptr_null(pgoverlay_list_get(list, 5));
	pgoverlay_list_free(list);
	ck_assert_int_eq(pgoverlay_list(store, "none", &message, &list), -ENOENT);
	ck_assert_ptr_nonnull(strstr(message.text, "no instance 'none'"));
}
END_TEST

struct walk {
	FILE *sums; /* "<digest>  <path>\n" of every regular file, sorted by path */
	unsigned files, others;
};

static int digest_file(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	struct walk *w = ctx;
	struct pgoverlay_file *file;
	char hex[65];
	void *data;

	if (!S_ISREG(st->mode)) {
		w->others++;
		return 0;
	}
	ck_assert_int_eq(pgoverlay_open(chain, path, &file), 0);
	ck_assert_uint_eq(pgoverlay_size(file), st->size);
	data = malloc(st->size + 1);
	ck_assert_int_eq(pgoverlay_pread(file, data, st->size + 1, 0), (int64_t)st->size);
	sha256_hex(data, st->size, hex);
	fprintf(w->sums, "%s  %s\n", hex, path);
	free(data);
	pgoverlay_close(file);
	w->files++;
	return 0;
}

/* All but postgresql.auto.conf, which restore changes. */
static unsigned count_equal(const char *sums)
{
	char path[1024], line[2048];
	unsigned count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.sha256", golden_path, NEWEST);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strstr(line, "  postgresql.auto.conf") != NULL)
			continue;
		ck_assert_msg(strstr(sums, line) != NULL, "differs: %s", line);
		count++;
	}
	fclose(f);
	return count;
}

static void compare_with_restore(unsigned threads, uint64_t index_bytes)
{
	struct walk w = {0};
	char *sums = NULL;
	size_t len;

	open_chain(NEWEST, threads, index_bytes);
	ck_assert_uint_eq(pgoverlay_chain_count(chain), 5);
	ck_assert_str_eq(pgoverlay_chain_id(chain, 4), NEWEST);
	ck_assert_ptr_null(pgoverlay_chain_id(chain, 5));
	ck_assert_str_eq(pgoverlay_chain_warnings(chain), "");
	ck_assert_uint_eq(pgoverlay_chain_pg_version(chain), 15);
	w.sums = open_memstream(&sums, &len);
	ck_assert_int_eq(pgoverlay_walk(chain, digest_file, &w), 0);
	fclose(w.sums);
	ck_assert_uint_gt(w.others, 20);
	ck_assert_uint_eq(count_equal(sums), w.files - 1);
	free(sums);
}

START_TEST(reads_what_a_restore_writes)
{
	compare_with_restore(0, 0);
}
END_TEST

START_TEST(reads_with_threads_and_little_memory)
{
	compare_with_restore(3, 4096);
}
END_TEST

/* The largest relation of the backup. */
static int find_largest(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	struct {
		char path[256];
		uint64_t size;
	} *largest = ctx;

	if (st->is_relation && st->size > largest->size) {
		largest->size = st->size;
		snprintf(largest->path, sizeof(largest->path), "%s", path);
	}
	return 0;
}

START_TEST(reads_any_piece)
{
	struct {
		char path[256];
		uint64_t size;
	} largest = {0};
	struct pgoverlay_file *file;
	unsigned char *all, *piece;
	unsigned seed = 7;

	open_chain(NULL, 0, 0);
	ck_assert_int_eq(pgoverlay_walk(chain, find_largest, &largest), 0);
	ck_assert_uint_gt(largest.size, 100000);
	ck_assert_int_eq(pgoverlay_open(chain, largest.path, &file), 0);
	all = malloc(largest.size);
	piece = malloc(largest.size + 100);
	ck_assert_int_eq(pgoverlay_pread(file, all, largest.size, 0), (int64_t)largest.size);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % (largest.size + 50);
		size_t len = (size_t)rand_r(&seed) % (i % 3 == 0 ? largest.size : 20000);
		uint64_t want = off >= largest.size	   ? 0
				: largest.size - off < len ? largest.size - off
							   : len;

		ck_assert_int_eq(pgoverlay_pread(file, piece, len, off), (int64_t)want);
		ck_assert_int_eq(memcmp(piece, all + (want > 0 ? off : 0), want), 0);
	}
	ck_assert_int_eq(pgoverlay_read_blocks(file, 1, 2, piece), 2);
	ck_assert_int_eq(memcmp(piece, all + 8192, 16384), 0);
	ck_assert_int_eq(pgoverlay_read_blocks(file, (uint32_t)(largest.size / 8192) - 1, 4, piece),
			 1);
	ck_assert_int_eq(pgoverlay_read_blocks(file, UINT32_MAX, 4, piece), 0);
	free(all);
	free(piece);
	pgoverlay_close(file);
}
END_TEST

START_TEST(refuses_what_cannot_be)
{
	struct pgoverlay_options options = {.size = sizeof(options), .backup = "NOSUCH"};
	struct pgoverlay_file *file;
	struct pgoverlay_stat st;
	char byte[8192];

	ck_assert_int_eq(pgoverlay_chain_open(store, &options, &message, &chain), -ENOENT);
	ck_assert_ptr_nonnull(strstr(message.text, "NOSUCH"));
	options.size = 1;
	ck_assert_int_eq(pgoverlay_chain_open(store, &options, NULL, &chain), -EINVAL);
	open_chain(NULL, 0, 0);
	ck_assert_int_eq(pgoverlay_open(chain, "base", &file), -EISDIR);
	ck_assert_int_eq(pgoverlay_open(chain, "base/none", &file), -ENOENT);
	ck_assert_int_eq(pgoverlay_open(chain, "", &file), -ENOENT);
	ck_assert_int_eq(pgoverlay_stat(chain, "../x", &st), -ENOENT);
	ck_assert_int_eq(pgoverlay_stat(chain, "PG_VERSION", &st), 0);
	ck_assert_uint_eq(st.size, 3);
	ck_assert(!st.is_relation && st.link == NULL);
	ck_assert_int_eq(pgoverlay_open(chain, "PG_VERSION", &file), 0);
	ck_assert_int_eq(pgoverlay_read_blocks(file, 0, 1, byte), -EINVAL);
	pgoverlay_close(file);
	ck_assert_int_eq(pgoverlay_store_open("/nonexistent", &message, &store), -ENOENT);
}
END_TEST

START_TEST(locks_while_a_chain_is_open)
{
	struct pgoverlay_options options = {.size = sizeof(options), .no_lock = 1};
	char path[1024];

	snprintf(path, sizeof(path), "%s/backups/main/%s/backup_ro.pid", store_path, NEWEST);
	open_chain(NEWEST, 0, 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	pgoverlay_chain_close(chain);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(pgoverlay_chain_open(store, &options, &message, &chain), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

static int run_tests(void)
{
	Suite *s = suite_create("api");
	TCase *t = tcase_create("api");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, lists_backups);
	tcase_add_test(t, reads_what_a_restore_writes);
	tcase_add_test(t, reads_with_threads_and_little_memory);
	tcase_add_test(t, reads_any_piece);
	tcase_add_test(t, refuses_what_cannot_be);
	tcase_add_test(t, locks_while_a_chain_is_open);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}

int main(void)
{
	const char *dir = stores_scratch();
	int failed = 1;

	snprintf(store_path, sizeof(store_path), "%s/store", dir);
	snprintf(golden_path, sizeof(golden_path), "%s/golden", dir);
	if (stores_unpack(UNIT_FIXTURES_DIR "/shop/store.tar.zst", dir) &&
	    stores_unpack(UNIT_FIXTURES_DIR "/shop/golden.tar.zst", dir))
		failed = run_tests();
	stores_clean();
	return failed != 0;
}
