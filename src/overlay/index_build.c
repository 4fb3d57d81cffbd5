/*
 * overlay/index_build.c: where an index comes from: the cache, or each layer's locate, newest
 * first; the first answer for each block counts. On an engine thread, or on one of bulk.c's.
 */
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LOCATE_BLOCKS                                                                              \
	131072u /* asked from a layer at once: a segment, so that its map is read once */
#define KEEP_BLOCKS                                                                                \
	1024u /* blocks of all parts from which on the cache is faster than the header maps */

int index_piece_new(uint32_t blocks, bool sums, struct index_piece *ret)
{
	size_t entries = (size_t)blocks * sizeof(struct index_entry);
	struct index_entry *p = calloc(1, entries + (sums ? (size_t)blocks * sizeof(uint32_t) : 0));

	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < blocks; i++)
		p[i].part = INDEX_NO_PART;
	*ret = (struct index_piece){.entries = p, .sums = sums ? (uint32_t *)(p + blocks) : NULL};
	return 0;
}

void index_pieces_free(struct index_piece *pieces, uint32_t count)
{
	for (uint32_t i = 0; pieces && i < count; i++)
		free(pieces[i].entries);
	free(pieces);
}

/* Of what the answers are made: another program version may find other parts. */
static uint64_t compute_shape(const struct index *ix)
{
	XXH3_state_t *state = XXH3_createState();
	uint8_t limits[16];
	uint64_t hash;

	if (!state)
		return 0;
	(void)XXH3_64bits_reset(state);
	put_le64(limits, ix->base->size);
	put_le64(limits + 8, ix->base->limit);
	(void)XXH3_64bits_update(state, limits, sizeof(limits));
	for (unsigned i = 0; i < ix->base->part_count; i++) {
		const struct layer *layer = index_layer(ix, i);
		const char *name = layer->ops->name(layer, ix->base->parts[i].file);

		(void)XXH3_64bits_update(state, layer->id, strlen(layer->id) + 1);
		(void)XXH3_64bits_update(state, name, strlen(name) + 1);
	}
	hash = XXH3_64bits_digest(state);
	(void)XXH3_freeState(state);
	return hash ? hash : 1;
}

static int take_extents(struct index *ix, unsigned part, uint32_t first, uint32_t count,
			const struct layer_extent *extents)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct index_piece *piece = &ix->fresh[(first + i) / INDEX_PIECE];
		struct index_entry *entry = &piece->entries[(first + i) % INDEX_PIECE];

		if (entry->part != INDEX_NO_PART || entry->len || extents[i].len == LAYER_ABSENT)
			continue;
		if (extents[i].len == LAYER_ZERO) {
			entry->len = 1; /* decided: zeros */
			continue;
		}
		if (extents[i].off >= UINT64_C(1) << 40 || extents[i].len >= 1u << 14)
			return -EUCLEAN;
		*entry = (struct index_entry){
			.off = extents[i].off, .len = extents[i].len & 0x3fff, .part = part & 1023};
		if (piece->sums)
			piece->sums[(first + i) % INDEX_PIECE] = extents[i].sum;
	}
	return 0;
}

/* One layer's answers for all blocks. */
static int locate_part(struct index *ix, unsigned part, struct layer_extent *extents,
		       bool *ret_read_data)
{
	struct layer *layer = index_layer(ix, part);
	bool below = ix->base->parts[part].layer + 1 < ix->ov->chain->count;
	uint32_t end = below ? MIN(ix->count, ix->base->limit) : ix->count;
	int rc = 0;

	for (uint32_t first = 0; first < end && rc >= 0; first += LOCATE_BLOCKS) {
		uint32_t n = MIN(LOCATE_BLOCKS, end - first);

		rc = layer->ops->locate(layer, ix->base->parts[part].file, first, n, extents,
					&ix->error);
		if (rc == LAYER_READ_DATA)
			*ret_read_data = true;
		if (rc >= 0)
			rc = take_extents(ix, part, first, n, extents);
	}
	return rc;
}

static bool all_placed(const struct index *ix)
{
	for (uint32_t i = 0; i < ix->count; i++) {
		const struct index_entry *entry =
			&ix->fresh[i / INDEX_PIECE].entries[i % INDEX_PIECE];

		if (entry->part == INDEX_NO_PART && !entry->len)
			return false;
	}
	return true;
}

static int ask_layers(struct index *ix, bool *ret_read_data)
{
	_cleanup_free_ struct layer_extent *extents =
		calloc(MIN(ix->count, LOCATE_BLOCKS), sizeof(*extents));
	int rc = extents ? 0 : -ENOMEM;

	for (unsigned part = 0; part < ix->base->part_count && rc == 0; part++) {
		rc = locate_part(ix, part, extents, ret_read_data);
		if (rc == 0 && part + 1 < ix->base->part_count && all_placed(ix))
			break;
	}
	return rc;
}

bool index_is_dear(const struct base *base, uint32_t blocks)
{
	return base->kind == LAYER_BLOCKS && (uint64_t)blocks * base->part_count >= KEEP_BLOCKS;
}

static int build(struct index *ix)
{
	bool read_data = false;
	int rc = 0;

	for (uint32_t i = 0; i < ix->piece_count && rc == 0; i++)
		rc = index_piece_new(index_piece_blocks(ix, i), ix->ov->options.verify_reads,
				     &ix->fresh[i]);
	if (rc == 0)
		rc = ask_layers(ix, &read_data);
	if (rc == 0)
		ix->stored = ix->ov->cache && ix->shape &&
			     (read_data || index_is_dear(ix->base, ix->count)) &&
			     index_cache_save(ix->ov->cache, ix);
	return rc;
}

static int begin_fresh(struct index *ix)
{
	ix->fresh = calloc(ix->piece_count, sizeof(*ix->fresh));
	if (!ix->fresh)
		return -ENOMEM;
	if (ix->ov->cache && !ix->shape)
		ix->shape = compute_shape(ix);
	return 0;
}

static int end_fresh(struct index *ix, int rc)
{
	if (rc < 0) {
		index_pieces_free(ix->fresh, ix->piece_count);
		ix->fresh = NULL;
	}
	return rc;
}

int index_bring(struct index *ix)
{
	int rc = begin_fresh(ix);

	if (rc < 0)
		return rc;
	ix->loaded = ix->ov->cache && ix->shape && index_cache_load(ix->ov->cache, ix);
	if (!ix->loaded)
		rc = build(ix);
	return end_fresh(ix, rc);
}

int index_bring_kept(struct index *ix, int fd)
{
	int rc = begin_fresh(ix);

	if (rc < 0)
		return rc;
	ix->loaded = ix->shape && index_cache_load_from(ix->ov->cache, fd, ix);
	return end_fresh(ix, ix->loaded ? 0 : -ENOENT);
}

int index_check(struct index *ix)
{
	struct layer *layer = index_layer(ix, 0);

	return layer->ops->check(layer, ix->base->parts[0].file, &ix->error);
}
