/*
 * What is kept of older lists between mounts: the same chain comes of it, and it is believed only
 * while the lists are the same files and it is whole itself.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LATER "base/5/16000" /* before REL */

static char cache[300];
static int lists_read;

static int count_lists(void *ctx, const struct sys_event *event)
{
	lists_read +=
		event->call == SYS_CALL_OPEN && strcmp(event->path, "backup_content.control") == 0;
	return 0;
}

static const struct sys_hook hook = {.before = count_lists};

/* Everything that load.c fills. The caller's to free. */
static char *described(void)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(out);
	for (unsigned i = 0; i < sizeof(chain->content_hash); i++)
		(void)fprintf(out, "%02x", chain->content_hash[i]);
	for (unsigned i = 0; i < chain->count; i++) {
		struct layer *layer = chain->layers[i];

		(void)fprintf(out, "\n%s:\n", layer->id);
		for (uint32_t n = 0; n < layer->entry_count; n++) {
			const struct layer_entry *e = &layer->entries[n];

			(void)fprintf(out, "%s %o %d %d %llu %u %u %u %u", e->path, e->mode,
				      e->kind, e->origin, (unsigned long long)e->size, e->file,
				      e->base_limit, e->stored_prefix, e->segno);
			if (e->file != LAYER_NO_FILE)
				(void)fprintf(
					out, " %s %llu", layer->ops->name(layer, e->file),
					(unsigned long long)layer->ops->stored(layer, e->file));
			(void)fputc('\n', out);
		}
	}
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

/* So many lists are read by a mount with the cache; it keeps what it can. */
static void opens_reading(int lists)
{
	lists_read = 0;
	check_opens(TOP);
	ck_assert_int_eq(lists_read, lists);
	ck_assert_str_eq(blocks_of(REL), "abcabac");
	ck_assert_str_eq(blocks_of(LATER), "xwz");
	ck_assert_str_eq(text_of("plain"), "old");
	ck_assert_str_eq(text_of("newer"), "new");
	store->driver->keep(chain, cache);
}

static void close_again(void)
{
	store->driver->close_chain(chain);
	chain = NULL;
}

static void same_reading(int lists, const char *text)
{
	char *again;

	opens_reading(lists);
	again = described();
	ck_assert_str_eq(again, text);
	free(again);
	close_again();
}

static void make_chain(void)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_rel(&b, REL, 6, "aaaaaa");
	make_plain(&b, "plain", "old", 3);
	make_plain(&b, "newer", "bad", 3);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 6,
		 ".b..b."); /* not in the order of their paths, as threads write a list */
	make_rel(&b, LATER, 3, "xyz"); /* the full backup has none of it */
	make_plain_unchanged(&b, "plain", 3);
	make_plain(&b, "newer", "new", 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, LATER, 3, ".w.");
	make_rel(&b, REL, 7, "..c...c");
	make_plain_unchanged(&b, "plain", 3);
	make_plain_unchanged(&b, "newer", 3);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
}

static void setup(void)
{
	unit_setup();
	(void)snprintf(cache, sizeof(cache), "%s/cache", unit_path);
	ck_assert_int_eq(mkdirat(unit_dir, "cache", 0700), 0);
	make_chain();
	ck_assert_int_eq(store_open(unit_path, &message, &store), 0);
	store->options.cache = cache;
	sys_set_hook(&hook);
}

static void teardown(void)
{
	sys_set_hook(NULL);
	check_teardown();
}

/* Whether a list changes once more does not show while its time is that of now. */
static void let_time_pass(void)
{
	const struct timespec more = {3, 100000000};

	(void)nanosleep(&more, NULL);
}

static void change_list(const char *backup, const char *more)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "backups/main/%s/backup_content.control", backup);
	fd = openat(unit_dir, path, O_WRONLY | O_APPEND);
	ck_assert_int_eq(write(fd, more, strlen(more)), (ssize_t)strlen(more));
	(void)futimens(fd, NULL);
	(void)close(fd);
}

START_TEST(lists_just_written_are_not_kept)
{
	opens_reading(3);
	close_again();
	opens_reading(3);
	ck_assert_int_eq(faccessat(unit_dir, "cache/lists", F_OK, 0), -1);
}
END_TEST

START_TEST(the_same_chain_comes_of_what_is_kept)
{
	char *text;

	let_time_pass();
	opens_reading(3);
	text = described();
	close_again();
	same_reading(1, text);
	same_reading(1, text);

	/* Whoever may write there could show other content. */
	ck_assert_int_eq(fchmodat(unit_dir, "cache", 0777, 0), 0);
	same_reading(3, text);
	ck_assert_int_eq(fchmodat(unit_dir, "cache", 0700, 0), 0);
	same_reading(1, text);

	store->options.external = true;
	same_reading(3, text);
	store->options.external = false;
	same_reading(3, text);
	same_reading(1, text);

	change_list(MIDDLE, "");
	same_reading(3, text);
	same_reading(3, text);
	let_time_pass();
	same_reading(3, text);
	same_reading(1, text);
	free(text);
	change_list(FULL, "x\n");
	check_refused(TOP, -EUCLEAN, "line");
}
END_TEST

/* A program that makes another table of the same list must not take lines by their numbers. */
START_TEST(the_key_knows_what_is_wanted)
{
	static const uint8_t digest[LISTS_DIGEST] = "digest";
	const struct probackup_chain *pc;
	struct wanted_table table;
	const struct stamp stamps[] = {{.ino = 1}, {.ino = 2}}, others[] = {{.ino = 1}, {.ino = 3}};
	uint8_t keys[5][LISTS_KEY];

	check_opens(TOP);
	pc = CONTAINER_OF(chain, struct probackup_chain, base);
	ck_assert_int_eq(wanted_init(&table, 2), 0);
	wanted_add(&table, "a", 0, WANT_BLOCKS);
	wanted_add(&table, "b", 1, WANT_WHOLE);
	ck_assert(lists_key(pc, stamps, false, digest, &table, keys[0]));
	ck_assert(lists_key(pc, stamps, false, digest, &table, keys[1]));
	table.items[0].path = "c";
	ck_assert(lists_key(pc, stamps, false, digest, &table, keys[2]));
	table.items[0].path = "a";
	table.items[1].want = WANT_BLOCKS;
	ck_assert(lists_key(pc, stamps, false, digest, &table, keys[3]));
	table.items[1].want = WANT_WHOLE;
	ck_assert(lists_key(pc, others, false, digest, &table, keys[4]));
	ck_assert(!lists_key(pc, NULL, false, digest, &table, keys[4]));
	ck_assert_mem_eq(keys[0], keys[1], LISTS_KEY);
	ck_assert_mem_ne(keys[0], keys[2], LISTS_KEY);
	ck_assert_mem_ne(keys[0], keys[3], LISTS_KEY);
	ck_assert_mem_ne(keys[0], keys[4], LISTS_KEY);
	wanted_free(&table);
}
END_TEST

START_TEST(a_damaged_file_is_not_believed)
{
	struct stat st;
	uint8_t byte;
	char *text;
	int fd;

	let_time_pass();
	opens_reading(3);
	text = described();
	close_again();
	ck_assert_int_eq(fstatat(unit_dir, "cache/lists", &st, 0), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		fd = openat(unit_dir, "cache/lists", O_RDWR);
		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte ^= 1u << at % 8;
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
		same_reading(3, text);
	}
	same_reading(1, text);
	for (off_t len = st.st_size - 1; len >= 0; len -= 7) {
		fd = openat(unit_dir, "cache/lists", O_RDWR);
		ck_assert_int_eq(ftruncate(fd, len), 0);
		(void)close(fd);
		same_reading(3, text);
	}
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_kept");
	TCase *t = tcase_create("kept");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, lists_just_written_are_not_kept);
	tcase_add_test(t, the_same_chain_comes_of_what_is_kept);
	tcase_add_test(t, the_key_knows_what_is_wanted);
	tcase_add_test(t, a_damaged_file_is_not_believed);
	suite_add_tcase(s, t);
	return unit_run(s);
}
