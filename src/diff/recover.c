/*
 * Recovery, in an order that a crash at any point leaves repeatable:
 *
 *	state, then the groups of the journal, into memory
 *	records of files without a name are dropped
 *	data files are looked for, unless the diff was left clean; one that is missing or too
 *	short for the blocks that are claimed of it is damage
 *	what survived is made durable: after a kill it may be in the page cache only
 *	if anything was replayed or is to be removed: a new state, durable
 *	only then data files that no named record has are removed, because until then an older
 *	truth on disk may name them
 *
 * When nothing is to be done, nothing is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

struct scan {
	struct diff *diff;
	unsigned dir;
	uint64_t *strays;
	size_t stray_count, stray_cap;
	bool used[DIFF_DATA_DIRS];  /* directories with files that stay */
	bool dirty[DIFF_DATA_DIRS]; /* directories with files to be removed */
};

/* ---- records ---- */

static int apply(struct diff *diff, const struct diff_record *record)
{
	switch (record->type) {
	case DIFF_RECORD_SIZE:
	case DIFF_RECORD_BLOCKS:
		return file_replay(diff, record);
	case DIFF_RECORD_NEXT_ID:
		if (!diff->loading_state || record->id < DIFF_ID_FIRST || record->id & DIFF_ID_BASE)
			return -EUCLEAN;
		diff->next_id = MAX(diff->next_id, record->id);
		return 0;
	case DIFF_RECORD_INODE:
		if (record->id < DIFF_ID_FIRST || record->id & DIFF_ID_BASE)
			return -EUCLEAN;
		diff->next_id = MAX(diff->next_id, record->id + 1);
		break;
	case DIFF_RECORD_ATTR:
	case DIFF_RECORD_LINK:
	case DIFF_RECORD_UNLINK:
	case DIFF_RECORD_RENAME:
	case DIFF_RECORD_MAX_:
		break;
	}
	return diff->ns->apply(diff->ns->ctx, record);
}

int recover_apply(struct diff *diff, const uint8_t *data, size_t len, struct errmsg *e)
{
	_cleanup_free_ struct diff_run *runs = NULL;
	struct diff_record record;
	uint32_t cap = 0;
	size_t pos = 0;

	while (pos < len) {
		int64_t n = diff_record_decode(data + pos, len - pos, &record, &runs, &cap);
		int rc = n < 0 ? (int)n : apply(diff, &record);

		if (rc == -ENOMEM)
			return errmsg_set(e, rc, "diff '%s': out of memory", diff->path);
		if (rc < 0)
			return errmsg_set(
				e, rc,
				"'%s/%s/%s' is damaged: the record at byte %zu of %zu does not fit",
				diff->path, diff->generation,
				diff->loading_state ? "state" : "journal", pos, len);
		pos += (size_t)n;
	}
	return 0;
}

static int load_state(struct diff *diff, struct errmsg *e)
{
	_cleanup_free_ char *data = NULL;
	const uint8_t *records;
	size_t len;
	int rc = state_load(diff, e, &data, &records, &len);

	if (rc < 0)
		return rc;
	diff->loading_state = true;
	rc = recover_apply(diff, records, len, e);
	diff->loading_state = false;
	return rc;
}

/* ---- files ---- */

static int for_each_file(struct diff *diff, int (*fn)(struct diff_file *file, struct errmsg *e),
			 struct errmsg *e)
{
	int rc = 0;

	for (uint32_t i = 0; i < diff->bucket_count && rc == 0; i++) {
		struct diff_file *f, *next;

		for (f = diff->buckets[i]; f && rc == 0; f = next) {
			next = f->hash_next;
			rc = fn(f, e);
		}
	}
	return rc;
}

static int drop_if_nameless(struct diff_file *file, struct errmsg *e)
{
	struct diff *diff = file->diff;

	if (diff->ns->is_named(diff->ns->ctx, file->id))
		return 0;
	file_remove(file);
	file_free(file);
	return 0;
}

static int add_stray(struct scan *scan, uint64_t id)
{
	if (scan->stray_count == scan->stray_cap) {
		size_t cap = scan->stray_cap ? scan->stray_cap * 2 : 64;
		uint64_t *strays = realloc(scan->strays, cap * sizeof(*strays));

		if (!strays)
			return -ENOMEM;
		scan->strays = strays;
		scan->stray_cap = cap;
	}
	scan->strays[scan->stray_count++] = id;
	scan->dirty[scan->dir] = true;
	if (!(id & DIFF_ID_BASE))
		scan->diff->next_id = MAX(scan->diff->next_id, id + 1);
	return 0;
}

/* Names that we would not have given are not ours to judge. */
static int scan_name(void *ctx, const char *name, unsigned char d_type)
{
	struct scan *scan = ctx;
	char path[DIFF_PATH_SIZE], *end;
	uint64_t id = strtoull(name, &end, 16);
	struct diff_file *file;

	file_path(id, path);
	if (*end || id == 0 || strcmp(path + 3, name) != 0 || ((id >> 8) & 0xff) != scan->dir)
		return 0;
	file = diff_file_find(scan->diff, id);
	if (!file)
		return add_stray(scan, id);
	file->has_data = true;
	scan->used[scan->dir] = true;
	return 0;
}

static int scan_data(struct diff *diff, struct scan *scan, struct errmsg *e)
{
	char name[4];

	for (scan->dir = 0; scan->dir < DIFF_DATA_DIRS; scan->dir++) {
		int rc;

		(void)snprintf(name, sizeof(name), "%02x", scan->dir);
		rc = sys_readdir(diff->data_fd, name, scan_name, scan);
		if (rc < 0)
			return errmsg_set(e, rc == -ENOENT ? -EUCLEAN : rc, "'%s/%s/data/%s': %s",
					  diff->path, diff->generation, name, strerror(-rc));
	}
	return 0;
}

static uint32_t data_end(const struct diff_file *file)
{
	uint32_t pos = 0, end = 0;
	struct diff_run run;

	while (blockmap_next(&file->map, &pos, &run))
		if (run.state == BLOCK_DATA)
			end = run.first + run.count;
	return end;
}

/*
 * After a clean end there is nothing to be found; whether what must be there is there is looked at
 * anyway.
 */
static int expect_data(struct diff_file *file, struct errmsg *e)
{
	file->has_data = true;
	return 0;
}

static int check_data(struct diff_file *file, struct errmsg *e)
{
	struct diff *diff = file->diff;
	char path[DIFF_PATH_SIZE];
	struct stat st;
	int rc = 0;

	if (file->map.data == 0)
		return 0;
	file_path(file->id, path);
	if (file->has_data)
		rc = sys_fstatat(diff->data_fd, path, &st, AT_SYMLINK_NOFOLLOW);
	if (!file->has_data || rc == -ENOENT)
		return errmsg_set(e, -EUCLEAN,
				  "diff '%s' is damaged: the data file '%s' is missing", diff->path,
				  path);
	if (rc < 0)
		return errmsg_set(e, rc, "'%s/%s/data/%s': %s", diff->path, diff->generation, path,
				  strerror(-rc));
	if (!S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size <= (uint64_t)(data_end(file) - 1) * DIFF_BLCKSZ)
		return errmsg_set(e, -EUCLEAN,
				  "diff '%s' is damaged: the data file '%s' is too short",
				  diff->path, path);
	file->name_durable = true;
	return 0;
}

/* ---- durability ---- */

static int sync_data_file(struct diff_file *file, struct errmsg *e)
{
	struct diff *diff = file->diff;
	char path[DIFF_PATH_SIZE];
	int fd, rc;

	if (file->map.data == 0)
		return 0;
	file_path(file->id, path);
	fd = sys_openat(diff->data_fd, path, O_RDWR | O_NOFOLLOW, 0);
	rc = fd < 0 ? fd : sys_fdatasync(fd);
	if (fd >= 0)
		(void)sys_close(fd);
	return rc < 0 ? errmsg_set(e, rc, "'%s/%s/data/%s': %s", diff->path, diff->generation, path,
				   strerror(-rc))
		      : 0;
}

int recover_sync_dirs(struct diff *diff, const bool wanted[DIFF_DATA_DIRS], struct errmsg *e)
{
	char name[4];

	for (unsigned i = 0; i < DIFF_DATA_DIRS; i++) {
		int fd, rc;

		if (!wanted[i])
			continue;
		(void)snprintf(name, sizeof(name), "%02x", i & 0xff);
		fd = sys_openat(diff->data_fd, name, O_RDONLY | O_DIRECTORY, 0);
		rc = fd < 0 ? fd : sys_fsync(fd);
		if (fd >= 0)
			(void)sys_close(fd);
		if (rc < 0)
			return errmsg_set(e, rc, "'%s/%s/data/%s': %s", diff->path,
					  diff->generation, name, strerror(-rc));
	}
	return 0;
}

static int remove_strays(struct diff *diff, const struct scan *scan, struct errmsg *e)
{
	char path[DIFF_PATH_SIZE];

	for (size_t i = 0; i < scan->stray_count; i++) {
		int rc;

		file_path(scan->strays[i], path);
		rc = sys_unlinkat(diff->data_fd, path, 0);
		if (rc < 0 && rc != -ENOENT)
			return errmsg_set(e, rc, "cannot remove '%s/%s/data/%s': %s", diff->path,
					  diff->generation, path, strerror(-rc));
	}
	return recover_sync_dirs(diff, scan->dirty, e);
}

static int write_state(struct diff *diff, struct errmsg *e)
{
	int rc = diff_write_state(diff);

	return rc < 0 ? errmsg_set(e, rc, "cannot write '%s/%s/state': %s", diff->path,
				   diff->generation, strerror(-rc))
		      : 0;
}

/* Whoever was killed after a rename may not have come to make it durable: a new superblock, a new
 * state. */
static int sync_renames(struct diff *diff, struct errmsg *e)
{
	int rc = sys_fsync(diff->gen_fd);

	if (rc == 0)
		rc = sys_fsync(diff->dirfd);
	return rc < 0 ? errmsg_set(e, rc, "'%s': %s", diff->path, strerror(-rc)) : 0;
}

static int make_durable(struct diff *diff, const struct scan *scan, struct errmsg *e)
{
	int rc = for_each_file(diff, sync_data_file, e);

	if (rc == 0)
		rc = recover_sync_dirs(diff, scan->used, e);
	return rc < 0 ? rc : sync_renames(diff, e);
}

static void write_note(struct diff *diff, int64_t groups, size_t strays)
{
	char removed[64] = "";

	if (strays > 0)
		(void)snprintf(removed, sizeof(removed),
			       ", removed %zu file%s that no commit had reached", strays,
			       strays == 1 ? "" : "s");
	if (groups > 0 || strays > 0)
		(void)snprintf(diff->note, sizeof(diff->note),
			       "recovered the diff: replayed %lld commit%s%s", (long long)groups,
			       groups == 1 ? "" : "s", removed);
}

static int check_names(struct diff *diff, struct errmsg *e)
{
	int rc = diff->ns->check ? diff->ns->check(diff->ns->ctx) : 0;

	return rc < 0 ? errmsg_set(e, rc,
				   "'%s/%s' is damaged: its directories do not form a tree",
				   diff->path, diff->generation)
		      : 0;
}

int diff_recover(struct diff *diff, const struct diff_namespace *ns, struct errmsg *e)
{
	struct scan scan = {.diff = diff};
	int64_t groups = 0;
	int rc;

	diff->ns = ns;
	rc = load_state(diff, e);
	if (rc == 0)
		groups = journal_replay(diff, recover_apply, e);
	if (groups < 0)
		rc = (int)groups;
	if (rc == 0)
		rc = check_names(diff, e);
	if (rc == 0)
		rc = for_each_file(diff, drop_if_nameless, e);
	if (rc == 0 && (diff->unclean || groups > 0)) {
		rc = scan_data(diff, &scan, e);
		/* what whoever was killed has removed may not be gone for good */
		memset(diff->unlinked, true, sizeof(diff->unlinked));
	} else if (rc == 0) {
		rc = for_each_file(diff, expect_data, e);
	}
	if (rc == 0)
		rc = for_each_file(diff, check_data, e);
	if (rc == 0 && (diff->unclean || groups > 0))
		rc = make_durable(diff, &scan, e);
	if (rc == 0 && (groups > 0 || scan.stray_count > 0))
		rc = write_state(diff, e);
	if (rc == 0)
		rc = remove_strays(diff, &scan, e);
	write_note(diff, groups, scan.stray_count);
	free(scan.strays);
	diff->recovered = rc == 0;
	return rc;
}

const char *diff_recovery_note(const struct diff *diff)
{
	return diff->note;
}
