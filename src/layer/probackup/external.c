/*
 * layer/probackup/external.c: external directories (--external-dirs of pg_probackup).
 *
 * Their files are in the same list as those of the data directory, with a number: the directory's
 * place among all of them in the order of strcmp. A file is known by number and path, in every backup
 * of the chain, although the same number may have been another directory before; so does a restore.
 */
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define EXTERNAL_DIR  PROBACKUP_HIDDEN_DIR "/external"
#define EXTERNALS_MAX 1024u

int external_key(const struct content_line *line, char *ret, size_t size)
{
	int len = snprintf(ret, size, "/%u/%s", line->external_dir_num, line->path);

	return len > 0 && (size_t)len < size ? len : -ENAMETOOLONG;
}

static int note_number(struct load *load, uint32_t number)
{
	if (load->number_count > 0 && load->numbers[load->number_count - 1] == number)
		return 0;
	if (load->number_count == load->number_cap) {
		uint32_t cap = MAX(load->number_cap * 2, 64u);
		void *numbers = reallocarray(load->numbers, cap, sizeof(*load->numbers));

		if (numbers == NULL)
			return -ENOMEM;
		load->numbers = numbers;
		load->number_cap = cap;
	}
	load->numbers[load->number_count++] = number;
	return 0;
}

static const char *keep(struct load *load, const char *before, uint32_t number, const char *path)
{
	char text[CONTENT_PATH_MAX + 64];
	int len = snprintf(text, sizeof(text), "%s%u/%s", before, number, path);

	return arena_strndup(load->chain->arena, text, (size_t)len);
}

int external_name(struct load *load, const struct content_line *line, struct load_item *item)
{
	uint32_t number = line->external_dir_num;

	item->file.name =
		keep(load, "external_directories/externaldir", number, line->path);
	item->entry.path = keep(load, EXTERNAL_DIR "/", number, line->path);
	item->key = keep(load, "/", number, line->path);
	if (item->file.name == NULL || item->entry.path == NULL || item->key == NULL)
		return -ENOMEM;
	return note_number(load, number);
}

static int add_dir(struct load *load, const char *path)
{
	struct load_item *item;

	for (uint32_t i = load->count; path != NULL && i-- > 0;) {
		if (strcmp(load->items[i].entry.path, path) == 0)
			return 0; /* tablespaces have made it */
	}
	item = path != NULL ? load_add(load) : NULL;
	if (item == NULL)
		return -ENOMEM;
	item->entry.kind = LAYER_DIR;
	item->entry.mode = S_IFDIR | 0700;
	item->entry.path = path;
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int external_present(struct load *load)
{
	uint32_t kept = 0;
	int rc;

	if (load->number_count == 0)
		return 0;
	qsort(load->numbers, load->number_count, sizeof(*load->numbers), compare_numbers);
	for (uint32_t i = 0; i < load->number_count; i++) {
		if (kept == 0 || load->numbers[kept - 1] != load->numbers[i])
			load->numbers[kept++] = load->numbers[i];
	}
	if (kept > EXTERNALS_MAX)
		return errmsg_set(load->e, -EUCLEAN, "%u external directories are not possible",
				  kept);
	rc = add_dir(load, PROBACKUP_HIDDEN_DIR);
	if (rc == 0)
		rc = add_dir(load, EXTERNAL_DIR);
	for (uint32_t i = 0; i < kept && rc == 0; i++) {
		char path[sizeof(EXTERNAL_DIR) + 16];
		int len = snprintf(path, sizeof(path), EXTERNAL_DIR "/%u", load->numbers[i]);

		rc = add_dir(load, arena_strndup(load->chain->arena, path, (size_t)len));
	}
	return rc;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void external_describe(FILE *out, const char *id, const char *dirs)
{
	_cleanup_free_ char *copy = strdup(dirs);
	char *names[256], *rest = NULL;
	unsigned count = 0;

	if (copy == NULL)
		return;
	for (char *name = strtok_r(copy, ":", &rest); name != NULL && count < ARRAY_SIZE(names);
	     name = strtok_r(NULL, ":", &rest))
		names[count++] = name;
	if (count > 0)
		qsort(names, count, sizeof(*names), compare_names);
	for (unsigned i = 0; i < count; i++)
		(void)fprintf(out, "backup %s: external directory %u is shown below " EXTERNAL_DIR
				   "/%u: %s\n",
			      id, i + 1, i + 1, names[i]);
}
