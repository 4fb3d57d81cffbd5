/*
 * What is damaged below an open chain is an error for the read that meets it, with one line in the
 * log and a count; what lies beside it is still served. Through libpgoverlay's way down: the
 * overlay on the pg_probackup driver.
 */
#include "base/log.h"
#include "base/util.h"
#include "layer_make.h"
#include "layer/layer.h"
#include "overlay/overlay.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BLCK	  LAYER_BLCKSZ
#define FULL	  "TOSPO0"
#define REL	  "base/5/16384"
#define REL_FILE  "backups/main/" FULL "/database/" REL
#define CONF_FILE "backups/main/" FULL "/database/some.conf"

static struct store *store;
static struct layer_chain *chain;
static struct overlay *ov;
static struct io_engine *io;
static struct vfd_cache *vfds;
static struct bufpool *buffers;

/* The relation's pages are "abcd", all raw; the cluster has no page checksums. */
static void make_store(void)
{
	static const struct made_page pages[] = {
		{0, 'a', true}, {1, 'b', true}, {2, 'c', true}, {3, 'd', true}};
	struct made_backup b;

	make_cluster(&b, FULL);
	make_data(&b, REL, "zlib", 4, pages, 4);
	make_plain(&b, "some.conf", "a = b\n", 6);
	make_end(&b, "FULL", NULL, "OK", NULL);
}

static void start(bool verify)
{
	struct overlay_options options = {.index_memory = 1 << 20, .verify_reads = verify};
	struct io_engine_options engine = {.kind = IO_KIND_SYNC};
	struct errmsg e = {""};

	ck_assert_msg(store_open(unit_path, &e, &store) == 0, "%s", e.text);
	ck_assert_msg(store->driver->open_chain(store, NULL, NULL, 0, &e, &chain) == 0, "%s",
		      e.text);
	ck_assert_int_eq(io_engine_new(&engine, &e, &io), 0);
	ck_assert_int_eq(vfd_cache_new(io, 16, &vfds), 0);
	ck_assert_int_eq(bufpool_new(8 << 20, &buffers), 0);
	ck_assert_msg(overlay_new(chain, NULL, &options, &e, &ov) == 0, "%s", e.text);
	ck_assert_int_eq(overlay_start(ov, io, vfds, buffers), 0);
	(void)unlinkat(unit_dir, "log", 0);
	ck_assert_int_eq(log_open(unit_dir, "log"), 0);
}

static void stop(void)
{
	overlay_free(ov);
	vfd_cache_free(vfds);
	bufpool_free(buffers);
	io_engine_free(io);
	store->driver->close_chain(chain);
	store_close(store);
}

static struct file *find(const char *path)
{
	struct file *f = overlay_root(ov);
	char *copy = strdup(path), *save = NULL;

	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		ck_assert_int_eq(overlay_lookup(ov, f, name, &f), 0);
	free(copy);
	return f;
}

struct answer {
	struct overlay_read op;
	bool done;
	uint8_t bytes[8 * BLCK];
};

static struct answer answer;

static void read_done(struct overlay_read *op)
{
	if (op->result > 0)
		memcpy(answer.bytes, op->data, (size_t)op->result);
	answer.done = true;
}

static int64_t read_at(const char *path, uint64_t off, uint32_t len)
{
	answer = (struct answer){
		.op = {.file = find(path), .off = off, .len = len, .done = read_done}};
	overlay_read(ov, &answer.op);
	while (!answer.done)
		io_wait(io, -1);
	return answer.op.result;
}

static void put(const char *path, uint64_t off, const void *bytes, size_t len)
{
	int fd = openat(unit_dir, path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static void cut(const char *path, uint64_t len)
{
	int fd = openat(unit_dir, path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

static unsigned log_lines(const char *text)
{
	static char log[65536];
	int fd = openat(unit_dir, "log", O_RDONLY);
	ssize_t n = read(fd, log, sizeof(log) - 1);
	unsigned count = 0;

	ck_assert_int_ge(n, 0);
	log[n] = '\0';
	close(fd);
	for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
		count++;
	return count;
}

static void assert_counted(uint64_t pages, uint64_t files)
{
	struct overlay_stats stats;

	overlay_get_stats(ov, &stats);
	ck_assert_uint_eq(stats.bad_pages, pages);
	ck_assert_uint_eq(stats.bad_files, files);
}

/* Block 2 is bad, for that reason; the others are served. */
static void assert_only_block_2_fails(const char *reason)
{
	char line[512];

	snprintf(line, sizeof(line), "backup %s: file 'database/%s', block 2 cannot be read: %s",
		 FULL, REL, reason);
	ck_assert_int_eq(read_at(REL, 2 * BLCK, BLCK), -EIO);
	ck_assert_uint_eq(log_lines(line), 1);
	assert_counted(1, 0);
	ck_assert_int_eq(read_at(REL, 0, 4 * BLCK), -EIO);
	ck_assert_int_eq(read_at(REL, 3 * BLCK - 100, 100), -EIO);
	ck_assert_uint_eq(log_lines(line), 3);
	assert_counted(3, 0);
	ck_assert_int_eq(read_at(REL, 0, 2 * BLCK), 2 * BLCK);
	ck_assert(answer.bytes[0] == 'a' && answer.bytes[2 * BLCK - 1] == 'b');
	ck_assert_int_eq(read_at(REL, 3 * BLCK, BLCK), BLCK);
	ck_assert(answer.bytes[0] == 'd');
	assert_counted(3, 0);
}

static void damage_page(uint64_t off, const void *bytes, size_t len, const char *reason)
{
	make_store();
	start(true);
	put(REL_FILE, 2 * (BLCK + 8) + off, bytes, len);
	assert_only_block_2_fails(reason);
	stop();
	/* Only the check has found it. */
	start(false);
	ck_assert_int_eq(read_at(REL, 2 * BLCK, BLCK), BLCK);
	assert_counted(0, 0);
	stop();
}

#define NOT_AS_MAPPED "its LSN or checksum is not the one that the header map has for it"

START_TEST(a_flipped_byte)
{
	damage_page(8 + 5000, "d", 1, NOT_AS_MAPPED);
}
END_TEST

START_TEST(another_lsn)
{
	damage_page(8 + 6, "d", 1, NOT_AS_MAPPED);
}
END_TEST

/* A page that is right in itself, but was not there when the map was made. */
START_TEST(another_page)
{
	uint8_t page[BLCK];

	memset(page, 'x', sizeof(page));
	damage_page(8, page, sizeof(page), NOT_AS_MAPPED);
}
END_TEST

START_TEST(a_page_of_zeros)
{
	uint8_t page[BLCK] = {0};

	damage_page(8, page, sizeof(page), NOT_AS_MAPPED);
}
END_TEST

static void damage_record(uint64_t off, const void *bytes, size_t len, const char *reason)
{
	make_store();
	start(true);
	put(REL_FILE, 2 * (BLCK + 8) + off, bytes, len);
	assert_only_block_2_fails(reason);
	stop();
}

START_TEST(another_record)
{
	damage_record(0, "\3", 1, "its record is not the one that the header map has for it");
	damage_record(5, "\1", 1, "its record is not the one that the header map has for it");
}
END_TEST

START_TEST(a_file_cut_off)
{
	make_store();
	start(true);
	cut(REL_FILE, 3 * (BLCK + 8) - 1);
	ck_assert_int_eq(read_at(REL, 0, 2 * BLCK), 2 * BLCK);
	ck_assert_int_eq(read_at(REL, 2 * BLCK, BLCK), -EIO);
	ck_assert_int_eq(read_at(REL, 0, 4 * BLCK), -EIO);
	ck_assert_uint_eq(log_lines("block 2 cannot be read: the file is shorter than its backup"),
			  2);
	assert_counted(2, 0);
	stop();
}
END_TEST

START_TEST(plain_files_are_compared_as_a_whole)
{
	make_store();
	start(true);
	ck_assert_int_eq(read_at("some.conf", 0, 100), 6);
	ck_assert_int_eq(read_at("global/pg_control", 0, BLCK), BLCK);
	stop();
	put(CONF_FILE, 3, "x", 1);
	start(true);
	ck_assert_int_eq(read_at("some.conf", 0, 1), -EIO);
	ck_assert_int_eq(read_at(REL, 0, BLCK), BLCK);
	ck_assert_uint_eq(log_lines("some.conf' cannot be read: backup " FULL
				    ": database/some.conf: it does not match the crc of its list"),
			  1);
	assert_counted(0, 1);
	stop();
	start(false);
	ck_assert_int_eq(read_at("some.conf", 0, 100), 6);
	stop();
	put(CONF_FILE, 0, "a = b\n\n", 7);
	start(true);
	ck_assert_int_eq(read_at("some.conf", 0, 1), -EIO);
	stop();
	cut(CONF_FILE, 5);
	start(true);
	ck_assert_int_eq(read_at("some.conf", 0, 1), -EIO);
	stop();
}
END_TEST

/* ---- the driver's verify: a stored file from its first to its last byte ---- */

static struct {
	unsigned count;
	uint32_t block;
	char file[64], reason[128];
	uint64_t bytes;
	uint32_t pages;
} seen;

static void note_finding(void *ctx, const struct layer_finding *finding)
{
	(void)ctx;
	if (finding->harmless) /* letters make an LSN far behind the backup's stop */
		return;
	seen.count++;
	seen.block = finding->block;
	(void)snprintf(seen.file, sizeof(seen.file), "%s", finding->file);
	(void)snprintf(seen.reason, sizeof(seen.reason), "%s", finding->reason);
}

static bool note_step(void *ctx, uint64_t bytes, uint32_t pages)
{
	(void)ctx;
	seen.bytes += bytes;
	seen.pages += pages;
	return true;
}

static void verify_file(const char *path)
{
	const struct layer_verify v = {.found = note_finding, .step = note_step};
	struct layer *layer = chain->layers[0];

	memset(&seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < layer->entry_count; i++) {
		if (strcmp(layer->entries[i].path, path) == 0)
			ck_assert_int_eq(layer->ops->verify(layer, &layer->entries[i], &v), 0);
	}
}

START_TEST(verify_reads_every_byte)
{
	make_store();
	start(true);
	verify_file(REL);
	ck_assert_uint_eq(seen.count, 0);
	ck_assert_uint_eq(seen.pages, 4);
	ck_assert_uint_eq(seen.bytes, 4 * (BLCK + 8));
	put(REL_FILE, 3 * (BLCK + 8) - 1, "x", 1);
	verify_file(REL);
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.block, 2);
	ck_assert_str_eq(seen.file, "database/" REL);
	put(REL_FILE, 3 * (BLCK + 8) - 1, "c", 1);
	put(REL_FILE, 4 * (BLCK + 8), "x", 1);
	verify_file(REL);
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.block, LAYER_NO_BLOCK);
	ck_assert_str_eq(seen.reason, "it is not as long as its list says");
	cut(REL_FILE, 3 * (BLCK + 8) - 1);
	verify_file(REL);
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.block, 2);
	stop();
}
END_TEST

/* pd_checksum is in no sum of its page where the cluster has none: the file's crc covers it. */
START_TEST(verify_compares_the_crc_of_pages)
{
	make_store();
	start(true);
	put(REL_FILE, BLCK + 8 + 8 + 8, "x", 1);
	ck_assert_int_eq(read_at(REL, BLCK, BLCK), BLCK);
	verify_file(REL);
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.block, LAYER_NO_BLOCK);
	ck_assert_str_eq(seen.reason, "it does not match the crc of its list");
	stop();
}
END_TEST

/* Too large to be read in passing. */
START_TEST(verify_reads_large_plain_files)
{
	const size_t len = (64u << 20) + 1;
	uint8_t *bytes = calloc(1, len);
	struct errmsg e = {""};
	struct made_backup b;

	ck_assert_ptr_nonnull(bytes);
	make_cluster(&b, FULL);
	make_plain(&b, "large", bytes, len);
	make_end(&b, "FULL", NULL, "OK", NULL);
	free(bytes);
	start(true);
	verify_file("large");
	ck_assert_uint_eq(seen.count, 0);
	ck_assert_uint_eq(seen.bytes, len);
	put("backups/main/" FULL "/database/large", len - 1, "x", 1);
	ck_assert_int_eq(chain->layers[0]->ops->check(chain->layers[0], 0, &e), 0);
	verify_file("large");
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_str_eq(seen.reason, "it does not match the crc of its list");
	stop();
}
END_TEST

/* Pages differ in LSN or checksum: what is kept of them differs. */
START_TEST(sums_differ)
{
	uint32_t sum = layer_page_sum(0x1600000028u, 0x1234);

	ck_assert_uint_ne(layer_page_sum(0, 0), LAYER_NO_SUM);
	for (unsigned bit = 0; bit < 64; bit++)
		ck_assert_uint_ne(layer_page_sum(0x1600000028u ^ UINT64_C(1) << bit, 0x1234), sum);
	for (unsigned checksum = 0; checksum < 65536; checksum++)
		ck_assert(checksum == 0x1234 ||
			  layer_page_sum(0x1600000028u, (uint16_t)checksum) != sum);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_verify");
	TCase *t = tcase_create("verify");

	tcase_set_timeout(t, 60); /* for a file of 64 MiB */
	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_add_test(t, a_flipped_byte);
	tcase_add_test(t, another_lsn);
	tcase_add_test(t, another_page);
	tcase_add_test(t, a_page_of_zeros);
	tcase_add_test(t, another_record);
	tcase_add_test(t, a_file_cut_off);
	tcase_add_test(t, plain_files_are_compared_as_a_whole);
	tcase_add_test(t, verify_reads_every_byte);
	tcase_add_test(t, verify_compares_the_crc_of_pages);
	tcase_add_test(t, verify_reads_large_plain_files);
	tcase_add_test(t, sums_differ);
	suite_add_tcase(s, t);
	return unit_run(s);
}
