/*
 * Every backup of every undamaged sample store, read block by block through the driver, against the
 * lists of its real restore: names, types, modes, SHA-256. Proves locate, decode and the manifests
 * without an overlay.
 */
#include "layer_stores.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned backups, failures;

static void check_backup(struct store *store, const char *instance, const char *id,
			 const char *golden)
{
	struct layer_chain *chain = NULL;
	struct stores_result result;
	struct errmsg e = {""};
	char dir[2048];
	int rc;

	rc = store->driver->open_chain(store, instance, id, 0, &e, &chain);
	if (rc < 0) {
		printf("not ok %s: %s\n", id, errmsg_text(&e, rc));
		failures++;
		return;
	}
	/* Stores of several instances have a folder of lists for each. */
	snprintf(dir, sizeof(dir), "%s/%s", golden, instance);
	stores_compare(chain, access(dir, F_OK) == 0 ? dir : golden, NULL, &result);
	printf("%s %s/%s: %u layers, %u entries, %u files, %.1f MB\n",
	       result.errors == 0 && result.files > 0 ? "ok" : "not ok", instance, id, chain->count,
	       result.entries, result.files, (double)result.bytes / 1e6);
	if (chain->warnings[0] != '\0')
		printf("    %s", chain->warnings);
	failures += result.errors > 0 || result.files == 0;
	backups++;
	store->driver->close_chain(chain);
}

static void check_store(const char *path, const char *golden)
{
	struct backup_list list = {0};
	struct store *store = NULL;
	struct errmsg e = {""};
	int rc = store_open(path, &e, &store);

	if (rc == 0) {
		store->options.external = true; /* where there are lists of them */
		rc = store->driver->list(store, NULL, &e, &list);
	}
	if (rc < 0) {
		printf("%s: %s\n", path, errmsg_text(&e, rc));
		failures++;
	}
	for (size_t i = 0; i < list.count; i++)
		check_backup(store, list.items[i].instance, list.items[i].id, golden);
	if (rc == 0)
		store->driver->list_free(&list);
	store_close(store);
}

/* A folder with store.tar.zst and golden/ or golden.tar.zst. */
static void check_fixture(const char *folder, unsigned number)
{
	char dir[512], archive[1024], path[1024], golden[1024];

	snprintf(dir, sizeof(dir), "%s/%u", stores_scratch(), number);
	snprintf(archive, sizeof(archive), "%s/store.tar.zst", folder);
	if (access(archive, R_OK) != 0)
		return;
	printf("%s\n", folder);
	snprintf(golden, sizeof(golden), "%s/golden", folder);
	snprintf(path, sizeof(path), "%s/store", dir);
	if (!stores_unpack(archive, dir)) {
		failures++;
		return;
	}
	if (access(golden, F_OK) != 0) {
		snprintf(archive, sizeof(archive), "%s/golden.tar.zst", folder);
		snprintf(golden, sizeof(golden), "%s/golden", dir);
		failures += !stores_unpack(archive, dir);
	}
	check_store(path, golden);
}

static void check_folders(const char *dir, unsigned number)
{
	char pattern[1024];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*/store.tar.zst", dir);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		*strrchr(found.gl_pathv[i], '/') = '\0';
		if (strcmp(strrchr(found.gl_pathv[i], '/'), "/corrupt") != 0)
			check_fixture(found.gl_pathv[i], number + (unsigned)i);
	}
	globfree(&found);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	check_folders(UNIT_FIXTURES_DIR, 0);
	if (stores_shared() != NULL)
		check_folders(stores_shared(), 100);
	else
		printf("skip: shared stores: not there, the repository's own were "
		       "compared\n");
	stores_clean();
	printf("%u backups, %u failures\n", backups, failures);
	if (backups == 0 && failures == 0)
		return STORES_SKIP;
	return failures > 0;
}
