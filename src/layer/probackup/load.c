/*
 * layer/probackup/load.c: from the lists of a chain to the manifests of its layers.
 *
 * The target's list is the complete tree. Older lists are read only for what the target's tree has
 * and does not hold itself: so they are read newest first, each line is looked up by its path among
 * the items of the target, and nothing is kept of the lines that nobody asked for.
 */
#include "base/big.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <xxhash.h>

#define STORED_DIR  "database/"
#define LIST	    "backup_content.control"
#define LINE_LEAST  150u       /* bytes of a line, nearly always */
#define AHEAD_LEAST (2u << 20) /* bytes of the target's list: below, a thread does not pay */

static int out_of_memory(struct errmsg *e)
{
	return errmsg_set(e, -ENOMEM, "out of memory");
}

struct load_item *load_add_item(struct load_item **items, uint32_t *count, uint32_t *cap)
{
	if (*count == *cap) {
		uint32_t bigger = *cap < 1024 ? 1024 : *cap + *cap / 2;
		void *p = bigger > *cap ? big_realloc(*items, *cap * sizeof(**items),
						      bigger * sizeof(**items))
					: NULL;

		if (p == NULL)
			return NULL;
		*items = p;
		*cap = bigger;
	}
	(*items)[*count] = (struct load_item){.entry = {.file = LAYER_NO_FILE}};
	return &(*items)[(*count)++];
}

void load_reserve(struct load_item **items, uint32_t *cap, uint64_t count)
{
	size_t bytes = count < UINT32_MAX ? count * sizeof(**items) : 0;
	void *p = *cap == 0 && bytes > 0 ? big_realloc(NULL, 0, bytes) : NULL;

	if (p != NULL) {
		*items = p;
		*cap = (uint32_t)count;
	}
}

struct load_item *load_add(struct load *load)
{
	return load_add_item(&load->items, &load->count, &load->cap);
}

static const char *const known[LOAD_KNOWN] = {
	"global/pg_control", "database_map", "postgresql.auto.conf", "tablespace_map", "pg_tblspc"};

struct load_item *load_find(struct load *load, const char *path)
{
	for (unsigned i = 0; i < LOAD_KNOWN; i++) {
		if (strcmp(known[i], path) == 0)
			return load->known[i] != 0 ? &load->items[load->known[i] - 1] : NULL;
	}
	return NULL;
}

/* Most paths begin with base/, and are none of these. */
static bool may_be_known(const char *path)
{
	return path[0] != 'b';
}

/* The first of that path: a second one is refused later. */
static void note_known(struct load *load, const struct load_item *item)
{
	for (unsigned i = 0; i < LOAD_KNOWN && may_be_known(item->key); i++) {
		if (load->known[i] == 0 && strcmp(known[i], item->key) == 0)
			load->known[i] = (uint32_t)(item - load->items) + 1;
	}
}

/* ---- lines ---- */

int load_check_keys(const struct load *load, const struct content_line *line, struct errmsg *e)
{
	const struct probackup_control *control = &load->chain->members[load->member].control;

	if (line->unknown_key[0] == '\0' || control->program_version <= PROBACKUP_VERSION_KNOW)
		return 0;
	return errmsg_set(e, -ENOTSUP,
			  "'%s' has the key %s of pg_probackup %s, which is not known here",
			  line->path, line->unknown_key, control->program_text);
}

int load_note_blob(struct load *load, const struct content_line *line, struct errmsg *e)
{
	if (!line->is_datafile || line->n_headers == 0 || line->hdr_size == 0 || line->size <= 0)
		return 0;
	return blobs_add(&load->blobs, line->hdr_off, line->hdr_size) < 0 ? out_of_memory(e) : 0;
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool has_suffix(const struct content_line *line, const char *suffix)
{
	size_t len = strlen(suffix);

	return line->path_len >= len && memcmp(line->path + line->path_len - len, suffix, len) == 0;
}

/* Lines that no list of a data directory that can be shown has. */
static int check_line(const struct content_line *line, struct errmsg *e)
{
	if (line->external_dir_num != 0)
		return !line->is_datafile ? 0
					  : errmsg_set(e, -EUCLEAN,
						       "'%s' is a data file in an external "
						       "directory",
						       line->path);
	if (is_below(line->path, PROBACKUP_HIDDEN_DIR))
		return errmsg_set(e, -ENOTSUP, "'%s' has the name of what a mount adds itself",
				  line->path);
	if (line->is_cfs || has_suffix(line, ".cfm") || has_suffix(line, "/pg_compression"))
		return errmsg_set(
			e, -ENOTSUP,
			"'%s' belongs to a compressed tablespace (CFS), which only Postgres Pro "
			"Enterprise can read",
			line->path);
	return 0;
}

static int name_item(struct load *load, const struct content_line *line, struct load_item *item)
{
	char name[sizeof(STORED_DIR) + CONTENT_PATH_MAX];
	size_t dir = strlen(STORED_DIR);

	memcpy(name, STORED_DIR, dir);
	memcpy(name + dir, line->path, line->path_len);
	item->file.name = arena_strndup(load->chain->arena, name, dir + line->path_len);
	if (item->file.name == NULL)
		return -ENOMEM;
	item->entry.path = item->key = item->file.name + dir;
	note_known(load, item);
	return 0;
}

static enum want want_of(const struct layer_entry *entry)
{
	switch (entry->origin) {
	case LAYER_ORIGIN_BELOW:
		return WANT_WHOLE;
	case LAYER_ORIGIN_NEAREST:
		return WANT_BLOCKS;
	case LAYER_ORIGIN_NONE:
		break;
	}
	return WANT_NOTHING;
}

static int take_target_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct load *load = ctx;
	struct load_item *item;
	int rc;

	rc = load_note_blob(load, line, e);
	if (rc < 0)
		return rc;
	if (line->external_dir_num != 0) {
		load->has_external = true;
		if (!load->external)
			return 0;
	}
	rc = load_check_keys(load, line, e);
	if (rc == 0)
		rc = check_line(line, e);
	if (rc < 0)
		return rc;
	item = load_add(load);
	if (item == NULL)
		return -ENOMEM;
	rc = line->external_dir_num != 0 ? external_name(load, line, item)
					 : name_item(load, line, item);
	if (rc < 0)
		return rc;
	item->entry.mode = line->mode;
	item->crc = line->crc;
	if (S_ISDIR(line->mode))
		item->entry.kind = LAYER_DIR;
	else if (line->is_datafile)
		rc = item_fill_blocks(line, &item->entry, &item->file, e);
	else
		item_fill_plain(line, &item->entry, &item->file);
	item->want = want_of(&item->entry);
	return rc;
}

/* ---- whole lists ---- */

int load_read_list(struct load *load,
		   int (*fn)(void *, const struct content_line *, struct errmsg *), void *ctx,
		   struct content_sums *ret)
{
	const struct probackup_layer *member = &load->chain->members[load->member];
	uint64_t overlap = 0;
	bool apart;
	int rc;

	load->blobs.count = 0;
	rc = load->ahead != NULL
		     ? content_ahead_read(load->ahead, fn, ctx, ret, load->e)
		     : content_read(member->base.dirfd, member->base.id, fn, ctx, ret, load->e);
	if (rc < 0)
		return rc;
	apart = blobs_are_apart(&load->blobs, &overlap);
	if (member->control.has_crc && ret->crc != member->control.content_crc)
		return errmsg_set(
			load->e, -EBADMSG,
			"backup %s: backup_content.control does not match the content-crc of "
			"backup.control",
			member->base.id);
	if (!apart)
		return errmsg_set(load->e, -EUCLEAN,
				  "backup %s: backup_content.control: two files have the same page "
				  "headers, at byte %llu of page_header_map",
				  member->base.id, (unsigned long long)overlap);
	return 0;
}

static bool is_before(const struct load_item *a, const struct load_item *b)
{
	return strcmp(a->entry.path, b->entry.path) < 0;
}

/* Sorts, refuses duplicates, leaves the hidden items out. */
static int sort_target(struct load *load)
{
	const struct probackup_layer *member = &load->chain->members[load->member];

	load->sorted = manifest_sort(load->items, load->count, is_before);
	if (load->sorted == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < load->count; i++) {
		if (!is_before(load->sorted[i - 1], load->sorted[i]))
			return errmsg_set(load->e, -EUCLEAN, "backup %s: '%s' is listed twice",
					  member->base.id, load->sorted[i]->entry.path);
	}
	for (uint32_t i = 0; i < load->count; i++) {
		if (!load->sorted[i]->hidden)
			load->sorted[load->sorted_count++] = load->sorted[i];
	}
	return 0;
}

static int load_target(struct load *load, struct content_sums *ret)
{
	const struct probackup_layer *member = &load->chain->members[load->member];
	struct stat st;
	int rc;

	if (sys_fstatat(member->base.dirfd, LIST, &st, AT_SYMLINK_NOFOLLOW) == 0)
		load_reserve(&load->items, &load->cap, (uint64_t)st.st_size / LINE_LEAST);
	rc = load_read_list(load, take_target_line, load, ret);
	if (rc == 0)
		rc = present_items(load);
	if (rc == 0)
		rc = external_present(load);
	if (rc == 0)
		rc = sort_target(load);
	if (rc == 0)
		rc = older_collect_wanted(load);
	return rc;
}

/* The lists as they will be asked for: the newest first. */
static struct content_source *list_sources(const struct probackup_chain *chain)
{
	struct content_source *sources = calloc(chain->base.count, sizeof(*sources));

	for (unsigned i = 0; i < chain->base.count && sources != NULL; i++) {
		const struct layer *layer = &chain->members[chain->base.count - 1 - i].base;

		sources[i] = (struct content_source){.dirfd = layer->dirfd, .id = layer->id};
	}
	return sources;
}

bool load_is_long(const struct probackup_layer *member)
{
	struct stat st;

	return sys_fstatat(member->base.dirfd, LIST, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (uint64_t)st.st_size >= AHEAD_LEAST;
}

/* The threads go on to the older lists at once: these must be locked. */
static int begin_ahead(struct load *load, struct content_source **ret_sources)
{
	struct probackup_chain *chain = load->chain;
	int rc = 0;

	if (!load_is_long(&chain->members[load->member]))
		return 0;
	rc = chain_lock_end(chain, load->e);
	if (rc < 0)
		return rc;
	*ret_sources = list_sources(chain);
	if (*ret_sources == NULL)
		return -ENOMEM;
	load->ahead = content_ahead_begin(*ret_sources, chain->base.count, AHEAD_LEAST);
	return 0;
}

/* What the older lists have said of files that are unchanged since then. */
static void renew_entries(struct load *load)
{
	struct layer *target = load->chain->base.layers[load->chain->base.count - 1];

	for (uint32_t i = 0; i < load->sorted_count; i++) {
		struct layer_entry *entry = &target->entries[i];
		uint32_t file = entry->file;

		if (entry->origin != LAYER_ORIGIN_BELOW && entry->kind != LAYER_INLINE)
			continue;
		*entry = load->sorted[i]->entry;
		entry->file = file;
	}
}

/* The target's manifest is made while the threads are still reading the older lists. */
static int load_lists(struct load *load, struct content_sums *sums)
{
	int rc = load_target(load, &sums[load->member]);

	if (rc == 0)
		rc = manifest_build(&load->chain->members[load->member], load->sorted,
				    load->sorted_count, load->chain->arena, NULL);
	if (rc == 0 && load->member == 0)
		return older_check_wanted(load); /* a FULL refers to nothing */
	if (rc == 0)
		rc = older_load(load, sums);
	if (rc == 0)
		renew_entries(load);
	return rc;
}

/* Oldest first: id, LSNs, and the digest of the list. Notes, pins and the status may change without
 * harm. */
static void hash_content(struct probackup_chain *chain, const struct content_sums *sums,
			 bool external, XXH3_state_t *hash)
{
	XXH128_canonical_t digest;
	uint8_t lsn[16];

	(void)XXH3_128bits_reset(hash);
	for (unsigned i = 0; i < chain->base.count; i++) {
		const struct probackup_layer *member = &chain->members[i];

		(void)XXH3_128bits_update(hash, member->base.id, strlen(member->base.id) + 1);
		put_le64(lsn, member->control.start_lsn);
		put_le64(lsn + 8, member->control.stop_lsn);
		(void)XXH3_128bits_update(hash, lsn, sizeof(lsn));
		(void)XXH3_128bits_update(hash, sums[i].digest, sizeof(sums[i].digest));
	}
	/* A diff of a tree with external directories is none of the tree without them. */
	if (external)
		(void)XXH3_128bits_update(hash, "external", strlen("external"));
	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(hash));
	memcpy(chain->base.content_hash, digest.digest, sizeof(chain->base.content_hash));
}

int load_chain(struct probackup_chain *chain, struct errmsg *e)
{
	struct load load = {.chain = chain,
			    .member = chain->base.count - 1,
			    .e = e,
			    .external = chain->external,
			    .kept = &chain->lists};
	_cleanup_free_ struct content_sums *sums = calloc(chain->base.count, sizeof(*sums));
	_cleanup_free_ struct content_source *sources = NULL;
	XXH3_state_t *hash = XXH3_createState();
	int rc = -ENOMEM;

	if (sums != NULL && hash != NULL)
		rc = begin_ahead(&load, &sources);
	if (rc == 0)
		rc = load_lists(&load, sums);
	content_ahead_end(load.ahead);
	if (rc == 0) {
		hash_content(chain, sums, load.number_count > 0, hash);
		chain->has_external = load.has_external;
	}
	(void)XXH3_freeState(hash);
	free(load.items);
	free(load.sorted);
	free(load.older);
	wanted_free(&load.wanted);
	free(load.blobs.items);
	free(load.numbers);
	return rc == -ENOMEM ? out_of_memory(e) : rc;
}
