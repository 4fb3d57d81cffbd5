/*
 * tests/fuzz/fuzz_diff.c: see fuzz_diff.h.
 */
#include "fuzz_diff.h"

#include "base/util.h"
#include "diff/diff_internal.h"
#include "synth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define GEN	"diff/gen/1/"
#define DEEPEST 64

static struct layer_chain *chain;
static uint8_t uuid[DIFF_UUID_SIZE];
static uint64_t base_id;
static bool dir_used[DIFF_DATA_DIRS]; /* a file of the chain, or a new one, may have data there */
static char first_state[4096], clean_lock[64];
static size_t first_state_len, clean_lock_len;

static int open_diff(bool create, struct errmsg *e, struct diff **ret)
{
	const char *ids[1] = {chain->layers[0]->id};
	const struct diff_binding binding = {.kind = "test",
					     .store = chain->store_path,
					     .instance = chain->instance,
					     .backups = ids,
					     .backup_count = 1};
	const struct diff_options options = {0};
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/diff", fuzz_dir_path());
	return diff_open(path, create, &binding, &options, e, ret);
}

static size_t keep(const char *name, char *buf, size_t size)
{
	int fd = openat(fuzz_dir(), name, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, size);

	FUZZ_CHECK(fd >= 0 && n > 0 && (size_t)n < size);
	close(fd);
	return (size_t)n;
}

static void make_chain(void)
{
	static const uint8_t stored[8] = {1, 1, 0, 1, 2, 1, 1, 1};
	const struct synth_blocks relation = {.size = 8 * LAYER_BLCKSZ,
					      .base_limit = LAYER_NO_LIMIT,
					      .count = 8,
					      .stored = stored};
	struct synth *synth;
	char path[300], name[32];

	(void)snprintf(path, sizeof(path), "%s/chain", fuzz_dir_path());
	FUZZ_CHECK(mkdir(path, 0700) == 0);
	synth = synth_new(path, 1, 11);
	synth_add_dir(synth, 0, "base", 0700);
	synth_add_dir(synth, 0, "many", 02750);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "many/%04u", i);
		synth_add_inline(synth, 0, name, i);
	}
	synth_add_blocks(synth, 0, "base/1", &relation);
	synth_add_plain(synth, 0, "base/plain", 20000, true);
	synth_add_symlink(synth, 0, "link", "base/1");
	chain = synth_chain(synth); /* for the life of the process */
}

static void note_dirs(struct overlay *ov, struct file *dir)
{
	struct overlay_dir list;

	FUZZ_CHECK(overlay_list(ov, dir, &list) == 0);
	for (size_t i = 2; i < list.count; i++) {
		dir_used[list.entries[i].id >> 8 & 0xff] = true;
		if (S_ISDIR(list.entries[i].mode))
			note_dirs(ov, list.entries[i].file);
	}
	overlay_list_free(&list);
	dir_used[0] = dir_used[1] = true;
}

struct layer_chain *fuzz_chain(void)
{
	struct fuzz_diff d = {0};
	struct file *base, *file;

	if (chain != NULL)
		return chain;
	make_chain();
	FUZZ_CHECK(open_diff(true, NULL, &d.diff) == 0);
	memcpy(uuid, d.diff->uuid, sizeof(uuid));
	diff_close(d.diff);
	first_state_len = keep(GEN "state", first_state, sizeof(first_state));
	clean_lock_len = keep("diff/lock", clean_lock, sizeof(clean_lock));
	FUZZ_CHECK(fuzz_diff_open(NULL, &d) == 0);
	FUZZ_CHECK(overlay_lookup(d.ov, overlay_root(d.ov), "base", &base) == 0);
	FUZZ_CHECK(overlay_lookup(d.ov, base, "1", &file) == 0);
	base_id = overlay_file_id(file);
	note_dirs(d.ov, overlay_root(d.ov));
	fuzz_diff_close(&d);
	return chain;
}

const uint8_t *fuzz_diff_uuid(void)
{
	return uuid;
}

uint64_t fuzz_diff_base_id(void)
{
	return base_id;
}

/* ---- what every input begins with ---- */

static void empty_dir(unsigned number)
{
	char name[64];
	struct dirent *entry;
	DIR *dir;
	int fd;

	(void)snprintf(name, sizeof(name), GEN "data/%02x", number);
	fd = openat(fuzz_dir(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	dir = fdopendir(fd);
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			FUZZ_CHECK(unlinkat(fd, entry->d_name, 0) == 0);
	closedir(dir);
}

static void put_data_file(uint64_t id)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof(name), GEN "data/%02x/%016llx", (unsigned)(id >> 8 & 0xff),
		       (unsigned long long)id);
	fd = openat(fuzz_dir(), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, 4 * DIFF_BLCKSZ) == 0);
	close(fd);
}

void fuzz_diff_reset(bool clean)
{
	(void)fuzz_chain();
	for (unsigned i = 0; i < DIFF_DATA_DIRS; i++)
		if (dir_used[i])
			empty_dir(i);
	fuzz_diff_put_state(first_state, first_state_len);
	fuzz_diff_put_journal("", 0);
	fuzz_put("diff/lock", clean_lock, clean ? clean_lock_len : clean_lock_len - 1);
}

void fuzz_diff_put_data(void)
{
	put_data_file(DIFF_ID_FIRST);
	put_data_file(base_id);
}

void fuzz_diff_put_state(const void *data, size_t len)
{
	fuzz_put(GEN "state", data, len);
}

void fuzz_diff_put_journal(const void *data, size_t len)
{
	int fd = openat(fuzz_dir(), GEN "journal", O_WRONLY | O_TRUNC | O_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && len <= DIFF_SEGMENT);
	FUZZ_CHECK(ftruncate(fd, DIFF_SEGMENT) == 0);
	FUZZ_CHECK(pwrite(fd, data, len, 0) == (ssize_t)len);
	close(fd);
}

/* ---- open ---- */

int fuzz_diff_open(struct errmsg *e, struct fuzz_diff *ret)
{
	const struct overlay_options options = {
		.uid = getuid(), .gid = getgid(), .index_memory = 1 << 20};
	int rc = open_diff(false, e, &ret->diff);

	if (rc < 0)
		return rc;
	rc = overlay_new(chain, ret->diff, &options, e, &ret->ov);
	if (rc < 0)
		diff_close(ret->diff);
	return rc;
}

void fuzz_diff_close(struct fuzz_diff *d)
{
	overlay_free(d->ov);
	diff_close(d->diff);
	*d = (struct fuzz_diff){0};
}

static uint64_t sum_file(struct overlay *ov, struct file *file, const char *name, unsigned depth)
{
	struct overlay_dir list;
	struct stat st;
	uint64_t sum;

	overlay_getattr(ov, file, &st);
	sum = crc32c(crc32c((uint32_t)st.st_mode, name, strlen(name)), &st.st_size,
		     sizeof(st.st_size));
	if (S_ISLNK(st.st_mode))
		sum += strlen(overlay_readlink(file));
	FUZZ_CHECK(depth < DEEPEST || !S_ISDIR(st.st_mode));
	if (!S_ISDIR(st.st_mode))
		return sum;
	FUZZ_CHECK(overlay_list(ov, file, &list) == 0);
	for (size_t i = 2; i < list.count; i++) {
		struct file *child;

		FUZZ_CHECK(overlay_lookup(ov, file, list.entries[i].name, &child) == 0);
		sum += rng_mix(sum_file(ov, child, list.entries[i].name, depth + 1));
	}
	overlay_list_free(&list);
	return rng_mix(sum);
}

uint64_t fuzz_diff_sum(struct overlay *ov)
{
	return sum_file(ov, overlay_root(ov), "", 0);
}
