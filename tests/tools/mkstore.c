/*
 * tests/tools/mkstore.c: makes a pg_probackup store of any size and shape, byte-correct: the real
 * page streams, header maps, lists and sums, as version 2.5.16 writes them.
 *
 *	mkstore STORE [--from DATADIR [--more N]] [--files N] [--blocks N] [--increments N]
 *	        [--changed PERCENT] [--codec zlib|pglz|none] [--level N] [--random PERCENT]
 *	        [--plain N] [--instance NAME] [--seed N] [--same]
 *
 * Without --from there are N relations of so many blocks each, whose pages are so many percent
 * random bytes, and N plain files; with --same they all have the same pages, made only once, and the
 * large ones are links of one file: a store of a terabyte is a matter of minutes. With --from the FULL
 * backup is that data directory, as a shut down server or a backup left it; with --more it has N more
 * relations in base/1, made up as above, of which its catalog knows nothing. Each increment changes so
 * many percent of all pages. The chain's ids, oldest first, and its sizes go to stdout.
 */
#include "mkstore.h"

#include "base/util.h"
#include "pg/page.h"

#include <dirent.h>
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>

static struct options options = {
	.files = 16,
	.blocks = 1024,
	.increments = 3,
	.changed = 20,
	.codec = "zlib",
	.level = 1,
	.random = 25,
	.plain = 20,
	.instance = "main",
	.seed = 1,
};

/* ---- pages ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9E3779B97F4A7C15u);

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t state = a * 0x100000001B3u ^ b * 0x9E3779B1u ^ c << 40 ^ options.seed << 20;

	return next_random(&state);
}

/* Has the backup of that number changed the block? The FULL has all. */
static bool is_changed(unsigned backup, const struct data_file *file, uint32_t block)
{
	return backup == 0 || mix(file->number + 1, block, backup) % 10000 < options.changed * 100;
}

static void set_header(uint8_t *page, uint64_t lsn)
{
	memset(page, 0, 24);
	put_le32(page, (uint32_t)(lsn >> 32));
	put_le32(page + 4, (uint32_t)lsn);
	put_le16(page + 12, 24 + 4 * 60);
	put_le16(page + 14, 1024);
	put_le16(page + 16, PG_BLCKSZ);
	put_le16(page + 18, PG_BLCKSZ | 4);
}

/* Rows that look alike, with some bytes of each at random. */
static void make_page(uint8_t *page, const struct data_file *file, uint32_t block, unsigned version)
{
	uint64_t state = mix(file->number + 1, block, version + 1000);
	uint32_t row = 0;

	set_header(page, START_LSN + ((uint64_t)version << 24) + (uint64_t)block * 64);
	memset(page + 24, 0, PG_BLCKSZ - 24);
	for (uint32_t off = 1024; off + 119 <= PG_BLCKSZ; off += 119, row++) {
		uint32_t noise = 119 * options.random / 100;

		put_le32(page + 24 + row * 4, off | 1u << 15);
		(void)snprintf((char *)page + off, 119,
			       "%08x|%08u|the quick brown fox jumps over "
			       "the lazy dog and on to the next row of it, which is much the same",
			       block, row);
		for (uint32_t i = 0; i < noise; i += 8) {
			uint64_t r = next_random(&state);

			memcpy(page + off + i, &r, MIN(8u, noise - i));
		}
	}
}

/* A page of a data directory that an increment has changed: its LSN, and bytes of its free space.
 */
static void touch_page(uint8_t *page, const struct data_file *file, uint32_t block,
		       unsigned version)
{
	uint32_t lower = get_le16(page + 12), upper = get_le16(page + 14);
	uint64_t lsn = file->top_lsn + ((uint64_t)version << 20);

	put_le32(page, (uint32_t)(lsn >> 32));
	put_le32(page + 4, (uint32_t)lsn);
	if (upper <= PG_BLCKSZ && lower + 8 <= upper)
		put_le32(page + lower, (uint32_t)mix(block, version, 7));
}

void page_of(const struct data_file *file, uint32_t block, unsigned backup, uint8_t *ret)
{
	unsigned version = backup;

	while (version > 0 && !is_changed(version, file, block))
		version--;
	if (!file->bytes) {
		make_page(ret, file, block, version);
	} else {
		memcpy(ret, file->bytes + (size_t)block * PG_BLCKSZ, PG_BLCKSZ);
		if (version == 0 || pg_page_is_zero(ret))
			return;
		touch_page(ret, file, block, version);
	}
	if (options.checksums || !file->bytes)
		put_le16(ret + 8,
			 pg_page_compute_checksum(ret, file->segno * PG_SEGMENT_BLOCKS + block));
}

/* ---- what there is ---- */

static struct tree tree;

static void *grow(void *array, size_t count, size_t size)
{
	void *p = (count & (count - 1)) == 0 ? reallocarray(array, count ? count * 2 : 1, size)
					     : array;

	if (!p)
		err(1, "memory");
	return p;
}

static void add_dir(const char *path, unsigned mode)
{
	tree.dirs = grow(tree.dirs, tree.dir_count, sizeof(*tree.dirs));
	tree.dirs[tree.dir_count++] = (struct dir){.path = strdup(path), .mode = S_IFDIR | mode};
}

static struct plain_file *add_plain(const char *path, unsigned mode, uint8_t *bytes, size_t size)
{
	tree.plains = grow(tree.plains, tree.plain_count, sizeof(*tree.plains));
	tree.plains[tree.plain_count] = (struct plain_file){
		.path = strdup(path), .mode = S_IFREG | mode, .bytes = bytes, .size = size};
	return &tree.plains[tree.plain_count++];
}

static struct data_file *add_data(const char *path, uint32_t blocks)
{
	struct data_file *file;

	tree.datas = grow(tree.datas, tree.data_count, sizeof(*tree.datas));
	file = &tree.datas[tree.data_count];
	*file = (struct data_file){
		.path = strdup(path),
		.number = options.same ? 0 : (uint32_t)tree.data_count,
		.blocks = blocks};
	tree.data_count++;
	return file;
}

/* The control file of a cluster of version 15 that was shut down. */
static uint8_t *made_control(void)
{
	uint8_t *control = calloc(1, PG_BLCKSZ);

	if (!control)
		err(1, "memory");
	put_le64(control, 7000000000000000001u);
	put_le32(control + 8, 1300);
	put_le32(control + 12, 202209061);
	put_le32(control + 16, 1);
	put_le32(control + 48, 1);
	put_le32(control + 180, 100);
	put_le32(control + 184, 8);
	put_le32(control + 196, 64);
	put_le32(control + 204, 8);
	put_le32(control + 216, PG_BLCKSZ);
	put_le32(control + 220, PG_SEGMENT_BLOCKS);
	put_le32(control + 224, PG_BLCKSZ);
	put_le32(control + 228, 1048576);
	put_le32(control + 252, 1); /* data checksums */
	put_le32(control + 288, crc32c(0, control, 288));
	return control;
}

/* So many relations of options.blocks blocks whose pages are made up. */
static void add_relations(const char *dir, unsigned count, unsigned first)
{
	char path[64];

	for (unsigned i = 0; i < count; i++) {
		uint32_t left = options.blocks, segno = 0;

		do {
			(void)snprintf(path, sizeof(path), segno ? "%s/%u.%u" : "%s/%u", dir,
				       first + i, segno);
			add_data(path, MIN(left, PG_SEGMENT_BLOCKS))->segno = segno;
			left -= MIN(left, PG_SEGMENT_BLOCKS);
			segno++;
		} while (left > 0);
	}
}

static void make_tree(void)
{
	static const char *const dirs[] = {"base", "base/5", "global", "pg_wal", "pg_tblspc"};
	char path[64];

	options.checksums = true;
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++)
		add_dir(dirs[i], 0700);
	(void)add_plain("PG_VERSION", 0600, (uint8_t *)strdup("15\n"), 3);
	add_plain("global/pg_control", 0600, made_control(), PG_BLCKSZ)->crc_len = 288;
	for (unsigned i = 0; i < options.plain; i++) {
		uint8_t *bytes = malloc(20000);

		for (unsigned k = 0; bytes && k < 20000; k++)
			bytes[k] = (uint8_t)mix(i, k, 3);
		(void)snprintf(path, sizeof(path), "base/5/%u_fsm", 16384 + i);
		(void)add_plain(path, 0600, bytes, bytes ? 20000 : 0);
	}
	add_relations("base/5", options.files, 16384);
}

/* ---- a data directory ---- */

static uint8_t *slurp(const char *path, size_t *ret)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0)
		err(1, "%s", path);
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes || fread(bytes, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		err(1, "%s", path);
	(void)fclose(f);
	*ret = (size_t)st.st_size;
	return bytes;
}

/* 16384 or 16384.1 in one of PostgreSQL's data directories. */
static bool is_relation(const char *path, uint32_t *ret_segno)
{
	const char *name = strrchr(path, '/');
	size_t digits;

	if (!name || (strncmp(path, "base/", 5) != 0 && strncmp(path, "global/", 7) != 0))
		return false;
	name++;
	digits = strspn(name, "0123456789");
	*ret_segno = name[digits] == '.' ? (uint32_t)strtoul(name + digits + 1, NULL, 10) : 0;
	return digits > 0 && (name[digits] == '\0' ||
			      (name[digits] == '.' &&
			       name[digits + 1 + strspn(name + digits + 1, "0123456789")] == '\0'));
}

static void take_file(const char *full, const char *path, unsigned mode)
{
	size_t size;
	uint8_t *bytes = slurp(full, &size);
	uint32_t segno;

	if (is_relation(path, &segno) && size % PG_BLCKSZ == 0) {
		struct data_file *file = add_data(path, (uint32_t)(size / PG_BLCKSZ));

		file->segno = segno;
		file->bytes = bytes;
		for (uint32_t i = 0; i < file->blocks; i++)
			file->top_lsn =
				MAX(file->top_lsn, pg_page_lsn(bytes + (size_t)i * PG_BLCKSZ));
		return;
	}
	if (strcmp(path, "global/pg_control") == 0) {
		options.checksums = get_le32(bytes + 252) != 0;
		add_plain(path, mode, bytes, size)->crc_len = 288;
		return;
	}
	(void)add_plain(path, mode, bytes, size);
}

static void take_tree(const char *root, const char *below)
{
	char full[2048], path[1024];
	struct dirent *d;
	struct stat st;
	DIR *dir;

	(void)snprintf(full, sizeof(full), "%s/%s", root, below);
	dir = opendir(full);
	if (!dir)
		err(1, "%s", full);
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.' || strncmp(d->d_name, "postmaster.", 11) == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s%s%s", below, *below ? "/" : "", d->d_name);
		(void)snprintf(full, sizeof(full), "%s/%s", root, path);
		if (lstat(full, &st) < 0)
			err(1, "%s", full);
		if (S_ISDIR(st.st_mode)) {
			add_dir(path, st.st_mode & 07777);
			take_tree(root, path);
		} else if (S_ISREG(st.st_mode)) {
			take_file(full, path, st.st_mode & 07777);
		}
	}
	(void)closedir(dir);
}

/* ---- the program ---- */

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{"from", required_argument, NULL, 'F'},
		{"more", required_argument, NULL, 'm'},
		{"files", required_argument, NULL, 'f'},
		{"blocks", required_argument, NULL, 'b'},
		{"increments", required_argument, NULL, 'i'},
		{"changed", required_argument, NULL, 'c'},
		{"codec", required_argument, NULL, 'k'},
		{"level", required_argument, NULL, 'l'},
		{"random", required_argument, NULL, 'r'},
		{"plain", required_argument, NULL, 'p'},
		{"instance", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"same", no_argument, NULL, 'S'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		unsigned n = strchr("FknS?", c) ? 0 : (unsigned)strtoul(optarg, NULL, 10);

		switch (c) {
		case 'F':
			options.from = optarg;
			break;
		case 'm':
			options.more = n;
			break;
		case 'f':
			options.files = n;
			break;
		case 'b':
			options.blocks = n;
			break;
		case 'i':
			options.increments = n;
			break;
		case 'c':
			options.changed = n;
			break;
		case 'k':
			options.codec = optarg;
			break;
		case 'l':
			options.level = n;
			break;
		case 'r':
			options.random = MIN(n, 100u);
			break;
		case 'p':
			options.plain = n;
			break;
		case 'n':
			options.instance = optarg;
			break;
		case 's':
			options.seed = n;
			break;
		case 'S':
			options.same = true;
			break;
		default:
			exit(2);
		}
	}
	if (argc - optind != 1)
		errx(2, "give the directory of the store; the head of mkstore.c names the options");
	options.store = argv[optind];
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (options.from) {
		take_tree(options.from, "");
		add_relations("base/1", options.more, 1000000);
	} else {
		make_tree();
	}
	store_begin(&options);
	for (unsigned i = 0; i <= options.increments; i++)
		store_backup(&options, &tree, i, is_changed);
	return 0;
}
