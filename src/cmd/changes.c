/*
 * cmd/changes.c: `pgoverlay changes`: what a clone changed, by file and block.
 *
 * Of a mounted clone the serving process is asked, which has it in memory. A diff that nobody
 * serves is opened with its chain as a mount would, and left as it was.
 */
#include "cmd/cmd.h"
#include "cmd/process.h"
#include "cmd/registry.h"
#include "overlay/overlay.h"

#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#define GO_ON	     (-1)
#define INDEX_MEMORY (16u << 20)

static const char help[] =
	"Usage: pgoverlay changes MOUNTPOINT|DIFF [--format text|json]\n"
	"What a clone changed of its backup: files that are new, removed, "
	"renamed or cut, and blocks\n"
	"(of 8192 bytes, counted from 0 in each file) that it has of its own. What a running\n"
	"server has not synced yet (CHECKPOINT does) may be missing.\n"
	"\n"
	"  --format F    text or json\n"
	"  --help, --version\n";

static int parse(int argc, char **argv, enum cmd_format *format, const char **ret_name)
{
	static const struct option options[] = {{"format", required_argument, NULL, 'f'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{NULL, 0, NULL, 0}};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == 'h')
			return cmd_print_help(help);
		if (option == 'V')
			return cmd_print_version();
		if (option != 'f' || cmd_parse_format(optarg, false, format) < 0)
			return cmd_usage("changes", "%s: no such option or value",
					 argv[optind - 1]);
	}
	if (optind != argc - 1)
		return cmd_usage("changes", "which MOUNTPOINT or DIFF?");
	*ret_name = argv[optind];
	return GO_ON;
}

/* ---- a diff that nobody serves ---- */

struct bound {
	char *store, *instance, **backups;
	unsigned count;
};

static int take_pair(void *ctx, const char *key, const char *value)
{
	struct bound *b = ctx;
	char **to = NULL;

	if (strcmp(key, "store") == 0)
		to = &b->store;
	else if (strcmp(key, "instance") == 0)
		to = &b->instance;
	if (strcmp(key, "backup") == 0) {
		char **longer = reallocarray(b->backups, b->count + 1, sizeof(*longer));

		if (longer == NULL)
			return -ENOMEM;
		b->backups = longer;
		to = &b->backups[b->count];
		*to = NULL;
		b->count++;
	}
	if (to == NULL)
		return 0;
	free(*to);
	*to = strdup(value);
	return *to != NULL ? 0 : -ENOMEM;
}

static void bound_clear(struct bound *b)
{
	for (unsigned i = 0; i < b->count; i++)
		free(b->backups[i]);
	free(b->backups);
	free(b->store);
	free(b->instance);
}

static int read_bound(const char *path, struct errmsg *e, struct bound *ret)
{
	_cleanup_free_ char *text = NULL;
	int rc = diff_describe(path, e, &text);

	if (rc == 0)
		rc = ini_parse(text, strlen(text), take_pair, ret, e);
	if (rc == 0 && (ret->store == NULL || ret->instance == NULL || ret->count == 0))
		rc = errmsg_set(e, -EUCLEAN, "'%s' does not say what it belongs to", path);
	return rc;
}

static int open_diff(const char *path, const struct layer_chain *chain, struct errmsg *e,
		     struct diff **ret)
{
	const struct diff_options options = {.reserve = 0};
	_cleanup_free_ const char **backups = calloc(chain->count, sizeof(*backups));
	struct diff_binding binding = {.kind = chain->driver->name,
				       .store = chain->store_path,
				       .instance = chain->instance,
				       .backups = backups,
				       .backup_count = chain->count};

	if (backups == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < chain->count; i++)
		backups[i] = chain->layers[i]->id;
	memcpy(binding.content_hash, chain->content_hash, sizeof(binding.content_hash));
	return diff_open(path, false, &binding, &options, e, ret);
}

static int compare(const char *path, struct layer_chain *chain, struct errmsg *e, char **ret)
{
	const struct overlay_options options = {.index_memory = INDEX_MEMORY};
	struct overlay *ov = NULL;
	struct diff *diff = NULL;
	int rc = open_diff(path, chain, e, &diff);

	if (rc < 0)
		return rc;
	rc = overlay_new(chain, diff, &options, e, &ov);
	if (rc == 0) {
		*ret = overlay_changes_json(ov);
		rc = *ret != NULL ? 0 : -ENOMEM;
	}
	overlay_free(ov);
	diff_close(diff);
	return rc;
}

static int with_chain(const char *path, struct errmsg *e, char **ret)
{
	struct layer_chain *chain = NULL;
	struct bound bound = {0};
	struct store *store = NULL;
	int rc = read_bound(path, e, &bound);

	if (rc == 0)
		rc = store_open(bound.store, e, &store);
	if (rc == 0)
		rc = store->driver->open_chain(store,
					       bound.instance[0] != '\0' ? bound.instance : NULL,
					       bound.backups[bound.count - 1], getpid(), e, &chain);
	if (rc == 0) {
		rc = compare(path, chain, e, ret);
		store->driver->close_chain(chain);
	}
	store_close(store);
	bound_clear(&bound);
	return rc;
}

/* With the rights of the diff's owner, whose files all of it are. */
static int read_diff(const char *path, struct errmsg *e, char **ret)
{
	struct owner owner = {0};
	struct stat st;
	int rc = sys_fstatat(AT_FDCWD, path, &st, 0);

	if (rc < 0)
		return errmsg_set(e, rc, "'%s': %s", path, errmsg_text(NULL, rc));
	rc = owner_find(st.st_uid, st.st_gid, e, &owner);
	if (rc == 0)
		rc = owner_enter(&owner, e);
	if (rc == 0) {
		rc = with_chain(path, e, ret);
		owner_leave();
	}
	owner_clear(&owner);
	return rc;
}

static int get_changes(const char *name, struct errmsg *e, char **ret)
{
	struct clone clone;
	int rc = registry_find(name, NULL, &clone);
	bool running;

	if (rc == -ENOENT)
		rc = registry_find_diff(name, NULL, &clone);
	running = rc == 0 && clone.running;
	if (running)
		rc = registry_ask(&clone, "changes", e, ret);
	else if (rc == 0)
		rc = clone.diff != NULL ? read_diff(clone.diff, e, ret)
					: errmsg_set(e, -EINVAL, "'%s' has no diff", name);
	else if (rc == -ENOENT)
		return read_diff(name, e, ret);
	else
		return rc;
	registry_clone_free(&clone);
	return rc;
}

/* ---- text ---- */

static const char *text_of(const cJSON *item, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, key);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

static double number_of(const cJSON *item, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, key);

	return cJSON_IsNumber(value) ? value->valuedouble : -1;
}

static double print_runs(const cJSON *item, const char *key, const char *what)
{
	const cJSON *runs = cJSON_GetObjectItemCaseSensitive(item, key), *run;
	const char *between = what;
	double count = 0;

	cJSON_ArrayForEach(run, runs)
	{
		double first = cJSON_GetArrayItem(run, 0)->valuedouble;
		double n = cJSON_GetArrayItem(run, 1)->valuedouble;

		(void)printf("%s%.0f", between, first);
		if (n > 1)
			(void)printf("-%.0f", first + n - 1);
		between = ",";
		count += n;
	}
	return count;
}

static double print_item(const cJSON *item)
{
	double size = number_of(item, "size"), base = number_of(item, "base_size"), count;

	(void)printf("%-10s %s", text_of(item, "change"), text_of(item, "path"));
	if (text_of(item, "from") != NULL)
		(void)printf(" (from %s)", text_of(item, "from"));
	if (size >= 0 && base >= 0 && size != base)
		(void)printf(", %.0f -> %.0f bytes", base, size);
	else if (size >= 0 && base < 0)
		(void)printf(", %.0f bytes", size);
	if (number_of(item, "kept") >= 0)
		(void)printf(", cut to %.0f", number_of(item, "kept"));
	count = print_runs(item, "blocks", ", blocks ");
	count += print_runs(item, "zero", ", zeros ");
	(void)putchar('\n');
	return count;
}

static int print_text(const char *answer)
{
	cJSON *root = cJSON_Parse(answer);
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "changes"), *item;
	double blocks = 0;
	int count = 0;

	if (!cJSON_IsArray(list)) {
		cJSON_Delete(root);
		return -EUCLEAN;
	}
	cJSON_ArrayForEach(item, list)
	{
		blocks += print_item(item);
		count++;
	}
	(void)printf("%d changes, %.0f blocks\n", count, blocks);
	cJSON_Delete(root);
	return 0;
}

int cmd_changes(int argc, char **argv)
{
	enum cmd_format format = CMD_FORMAT_TEXT;
	_cleanup_free_ char *answer = NULL;
	const char *name = NULL;
	struct errmsg e = {0};
	int rc = parse(argc, argv, &format, &name);

	if (rc != GO_ON)
		return rc;
	rc = get_changes(name, &e, &answer);
	if (rc == 0 && format == CMD_FORMAT_JSON)
		(void)fputs(answer, stdout);
	else if (rc == 0)
		rc = print_text(answer);
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}
