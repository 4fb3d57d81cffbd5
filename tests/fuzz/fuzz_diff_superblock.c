/*
 * The superblock of a diff: with a checksum that matches, and as it is. What is accepted names a
 * generation inside the diff and can be written and read again. The same text is that of a lock.
 */
#include "base/util.h"
#include "diff/diff.h"
#include "diff/diff_internal.h"
#include "fuzz_dir.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const char *const backups[] = {"TA0001", "TA0002"};
static const struct diff_binding binding = {
	.kind = "pg_probackup",
	.store = "/backup/a%b\nc",
	.instance = "main",
	.backups = backups,
	.backup_count = 2,
	.content_hash = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
};

static void check_again(const struct superblock *sb)
{
	struct superblock again;

	FUZZ_CHECK(superblock_write(fuzz_dir(), sb, &binding) == 0);
	FUZZ_CHECK(superblock_load(fuzz_dir(), "D", &binding, NULL, &again) == 0);
	FUZZ_CHECK(memcmp(again.uuid, sb->uuid, sizeof(sb->uuid)) == 0);
	FUZZ_CHECK(strcmp(again.generation, sb->generation) == 0);
	free(again.generation);
}

static int load(const char *text, size_t size)
{
	struct superblock sb;
	struct errmsg e = {""};
	char *described = NULL;
	int rc = superblock_load(fuzz_dir(), "D", &binding, &e, &sb);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || rc == -EINVAL || rc == -ENOTSUP ||
		   (rc == -ENOMEM && memory_fail_hit()));
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc == 0) {
		FUZZ_CHECK(path_is_safe(sb.generation));
		memory_fail(0); /* it had enough */
		check_again(&sb);
		fuzz_put("superblock", text, size);
		free(sb.generation);
		return rc;
	}
	rc = diff_describe(fuzz_dir_path(), &e, &described);
	FUZZ_CHECK(rc < 0 || (strlen(described) < size && strncmp(described, text, 8) == 0));
	free(described);
	return rc;
}

/* The text with the checksum in its last line made right, malloc'ed. */
static char *with_checksum(const uint8_t *data, size_t size, size_t *ret_len)
{
	static const char key[] = "crc32c = ";
	char *text = malloc(size + 32);
	size_t at = size;

	FUZZ_CHECK(text != NULL);
	memcpy(text, data, size);
	for (size_t i = 0; i + sizeof(key) - 1 <= size && at == size; i++)
		if (memcmp(text + i, key, sizeof(key) - 1) == 0 && i > 0 && text[i - 1] == '\n')
			at = i;
	*ret_len = at + (size_t)snprintf(text + at, 32, "%s%08x\n", key, crc32c(0, text, at));
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len;
	char *text = with_checksum(data, size, &len);
	struct superblock sb;

	fuzz_put("superblock", text, len);
	FUZZ_WITH_FAILING_MEMORY(size, 16u, 4, load(text, len));
	fuzz_put("superblock", data, size);
	(void)load((const char *)data, size);
	fuzz_put("lock", data, size);
	(void)lock_is_ours(fuzz_dir());
	if (size == 0) {
		fuzz_remove("superblock");
		FUZZ_CHECK(superblock_load(fuzz_dir(), "D", &binding, NULL, &sb) == -ENOENT);
	}
	free(text);
	return 0;
}
