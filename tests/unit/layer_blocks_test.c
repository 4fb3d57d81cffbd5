/*
 * Which block and which content comes from where, and how long files are: the rules of restore.
 */
#include "../model/naive.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE 8192u

/* ---- blocks ---- */

START_TEST(blocks_come_from_the_newest_that_stores_them)
{
	struct made_backup b;

	make_full("aaaaaa");
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 6, ".b..b.");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 7, "..c...c");
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(TOP);
	ck_assert_uint_eq(chain->count, 3);
	ck_assert_str_eq(chain->layers[0]->id, FULL);
	ck_assert_str_eq(blocks_of(REL), "abcabac");
	/* A FULL stores all of it, an increment does not. */
	ck_assert_uint_eq(naive_find(chain, REL)->stored_prefix, 0);
	ck_assert_uint_eq(chain->layers[0]->entries[0].stored_prefix, 6);
}
END_TEST

START_TEST(truncated_relations_end_where_the_target_says)
{
	struct made_backup b;

	make_full("aaaaaaaa");
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 3, ".b");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "aba");
}
END_TEST

/* Shrunk to 1 and regrown by pages that never went through WAL: the old blocks show, as in a
 * restore. */
START_TEST(only_the_targets_length_counts)
{
	struct made_backup b;

	make_full("aaaaaaaaaa");
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 1);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_data_unchanged(&b, REL, 7);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "aaaaaaa");
}
END_TEST

START_TEST(length_is_the_highest_block_placed)
{
	struct made_backup b;

	make_full("aaaaa");
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 8);
	make_end(&b, "PAGE", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 8, ".......c");
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "aaaaa");
	store->driver->close_chain(chain);
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "aaaaa00c");
}
END_TEST

START_TEST(an_emptied_relation_is_empty)
{
	struct made_backup b;

	make_full("aaaaa");
	make_cluster(&b, MIDDLE);
	make_data_empty(&b, REL);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_data_unchanged(&b, REL, 2);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "");
	ck_assert_uint_eq(naive_find(chain, REL)->size, 0);
	ck_assert_uint_eq(naive_find(chain, REL)->file, LAYER_NO_FILE);
	store->driver->close_chain(chain);
	/* In the middle it hides nothing. */
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "aa");
}
END_TEST

START_TEST(no_length_means_no_limit)
{
	struct made_backup b;

	make_full("aaaaa");
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 0);
	make_end(&b, "PAGE", FULL, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_uint_eq(naive_find(chain, REL)->base_limit, LAYER_NO_LIMIT);
	ck_assert_str_eq(blocks_of(REL), "aaaaa");
}
END_TEST

START_TEST(a_file_absent_in_the_middle_shows_nothing_old)
{
	struct made_backup b;

	make_full("aaaaaaaaaa");
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 3, "ccc");
	make_end(&b, "DELTA", MIDDLE, "OK", NULL);
	check_opens(TOP);
	ck_assert_str_eq(blocks_of(REL), "ccc");
	store->driver->close_chain(chain);
	check_opens(MIDDLE);
	ck_assert_ptr_null(naive_find(chain, REL));
}
END_TEST

START_TEST(zero_pages_are_pages)
{
	struct made_backup b;

	make_full("aa0a");
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 4, "0");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "0a0a");
}
END_TEST

START_TEST(algorithms_change_within_a_chain)
{
	static const struct made_page page = {.block = 1, .fill = 'b'};
	struct made_backup b;

	make_full("aaa");
	make_cluster(&b, MIDDLE);
	make_data(&b, REL, "none", 3, &page, 1);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(MIDDLE);
	ck_assert_str_eq(blocks_of(REL), "aba");
}
END_TEST

/* What locate answers, piece by piece; highest with any limit. */
START_TEST(locate_answers_for_any_range)
{
	struct layer_extent all[8], piece[3];
	struct layer *layer;
	uint32_t count, file;
	struct made_backup b;

	make_full("aaaaaaaa");
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 8, ".b.b..b.");
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_opens(MIDDLE);
	layer = chain->layers[1];
	file = naive_find(chain, REL)->file;
	ck_assert_int_eq(layer->ops->locate(layer, file, 0, 8, all, &message), 0);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(all[i].len != LAYER_ABSENT, i == 1 || i == 3 || i == 6);
	for (uint32_t first = 0; first < 10; first++) {
		ck_assert_int_eq(layer->ops->locate(layer, file, first, 3, piece, &message), 0);
		for (uint32_t i = 0; i < 3; i++) {
			uint32_t len = first + i < 8 ? all[first + i].len : LAYER_ABSENT;

			ck_assert_uint_eq(piece[i].len, len);
			if (len != LAYER_ABSENT)
				ck_assert_uint_eq(piece[i].off, all[first + i].off);
		}
	}
	static const uint32_t highest[] = {0, 0, 2, 2, 4, 4, 4, 7, 7};
	for (uint32_t limit = 0; limit < ARRAY_SIZE(highest); limit++) {
		ck_assert_int_eq(layer->ops->highest(layer, file, limit, &count, &message), 0);
		ck_assert_uint_eq(count, highest[limit]);
	}
}
END_TEST

/* Without the map the pages themselves say what the map would: places, LSNs and checksums. */
START_TEST(without_the_map_the_same_is_located)
{
	static const char *const algs[] = {"none", "zlib", "pglz"};
	static const char *const paths[] = {REL, "base/5/16385", "base/5/16386.1"};
	struct layer_extent with[3][7], without[7];
	uint8_t page[PAGE_SIZE];
	struct made_backup b;
	const struct made_page pages[] = {
		{0, 'a', false}, {2, 0, false}, {3, 'b', true}, {6, 0, false, page}};

	for (unsigned i = 0; i < PAGE_SIZE; i++)
		page[i] = (uint8_t)(i * i >> 3);
	make_cluster(&b, FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		make_data(&b, paths[i], algs[i], 8, pages, ARRAY_SIZE(pages));
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_opens(FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		ck_assert_int_eq(chain->layers[0]->ops->locate(chain->layers[0],
							       naive_find(chain, paths[i])->file, 0,
							       7, with[i], &message),
				 0);
	check_close();
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/" FULL "/page_header_map", 0), 0);
	check_opens(FULL);
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		ck_assert_int_eq(chain->layers[0]->ops->locate(chain->layers[0],
							       naive_find(chain, paths[i])->file, 0,
							       7, without, &message),
				 LAYER_READ_DATA);
		ck_assert_mem_eq(without, with[i], sizeof(without));
		ck_assert_uint_ne(without[6].sum, LAYER_NO_SUM);
	}
}
END_TEST

/* lz4 and zstd as the commercial builds are said to write them. */
START_TEST(every_codec_is_read)
{
	static const char *const algs[] = {"none", "zlib", "pglz", "lz4", "zstd"};
	static const struct made_page full[] = {{0, 'a', false}, {1, 'a', true}, {2, 'a', false}};
	static const struct made_page top[] = {{1, 'b', false}};
	char size[64];

	for (unsigned i = 0; i < ARRAY_SIZE(algs); i++) {
		struct made_backup b;
		bool unverified = i >= 3;

		make_cluster(&b, FULL);
		make_data(&b, REL, algs[i], 3, full, 3);
		make_end(&b, "FULL", NULL, "OK", NULL);
		make_cluster(&b, MIDDLE);
		make_data(&b, REL, algs[(i + 1) % 5], 3, top, 1);
		make_end(&b, "DELTA", FULL, "OK", NULL);
		snprintf(size, sizeof(size), "backup %s has pages compressed with %s", FULL,
			 algs[i]);
		check_opens(FULL);
		ck_assert_str_eq(blocks_of(REL), "aaa");
		ck_assert_int_eq(strstr(chain->warnings, size) != NULL, unverified);
		store->driver->close_chain(chain);
		check_opens(MIDDLE);
		ck_assert_str_eq(blocks_of(REL), "aba");
		ck_assert_int_eq(strstr(chain->warnings, size) != NULL, unverified);
		check_close();
	}
}
END_TEST

START_TEST(decode_believes_nothing)
{
	uint8_t record[8 + PAGE_SIZE + 1] = {0}, page[PAGE_SIZE];
	const struct layer *layer;
	uint32_t file;

	make_full("a");
	check_opens(FULL);
	layer = chain->layers[0];
	file = naive_find(chain, REL)->file;
	put_le32(record, 7);
	put_le32(record + 4, PAGE_SIZE);
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 8 + PAGE_SIZE, page), 0);
	ck_assert_int_eq(layer->ops->decode(layer, file, 6, record, 8 + PAGE_SIZE, page), -ESTALE);
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 8 + PAGE_SIZE - 1, page),
			 -ESTALE);
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 8 + PAGE_SIZE + 1, page),
			 -EUCLEAN);
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 8, page), -EUCLEAN);
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 0, page), -EUCLEAN);
	put_le32(record + 4, 100); /* not a zlib stream */
	ck_assert_int_eq(layer->ops->decode(layer, file, 7, record, 108, page), -EUCLEAN);
}
END_TEST

/* ---- plain files ---- */

START_TEST(plain_files_come_from_whoever_stores_them)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain(&b, "one", "first", 5);
	make_plain(&b, "two", "second", 6);
	make_plain(&b, "emptied", "was not", 7);
	make_plain(&b, "deleted", "gone", 4);
	make_plain(&b, "filled", "", 0);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_plain_unchanged(&b, "one", 5);
	make_plain(&b, "two", "changed", 7);
	make_plain(&b, "emptied", "", 0);
	make_plain(&b, "filled", "x", 1);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_plain_unchanged(&b, "one", 5);
	make_plain_unchanged(&b, "two", 7);
	make_plain_unchanged(&b, "emptied", 0);
	make_plain_unchanged(&b, "filled", 1);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_opens(TOP);
	ck_assert_str_eq(text_of("one"), "first");
	ck_assert_str_eq(text_of("two"), "changed");
	ck_assert_str_eq(text_of("emptied"), "");
	ck_assert_str_eq(text_of("filled"), "x");
	ck_assert_ptr_null(naive_find(chain, "deleted"));
	ck_assert_uint_eq(naive_find(chain, "two")->size, 7);
	ck_assert_int_eq(naive_find(chain, "two")->origin, LAYER_ORIGIN_BELOW);
	/* Of an older backup only what somebody needs is kept: "one", pg_control nobody. */
	ck_assert_uint_eq(chain->layers[0]->entry_count, 1);
	ck_assert_uint_eq(chain->layers[1]->entry_count, 3);
}
END_TEST

START_TEST(unchanged_files_must_be_listed_down_to_their_content)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain(&b, "one", "first", 5);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_plain_unchanged(&b, "one", 5);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	check_refused(TOP, -EUCLEAN, "backup " MIDDLE ": 'one' is not in its list");
	check_opens(MIDDLE);
}
END_TEST

START_TEST(a_full_refers_to_nothing)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain_unchanged(&b, "one", 5);
	make_end(&b, "FULL", NULL, "OK", NULL);
	check_refused(FULL, -EUCLEAN, "backup " FULL ": 'one' is unchanged since an older backup");
}
END_TEST

START_TEST(kinds_must_not_change_between_backups)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_plain(&b, REL, "plain", 5);
	make_rel(&b, "base/5/16385", 1, "a");
	make_dir(&b, "base/5/16386", 0700);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_plain_unchanged(&b, "base/5/16385", 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_refused(MIDDLE, -EUCLEAN, "no data file");
	check_refused(TOP, -EUCLEAN, "no plain file");
	make_cluster(&b, "TOSPO3");
	make_plain_unchanged(&b, "base/5/16386", 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	check_refused("TOSPO3", -EUCLEAN, "no plain file");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_blocks");
	TCase *t = tcase_create("blocks");

	tcase_add_checked_fixture(t, unit_setup, check_teardown);
	tcase_add_test(t, blocks_come_from_the_newest_that_stores_them);
	tcase_add_test(t, truncated_relations_end_where_the_target_says);
	tcase_add_test(t, only_the_targets_length_counts);
	tcase_add_test(t, length_is_the_highest_block_placed);
	tcase_add_test(t, an_emptied_relation_is_empty);
	tcase_add_test(t, no_length_means_no_limit);
	tcase_add_test(t, a_file_absent_in_the_middle_shows_nothing_old);
	tcase_add_test(t, zero_pages_are_pages);
	tcase_add_test(t, algorithms_change_within_a_chain);
	tcase_add_test(t, locate_answers_for_any_range);
	tcase_add_test(t, without_the_map_the_same_is_located);
	tcase_add_test(t, every_codec_is_read);
	tcase_add_test(t, decode_believes_nothing);
	tcase_add_test(t, plain_files_come_from_whoever_stores_them);
	tcase_add_test(t, unchanged_files_must_be_listed_down_to_their_content);
	tcase_add_test(t, a_full_refers_to_nothing);
	tcase_add_test(t, kinds_must_not_change_between_backups);
	suite_add_tcase(s, t);
	return unit_run(s);
}
