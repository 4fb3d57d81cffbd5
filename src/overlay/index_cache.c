/*
 * overlay/index_cache.c: indexes and lengths of files, kept in files of a directory that anybody
 * may remove at any time.
 *
 *	<dir>/index-<content hash>/<id of the file>	index_file.c
 *	<dir>/index-<content hash>/lengths		"PGOLEN01", content hash, u32 count, crc32c of
 *							all else; then u64 id, u32 blocks each, by id
 *	<dir>/index-<content hash>/tmp-*		being written; then renamed
 *
 * Mounts share it without knowing of each other: a file is written under a name of its own and
 * renamed, and each says itself whether it is whole. Nothing is synced: what a power cut leaves
 * does not match its checksum. Not used: a directory that somebody else can write to. Not written:
 * when little room would be left. When all chains together take more than the limit, the oldest
 * files go.
 */
#include "base/cache_dir.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LIMIT	     (UINT64_C(4) << 30) /* bytes; indexes of 2.7 TB */
#define TEMP_SECONDS 3600		 /* a temporary file of a process that is gone */

#define LENGTHS_MAGIC "PGOLEN01"
#define LENGTHS_HEAD  32u
#define LENGTHS_MAX   (256u << 20)

struct length {
	uint64_t id;
	uint32_t blocks;
};

struct index_cache {
	int root; /* <dir> */
	int fd;	  /* of this chain */
	char name[40];
	uint8_t hash[16];
	uint64_t limit;
	pthread_mutex_t lock;
	uint64_t bytes; /* below root; at least */
	bool counted, complained;
	unsigned serial;
	/* Until index_cache_end_lengths: the first `sorted` were in the file. */
	struct length *lengths;
	size_t sorted, count, cap;
};

static void load_lengths(struct index_cache *cache);

struct index_cache *index_cache_new(const char *dir, const uint8_t hash[16], uint64_t limit)
{
	struct index_cache *cache = calloc(1, sizeof(*cache));
	int rc = 0;

	if (!cache)
		return NULL;
	memcpy(cache->hash, hash, sizeof(cache->hash));
	(void)snprintf(cache->name, sizeof(cache->name), "index-");
	for (unsigned i = 0; i < sizeof(cache->hash); i++)
		(void)snprintf(cache->name + 6 + (size_t)i * 2, 3, "%02x", hash[i]);
	cache->limit = limit ? limit : LIMIT;
	cache->fd = -1;
	cache->root = cache_dir_open(AT_FDCWD, dir, true);
	if (cache->root >= 0)
		cache->fd = cache_dir_open(cache->root, cache->name, true);
	rc = MIN(cache->root, cache->fd);
	if (rc < 0) {
		log_notice("no index is kept in '%s': %s", dir,
			   rc == -EPERM ? "it is not the owner's alone" : errmsg_text(NULL, rc));
		util_closep(&cache->root);
		free(cache);
		return NULL;
	}
	(void)pthread_mutex_init(&cache->lock, NULL);
	load_lengths(cache);
	return cache;
}

void index_cache_free(struct index_cache *cache)
{
	if (!cache)
		return;
	(void)pthread_mutex_destroy(&cache->lock);
	(void)sys_close(cache->fd);
	(void)sys_close(cache->root);
	free(cache->lengths);
	free(cache);
}

/* ---- the bound ---- */

struct old_file {
	int64_t time; /* nanoseconds */
	uint64_t bytes;
	size_t dir;
	char name[24];
};

struct survey {
	const struct index_cache *cache;
	int fd; /* of the directory being listed */
	char (*dirs)[40];
	size_t dir_count, dir_cap;
	struct old_file *files;
	size_t count, cap;
	uint64_t bytes;
	int64_t now;
};

static int survey_file(void *ctx, const char *name, unsigned char d_type)
{
	struct survey *s = ctx;
	struct old_file *file;
	struct stat st;

	if (strlen(name) >= sizeof(file->name) ||
	    sys_fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (strncmp(name, "tmp-", 4) == 0) {
		if (s->now - st.st_mtim.tv_sec > TEMP_SECONDS)
			(void)sys_unlinkat(s->fd, name, 0);
		return 0;
	}
	if (s->count == s->cap) {
		size_t cap = MAX(s->cap * 2, (size_t)256);
		void *files = reallocarray(s->files, cap, sizeof(*s->files));

		if (!files)
			return -ENOMEM;
		s->files = files;
		s->cap = cap;
	}
	file = &s->files[s->count++];
	*file = (struct old_file){.time = ns_of(st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
				  .bytes = (uint64_t)st.st_size,
				  .dir = s->dir_count - 1};
	memcpy(file->name, name, strlen(name) + 1);
	s->bytes += file->bytes;
	return 0;
}

static int survey_dir(void *ctx, const char *name, unsigned char d_type)
{
	struct survey *s = ctx;
	int rc;

	if (strncmp(name, "index-", 6) != 0 || strlen(name) != strlen(s->cache->name))
		return 0;
	if (s->dir_count == s->dir_cap) {
		size_t cap = MAX(s->dir_cap * 2, (size_t)16);
		void *dirs = reallocarray(s->dirs, cap, sizeof(*s->dirs));

		if (!dirs)
			return -ENOMEM;
		s->dirs = dirs;
		s->dir_cap = cap;
	}
	memcpy(s->dirs[s->dir_count++], name, strlen(name) + 1);
	s->fd = sys_openat(s->cache->root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (s->fd < 0)
		return 0;
	rc = sys_readdir(s->fd, ".", survey_file, s);
	(void)sys_close(s->fd);
	return rc == -ENOMEM ? rc : 0;
}

static int by_age(const void *a, const void *b)
{
	const struct old_file *x = a, *y = b;

	return x->time < y->time ? -1 : x->time > y->time;
}

/* Down to three quarters, so that it does not come to this at each file. */
static uint64_t drop_oldest(struct survey *s, size_t len)
{
	uint64_t left = s->bytes;

	qsort(s->files, s->count, sizeof(*s->files), by_age);
	for (size_t i = 0; i < s->count && left + len > s->cache->limit / 4 * 3; i++) {
		const struct old_file *file = &s->files[i];
		char path[80];

		(void)snprintf(path, sizeof(path), "%s/%s", s->dirs[file->dir], file->name);
		if (sys_unlinkat(s->cache->root, path, 0) < 0)
			continue;
		left -= file->bytes;
		/* Ours is in use; of others only those go that are empty now. */
		if (strcmp(s->dirs[file->dir], s->cache->name) != 0)
			(void)sys_unlinkat(s->cache->root, s->dirs[file->dir], AT_REMOVEDIR);
	}
	return left;
}

/* Counts what is there, of all chains and mounts, and makes room for len bytes; called with the
 * lock. */
static void trim(struct index_cache *cache, size_t len)
{
	struct survey s = {.cache = cache, .now = time(NULL)};

	(void)sys_readdir(cache->root, ".", survey_dir, &s);
	cache->counted = true;
	cache->bytes = s.bytes + len > cache->limit ? drop_oldest(&s, len) : s.bytes;
	free(s.files);
	free(s.dirs);
}

/* ---- files ---- */

static bool put_file(struct index_cache *cache, const char *name, const void *data, size_t len)
{
	char temp[24];
	int rc;

	(void)pthread_mutex_lock(&cache->lock);
	if (!cache->counted || cache->bytes + len > cache->limit)
		trim(cache, len);
	cache->bytes += len;
	(void)snprintf(temp, sizeof(temp), "tmp-%x-%x", (unsigned)getpid(), cache->serial++);
	(void)pthread_mutex_unlock(&cache->lock);
	rc = len > cache->limit / 4 ? -EFBIG : cache_dir_put(cache->fd, temp, name, data, len);
	if (rc < 0 && !__atomic_exchange_n(&cache->complained, true, __ATOMIC_RELAXED))
		log_notice("an index is not kept in the cache: %s", errmsg_text(NULL, rc));
	return rc >= 0;
}

static void index_name(const struct index *ix, char ret[24])
{
	(void)snprintf(ret, 24, "%016llx", (unsigned long long)ix->base->id);
}

struct vfd *index_cache_vfd(const struct index_cache *cache, struct index *ix)
{
	struct vfd *vfd = NULL;
	char name[24];

	index_name(ix, name);
	return vfd_new(ix->ov->vfds, cache->fd, name, O_RDONLY, 0, &vfd) == 0 ? vfd : NULL;
}

static bool load_pieces(const struct index_cache *cache, int fd, struct index *ix)
{
	uint32_t last = index_file_piece(index_piece_blocks(ix, ix->to - 1));
	size_t len = (size_t)(ix->to - 1 - ix->from) * index_file_piece(INDEX_PIECE) + last;
	_cleanup_free_ uint8_t *bytes = malloc(len);
	uint8_t head[INDEX_FILE_HEAD];
	const uint8_t *at = bytes;

	if (!bytes || sys_pread_full(fd, head, sizeof(head), 0) != sizeof(head) ||
	    !index_file_head_fits(ix, cache->hash, head) ||
	    sys_pread_full(fd, bytes, len, index_file_at(ix->from)) != (int64_t)len)
		return false;
	for (uint32_t i = ix->from; i < ix->to; i++) {
		if (index_file_get_piece(ix, i, at, head, &ix->fresh[i]) < 0)
			return false;
		at += index_file_piece(index_piece_blocks(ix, i));
	}
	memcpy(ix->head, head, sizeof(head));
	ix->stored = true;
	return true;
}

bool index_cache_load(struct index_cache *cache, struct index *ix)
{
	_cleanup_close_ int fd = -1;
	char name[24];

	index_name(ix, name);
	fd = sys_openat(cache->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	return fd >= 0 && index_cache_load_from(cache, fd, ix);
}

bool index_cache_load_from(const struct index_cache *cache, int fd, struct index *ix)
{
	if (ix->from >= ix->to)
		return false;
	if (load_pieces(cache, fd, ix))
		return true;
	for (uint32_t i = ix->from; i < ix->to; i++) {
		free(ix->fresh[i].entries);
		ix->fresh[i] = (struct index_piece){NULL};
	}
	return false;
}

bool index_cache_save(struct index_cache *cache, const struct index *ix)
{
	size_t len = INDEX_FILE_HEAD + (size_t)ix->count * 12 + (size_t)ix->piece_count * 4;
	_cleanup_free_ uint8_t *bytes = malloc(len);
	uint8_t *at = bytes + INDEX_FILE_HEAD;
	char name[24];

	if (!bytes)
		return false;
	index_file_put_head(ix, cache->hash, ix->ov->options.verify_reads, bytes);
	for (uint32_t i = 0; i < ix->piece_count; i++) {
		index_file_put_piece(ix, i, &ix->fresh[i], bytes, at);
		at += index_file_piece(index_piece_blocks(ix, i));
	}
	index_name(ix, name);
	return put_file(cache, name, bytes, len);
}

/* ---- lengths ---- */

static uint32_t lengths_crc(const uint8_t *bytes, size_t len)
{
	return crc32c(crc32c(0, bytes, LENGTHS_HEAD - 4), bytes + LENGTHS_HEAD, len - LENGTHS_HEAD);
}

static void load_lengths(struct index_cache *cache)
{
	_cleanup_free_ char *data = NULL;
	const uint8_t *bytes;
	size_t len, count;

	if (sys_read_file(cache->fd, "lengths", LENGTHS_MAX, &data, &len) < 0 || len < LENGTHS_HEAD)
		return;
	bytes = (const uint8_t *)data;
	count = get_le32(bytes + 24);
	if (memcmp(bytes, LENGTHS_MAGIC, 8) != 0 || memcmp(bytes + 8, cache->hash, 16) != 0 ||
	    len != LENGTHS_HEAD + count * 12 ||
	    get_le32(bytes + LENGTHS_HEAD - 4) != lengths_crc(bytes, len))
		return;
	cache->lengths = calloc(MAX(count, (size_t)1), sizeof(*cache->lengths));
	if (!cache->lengths)
		return;
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at = bytes + LENGTHS_HEAD + i * 12;

		cache->lengths[i] = (struct length){.id = get_le64(at), .blocks = get_le32(at + 8)};
	}
	cache->sorted = cache->count = cache->cap = count;
}

static int by_id(const void *a, const void *b)
{
	const struct length *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

bool index_cache_length(struct index_cache *cache, uint64_t id, uint32_t *ret_blocks)
{
	const struct length key = {.id = id}, *found;

	found = cache->sorted > 0 ? bsearch(&key, cache->lengths, cache->sorted,
					    sizeof(*cache->lengths), by_id)
				  : NULL;
	if (found)
		*ret_blocks = found->blocks;
	return found != NULL;
}

void index_cache_note_length(struct index_cache *cache, uint64_t id, uint32_t blocks)
{
	if (cache->count == cache->cap) {
		size_t cap = MAX(cache->cap * 2, (size_t)256);
		void *lengths = reallocarray(cache->lengths, cap, sizeof(*cache->lengths));

		if (!lengths)
			return;
		cache->lengths = lengths;
		cache->cap = cap;
	}
	cache->lengths[cache->count++] = (struct length){.id = id, .blocks = blocks};
}

void index_cache_end_lengths(struct index_cache *cache)
{
	size_t len = LENGTHS_HEAD + cache->count * 12;
	_cleanup_free_ uint8_t *bytes = cache->count > cache->sorted ? calloc(1, len) : NULL;

	if (bytes) {
		qsort(cache->lengths, cache->count, sizeof(*cache->lengths), by_id);
		memcpy(bytes, LENGTHS_MAGIC, 8);
		memcpy(bytes + 8, cache->hash, 16);
		put_le32(bytes + 24, (uint32_t)cache->count);
		for (size_t i = 0; i < cache->count; i++) {
			put_le64(bytes + LENGTHS_HEAD + i * 12, cache->lengths[i].id);
			put_le32(bytes + LENGTHS_HEAD + i * 12 + 8, cache->lengths[i].blocks);
		}
		put_le32(bytes + LENGTHS_HEAD - 4, lengths_crc(bytes, len));
		(void)put_file(cache, "lengths", bytes, len);
	}
	free(cache->lengths);
	cache->lengths = NULL;
	cache->sorted = cache->count = cache->cap = 0;
}
