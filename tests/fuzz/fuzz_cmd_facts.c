/*
 * What commands read of running mounts. Byte 0 chooses: the facts of a mount or of a clone, or a
 * line of /proc/self/mountinfo. What is written of facts is read again as the same.
 */
#include "base/util.h"
#include "cmd/facts.h"
#include "fuse/mountinfo.h"
#include "fuzz_dir.h"

#include <errno.h>
#include <stdio.h>

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* To nowhere. */
static void print(struct mount_result *r)
{
	static FILE *out;

	if (out == NULL)
		out = freopen("/dev/null", "w", stdout);
	FUZZ_CHECK(out != NULL);
	free(r->warnings); /* they would go to stderr */
	r->warnings = NULL;
	mount_result_print(r, false);
	mount_result_print(r, true);
}

static int check_result(const char *text)
{
	struct mount_result r = {0}, again = {0};
	int rc = facts_parse_result(text, &r);
	char *written;

	FUZZ_CHECK(rc == (r.mountpoint != NULL ? 0 : -EUCLEAN) ||
		   (rc == -ENOMEM && memory_fail_hit()));
	if (rc < 0)
		return rc;
	memory_fail(0);
	written = facts_text(&r);
	FUZZ_CHECK(written != NULL && facts_parse_result(written, &again) == 0);
	FUZZ_CHECK(same(r.mountpoint, again.mountpoint) && same(r.store, again.store) &&
		   same(r.diff, again.diff) && same(r.warnings, again.warnings));
	FUZZ_CHECK(r.pid == again.pid && r.uid == again.uid && r.temporary == again.temporary);
	FUZZ_CHECK(r.chain_count == again.chain_count);
	for (unsigned i = 0; i < r.chain_count; i++)
		FUZZ_CHECK(same(r.chain[i], again.chain[i]));
	free(written);
	print(&r);
	mount_result_free(&r);
	mount_result_free(&again);
	return 0;
}

static void check_clone(const char *text)
{
	struct clone clone = {0};
	int rc = facts_parse_clone(text, &clone);

	FUZZ_CHECK(rc == (clone.mountpoint != NULL ? 0 : -EUCLEAN));
	registry_clone_free(&clone);
}

static void check_mountinfo(char *line)
{
	size_t len = strlen(line);
	struct mountinfo info;
	char *mountpoint = NULL;

	if (!mountinfo_parse_line(line, &mountpoint, &info))
		return;
	FUZZ_CHECK(mountpoint >= line && mountpoint + strlen(mountpoint) <= line + len);
	FUZZ_CHECK(strlen(info.fstype) < sizeof(info.fstype));
	FUZZ_CHECK(strlen(info.source) < sizeof(info.source));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = malloc(size);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] % 3 == 0)
		FUZZ_WITH_FAILING_MEMORY(size, 2u, 1, check_result(text));
	else if (data[0] % 3 == 1)
		check_clone(text);
	else
		check_mountinfo(text);
	free(text);
	return 0;
}
