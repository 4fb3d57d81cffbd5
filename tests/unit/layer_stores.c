/*
 * tests/unit/layer_stores.c: see layer_stores.h.
 */
#include "layer_stores.h"
#include "../model/naive.h"
#include "base/util.h"
#include "sha256.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTORE_COMMENT "# recovery settings added by pg_probackup"

/* One line of a .tree or .sha256 list. */
struct wanted {
	char *path;
	char *text; /* digest, or "<type> <mode>" */
	bool seen;
};

struct wanted_list {
	struct wanted *items;
	size_t count;
};

struct comparison {
	const struct layer_chain *chain;
	const char *golden_dir, *id;
	struct wanted_list tree, spaces, sums, external, external_sums;
	struct stores_result result;
};

static char scratch[256];

const char *stores_shared(void)
{
	const char *dir = getenv("TEST_SHARED");

	if (dir == NULL)
		dir = UNIT_SHARED_DIR;
	return dir[0] != '\0' && access(dir, R_OK) == 0 ? dir : NULL;
}

const char *stores_scratch(void)
{
	const char *tmp = getenv("TMPDIR");

	if (scratch[0] != '\0')
		return scratch;
	snprintf(scratch, sizeof(scratch), "%s/pgoverlay-stores-XXXXXX",
		 tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(scratch) == NULL) {
		perror("mkdtemp");
		exit(1);
	}
	return scratch;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void stores_clean(void)
{
	if (scratch[0] != '\0')
		(void)nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	scratch[0] = '\0';
}

bool stores_unpack(const char *archive, const char *dir)
{
	char command[2048];

	snprintf(command, sizeof(command), "mkdir -p '%s' && zstd -qdc '%s' | tar -xf - -C '%s'",
		 dir, archive, dir);
	if (access(archive, R_OK) == 0 && system(command) == 0)
		return true;
	printf("cannot unpack %s\n", archive);
	return false;
}

/* ---- lists of the restore ---- */

static int compare_wanted(const void *a, const void *b)
{
	return strcmp(((const struct wanted *)a)->path, ((const struct wanted *)b)->path);
}

static void add_wanted(struct wanted_list *list, const char *path, size_t path_len,
		       const char *text, size_t text_len)
{
	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] =
		(struct wanted){.path = strndup(path, path_len), .text = strndup(text, text_len)};
}

/* "d 700 base " or "l 777 pg_tblspc/16384 /target"; the root has no path. */
static void take_tree_line(struct wanted_list *list, char *line)
{
	char *path = strchr(line + 2, ' ');
	size_t len;

	if (path == NULL)
		return;
	path++;
	len = strcspn(path, line[0] == 'l' ? " \n" : "\n");
	while (len > 0 && path[len - 1] == ' ')
		len--;
	if (len > 0)
		add_wanted(list, path, len, line, (size_t)(path - line) - 1);
}

/* False if there is no such list. */
static bool read_wanted(struct comparison *c, const char *suffix, bool sums,
			struct wanted_list *ret)
{
	char path[1024], line[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.%s", c->golden_dir, c->id, suffix);
	f = fopen(path, "r");
	if (f == NULL)
		return false;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sums)
			add_wanted(ret, line + 66, strcspn(line + 66, "\n"), line, 64);
		else
			take_tree_line(ret, line);
	}
	fclose(f);
	qsort(ret->items, ret->count, sizeof(*ret->items), compare_wanted);
	return true;
}

static void free_wanted(struct wanted_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].path);
		free(list->items[i].text);
	}
	free(list->items);
}

static struct wanted *find_wanted(struct wanted_list *list, const char *path)
{
	struct wanted key = {.path = (char *)(uintptr_t)path};

	return list->count == 0
		       ? NULL
		       : bsearch(&key, list->items, list->count, sizeof(key), compare_wanted);
}

/* ---- comparing ---- */

static void differs(struct comparison *c, const char *path, const char *what)
{
	if (c->result.errors++ < 20)
		printf("%s: %s: %s\n", c->id, path, what);
}

static char type_char(const struct layer_entry *entry)
{
	return entry->kind == LAYER_DIR ? 'd' : entry->kind == LAYER_SYMLINK ? 'l' : 'f';
}

static void compare_name(struct comparison *c, const struct layer_entry *entry, const char *path,
			 struct wanted_list *list)
{
	struct wanted *w = find_wanted(list, path);
	uint32_t mode = entry->mode & 07777;
	char text[32];

	if (w == NULL) {
		differs(c, path, "not in the list");
		return;
	}
	w->seen = true;
	c->result.entries++;
	if (strcmp(path, "global/pg_control") == 0 && mode == 0600)
		mode = 0644; /* as restore leaves it */
	snprintf(text, sizeof(text), "%c %o", type_char(entry), mode);
	if (strcmp(text, w->text) != 0)
		differs(c, path, text);
}

/* The lines above the restore's comment; restore puts an empty line before it. */
static void compare_auto_conf(struct comparison *c, const struct layer_entry *entry)
{
	char path[1024], *text = NULL, *comment;
	size_t len = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.postgresql.auto.conf", c->golden_dir, c->id);
	f = fopen(path, "r");
	if (f == NULL || getdelim(&text, &len, '\0', f) < 0) {
		differs(c, entry->path, "no list");
	} else {
		/* The last one: the cluster itself may have been restored from a backup. */
		comment = text;
		for (char *at = text; at != NULL; at = strstr(at + 1, "\n" RESTORE_COMMENT))
			comment = at;
		if ((size_t)(comment - text) != entry->size ||
		    memcmp(text, entry->data, entry->size) != 0)
			differs(c, entry->path, "other content");
	}
	free(text);
	if (f != NULL)
		fclose(f);
}

static void compare_content(struct comparison *c, const struct layer_entry *entry, const char *path,
			    struct wanted_list *sums, const char *broken)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct wanted *w = find_wanted(sums, path);
	uint64_t len = 0;
	char hex[65];
	int rc;

	if (w != NULL)
		w->seen = true;
	if (entry->kind == LAYER_INLINE) {
		compare_auto_conf(c, entry);
		return;
	}
	rc = naive_read(c->chain, entry, &data, &len);
	if (rc < 0 && broken != NULL && strcmp(path, broken) == 0) {
		c->result.unreadable++;
		return;
	}
	if (rc < 0 || w == NULL) {
		differs(c, path, rc < 0 ? errmsg_text(NULL, rc) : "not in the list of digests");
		return;
	}
	c->result.files++;
	c->result.bytes += len;
	sha256_hex(data, len, hex);
	if (strcmp(hex, w->text) != 0)
		differs(c, path, "other content");
}

/* The lists have the base name of the directory where the chain has its number. */
static bool external_path(const struct comparison *c, const char *shown, char *ret, size_t size)
{
	char line[64], *at;
	unsigned number;
	int len = 0;

	if (sscanf(shown, ".pgoverlay/external/%u%n", &number, &len) != 1 || len == 0)
		return false;
	snprintf(line, sizeof(line), "is shown below .pgoverlay/external/%u: ", number);
	at = strstr(c->chain->warnings, line);
	if (at == NULL)
		return false;
	at += strcspn(at, "\n");
	while (at[-1] != '/')
		at--;
	snprintf(ret, size, "%.*s%s", (int)strcspn(at, "\n"), at,
		 shown[len] != '\0' ? shown + len : "/");
	return true;
}

static void compare_entry(struct comparison *c, const struct layer_entry *entry, const char *broken)
{
	static const char hidden[] = ".pgoverlay", below[] = ".pgoverlay/tblspc/";
	struct wanted_list *list = &c->tree, *sums = &c->sums;
	char path[2048];

	snprintf(path, sizeof(path), "%s", entry->path);
	if (strncmp(entry->path, below, strlen(below)) == 0) {
		snprintf(path, sizeof(path), "pg_tblspc/%s", entry->path + strlen(below));
		list = &c->spaces;
	} else if (external_path(c, entry->path, path, sizeof(path))) {
		list = &c->external;
		sums = &c->external_sums;
	} else if (strncmp(entry->path, hidden, strlen(hidden)) == 0) {
		return;
	}
	compare_name(c, entry, path, list);
	if (entry->kind == LAYER_SYMLINK) {
		char target[2048];

		snprintf(target, sizeof(target), "../.pgoverlay/tblspc/%s", strrchr(path, '/') + 1);
		if (strcmp(target, entry->target) != 0)
			differs(c, path, entry->target);
	} else if (entry->kind != LAYER_DIR) {
		compare_content(c, entry, path, sums, broken);
	}
}

/* What the restore made and the chain does not have. */
static void compare_missing(struct comparison *c, struct wanted_list *list, bool archive)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct wanted *w = &list->items[i];

		if (!w->seen && strcmp(w->path, "pg_tblspc") != 0 &&
		    !(archive && strcmp(w->path, "recovery.signal") == 0))
			differs(c, w->path, "missing");
	}
}

void stores_compare(const struct layer_chain *chain, const char *golden_dir, const char *broken,
		    struct stores_result *ret)
{
	const struct layer *target = chain->layers[chain->count - 1];
	struct comparison c = {.chain = chain, .golden_dir = golden_dir, .id = target->id};

	if (!read_wanted(&c, "tree", false, &c.tree) || !read_wanted(&c, "sha256", true, &c.sums))
		differs(&c, golden_dir, "no lists");
	(void)read_wanted(&c, "tblspc.tree", false, &c.spaces);
	if (strstr(chain->warnings, ".pgoverlay/external/") != NULL &&
	    (!read_wanted(&c, "external.tree", false, &c.external) ||
	     !read_wanted(&c, "external.sha256", true, &c.external_sums)))
		differs(&c, golden_dir, "no lists of external directories");
	for (uint32_t i = 0; i < target->entry_count; i++)
		compare_entry(&c, &target->entries[i], broken);
	compare_missing(&c, &c.tree, chain->needs_archive);
	compare_missing(&c, &c.sums, chain->needs_archive);
	compare_missing(&c, &c.spaces, false);
	compare_missing(&c, &c.external, false);
	compare_missing(&c, &c.external_sums, false);
	free_wanted(&c.tree);
	free_wanted(&c.sums);
	free_wanted(&c.spaces);
	free_wanted(&c.external);
	free_wanted(&c.external_sums);
	*ret = c.result;
}
