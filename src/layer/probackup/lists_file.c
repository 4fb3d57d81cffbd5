/*
 * layer/probackup/lists_file.c: the file of lists.c, and what it is good for.
 */
#include "base/cache_dir.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/lists.h"
#include "layer/probackup/probackup.h"
#include "layer/probackup/stamp.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <xxhash.h>

#define NAME "lists"

static bool hash_member(const struct probackup_layer *member, XXH3_state_t *hash)
{
	uint8_t fields[48];
	struct stamp stamp;

	if (!stamp_take(member->base.dirfd, "backup_content.control", &stamp))
		return false;
	put_le64(fields, stamp.ino);
	put_le64(fields + 8, stamp.size);
	put_le64(fields + 16, (uint64_t)stamp.mtime_ns);
	put_le64(fields + 24, (uint64_t)stamp.ctime_ns);
	put_le32(fields + 32, member->control.content_crc);
	put_le32(fields + 36, member->control.has_crc);
	put_le64(fields + 40, member->control.program_version);
	(void)XXH3_128bits_update(hash, member->base.id, strlen(member->base.id) + 1);
	(void)XXH3_128bits_update(hash, fields, sizeof(fields));
	return true;
}

static void hash_wanted(const struct wanted_table *table, XXH3_state_t *hash)
{
	for (uint32_t i = 0; i < table->count; i++) {
		const struct wanted *w = &table->items[i];
		const uint8_t want = (uint8_t)w->want;

		(void)XXH3_128bits_update(hash, w->path, w->path_len + 1);
		(void)XXH3_128bits_update(hash, &want, sizeof(want));
	}
}

bool lists_key(const struct probackup_chain *chain, bool external,
	       const uint8_t target_digest[LISTS_DIGEST], const struct wanted_table *table,
	       uint8_t ret[LISTS_KEY])
{
	XXH3_state_t *hash = XXH3_createState();
	const uint8_t flag = external;
	XXH128_canonical_t digest;
	bool ok = hash != NULL;

	if (ok) {
		(void)XXH3_128bits_reset(hash);
		(void)XXH3_128bits_update(hash, &flag, sizeof(flag));
		(void)XXH3_128bits_update(hash, target_digest, LISTS_DIGEST);
		hash_wanted(table, hash);
	}
	for (unsigned i = 0; i + 1 < chain->base.count && ok; i++)
		ok = hash_member(&chain->members[i], hash);
	if (ok) {
		XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(hash));
		memcpy(ret, digest.digest, LISTS_KEY);
	}
	(void)XXH3_freeState(hash);
	return ok;
}

bool lists_pay(uint64_t records, uint64_t lines)
{
	return records * 2 < lines;
}

void lists_save(const struct lists *lists, const char *cache)
{
	bool nothing = lists->failed || !lists_pay(lists->records, lists->lines_read);
	_cleanup_close_ int fd = nothing ? -1 : cache_dir_open(AT_FDCWD, cache, false);
	_cleanup_free_ uint8_t *bytes = NULL;
	char temp[24];
	size_t len;

	if (fd >= 0)
		bytes = lists_bytes(lists, &len);
	if (bytes == NULL)
		return;
	(void)snprintf(temp, sizeof(temp), NAME "-%x", (unsigned)getpid());
	(void)cache_dir_put(fd, temp, NAME, bytes, len);
}

bool lists_load(struct lists *lists, const char *cache, uint32_t members,
		const struct wanted_table *table)
{
	_cleanup_close_ int fd = cache_dir_open(AT_FDCWD, cache, false);
	char *bytes;
	size_t len;

	return fd >= 0 && sys_read_file(fd, NAME, 2 * LISTS_BYTES_MAX, &bytes, &len) == 0 &&
	       lists_parse(lists, (uint8_t *)bytes, len, members, table);
}
