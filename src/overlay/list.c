/*
 * overlay/list.c: a directory's names as a snapshot, so that a reader sees each name once however
 * much the directory changes meanwhile.
 */
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void measure(const struct file *dir, size_t *ret_count, size_t *ret_bytes)
{
	size_t count = 2, bytes = sizeof("..") + sizeof(".");

	for (const struct dirent *d = dir->first_child; d; d = d->next) {
		count++;
		bytes += d->name_len + 1u;
	}
	*ret_count = count;
	*ret_bytes = bytes;
}

static char *put(struct overlay_dir *list, char *names, const char *name, size_t len,
		 struct file *f)
{
	memcpy(names, name, len);
	names[len] = '\0';
	list->entries[list->count++] = (struct overlay_dirent){
		.name = names, .file = f, .id = f->id, .mode = f->attr.mode};
	return names + len + 1;
}

int overlay_list(struct overlay *ov, struct file *dir, struct overlay_dir *ret)
{
	struct overlay_dir list = {0};
	size_t count, bytes;
	char *names;

	(void)ov;
	if (!file_is_dir(dir))
		return -ENOTDIR;
	measure(dir, &count, &bytes);
	list.entries = calloc(count, sizeof(*list.entries));
	list.names = names = malloc(bytes);
	if (!list.entries || !names) {
		overlay_list_free(&list);
		return -ENOMEM;
	}
	names = put(&list, names, ".", 1, dir);
	names = put(&list, names, "..", 2, dir->parent ? dir->parent : dir);
	for (struct dirent *d = dir->first_child; d; d = d->next)
		names = put(&list, names, d->name, d->name_len, d->shadow ? d->shadow : d->file);
	*ret = list;
	return 0;
}

void overlay_list_free(struct overlay_dir *list)
{
	free(list->entries);
	free(list->names);
	*list = (struct overlay_dir){0};
}
