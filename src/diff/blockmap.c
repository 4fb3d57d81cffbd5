/*
 * Block states. A chunk pointer is NULL (all ABSENT), one of two shared chunks (all DATA, all ZERO;
 * never written), or the map's own memory. A chunk that has become uniform is given back at once.
 */
#include "diff/blockmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define CHUNK_BLOCKS 2048u
#define CHUNK_WORDS  64u
#define WORD_BLOCKS  32u
#define LOW_BITS     UINT64_C(0x5555555555555555)

static uint64_t all_data[CHUNK_WORDS], all_zero[CHUNK_WORDS]; /* only their addresses matter */

static uint64_t pattern(enum block_state state)
{
	return LOW_BITS * (uint64_t)state;
}

static uint64_t *shared_chunk(enum block_state state)
{
	if (state == BLOCK_ABSENT)
		return NULL;
	return state == BLOCK_DATA ? all_data : all_zero;
}

/* True if the chunk has one state, without looking into its words. */
static bool chunk_is_shared(const uint64_t *chunk, enum block_state *ret)
{
	if (chunk && chunk != all_data && chunk != all_zero)
		return false;
	*ret = !chunk ? BLOCK_ABSENT : chunk == all_data ? BLOCK_DATA : BLOCK_ZERO;
	return true;
}

static void chunk_release(uint64_t *chunk)
{
	if (chunk != all_data && chunk != all_zero)
		free(chunk);
}

void blockmap_free(struct blockmap *map)
{
	for (uint32_t i = 0; i < map->chunk_count; i++)
		chunk_release(map->chunks[i]);
	free(map->chunks);
	*map = (struct blockmap){0};
}

static int cover(struct blockmap *map, uint32_t end)
{
	uint32_t need = (uint32_t)(((uint64_t)end + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS);
	uint32_t count = MAX(need, map->chunk_count + map->chunk_count / 2);
	uint64_t **chunks;

	if (need <= map->chunk_count)
		return 0;
	chunks = realloc(map->chunks, (size_t)count * sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	memset(chunks + map->chunk_count, 0, (count - map->chunk_count) * sizeof(*chunks));
	map->chunks = chunks;
	map->chunk_count = count;
	return 0;
}

/* Gives the chunk memory of its own, unless every block in it has the state to be set anyway. */
static int own_chunk(struct blockmap *map, uint32_t index, int state)
{
	enum block_state uniform;
	uint64_t *chunk;

	if (!chunk_is_shared(map->chunks[index], &uniform) || (int)uniform == state)
		return 0;
	chunk = malloc(CHUNK_WORDS * sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (unsigned i = 0; i < CHUNK_WORDS; i++)
		chunk[i] = pattern(uniform);
	map->chunks[index] = chunk;
	return 0;
}

/* Only the chunks at both ends of a range can be set in part. state -1: any. */
static int prepare(struct blockmap *map, uint32_t first, uint32_t end, int state)
{
	int rc = cover(map, end);

	if (rc == 0 && first % CHUNK_BLOCKS)
		rc = own_chunk(map, first / CHUNK_BLOCKS, state);
	if (rc == 0 && end % CHUNK_BLOCKS)
		rc = own_chunk(map, end / CHUNK_BLOCKS, state);
	return rc;
}

int blockmap_prepare(struct blockmap *map, uint32_t first, uint32_t count)
{
	return count ? prepare(map, first, first + count, -1) : 0;
}

static void count_words(struct blockmap *map, uint64_t bits, int sign)
{
	map->data += (uint32_t)(sign * __builtin_popcountll(bits & LOW_BITS));
	map->zero += (uint32_t)(sign * __builtin_popcountll(bits & ~LOW_BITS));
}

static void set_whole_chunk(struct blockmap *map, uint32_t index, enum block_state state)
{
	uint64_t *chunk = map->chunks[index];
	enum block_state old;

	if (chunk_is_shared(chunk, &old)) {
		map->data -= old == BLOCK_DATA ? CHUNK_BLOCKS : 0;
		map->zero -= old == BLOCK_ZERO ? CHUNK_BLOCKS : 0;
	} else {
		for (unsigned i = 0; i < CHUNK_WORDS; i++)
			count_words(map, chunk[i], -1);
		free(chunk);
	}
	map->chunks[index] = shared_chunk(state);
	map->data += state == BLOCK_DATA ? CHUNK_BLOCKS : 0;
	map->zero += state == BLOCK_ZERO ? CHUNK_BLOCKS : 0;
}

static void share_if_uniform(struct blockmap *map, uint32_t index, enum block_state state)
{
	uint64_t *chunk = map->chunks[index], want = pattern(state);

	if (chunk[0] != want || chunk[CHUNK_WORDS - 1] != want)
		return;
	for (unsigned i = 1; i < CHUNK_WORDS - 1; i++)
		if (chunk[i] != want)
			return;
	free(chunk);
	map->chunks[index] = shared_chunk(state);
}

/* Blocks [from, to) of a chunk, not all of it. */
static void set_in_chunk(struct blockmap *map, uint32_t index, uint32_t from, uint32_t to,
			 enum block_state state)
{
	uint64_t *chunk = map->chunks[index];
	enum block_state uniform;

	if (chunk_is_shared(chunk, &uniform)) {
		assert(uniform == state); /* own_chunk saw to that */
		return;
	}
	while (from < to) {
		uint32_t word = from / WORD_BLOCKS, bit = from % WORD_BLOCKS;
		uint32_t n = MIN(WORD_BLOCKS - bit, to - from);
		uint64_t mask =
			n == WORD_BLOCKS ? UINT64_MAX : ((UINT64_C(1) << 2 * n) - 1) << 2 * bit;

		count_words(map, chunk[word] & mask, -1);
		chunk[word] = (chunk[word] & ~mask) | (pattern(state) & mask);
		count_words(map, chunk[word] & mask, 1);
		from += n;
	}
	share_if_uniform(map, index, state);
}

/*
 * Runs that begin in [first, end], the block behind the range included because its left neighbour
 * changes.
 */
static uint32_t starts(const struct blockmap *map, uint32_t first, uint32_t end)
{
	enum block_state left = BLOCK_ABSENT, state;
	uint32_t n, found = 0;
	uint64_t pos = first;

	if (first > 0)
		left = blockmap_run(map, first - 1, 1, &n);
	while (pos <= end && pos < UINT32_MAX) {
		state = blockmap_run(map, (uint32_t)pos,
				     (uint32_t)MIN(end - pos + 1, (uint64_t)UINT32_MAX), &n);
		found += state != BLOCK_ABSENT && state != left;
		left = state;
		pos += n;
	}
	return found;
}

int blockmap_set(struct blockmap *map, uint32_t first, uint32_t count, enum block_state state)
{
	uint32_t end = first + count, pos = first, before;
	int rc;

	assert(count <= UINT32_MAX - first);
	if (count == 0)
		return 0;
	rc = prepare(map, first, end, (int)state);
	if (rc < 0)
		return rc;
	before = starts(map, first, end);
	while (pos < end) {
		uint32_t index = pos / CHUNK_BLOCKS, from = pos % CHUNK_BLOCKS;
		uint32_t n = MIN(CHUNK_BLOCKS - from, end - pos);

		if (n == CHUNK_BLOCKS)
			set_whole_chunk(map, index, state);
		else
			set_in_chunk(map, index, from, from + n, state);
		pos += n;
	}
	map->runs = map->runs - before + starts(map, first, end);
	return 0;
}

int blockmap_cut(struct blockmap *map, uint32_t first)
{
	uint32_t end = blockmap_end(map);

	return first < end ? blockmap_set(map, first, end - first, BLOCK_ABSENT) : 0;
}

/* Blocks from bit on in the chunk that have the state. */
static uint32_t chunk_run(const uint64_t *chunk, uint32_t from, enum block_state state)
{
	uint32_t pos = from;

	while (pos < CHUNK_BLOCKS) {
		uint32_t bit = pos % WORD_BLOCKS;
		uint64_t other = (chunk[pos / WORD_BLOCKS] ^ pattern(state)) >> 2 * bit;

		if (other)
			return pos + (uint32_t)__builtin_ctzll(other) / 2 - from;
		pos += WORD_BLOCKS - bit;
	}
	return CHUNK_BLOCKS - from;
}

static enum block_state chunk_state(const uint64_t *chunk, uint32_t bit)
{
	enum block_state state;

	if (chunk_is_shared(chunk, &state))
		return state;
	return (enum block_state)(chunk[bit / WORD_BLOCKS] >> 2 * (bit % WORD_BLOCKS) & 3);
}

enum block_state blockmap_run(const struct blockmap *map, uint32_t block, uint32_t max,
			      uint32_t *ret_count)
{
	uint32_t index = block / CHUNK_BLOCKS, bit = block % CHUNK_BLOCKS;
	enum block_state state = BLOCK_ABSENT, uniform;
	uint64_t n = 0;

	if (index < map->chunk_count)
		state = chunk_state(map->chunks[index], bit);
	for (; n < max && index < map->chunk_count; index++, bit = 0) {
		uint32_t more;

		if (chunk_is_shared(map->chunks[index], &uniform))
			more = uniform == state ? CHUNK_BLOCKS - bit : 0;
		else
			more = chunk_run(map->chunks[index], bit, state);
		n += more;
		if (more < CHUNK_BLOCKS - bit)
			break;
	}
	if (index >= map->chunk_count && state == BLOCK_ABSENT)
		n = max;
	*ret_count = (uint32_t)MIN(n, (uint64_t)max);
	return state;
}

bool blockmap_next(const struct blockmap *map, uint32_t *pos, struct diff_run *ret)
{
	uint32_t end = (uint32_t)MIN((uint64_t)map->chunk_count * CHUNK_BLOCKS,
				     (uint64_t)UINT32_MAX),
		 n;

	while (*pos < end) {
		enum block_state state = blockmap_run(map, *pos, end - *pos, &n);

		if (state != BLOCK_ABSENT) {
			*ret = (struct diff_run){.first = *pos, .count = n, .state = state};
			*pos += n;
			return true;
		}
		*pos += n;
	}
	return false;
}

uint32_t blockmap_end(const struct blockmap *map)
{
	for (uint32_t index = map->chunk_count; index-- > 0;) {
		if (!map->chunks[index])
			continue;
		for (uint32_t bit = CHUNK_BLOCKS; bit-- > 0;)
			if (chunk_state(map->chunks[index], bit) != BLOCK_ABSENT)
				return (uint32_t)MIN((uint64_t)index * CHUNK_BLOCKS + bit + 1,
						     (uint64_t)UINT32_MAX);
	}
	return 0;
}
