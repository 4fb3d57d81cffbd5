/*
 * tests/crash/recover.c: see recover.h.
 */
#include "recover.h"

#include "base/util.h"
#include "record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NEW_NAME "zz"
#define NEW_OFF	 8242u

int recovery_init(struct recovery *r, struct layer_chain *chain, const char *path)
{
	struct core_options options = {.kind = IO_KIND_SYNC,
				       .slots = 16,
				       .buffer_bytes = 3 * (size_t)BUFPOOL_LARGE,
				       .index_memory = 1u << 20};
	struct errmsg e = {0};
	int rc = core_new(&r->core, &options, &e);

	if (rc < 0) {
		(void)fprintf(stderr, "crash: %s\n", errmsg_text(&e, rc));
		return rc;
	}
	disk_init(&r->disk, path);
	r->chain = chain;
	return 0;
}

void recovery_free(struct recovery *r)
{
	core_free(&r->core);
	disk_free(&r->disk);
}

void found_free(struct found *f)
{
	for (unsigned i = 0; i < f->file_count; i++)
		free(f->files[i].bytes);
	*f = (struct found){0};
}

static bool same_file(const struct found_file *x, const struct found_file *y)
{
	return strcmp(x->name, y->name) == 0 && x->id == y->id && x->size == y->size &&
	       x->nlink == y->nlink && memcmp(x->bytes, y->bytes, x->size) == 0;
}

bool found_equal(const struct found *a, const struct found *b)
{
	if (a->rc != b->rc || a->file_count != b->file_count)
		return false;
	for (unsigned i = 0; i < a->file_count; i++) {
		bool match = false;

		for (unsigned j = 0; j < b->file_count && !match; j++)
			match = same_file(&a->files[i], &b->files[j]);
		if (!match)
			return false;
	}
	return true;
}

static void __attribute__((format(printf, 2, 3))) damaged(struct found *f, const char *fmt, ...)
{
	va_list ap;

	f->damaged = true;
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

static void look_at(struct core *c, struct file *file, const char *name, struct found *ret)
{
	struct found_file *f = &ret->files[ret->file_count];
	struct stat st;

	overlay_getattr(c->ov, file, &st);
	if (ret->file_count == ORACLE_NAMES || strlen(name) >= sizeof(f->name) ||
	    (uint64_t)st.st_size > ORACLE_BYTES) {
		damaged(ret, "'%s' is a name too much, or too large", name);
		return;
	}
	*f = (struct found_file){.id = overlay_file_id(file), .size = (uint64_t)st.st_size};
	f->nlink = (uint32_t)st.st_nlink;
	memcpy(f->name, name, strlen(name));
	f->bytes = calloc(1, f->size + 1);
	if (!f->bytes)
		abort();
	ret->file_count++;
	if (core_read(c, file, 0, (uint32_t)f->size + 1, f->bytes) != (int64_t)f->size)
		damaged(ret, "'%s' cannot be read", name);
}

static void look_below(struct core *c, struct file *dir, const char *prefix, struct found *ret)
{
	struct overlay_dir list;

	if (overlay_list(c->ov, dir, &list) < 0)
		abort();
	for (size_t i = 2; i < list.count; i++) {
		char path[300];

		(void)snprintf(path, sizeof(path), "%.20s%.255s", prefix, list.entries[i].name);
		if (S_ISDIR(list.entries[i].mode)) {
			strcat(path, "/");
			look_below(c, list.entries[i].file, path, ret);
		} else {
			look_at(c, list.entries[i].file, path, ret);
		}
	}
	overlay_list_free(&list);
}

void recovery_look(struct core *c, struct found *ret)
{
	look_below(c, overlay_root(c->ov), "", ret);
}

/* Opens, looks, closes; what was done to the disk goes into trace. */
static void open_once(struct recovery *r, struct trace *trace, struct found *ret)
{
	struct errmsg e = {0};

	record_start(r->disk.path, r->disk.now, trace);
	ret->rc = core_open(&r->core, r->chain, r->disk.path, &e);
	if (ret->rc < 0)
		(void)snprintf(ret->text, sizeof(ret->text), "%.190s", errmsg_text(&e, ret->rc));
	else
		recovery_look(&r->core, ret);
	core_close(&r->core);
	record_stop();
}

static const struct sim_inode *child(const struct sim *s, const struct sim_inode *n, uint32_t i)
{
	return s->inodes[n->entries[i].ino];
}

/* A data file whose id no file has is space that nobody will ever free. */
static void check_strays(const struct sim *s, const struct sim_inode *dir, struct found *f)
{
	for (uint32_t i = 0; i < dir->entry_count; i++) {
		const char *name = dir->entries[i].name;
		uint64_t id = strtoull(name, NULL, 16);
		bool known = false;

		if (child(s, dir, i)->dir) {
			check_strays(s, child(s, dir, i), f);
			continue;
		}
		if (strlen(name) != 16)
			continue;
		for (unsigned n = 0; n < f->file_count; n++)
			known |= f->files[n].id == id;
		if (!known)
			damaged(f, "data file %s belongs to no file", name);
	}
}

static void check_second(const struct trace *second, size_t from, struct found *f)
{
	for (size_t i = from; i < second->count; i++) {
		const struct trace_op *op = &second->ops[i];

		if (op->lock || op->code == TRACE_SYNC)
			continue;
		damaged(f, "the second recovery changes the disk: %s",
			op->name ? op->name : "content of a file");
	}
}

static void add_new(struct core *c, struct found *f)
{
	struct overlay_create make = {.mode = S_IFREG | 0600, .uid = getuid(), .gid = getgid()};
	struct file *file;
	uint8_t buf[100];
	int rc = CORE_RETRY(c, overlay_create(c->ov, overlay_root(c->ov), NEW_NAME, &make, &file));

	memset(buf, 0x5a, sizeof(buf));
	if (rc == 0)
		rc = core_write(c, file, NEW_OFF, sizeof(buf), buf);
	if (rc == 0)
		rc = core_sync(c, file, false);
	core_drain(c);
	if (rc < 0)
		damaged(f, "a new file after recovery: %s", strerror(-rc));
}

/* Everything is as before, and the new file has the bytes it was given, without any from before. */
static void check_new(const struct found *before, const struct found *now, struct found *f)
{
	unsigned same = 0;

	for (unsigned i = 0; i < now->file_count; i++) {
		const struct found_file *a = &now->files[i];
		bool good = strcmp(a->name, NEW_NAME) == 0 && a->size == NEW_OFF + 100;

		for (size_t n = 0; good && n < a->size; n++)
			good = a->bytes[n] == (n < NEW_OFF ? 0 : 0x5a);
		for (unsigned j = 0; j < before->file_count && !good; j++)
			good = same_file(a, &before->files[j]);
		same += good;
	}
	if (now->rc < 0 || same != before->file_count + 1)
		damaged(f, "after recovery the diff cannot be used: %s", now->text);
}

/* The recovered diff is used, and opened once more. */
static void use_it(struct recovery *r, struct found *f)
{
	struct found now = {0};
	struct trace trace = {0};
	struct errmsg e = {0};
	int rc;

	record_start(r->disk.path, r->disk.now, &trace);
	rc = core_open(&r->core, r->chain, r->disk.path, &e);
	if (rc == 0)
		add_new(&r->core, f);
	core_close(&r->core);
	record_stop();
	open_once(r, &trace, &now);
	if (!f->damaged)
		check_new(f, &now, f);
	found_free(&now);
	trace_cut(&trace, 0);
}

void recovery_run(struct recovery *r, const struct sim *image, struct trace *trace,
		  struct found *ret)
{
	struct trace own = {0};
	struct found again = {0};

	*ret = (struct found){0};
	disk_set(&r->disk, image);
	open_once(r, trace ? trace : &own, ret);
	r->runs++;
	if (ret->rc == 0 && !ret->damaged) {
		size_t from = own.count;

		open_once(r, &own, &again);
		if (!found_equal(ret, &again))
			damaged(ret, "the second recovery shows something else");
		check_second(&own, from, ret);
		check_strays(r->disk.now, r->disk.now->inodes[0], ret);
		found_free(&again);
		if (r->runs % 16 == 0 && !ret->damaged)
			use_it(r, ret);
	}
	if (r->runs % 500 == 0) {
		r->checked++;
		if (!disk_check(&r->disk))
			abort();
	}
	trace_cut(&own, 0);
}
