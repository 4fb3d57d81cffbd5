/*
 * tests/crash/oracle.c: keeping versions; see oracle.h. The check is in oracle_check.c.
 */
#include "oracle.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

#define BLOCK 8192u

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static void bytes_unref(struct oracle_bytes *b)
{
	if (b && --b->refs == 0)
		free(b);
}

void oracle_init(struct oracle *o)
{
	*o = (struct oracle){.count = 1};
}

void oracle_free(struct oracle *o)
{
	for (unsigned v = 0; v < o->count; v++)
		for (unsigned i = 0; i < o->versions[v].file_count; i++)
			bytes_unref(o->versions[v].files[i].bytes);
	o->count = 0;
}

static struct oracle_version *last(struct oracle *o)
{
	return &o->versions[o->count - 1];
}

void oracle_step(struct oracle *o, size_t at, const char *what)
{
	struct oracle_version *v;

	if (o->count == ORACLE_VERSIONS)
		abort();
	o->versions[o->count] = *last(o);
	o->count++;
	v = last(o);
	v->from = at;
	(void)snprintf(v->what, sizeof(v->what), "%s", what);
	for (unsigned i = 0; i < v->file_count; i++)
		v->files[i].bytes->refs++;
}

static struct oracle_file *file_of(struct oracle *o, uint64_t id)
{
	struct oracle_version *v = last(o);

	for (unsigned i = 0; i < v->file_count; i++)
		if (v->files[i].id == id)
			return &v->files[i];
	abort();
}

/* The bytes for changing. */
static struct oracle_bytes *own(struct oracle_file *f)
{
	struct oracle_bytes *copy;

	if (f->bytes->refs == 1)
		return f->bytes;
	copy = need(malloc(sizeof(*copy)));
	*copy = *f->bytes;
	copy->refs = 1;
	f->bytes->refs--;
	return f->bytes = copy;
}

void oracle_add_file(struct oracle *o, uint64_t id, const char *name, uint64_t size,
		     const uint8_t *data)
{
	struct oracle_version *v = last(o);
	struct oracle_file *f = &v->files[v->file_count++];

	if (v->file_count > ORACLE_FILES || size > ORACLE_BYTES)
		abort();
	*f = (struct oracle_file){
		.id = id, .size = size, .bytes = need(calloc(1, sizeof(*f->bytes)))};
	f->bytes->refs = 1;
	memset(f->bytes->implied, 1, sizeof(f->bytes->implied));
	if (size > 0) {
		memcpy(f->bytes->data, data, size);
		memset(f->bytes->implied, 0, (size + ORACLE_SECTOR - 1) / ORACLE_SECTOR);
	}
	oracle_link(o, id, name);
}

void oracle_write(struct oracle *o, uint64_t id, uint64_t off, uint64_t len, const uint8_t *data)
{
	struct oracle_file *f = file_of(o, id);
	struct oracle_bytes *b = own(f);
	/* the blocks it touches are written whole, with what was there before */
	uint64_t from = off / BLOCK * BLOCK, to = (off + len + BLOCK - 1) / BLOCK * BLOCK;

	memcpy(b->data + off, data, len);
	memset(b->implied + from / ORACLE_SECTOR, 0, (to - from) / ORACLE_SECTOR);
	/* a gap in the block that the file ended in is written too */
	if (off > f->size)
		memset(b->implied + f->size / BLOCK * BLOCK / ORACLE_SECTOR, 0,
		       BLOCK / ORACLE_SECTOR);
	f->size = MAX(f->size, off + len);
}

void oracle_zero(struct oracle *o, uint64_t id, uint64_t off, uint64_t len)
{
	struct oracle_bytes *b = own(file_of(o, id));

	memset(b->data + off, 0, len);
	memset(b->implied + off / ORACLE_SECTOR, 0,
	       (off + len + ORACLE_SECTOR - 1) / ORACLE_SECTOR - off / ORACLE_SECTOR);
}

void oracle_truncate(struct oracle *o, uint64_t id, uint64_t size)
{
	struct oracle_file *f = file_of(o, id);
	struct oracle_bytes *b = own(f);
	size_t first = (size + ORACLE_SECTOR - 1) / ORACLE_SECTOR;

	if (size < f->size) {
		f->epoch++;
		o->cuts[o->cut_count].id = id;
		o->cuts[o->cut_count].size = size;
		o->cuts[o->cut_count++].epoch = f->epoch;
		memset(b->data + size, 0, ORACLE_BYTES - size);
		memset(b->implied + first, 1, ORACLE_SECTORS - first);
	} else if (f->size % BLOCK != 0) {
		/* what lies behind the end in its block is overwritten */
		memset(b->implied + f->size / BLOCK * BLOCK / ORACLE_SECTOR, 0,
		       BLOCK / ORACLE_SECTOR);
	}
	f->size = size;
}

static struct oracle_name *name_of(struct oracle *o, const char *name)
{
	struct oracle_version *v = last(o);

	for (unsigned i = 0; i < v->name_count; i++)
		if (strcmp(v->names[i].name, name) == 0)
			return &v->names[i];
	return NULL;
}

void oracle_link(struct oracle *o, uint64_t id, const char *name)
{
	struct oracle_version *v = last(o);

	if (v->name_count == ORACLE_NAMES || name_of(o, name))
		abort();
	(void)snprintf(v->names[v->name_count].name, sizeof(v->names[0].name), "%s", name);
	v->names[v->name_count++].id = id;
}

void oracle_unlink(struct oracle *o, const char *name)
{
	struct oracle_version *v = last(o);
	struct oracle_name *n = name_of(o, name);

	*n = v->names[--v->name_count];
}

void oracle_rename(struct oracle *o, const char *from, const char *to, bool exchange)
{
	struct oracle_name *a = name_of(o, from), *b = name_of(o, to);
	uint64_t id = a->id;

	if (exchange) {
		a->id = b->id;
		b->id = id;
		return;
	}
	oracle_unlink(o, from);
	if (b)
		oracle_unlink(o, to);
	oracle_link(o, id, to);
}

uint64_t oracle_size(const struct oracle *o, uint64_t id)
{
	return file_of((struct oracle *)(uintptr_t)o, id)->size;
}

const char *oracle_name_of(const struct oracle *o, uint64_t id)
{
	const struct oracle_version *v = &o->versions[o->count - 1];

	for (unsigned i = 0; i < v->name_count; i++)
		if (v->names[i].id == id)
			return v->names[i].name;
	return NULL;
}

void oracle_ack(struct oracle *o, size_t at, unsigned version, uint64_t id, bool all)
{
	if (o->ack_count == ORACLE_VERSIONS)
		abort();
	o->acks[o->ack_count++] =
		(struct oracle_ack){.from = at, .version = version, .id = id, .all = all};
}
