/*
 * tests/tools/ledger_model.c: what the entries of a ledger say, as a model.
 */
#include "ledger.h"

#include "rng.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT32_C(0x1ed6e501)

const char *const ledger_names[NAMES] = {"n0", "n1",   "n2",	 "n3", "n4",
					 "n5", "temp", "stream", "c0", "c1"};

struct sector_head {
	uint32_t magic, thread, object, sector, version;
};

void *must_alloc(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (p == NULL) {
		(void)fprintf(stderr, "ledger: no memory\n");
		exit(2);
	}
	return p;
}

bool object_is_stream(const struct object *ob)
{
	return ob->name == NAME_STREAM;
}

/* ---- content ---- */

void sector_fill(const struct object *ob, uint32_t sector, uint32_t version, void *buf)
{
	struct sector_head head = {MAGIC, ob->thread, ob->id, sector, version};
	uint64_t key = rng_mix(((uint64_t)ob->id << 32 | sector) * 31 + ob->thread);

	if (version == VERSION_HOLE) {
		memset(buf, 0, SECTOR);
	} else if (version == VERSION_BASE) {
		memcpy(buf, ob->base + (size_t)sector * SECTOR, SECTOR);
	} else {
		rng_fill(key + version, buf, SECTOR);
		memcpy(buf, &head, sizeof(head));
	}
}

bool sector_parse(const void *buf, uint32_t *ret_object, uint32_t *ret_version)
{
	struct sector_head head;

	memcpy(&head, buf, sizeof(head));
	if (head.magic != MAGIC)
		return false;
	*ret_object = head.object;
	*ret_version = head.version;
	return true;
}

void stream_fill(const struct object *ob, uint64_t off, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		uint64_t at = off + i;

		p[i] = (uint8_t)(rng_mix(((uint64_t)ob->id << 32 | at >> 3) * 31 + ob->thread) >>
				 (at & 7) * 8);
		p[i] |= 1; /* never a zero */
	}
}

/* ---- objects ---- */

static struct object *object_new(struct owner *o, uint32_t id, unsigned name)
{
	struct object *ob = must_alloc(NULL, sizeof(*ob));

	*ob = (struct object){.id = id, .thread = o->index, .name = (uint8_t)name};
	ob->synced = must_alloc(NULL, SECTORS_MAX * sizeof(*ob->synced));
	memset(ob->synced, 0, SECTORS_MAX * sizeof(*ob->synced));
	if (o->object_count == o->object_cap) {
		o->object_cap = o->object_cap * 2 + 16;
		o->objects = must_alloc(o->objects, o->object_cap * sizeof(struct object *));
	}
	o->objects[o->object_count++] = ob;
	if (id >= o->next_object)
		o->next_object = id + 1;
	return ob;
}

struct object *owner_object(const struct owner *o, uint32_t id)
{
	for (uint32_t i = o->object_count; i-- > 0;)
		if (o->objects[i]->id == id)
			return o->objects[i];
	return NULL;
}

static void object_change(struct object *ob, struct change change)
{
	if (ob->count == ob->cap) {
		ob->cap = ob->cap * 2 + 16;
		ob->changes = must_alloc(ob->changes, ob->cap * sizeof(struct change));
	}
	ob->changes[ob->count++] = change;
	ob->size = change.size;
}

static void cut(uint32_t *versions, uint64_t size)
{
	for (uint64_t s = (size + SECTOR - 1) / SECTOR; s < SECTORS_MAX; s++)
		versions[s] = VERSION_HOLE;
}

static void object_synced(struct object *ob)
{
	for (uint32_t i = 0; i < ob->count; i++) {
		const struct change *c = &ob->changes[i];

		if (c->kind == ENTRY_TRUNCATE && c->size < ob->synced_size)
			cut(ob->synced, c->size);
		for (uint32_t s = 0; c->kind == ENTRY_WRITE && s < c->count; s++)
			ob->synced[c->first + s] = c->version;
		ob->synced_size = c->size;
	}
	ob->count = 0;
}

/* ---- names ---- */

static void apply_name(uint32_t *names, const struct name_change *c)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->name[i] < NAMES)
			names[c->name[i]] = c->object[i];
}

void owner_names_after(const struct owner *o, uint32_t changes, uint32_t ret_names[NAMES])
{
	memcpy(ret_names, o->synced_names, sizeof(o->synced_names));
	for (uint32_t i = 0; i < changes; i++)
		apply_name(ret_names, &o->changes[i]);
}

static void change_name(struct owner *o, struct name_change c)
{
	if (o->count == o->cap) {
		o->cap = o->cap * 2 + 16;
		o->changes = must_alloc(o->changes, o->cap * sizeof(struct name_change));
	}
	o->changes[o->count++] = c;
	apply_name(o->names, &c);
	for (unsigned i = 0; i < 2; i++) {
		if (c.name[i] < NAMES && c.object[i] != 0)
			owner_object(o, c.object[i])->linked = o->count;
	}
}

/* ---- entries ---- */

static bool apply_found(struct owner *o, const struct entry *e)
{
	struct object *ob = owner_object(o, e->object);

	switch (e->kind) {
	case ENTRY_FOUND_THREAD:
		o->next_object = e->object;
		o->next_version = e->version;
		return true;
	case ENTRY_FOUND_NAME:
		if (e->name >= NAMES || ob != NULL)
			return false;
		/* A temporary one that was renamed is told by its new name. */
		ob = object_new(o, e->object, e->name);
		ob->size = ob->synced_size = e->size;
		o->names[e->name] = o->synced_names[e->name] = e->object;
		return true;
	default:
		if (ob == NULL || e->first + e->count > SECTORS_MAX)
			return false;
		for (uint32_t i = 0; i < e->count; i++)
			ob->synced[e->first + i] = e->version;
		return true;
	}
}

static bool apply_content(struct owner *o, const struct entry *e)
{
	struct object *ob = owner_object(o, e->object);
	struct change c = {e->kind, e->first, e->count, e->version, e->size};

	if (ob == NULL)
		return false;
	if (e->kind == ENTRY_WRITE) {
		if (e->first + e->count > SECTORS_MAX)
			return false;
		c.size = (uint64_t)(e->first + e->count) * SECTOR;
		c.size = c.size > ob->size ? c.size : ob->size;
		if (e->version >= o->next_version)
			o->next_version = e->version + 1;
	}
	object_change(ob, c);
	return true;
}

static bool apply_acknowledged(struct owner *o, const struct entry *e)
{
	struct object *ob = owner_object(o, e->object);

	o->acknowledged++;
	if (e->kind == ENTRY_DIR_SYNCED) {
		o->durable = o->count;
		return true;
	}
	if (ob == NULL)
		return false;
	object_synced(ob);
	if (ob->linked > o->durable)
		o->durable = ob->linked;
	return true;
}

static bool apply_names(struct owner *o, const struct entry *e)
{
	if (e->name >= NAMES)
		return false;
	switch (e->kind) {
	case ENTRY_CREATE:
		if (owner_object(o, e->object) != NULL || o->names[e->name] != 0)
			return false;
		(void)object_new(o, e->object, e->name);
		change_name(o, (struct name_change){{e->name, NAMES}, {e->object, 0}});
		return true;
	case ENTRY_RENAME:
		if (e->first >= NAMES || o->names[e->name] == 0)
			return false;
		change_name(o, (struct name_change){{(uint8_t)e->first, e->name},
						    {o->names[e->name], 0}});
		return true;
	default:
		if (o->names[e->name] == 0)
			return false;
		change_name(o, (struct name_change){{e->name, NAMES}, {0, 0}});
		return true;
	}
}

bool owner_apply(struct owner *o, const struct entry *e)
{
	switch (e->kind) {
	case ENTRY_WRITE:
	case ENTRY_APPEND:
	case ENTRY_TRUNCATE:
		return apply_content(o, e);
	case ENTRY_CREATE:
	case ENTRY_RENAME:
	case ENTRY_UNLINK:
		return apply_names(o, e);
	case ENTRY_SYNCED:
	case ENTRY_DIR_SYNCED:
		return apply_acknowledged(o, e);
	case ENTRY_FOUND_THREAD:
	case ENTRY_FOUND_NAME:
	case ENTRY_FOUND_RUN:
		return apply_found(o, e);
	default:
		return false;
	}
}

void owner_init(struct owner *o, unsigned index)
{
	*o = (struct owner){
		.index = (uint8_t)index, .next_object = 1, .next_version = VERSION_BASE + 1};
}

/* ---- what the backup has ---- */

static bool load(struct object *ob, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0) {
		ob->base_len = (size_t)st.st_size;
		ob->base = must_alloc(NULL, ob->base_len + 1);
		good = pread(fd, ob->base, ob->base_len, 0) == (ssize_t)ob->base_len;
	}
	(void)close(fd);
	return good;
}

bool owner_load_base(struct owner *o, const char *dir)
{
	char path[4096];

	/* Their objects have the numbers of their names; one may have lost its name, which may not be durable. */
	for (unsigned n = NAME_CHAIN; n < NAMES; n++) {
		struct object *ob = owner_object(o, n);

		if (ob == NULL)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%u.%u", dir, o->index, n);
		if (!load(ob, path)) {
			(void)fprintf(stderr, "ledger: %s cannot be read\n", path);
			return false;
		}
	}
	return true;
}
