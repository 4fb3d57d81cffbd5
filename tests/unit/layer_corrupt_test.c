/*
 * The damaged sample stores: what must be refused is refused with the reason, what can still be
 * read is read right, and what cannot be is an error. Never wrong bytes.
 */
#include "layer_stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FULL  "TOSR0P"
#define DELTA "TOSR10"
#define PAGE  "TOSR1B"
#define QUIET "base/5/16391" /* a relation that only the FULL stores */
#define ACC   "base/5/16384" /* one that every backup stores blocks of */

static const struct {
	const char *store, *backup;
	const char *refused; /* what the message must say; NULL: it is opened */
	const char *broken;  /* the one file that cannot be read; NULL: none */
} cases[] = {
	{"00-pristine", FULL, NULL, NULL},
	{"00-pristine", DELTA, NULL, NULL},
	{"00-pristine", PAGE, NULL, NULL},
	{"01-flipped-byte-in-page", FULL, NULL, QUIET},
	{"01-flipped-byte-in-page", DELTA, NULL, QUIET},
	{"01-flipped-byte-in-page", PAGE, NULL, QUIET},
	{"02-truncated-data-file", FULL, NULL, QUIET},
	{"02-truncated-data-file", PAGE, NULL, QUIET},
	{"03-missing-parent-dir", DELTA, FULL ", the parent of " DELTA ", is missing", NULL},
	{"03-missing-parent-dir", PAGE, FULL ", the parent of " DELTA ", is missing", NULL},
	{"04-missing-data-file", FULL, NULL, QUIET},
	{"04-missing-data-file", PAGE, NULL, QUIET},
	{"05-truncated-content-control", FULL, NULL, NULL},
	{"05-truncated-content-control", DELTA, "backup " DELTA ": backup_content.control, line ",
	 NULL},
	{"05-truncated-content-control", PAGE, "backup " DELTA ": backup_content.control, line ",
	 NULL},
	{"06-garbage-backup-control", FULL, NULL, NULL},
	{"06-garbage-backup-control", DELTA, "backup " DELTA ": backup.control: line 1", NULL},
	{"06-garbage-backup-control", PAGE, "backup " DELTA ": backup.control: line 1", NULL},
	{"07-empty-backup-control", FULL, NULL, NULL},
	{"07-empty-backup-control", DELTA, "backup " DELTA ": backup.control: the file is empty",
	 NULL},
	{"07-empty-backup-control", PAGE, "backup " DELTA ": backup.control: the file is empty",
	 NULL},
	{"08-status-error", FULL, NULL, NULL},
	{"08-status-error", DELTA, "backup " DELTA " has status ERROR", NULL},
	{"08-status-error", PAGE, "backup " DELTA ", which " PAGE " needs, has status ERROR", NULL},
	{"09-status-corrupt", FULL, "status CORRUPT", NULL},
	{"09-status-corrupt", DELTA, "backup " FULL ", which " DELTA " needs, has status CORRUPT",
	 NULL},
	{"09-status-corrupt", PAGE, "status CORRUPT", NULL},
	{"10-status-orphan", DELTA, NULL, NULL},
	{"10-status-orphan", PAGE, "backup " PAGE " has status ORPHAN", NULL},
	{"11-status-merging", FULL, "status MERGING", NULL},
	{"11-status-merging", DELTA, "status MERGING", NULL},
	{"11-status-merging", PAGE, "status MERGING", NULL},
	{"12-status-deleting", FULL, NULL, NULL},
	{"12-status-deleting", DELTA, "status DELETING", NULL},
	{"12-status-deleting", PAGE, "status DELETING", NULL},
	{"13-status-running", DELTA, NULL, NULL},
	{"13-status-running", PAGE, "status RUNNING", NULL},
	{"14-wrong-block-number", FULL, NULL, QUIET},
	{"14-wrong-block-number", PAGE, NULL, QUIET},
	{"15-header-map-missing", FULL, NULL, NULL},
	{"15-header-map-missing", PAGE, NULL, NULL},
	{"16-header-map-flipped-byte", FULL, NULL, NULL},
	{"16-header-map-flipped-byte", PAGE, NULL, NULL},
	{"17-content-path-traversal", DELTA, NULL, NULL},
	{"17-content-path-traversal", PAGE, "the path leads out of the data directory", NULL},
	{"18-content-absolute-path", PAGE, "the path leads out of the data directory", NULL},
	{"19-content-10mb-line", DELTA, NULL, NULL},
	{"19-content-10mb-line", PAGE, "longer than 8192 bytes", NULL},
	{"20-cyclic-parents", FULL, NULL, NULL},
	{"20-cyclic-parents", DELTA, "go round in a circle", NULL},
	{"20-cyclic-parents", PAGE, "go round in a circle", NULL},
	{"21-self-parent", DELTA, NULL, NULL},
	{"21-self-parent", PAGE, "go round in a circle", NULL},
	{"22-flipped-byte-in-superseded-page", FULL, NULL, ACC},
	{"22-flipped-byte-in-superseded-page", DELTA, NULL, NULL},
	{"22-flipped-byte-in-superseded-page", PAGE, NULL, NULL},
};

/* A listing must know without opening the chain what its backup.control files say. */
static bool listing_agrees(struct store *store, const char *backup, bool refused,
			   const char *message)
{
	struct backup_list list = {0};
	struct errmsg e = {""};
	bool found = false, good = true;

	if (store->driver->list(store, "main", &e, &list) < 0) {
		printf("    list: %s\n", e.text);
		return false;
	}
	for (size_t i = 0; i < list.count; i++) {
		const struct backup_info *info = &list.items[i];

		if (strcmp(info->id, backup) != 0)
			continue;
		found = true;
		if (!info->mountable)
			good = refused && strcmp(info->reason, message) == 0;
		else
			good = !refused || strstr(message, "backup_content.control") != NULL;
	}
	store->driver->list_free(&list);
	return found && good;
}

static bool check_opened(const struct layer_chain *chain, const char *golden, const char *broken)
{
	struct stores_result result;

	stores_compare(chain, golden, broken, &result);
	printf("    %u entries, %u files, %u cannot be read\n", result.entries, result.files,
	       result.unreadable);
	return result.errors == 0 && result.files > 0 && result.unreadable == (broken != NULL);
}

static bool check_case(const char *dir, const char *golden, unsigned i)
{
	const char *refused = cases[i].refused;
	struct layer_chain *chain = NULL;
	struct store *store = NULL;
	struct errmsg e = {""};
	char path[1024];
	bool good = false;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", dir, cases[i].store);
	if (store_open(path, &e, &store) < 0) {
		printf("    %s\n", e.text);
		return false;
	}
	rc = store->driver->open_chain(store, "main", cases[i].backup, 0, &e, &chain);
	if (rc < 0) {
		printf("    %s\n", errmsg_text(&e, rc));
		good = refused != NULL && strstr(e.text, refused) != NULL;
	} else {
		good = refused == NULL && check_opened(chain, golden, cases[i].broken);
	}
	if (!listing_agrees(store, cases[i].backup, rc < 0, e.text)) {
		printf("    the listing says something else\n");
		good = false;
	}
	store->driver->close_chain(chain);
	store_close(store);
	return good;
}

int main(void)
{
	char archive[1024], golden[1024];
	unsigned failures = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (stores_shared() == NULL) {
		printf("skipped: the shared stores are not there\n");
		return STORES_SKIP;
	}
	snprintf(archive, sizeof(archive), "%s/corrupt/store.tar.zst", stores_shared());
	snprintf(golden, sizeof(golden), "%s/corrupt/golden", stores_shared());
	if (!stores_unpack(archive, stores_scratch()))
		return 1;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool good = check_case(stores_scratch(), golden, i);

		printf("%s %s %s\n", good ? "ok" : "not ok", cases[i].store, cases[i].backup);
		failures += !good;
	}
	stores_clean();
	return failures > 0;
}
