/*
 * layer/probackup/older.c: what the lists below the target's give, newest first: from the lists, or
 * from what an earlier mount has kept of them (lists.c).
 */
#include "base/util.h"
#include "layer/probackup/lists.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <sys/stat.h>

#define AHEAD 8u

/* Where what a line gives is put. */
enum collect_way {
	COLLECT_TO_SORT, /* to load->older: the items are sorted when all are known */
	COLLECT_TO_NUMBER, /* to the place of its number: the oldest list has nearly all that is wanted */
	COLLECT_TO_NEXT, /* behind the last one: they come in their order */
};

/* What an older list gives to the manifest of its layer. */
struct collected {
	struct load *load;
	enum collect_way way;
	uint32_t count, stored; /* stored: of those that go to their places */
	uint32_t next;		/* behind the number of the last line's wanted */
};

struct place {
	struct layer_entry *entry;
	struct probackup_file *file;
};

static struct probackup_layer *layer_of(const struct collected *c)
{
	return &c->load->chain->members[c->load->member];
}

static uint32_t number_of(const struct collected *c, const struct wanted *wanted)
{
	return (uint32_t)(wanted - c->load->wanted.items);
}

/* Of zeroed memory, or of what stored nothing. False: out of memory. */
static bool find_place(struct collected *c, const struct wanted *wanted, struct place *ret)
{
	struct load *load = c->load;
	struct probackup_layer *layer = layer_of(c);
	uint32_t number = number_of(c, wanted);
	struct load_item *item;

	if (c->way != COLLECT_TO_SORT) {
		bool packed = c->way == COLLECT_TO_NEXT;

		ret->entry = &layer->base.entries[packed ? c->count : number];
		ret->file = &layer->files[packed ? c->stored : number];
		return true;
	}
	item = load_add_item(&load->older, &c->count, &load->older_cap);
	if (item == NULL)
		return false;
	item->number = number;
	*ret = (struct place){.entry = &item->entry, .file = &item->file};
	return true;
}

static int collect(struct collected *c, const struct content_line *line,
		   const struct wanted *wanted, struct place *ret)
{
	const struct load_item *target = &c->load->items[wanted->item];

	if (!find_place(c, wanted, ret))
		return -ENOMEM;
	ret->entry->path = target->entry.path;
	ret->entry->mode = line->mode;
	ret->entry->file = LAYER_NO_FILE;
	ret->file->name = target->file.name;
	return 0;
}

/* Only the target's limits count. */
static void drop_limits(struct layer_entry *entry, struct probackup_file *file)
{
	entry->base_limit = LAYER_NO_LIMIT;
	file->limit = LAYER_NO_LIMIT;
}

/* When it is filled. */
static void put_in_place(struct collected *c, const struct wanted *wanted,
			 const struct place *place)
{
	drop_limits(place->entry, place->file);
	if (c->way == COLLECT_TO_SORT)
		return;
	c->count++;
	if (place->entry->file == LAYER_NO_FILE)
		return;
	place->entry->file = c->way == COLLECT_TO_NEXT ? c->stored : number_of(c, wanted);
	c->stored++;
}

int older_collect_wanted(struct load *load)
{
	int rc = wanted_init(&load->wanted, load->sorted_count);

	/* In path order, so that their numbers are in that order, too. */
	for (uint32_t i = 0; i < load->sorted_count && rc == 0; i++) {
		const struct load_item *item = load->sorted[i];

		if (i + AHEAD < load->sorted_count)
			__builtin_prefetch(&load->sorted[i + AHEAD]->want);
		if (item->want == WANT_NOTHING)
			continue;
		if (item->key != item->entry.path)
			load->wanted.sorted = false; /* shown elsewhere */
		wanted_add(&load->wanted, item->key, (uint32_t)(item - load->items), item->want);
		load->whole += item->want == WANT_WHOLE;
	}
	return rc;
}

static int take_older_blocks(struct collected *c, const struct content_line *line,
			     const struct wanted *wanted, struct errmsg *e)
{
	struct place place;
	int rc;

	if (line->size <= 0)
		return 0;
	if (!line->is_datafile || line->is_cfs)
		return errmsg_set(e, -EUCLEAN,
				  "'%s' is no data file here, but is one in a newer backup",
				  line->path);
	rc = collect(c, line, wanted, &place);
	if (rc == 0)
		rc = item_fill_blocks(line, place.entry, place.file, e);
	if (rc == 0)
		put_in_place(c, wanted, &place);
	return rc;
}

/* The first backup below the target that stores the file has all of it. */
static int take_older_whole(struct collected *c, const struct content_line *line,
			    struct wanted *wanted, struct errmsg *e)
{
	struct load *load = c->load;
	struct load_item *target = &load->items[wanted->item];
	struct place place;
	int rc;

	if (line->is_datafile || !S_ISREG(line->mode))
		return errmsg_set(e, -EUCLEAN,
				  "'%s' is no plain file here, but is one in a newer backup",
				  line->path);
	if (line->size < 0)
		return 0;
	wanted->want = WANT_NOTHING;
	load->whole--;
	if (target->entry.kind == LAYER_INLINE)
		return present_auto_conf(load, target, load->member, (uint64_t)line->size,
					 line->crc);
	target->entry.size = (uint64_t)line->size;
	rc = collect(c, line, wanted, &place);
	if (rc < 0)
		return rc;
	item_fill_plain(line, place.entry, place.file);
	put_in_place(c, wanted, &place);
	return 0;
}

static bool stores_something(const struct wanted *wanted, const struct content_line *line)
{
	return wanted->want == WANT_BLOCKS ? line->size > 0
					   : wanted->want == WANT_WHOLE && line->size >= 0;
}

static int take_wanted(struct collected *c, const struct content_line *line, struct wanted *wanted,
		       struct errmsg *e)
{
	if (wanted->want == WANT_BLOCKS)
		return take_older_blocks(c, line, wanted, e);
	return wanted->want == WANT_WHOLE ? take_older_whole(c, line, wanted, e) : 0;
}

/* A hint: what is known of a file lies where its line was in the target's list. */
static void expect_wanted(const struct load *load, uint32_t number)
{
	const struct wanted *w = &load->wanted.items[number];

	__builtin_prefetch(w->path);
	__builtin_prefetch(&load->items[w->item].entry.path);
	__builtin_prefetch(&load->items[w->item].file.name);
}

/* Lists of one chain have much the same order: it is often the next one after the last. */
static struct wanted *guess_wanted(struct collected *c, const struct content_line *line)
{
	const struct wanted_table *table = &c->load->wanted;
	struct wanted *w = c->next < table->count ? &table->items[c->next] : NULL;

	if (c->next + AHEAD < table->count)
		expect_wanted(c->load, c->next + AHEAD);
	return w != NULL && w->path_len == line->path_len &&
			       memcmp(w->path, line->path, line->path_len) == 0
		       ? w
		       : NULL;
}

static int find_wanted(struct load *load, const struct content_line *line, struct wanted **ret)
{
	char key[CONTENT_PATH_MAX + 16];
	int len;

	if (line->external_dir_num == 0)
		return wanted_find(&load->wanted, line->path, line->path_len, ret);
	len = external_key(line, key, sizeof(key));
	*ret = NULL;
	return len > 0 ? wanted_find(&load->wanted, key, (uint32_t)len, ret) : 0;
}

static int take_older_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct collected *c = ctx;
	struct load *load = c->load;
	struct wanted *wanted;
	int rc;

	rc = load_note_blob(load, line, e);
	if (rc < 0)
		return rc;
	if (line->external_dir_num != 0 && !load->external)
		return 0;
	rc = load_check_keys(load, line, e);
	if (rc < 0)
		return rc;
	wanted = line->external_dir_num == 0 ? guess_wanted(c, line) : NULL;
	if (wanted == NULL)
		rc = find_wanted(load, line, &wanted);
	if (rc < 0 || wanted == NULL)
		return rc;
	c->next = (uint32_t)(wanted - load->wanted.items) + 1;
	if (wanted->seen == load->member + 1)
		return errmsg_set(e, -EUCLEAN, "'%s' is listed twice", line->path);
	wanted->seen = load->member + 1;
	if (stores_something(wanted, line))
		lists_add_line(load->kept, c->next - 1, line);
	return take_wanted(c, line, wanted, e);
}

int older_check_wanted(const struct load *load)
{
	const char *id = load->chain->members[load->member].base.id;

	for (uint32_t i = 0; i < load->wanted.count && load->whole > 0; i++) {
		const struct wanted *w = &load->wanted.items[i];

		if (w->want != WANT_WHOLE)
			continue;
		/* The target's own list has them all. */
		if (w->seen != load->member + 1 && load->member + 1 < load->chain->base.count)
			return errmsg_set(load->e, -EUCLEAN,
					  "backup %s: '%s' is not in its list, but unchanged since "
					  "then says a "
					  "newer backup",
					  id, w->path);
		if (load->member == 0)
			return errmsg_set(load->e, -EUCLEAN,
					  "backup %s: '%s' is unchanged since an older backup, but "
					  "this one is "
					  "the oldest",
					  id, w->path);
	}
	return 0;
}

static bool is_before(const struct load_item *a, const struct load_item *b)
{
	return a->number < b->number;
}

/* most: so many items, at the most. */
static int begin_older(struct collected *c, enum collect_way way, uint32_t most)
{
	struct probackup_chain *chain = c->load->chain;
	struct probackup_layer *layer = layer_of(c);

	c->way = way;
	if (way == COLLECT_TO_SORT || most == 0)
		return 0;
	layer->base.entries =
		arena_alloc(chain->base.older_entries, most * sizeof(*layer->base.entries));
	layer->files = arena_alloc(chain->arena, most * sizeof(*layer->files));
	return layer->base.entries != NULL && layer->files != NULL ? 0 : -ENOMEM;
}

/* Moves the items together: a file that came later has no place in the oldest list. */
static void pack_items(struct collected *c)
{
	struct probackup_layer *layer = layer_of(c);
	struct layer_entry *entries = layer->base.entries;
	uint32_t to = 0, file = 0;

	if (c->stored == c->load->wanted.count)
		return;
	for (uint32_t from = 0; to < c->count; from++) {
		if (entries[from].path == NULL)
			continue;
		entries[to] = entries[from];
		if (entries[to].file != LAYER_NO_FILE) {
			entries[to].file = file;
			layer->files[file++] = layer->files[from];
		}
		to++;
	}
}

static int sort_items(struct collected *c)
{
	struct load *load = c->load;
	_cleanup_free_ struct load_item **sorted = NULL;

	sorted = manifest_sort(load->older, c->count, is_before);
	if (sorted == NULL)
		return -ENOMEM;
	return manifest_build(layer_of(c), sorted, c->count, load->chain->arena,
			      load->chain->base.older_entries);
}

static int build_older(struct collected *c)
{
	struct probackup_layer *layer = layer_of(c);

	if (c->way == COLLECT_TO_SORT)
		return sort_items(c);
	if (c->way == COLLECT_TO_NUMBER)
		pack_items(c);
	layer->base.entry_count = c->count;
	layer->file_count = c->stored;
	return 0;
}

static int read_older(struct load *load, struct content_sums *ret)
{
	struct collected c = {.load = load};
	enum collect_way way = load->member == 0 ? COLLECT_TO_NUMBER : COLLECT_TO_SORT;
	int rc = begin_older(&c, way, load->wanted.count);

	lists_add_member(load->kept);
	if (rc == 0)
		rc = load_read_list(load, take_older_line, &c, ret);
	if (rc == 0)
		rc = older_check_wanted(load);
	if (rc == 0)
		rc = build_older(&c);
	lists_end_member(load->kept, ret->digest, ret->lines);
	return rc;
}

/* The lines of one member as an earlier mount has kept them, from the one numbered *number on. */
static int take_kept(struct load *load, const struct lists *lists, uint32_t lines, uint32_t *number)
{
	struct collected c = {.load = load};
	struct content_line line;
	int rc = begin_older(&c, COLLECT_TO_NEXT, lines);

	for (; lines > 0 && rc == 0; lines--) {
		struct wanted *wanted = &load->wanted.items[lists_line(lists, (*number)++, &line)];

		/* For messages: the key of an external directory's file may be longer. */
		line.path_len = MIN(wanted->path_len, CONTENT_PATH_MAX);
		memcpy(line.path, wanted->path, line.path_len);
		line.path[line.path_len] = '\0';
		rc = take_wanted(&c, &line, wanted, load->e);
	}
	if (rc == 0)
		rc = build_older(&c);
	return rc;
}

static int take_all_kept(struct load *load, const struct lists *lists, struct content_sums *sums)
{
	uint32_t number = 0;
	int rc = 0;

	for (uint32_t m = 0; m < lists->members && rc == 0; m++) {
		const uint8_t *digest;
		uint32_t lines = lists_member_lines(lists, m, &digest);

		load->member--;
		memcpy(sums[load->member].digest, digest, LISTS_DIGEST);
		rc = take_kept(load, lists, lines, &number);
	}
	return rc;
}

static int read_all(struct load *load, struct content_sums *sums)
{
	int rc = chain_lock_end(load->chain, load->e);

	while (rc == 0 && load->member > 0) {
		load->member--;
		rc = read_older(load, &sums[load->member]);
	}
	return rc;
}

/* What an earlier mount has kept, if it is whole; of which lists it came is for its key to tell. */
static bool parse_found(const struct load *load, struct lists_found *found, struct lists *ret)
{
	uint8_t *bytes = TAKE_PTR(found->bytes);

	return bytes != NULL && lists_parse(ret, bytes, found->len, load->member, &load->wanted);
}

int older_load(struct load *load, struct content_sums *sums)
{
	_cleanup_lists_found_ struct lists_found found;
	_cleanup_lists_ struct lists old = {0};
	struct lists *kept = load->kept;
	/* A full backup has all that is wanted: if that alone is too much, nothing is collected. */
	bool pays =
		lists_pay(load->wanted.count, (uint64_t)load->member * sums[load->member].lines);
	bool has_old, has_key;
	int rc = arena_new(&load->chain->base.older_entries);

	chain_lock_found(load->chain, &found);
	has_old = parse_found(load, &found, &old);
	has_key =
		(pays || has_old) && lists_key(load->chain, found.stamps, load->external,
					       sums[load->member].digest, &load->wanted, kept->key);
	if (rc == 0 && has_key && has_old && memcmp(old.key, kept->key, LISTS_KEY) == 0) {
		kept->failed = true; /* it is there already */
		return take_all_kept(load, &old, sums);
	}
	if (load->member > 1)
		load_reserve(&load->older, &load->older_cap, load->wanted.count);
	kept->failed = !has_key || !pays;
	return rc == 0 ? read_all(load, sums) : rc;
}
