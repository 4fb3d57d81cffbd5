/*
 * overlay/index_memory.c: what is held of indexes, and what goes when that is more than
 * options.index_memory.
 *
 * Pieces are most of it. Those that the cache's file has come back with one read; what knows where
 * they are (a bare index: no pieces, but its virtual descriptors) is little, and costs the opening of
 * files. So of the least recently used index such pieces go and the bare index stays, as long as bare
 * ones do not take too much themselves. One whose pieces would have to be made anew goes as a whole.
 */
#include "base/util.h"
#include "overlay/index_internal.h"

#include <fcntl.h>
#include <stdlib.h>

#define BARE_SHARE 4u /* bare indexes may have that part of the memory */

static void list_remove(struct index_list *list, struct index *ix)
{
	*(ix->lru_prev ? &ix->lru_prev->lru_next : &list->head) = ix->lru_next;
	*(ix->lru_next ? &ix->lru_next->lru_prev : &list->tail) = ix->lru_prev;
	ix->lru_prev = ix->lru_next = NULL;
}

static void list_push(struct index_list *list, struct index *ix)
{
	ix->lru_next = list->head;
	*(list->head ? &list->head->lru_prev : &list->tail) = ix;
	list->head = ix;
}

static struct index_list *list_of(const struct index *ix)
{
	return ix->held > 0 ? &ix->ov->holding : &ix->ov->bare;
}

void index_used(struct index *ix)
{
	struct index_list *list = list_of(ix);

	if (ix == list->head)
		return;
	list_remove(list, ix);
	list_push(list, ix);
}

/* ---- pieces ---- */

static uint64_t piece_bytes(const struct index *ix, uint32_t piece)
{
	uint64_t block =
		sizeof(struct index_entry) + (ix->ov->options.verify_reads ? sizeof(uint32_t) : 0);

	return block * index_piece_blocks(ix, piece);
}

static void count_bytes(struct index *ix, int64_t bytes)
{
	ix->bytes += (uint64_t)bytes;
	ix->ov->index_bytes += (uint64_t)bytes;
}

/* Into the list where it belongs now, as the one used last. */
static void set_held(struct index *ix, uint32_t held)
{
	struct overlay *ov = ix->ov;

	list_remove(list_of(ix), ix);
	if (ix->held == 0 && held > 0)
		ov->bare_bytes -= ix->bytes;
	if (ix->held > 0 && held == 0)
		ov->bare_bytes += ix->bytes;
	ix->held = held;
	list_push(list_of(ix), ix);
}

void index_hold(struct index *ix, uint32_t piece, struct index_piece *from)
{
	if (ix->pieces[piece].entries)
		return; /* somebody may be looking */
	ix->pieces[piece] = *from;
	from->entries = NULL;
	set_held(ix, ix->held + 1);
	count_bytes(ix, (int64_t)piece_bytes(ix, piece));
}

/* Has the cache its pieces? */
static bool comes_back(const struct index *ix)
{
	return ix->kept && ix->stored;
}

static void drop_pieces(struct index *ix)
{
	for (uint32_t i = 0; i < ix->piece_count; i++) {
		if (!ix->pieces[i].entries)
			continue;
		free(ix->pieces[i].entries);
		ix->pieces[i] = (struct index_piece){NULL};
		count_bytes(ix, -(int64_t)piece_bytes(ix, i));
	}
	set_held(ix, 0);
}

/*
 * A whole index was made for one piece of it. The others can be read when they are wanted, so they
 * may have half of the memory, never the place of what was asked for; without a file they would have
 * to be made anew.
 */
static bool is_welcome(const struct index *ix, uint32_t piece)
{
	const struct overlay *ov = ix->ov;

	return (piece >= ix->from && piece < ix->to) || !comes_back(ix) ||
	       ov->index_bytes + piece_bytes(ix, piece) <= ov->options.index_memory / 2;
}

void index_take_fresh(struct index *ix)
{
	for (uint32_t i = 0; i < ix->piece_count; i++) {
		if (ix->fresh[i].entries && is_welcome(ix, i))
			index_hold(ix, i, &ix->fresh[i]);
	}
	index_pieces_free(ix->fresh, ix->piece_count);
	ix->fresh = NULL;
}

static void drop(struct index *ix)
{
	if (ix->held > 0 && comes_back(ix))
		drop_pieces(ix);
	else
		index_free(ix);
}

/* Until that many bytes are left of what *bytes counts, the least recently used first. */
static void shrink_list(const struct index_list *list, const uint64_t *bytes, uint64_t left)
{
	struct index *ix = list->tail;

	while (ix && *bytes > left) {
		struct index *prev = ix->lru_prev;

		if (ix->pins == 0)
			drop(ix);
		ix = prev;
	}
}

void index_shrink(struct overlay *ov)
{
	uint64_t memory = ov->options.index_memory;

	if (ov->index_bytes <= memory)
		return;
	shrink_list(&ov->bare, &ov->bare_bytes, memory / BARE_SHARE);
	shrink_list(&ov->holding, &ov->index_bytes, memory);
	shrink_list(&ov->bare, &ov->index_bytes, memory);
}

/* ---- indexes ---- */

struct index *index_alloc(struct overlay *ov, struct base *base)
{
	size_t head = sizeof(struct index) + base->part_count * sizeof(struct vfd *);
	struct index *ix = calloc(1, head);

	if (!ix)
		return NULL;
	ix->ov = ov;
	ix->base = base;
	ix->waiters_tail = &ix->waiters;
	if (base->kind == LAYER_BLOCKS) {
		ix->count = (uint32_t)((base->size + BLCK - 1) / BLCK);
		ix->piece_count = (ix->count + INDEX_PIECE - 1) / INDEX_PIECE;
		ix->pieces = calloc(ix->piece_count, sizeof(*ix->pieces));
		if (!ix->pieces) {
			free(ix);
			return NULL;
		}
	}
	ix->bytes = head + (base->part_count + 1) * 160u + /* with what a vfd takes */
		    ix->piece_count * sizeof(*ix->pieces);
	return ix;
}

static int make_vfds(struct index *ix)
{
	for (unsigned i = 0; i < ix->base->part_count; i++) {
		struct layer *layer = index_layer(ix, i);
		int rc = vfd_new(ix->ov->vfds, layer->dirfd,
				 layer->ops->name(layer, ix->base->parts[i].file), O_RDONLY, 0,
				 &ix->vfds[i]);

		if (rc < 0)
			return rc;
	}
	if (ix->ov->cache && index_is_dear(ix->base, ix->count))
		ix->kept = index_cache_vfd(ix->ov->cache, ix);
	return 0;
}

struct index *index_new(struct overlay *ov, struct base *base)
{
	struct index *ix = index_alloc(ov, base);

	if (!ix)
		return NULL;
	list_push(list_of(ix), ix);
	base->index = ix;
	ov->index_bytes += ix->bytes;
	ov->bare_bytes += ix->bytes;
	if (make_vfds(ix) == 0)
		return ix;
	index_free(ix);
	return NULL;
}

void index_free(struct index *ix)
{
	struct overlay *ov = ix->ov;

	list_remove(list_of(ix), ix);
	ov->index_bytes -= ix->bytes;
	ov->bare_bytes -= ix->held > 0 ? 0 : ix->bytes;
	ix->base->index = NULL;
	for (unsigned i = 0; i < ix->base->part_count; i++)
		vfd_free(ix->vfds[i]);
	vfd_free(ix->kept);
	index_pieces_free(ix->pieces, ix->piece_count);
	free(ix);
}

void index_free_all(struct overlay *ov)
{
	while (ov->holding.head)
		index_free(ov->holding.head);
	while (ov->bare.head)
		index_free(ov->bare.head);
}
