/*
 * layer/probackup/lists_file.c: the file of lists.c, and what it is good for.
 */
#include "base/cache_dir.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/lists.h"
#include "layer/probackup/probackup.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <xxhash.h>

#define NAME "lists"

/* Their directories may not be open yet. */
static bool take_stamps(const struct probackup_chain *chain, struct stamp *stamps)
{
	char name[64];
	bool ok = true;

	for (unsigned i = 0; i + 1 < chain->base.count && ok; i++) {
		(void)snprintf(name, sizeof(name), "%s/backup_content.control",
			       chain->members[i].base.id);
		ok = stamp_take(chain->instance_dirfd, name, &stamps[i]);
	}
	return ok;
}

void lists_look(const struct probackup_chain *chain, const char *cache, struct lists_found *ret)
{
	_cleanup_close_ int fd = cache_dir_open(AT_FDCWD, cache, false);
	_cleanup_free_ struct stamp *stamps = calloc(chain->base.count, sizeof(*stamps));
	char *bytes;

	*ret = (struct lists_found){0};
	if (stamps != NULL && take_stamps(chain, stamps))
		ret->stamps = TAKE_PTR(stamps);
	if (fd >= 0 && sys_read_file(fd, NAME, 2 * LISTS_BYTES_MAX, &bytes, &ret->len) == 0)
		ret->bytes = (uint8_t *)bytes;
}

void lists_found_free(struct lists_found *found)
{
	free(found->bytes);
	free(found->stamps);
	*found = (struct lists_found){0};
}

static void hash_member(const struct probackup_layer *member, const struct stamp *stamp,
			XXH3_state_t *hash)
{
	uint8_t fields[48];

	put_le64(fields, stamp->ino);
	put_le64(fields + 8, stamp->size);
	put_le64(fields + 16, (uint64_t)stamp->mtime_ns);
	put_le64(fields + 24, (uint64_t)stamp->ctime_ns);
	put_le32(fields + 32, member->control.content_crc);
	put_le32(fields + 36, member->control.has_crc);
	put_le64(fields + 40, member->control.program_version);
	(void)XXH3_128bits_update(hash, member->base.id, strlen(member->base.id) + 1);
	(void)XXH3_128bits_update(hash, fields, sizeof(fields));
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

bool lists_key(const struct probackup_chain *chain, const struct stamp *stamps, bool external,
	       const uint8_t target_digest[LISTS_DIGEST], const struct wanted_table *table,
	       uint8_t ret[LISTS_KEY])
{
	XXH3_state_t *hash = stamps != NULL ? XXH3_createState() : NULL;
	const uint8_t flag = external;
	XXH128_canonical_t digest;

	if (hash == NULL)
		return false;
	(void)XXH3_128bits_reset(hash);
	(void)XXH3_128bits_update(hash, &flag, sizeof(flag));
	(void)XXH3_128bits_update(hash, target_digest, LISTS_DIGEST);
	hash_wanted(table, hash);
	for (unsigned i = 0; i + 1 < chain->base.count; i++)
		hash_member(&chain->members[i], &stamps[i], hash);
	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(hash));
	memcpy(ret, digest.digest, LISTS_KEY);
	(void)XXH3_freeState(hash);
	return true;
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
