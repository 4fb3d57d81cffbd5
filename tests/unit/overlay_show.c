/*
 * tests/unit/overlay_show.c: see overlay_show.h.
 */
#include "overlay_show.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#define BLCK LAYER_BLCKSZ

struct overlay_options options;
struct overlay *ov;
static struct io_engine *io;
static struct vfd_cache *vfds;
static struct bufpool *buffers;
char cache_dir[300], chain_dir[350];

void shell(const char *fmt, ...)
{
	char *command = NULL;
	va_list args;

	va_start(args, fmt);
	ck_assert_int_gt(vasprintf(&command, fmt, args), 0);
	va_end(args);
	ck_assert_msg(system(command) == 0, "%s", command);
	free(command);
}

void show(const char *backup)
{
	struct io_engine_options engine = {.kind = IO_KIND_SYNC};
	struct errmsg e = {0};

	check_opens(backup);
	ck_assert_int_eq(io_engine_new(&engine, &e, &io), 0);
	ck_assert_int_eq(vfd_cache_new(io, 16, &vfds), 0);
	ck_assert_int_eq(bufpool_new(8 << 20, &buffers), 0);
	ck_assert_msg(overlay_new(chain, NULL, &options, &e, &ov) == 0, "%s", e.text);
	ck_assert_int_eq(overlay_start(ov, io, vfds, buffers), 0);
	(void)snprintf(chain_dir, sizeof(chain_dir), "%s/index-", cache_dir);
	for (unsigned i = 0; i < sizeof(chain->content_hash); i++)
		(void)sprintf(chain_dir + strlen(chain_dir), "%02x", chain->content_hash[i]);
}

void hide(void)
{
	overlay_free(ov);
	while (!io_idle(io))
		io_wait(io, -1);
	vfd_cache_free(vfds);
	bufpool_free(buffers);
	io_engine_free(io);
	check_close();
}

void show_setup(void)
{
	unit_setup();
	(void)snprintf(cache_dir, sizeof(cache_dir), "%s/not/there/cache", unit_path);
	options = (struct overlay_options){
		.index_memory = 64 << 20, .verify_reads = true, .cache = cache_dir};
}

struct file *find(const char *path)
{
	struct file *f = overlay_root(ov);
	char *copy = strdup(path), *save = NULL;

	for (char *name = strtok_r(copy, "/", &save); name && f; name = strtok_r(NULL, "/", &save))
		if (overlay_lookup(ov, f, name, &f) < 0)
			f = NULL;
	free(copy);
	ck_assert_ptr_nonnull(f);
	return f;
}

struct answer {
	struct overlay_read op;
	bool done;
	char *letters; /* the first byte of each block */
};

static void read_done(struct overlay_read *op)
{
	struct answer *a = CONTAINER_OF(op, struct answer, op);

	for (int64_t i = 0; i < op->result; i += BLCK)
		a->letters[i / BLCK] = ((const char *)op->data)[i] ?: '0';
	a->done = true;
}

/* Blocks as letters; or the error. */
int64_t read_blocks(const char *path, uint32_t first, uint32_t count, char *letters)
{
	struct answer a = {.op = {.file = find(path),
				  .off = (uint64_t)first * BLCK,
				  .len = count * BLCK,
				  .done = read_done},
			   .letters = letters};

	overlay_read(ov, &a.op);
	while (!a.done)
		io_wait(io, -1);
	return a.op.result;
}

struct overlay_stats stats(void)
{
	struct overlay_stats st;

	overlay_get_stats(ov, &st);
	return st;
}

/* ---- a store ---- */

const char *small(void)
{
	static char letters[64];

	memset(letters, 0, sizeof(letters));
	ck_assert_int_ge(read_blocks(REL, 0, 60, letters), 0);
	return letters;
}

void make_store(bool map)
{
	static const struct made_page one[] = {{1700, 'y', false}};
	struct made_page *pages = calloc(PARTS, sizeof(*pages));
	struct made_backup b;

	for (uint32_t i = 0; i < PARTS; i++)
		pages[i] = (struct made_page){i, (uint8_t)('a' + i / 1000), false};
	make_cluster(&b, FULL);
	make_rel(&b, REL, 5, "aaaaa");
	make_data(&b, LARGE, "zlib", PARTS, pages, PARTS);
	make_end(&b, "FULL", NULL, "OK", NULL);
	make_cluster(&b, MIDDLE);
	make_rel(&b, REL, 6, ".b...b");
	make_data_unchanged(&b, LARGE, PARTS);
	make_end(&b, "DELTA", FULL, "OK", NULL);
	make_cluster(&b, TOP);
	make_rel(&b, REL, 9, "....c..c");
	make_data(&b, LARGE, "zlib", PARTS, one, 1);
	make_end(&b, "PAGE", MIDDLE, "OK", NULL);
	free(pages);
	if (map)
		return;
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/" FULL "/page_header_map", 0), 0);
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/" MIDDLE "/page_header_map", 0), 0);
	ck_assert_int_eq(unlinkat(unit_dir, "backups/main/" TOP "/page_header_map", 0), 0);
}

void fill(void)
{
	char letters[PARTS];

	show(TOP);
	ck_assert_str_eq(small(), CONTENT);
	ck_assert_int_eq(read_blocks(LARGE, 1700, 1, letters), BLCK);
	ck_assert_int_eq(letters[0], 'y');
	ck_assert_uint_eq(stats().index_builds, 2);
	ck_assert_uint_eq(stats().index_loads, 0);
	hide();
}
