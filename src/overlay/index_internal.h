/*
 * overlay/index_internal.h: what index.c (who needs which part of an index, and when),
 * index_memory.c (what is held), index_build.c (where it comes from), index_file.c (its form in a
 * file) and index_cache.c (those files) share.
 *
 * An index consists of pieces of INDEX_PIECE blocks. A piece is there or not, and does not change
 * while it is there.
 */
#ifndef OVERLAY_INDEX_INTERNAL_H
#define OVERLAY_INDEX_INTERNAL_H

#include "overlay/overlay_internal.h"

#define INDEX_PIECE	1024u /* blocks */
#define INDEX_FILE_HEAD 64u   /* bytes, see index_file.c */

/* One allocation; entries NULL: not there. */
struct index_piece {
	struct index_entry *entries;
	uint32_t *sums; /* NULL: reads are not verified */
};

struct index {
	struct overlay *ov;
	struct base *base;
	struct index *lru_prev, *lru_next; /* of ov->holding or ov->bare */
	unsigned pins;
	bool checked; /* PLAIN: may be read */
	struct index_wait *waiters, **waiters_tail;
	uint64_t bytes;
	uint64_t shape; /* what entries depend on besides the chain; 0: not computed */
	uint32_t count; /* blocks; 0 for PLAIN files, which need no entries */
	uint32_t piece_count;
	uint32_t held; /* pieces that are there */
	struct index_piece *pieces;

	struct vfd *kept;	       /* its file in the cache, or NULL */
	bool stored;		       /* that has all of it, as far as is known */
	bool no_file;		       /* that was not there, or not what it should be */
	uint8_t head[INDEX_FILE_HEAD]; /* of that file; zeros: not read yet */

	/* The job; one at a time. It brings the pieces from .. to-1 at least. */
	struct vfd_op job; /* with the file in the cache, or job.io alone */
	bool running;
	bool loaded; /* brought by the cache, without asking the layers */
	uint32_t from, to;
	struct index_piece *fresh; /* piece_count of them */
	struct errmsg error;

	struct vfd *vfds[]; /* one a part */
};

static inline struct layer *index_layer(const struct index *ix, unsigned part)
{
	return ix->ov->chain->layers[ix->base->parts[part].layer];
}

static inline uint32_t index_piece_blocks(const struct index *ix, uint32_t piece)
{
	uint32_t left = ix->count - piece * INDEX_PIECE;

	return left < INDEX_PIECE ? left : INDEX_PIECE;
}

/* ---- index_memory.c; core thread ---- */

/* A new one without pieces, or NULL. */
struct index *index_new(struct overlay *ov, struct base *base);
/* The same without virtual descriptors, for index_build: on any thread, and not in any list. */
struct index *index_alloc(struct overlay *ov, struct base *base);
/* It was asked for. */
void index_used(struct index *ix);
/* Takes the piece over from *from, unless there is one already. */
void index_hold(struct index *ix, uint32_t piece, struct index_piece *from);
/* Whatever the job has brought and somebody waits for; all else as far as there is room. */
void index_take_fresh(struct index *ix);
/* Back under the limit; of what nobody has pinned. */
void index_shrink(struct overlay *ov);
void index_free(struct index *ix);

/* ---- index_build.c; any thread ---- */

/* All blocks of the piece as nobody's. */
int index_piece_new(uint32_t blocks, bool sums, struct index_piece *ret);
void index_pieces_free(struct index_piece *pieces, uint32_t count); /* and the array */

/* Is it dear enough for the cache? */
bool index_is_dear(const struct base *base, uint32_t blocks);
/* Fills ix->fresh, from the cache or from the layers. Blocks. */
int index_bring(struct index *ix);
/* From the cache's file, which is open. -ENOENT: it is not what is wanted. Blocks. */
int index_bring_kept(struct index *ix, int fd);
/* A PLAIN file: compares it with its sum. Blocks. */
int index_check(struct index *ix);

/* ---- index_file.c; pure ---- */

/* Bytes of a piece in the file, and where they are. */
#define INDEX_FILE_PIECE(blocks) ((blocks)*12 + 4)

static inline uint32_t index_file_piece(uint32_t blocks)
{
	return INDEX_FILE_PIECE(blocks);
}

static inline uint64_t index_file_at(uint32_t piece)
{
	return INDEX_FILE_HEAD + (uint64_t)piece * index_file_piece(INDEX_PIECE);
}

void index_file_put_head(const struct index *ix, const uint8_t hash[16], bool sums,
			 uint8_t ret[INDEX_FILE_HEAD]);
void index_file_put_piece(const struct index *ix, uint32_t piece, const struct index_piece *from,
			  const uint8_t head[INDEX_FILE_HEAD], uint8_t *ret);
/* Is it the head of an index of just this? */
bool index_file_head_fits(const struct index *ix, const uint8_t hash[16],
			  const uint8_t head[INDEX_FILE_HEAD]);
/* -EUCLEAN: it is not what was written. */
int index_file_get_piece(const struct index *ix, uint32_t piece, const uint8_t *bytes,
			 const uint8_t head[INDEX_FILE_HEAD], struct index_piece *ret);

/* ---- index_cache.c ---- */

/*
 * Nothing here fails: what cannot be read is not there, what cannot be written is left. Load and
 * save run on any thread; the rest before threads exist.
 */
struct index_cache *index_cache_new(const char *dir, const uint8_t hash[16], uint64_t limit);
void index_cache_free(struct index_cache *cache); /* NULL is fine */

/* Brings pieces ix->from .. ix->to-1 into ix->fresh; false: it has not all of them. */
bool index_cache_load(struct index_cache *cache, struct index *ix);
/* The same from its file, which is open. */
bool index_cache_load_from(const struct index_cache *cache, int fd, struct index *ix);
/* The file's virtual descriptor, whether there is a file or not; NULL: no memory. */
struct vfd *index_cache_vfd(const struct index_cache *cache, struct index *ix);
/* Keeps ix->fresh, of which all is there; false: it is not kept. */
bool index_cache_save(struct index_cache *cache, const struct index *ix);

/* Lengths of files, in blocks, that no list says. */
bool index_cache_length(struct index_cache *cache, uint64_t id, uint32_t *ret_blocks);
void index_cache_note_length(struct index_cache *cache, uint64_t id, uint32_t blocks);
/* No more are asked for; keeps those that are new. */
void index_cache_end_lengths(struct index_cache *cache);

#endif
