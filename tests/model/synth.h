/*
 * tests/model/synth.h: a layer driver whose chains are made by the test itself: what each layer
 * stores of each file is decided in memory, stored bytes lie in a scratch directory.
 *
 * Blocks have content that follows from (layer, file, block). They are stored raw or as a seed of 8
 * bytes that decode expands, so that records differ in length as compressed pages do.
 */
#ifndef MODEL_SYNTH_H
#define MODEL_SYNTH_H

#include "layer/layer.h"
#include "rng.h"

struct synth;

/* layers at most SYNTH_MAX_LAYERS; dir exists and is empty. Aborts when out of memory, as tests do.
 */
#define SYNTH_MAX_LAYERS 8
struct synth *synth_new(const char *dir, unsigned layers, uint64_t seed);
void synth_free(struct synth *s);

void synth_add_dir(struct synth *s, unsigned layer, const char *path, uint32_t mode);
void synth_add_symlink(struct synth *s, unsigned layer, const char *path, const char *target);
void synth_add_inline(struct synth *s, unsigned layer, const char *path, uint64_t size);
/* stored: the bytes lie in this layer, else in the nearest older one */
void synth_add_plain(struct synth *s, unsigned layer, const char *path, uint64_t size, bool stored);

struct synth_blocks {
	enum layer_origin origin;
	uint64_t size; /* bytes, or LAYER_SIZE_UNKNOWN */
	uint32_t base_limit;
	uint32_t count;	       /* stored: holds this many flags */
	const uint8_t *stored; /* a flag a block: 0 absent, 1 stored, 2 a block of zeros */
};
void synth_add_blocks(struct synth *s, unsigned layer, const char *path,
		      const struct synth_blocks *what);

/* Sorts the manifests; nothing is added afterwards. Belongs to s. */
struct layer_chain *synth_chain(struct synth *s);

/* A random tree on 1 .. 4 layers: directories, links, empty files, plain files, relations of all
 * shapes. */
struct layer_chain *synth_random(const char *dir, uint64_t seed, struct synth **ret);

#endif
