/*
 * Nodes: what the kernel holds.
 *
 * The kernel counts its lookups of a file and gives them back with forget. A node exists in between
 * and holds one reference to its file; nothing else hangs on it, so that forget is O(1) and needs
 * no I/O: what was written and not yet committed belongs to the file.
 */
#include "fuse/fuse_internal.h"

#include "base/util.h"

#include <errno.h>

struct file *node_find(struct session *s, fuse_ino_t ino)
{
	return overlay_find(s->ov, ino);
}

int node_get(struct session *s, struct file *file)
{
	struct node *node = overlay_file_user(file);

	if (node != NULL) {
		node->lookups++;
		return 0;
	}
	node = malloc(sizeof(*node));
	if (node == NULL)
		return -ENOMEM;
	*node = (struct node){.file = file, .lookups = 1, .next = s->nodes};
	if (s->nodes != NULL)
		s->nodes->prev = node;
	s->nodes = node;
	s->node_count++;
	overlay_ref(file);
	overlay_file_set_user(file, node);
	return 0;
}

static void node_free(struct session *s, struct node *node)
{
	struct file *file = node->file;

	if (node->prev != NULL)
		node->prev->next = node->next;
	else
		s->nodes = node->next;
	if (node->next != NULL)
		node->next->prev = node->prev;
	s->node_count--;
	free(node);
	overlay_file_set_user(file, NULL);
	overlay_unref(s->ov, file);
}

void node_forget(struct session *s, fuse_ino_t ino, uint64_t lookups)
{
	struct file *file = overlay_find(s->ov, ino);
	struct node *node = file != NULL ? overlay_file_user(file) : NULL;

	if (node == NULL || ino == FUSE_ROOT_ID)
		return;
	node->lookups -= MIN(lookups, node->lookups);
	if (node->lookups == 0)
		node_free(s, node);
}

int node_add_root(struct session *s)
{
	return node_get(s, overlay_root(s->ov));
}

void node_free_all(struct session *s)
{
	while (s->nodes != NULL)
		node_free(s, s->nodes);
}
