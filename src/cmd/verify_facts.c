/*
 * cmd/verify_facts.c: no sum covers backup.control, but others know most of what it says: backup_label, the
 * control file, the other members of the chain, the settings of the instance, and the WAL (verify_wal.c).
 */
#include "base/sys.h"
#include "base/util.h"
#include "cmd/verify.h"
#include "pg/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define LABEL_MAX	(64u << 10)
#define SEGMENT_DEFAULT (16u << 20)

const struct layer_entry *verify_find_entry(const struct layer *layer, const char *path)
{
	uint32_t from = 0, to = layer->entry_count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		int order = strcmp(layer->entries[middle].path, path);

		if (order == 0)
			return layer->entries[middle].file != LAYER_NO_FILE ? &layer->entries[middle]
									    : NULL;
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

int verify_open_entry(const struct layer *layer, const struct layer_entry *entry)
{
	return sys_open_beneath(layer->dirfd, layer->ops->name(layer, entry->file),
				O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/* ---- backup_label ---- */

static void compare_start(struct verify_facts *f, const char *text)
{
	const char *line = strstr(text, "START WAL LOCATION: ");
	unsigned high, low, timeline = 0;
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];
	uint64_t lsn;

	if (line == NULL || sscanf(line, "START WAL LOCATION: %8X/%8X (file %8X", &high, &low,
				   &timeline) < 2) {
		verify_say(f->v, f->info->id, false, "backup_label has no start of WAL");
		return;
	}
	lsn = (uint64_t)high << 32 | low;
	if (lsn != f->info->start_lsn)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it starts at %s, backup_label at %s",
			   pg_lsn_text(f->info->start_lsn, a), pg_lsn_text(lsn, b));
	f->of_primary = strstr(text, "\nBACKUP FROM: standby") == NULL;
	line = strstr(text, "START TIMELINE: ");
	if (line != NULL)
		(void)sscanf(line, "START TIMELINE: %u", &timeline);
	if (timeline != 0 && timeline != f->info->timeline)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it is of timeline %u, backup_label of %u",
			   f->info->timeline, timeline);
}

static int check_label(struct verify_facts *f)
{
	const struct layer_entry *entry = verify_find_entry(f->target, "backup_label");
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	int64_t n;

	if (entry == NULL) {
		verify_say(f->v, f->info->id, false, "it has no backup_label");
		return 0;
	}
	text = calloc(1, LABEL_MAX + 1);
	if (text == NULL)
		return -ENOMEM;
	fd = verify_open_entry(f->target, entry);
	n = fd < 0 ? fd : sys_pread_full(fd, text, LABEL_MAX, 0);
	if (n >= 0) /* else reading the file itself will say so */
		compare_start(f, text);
	return 0;
}

/* ---- the control file ---- */

static void read_control(struct verify_facts *f)
{
	const struct layer_entry *entry = verify_find_entry(f->target, "global/pg_control");
	uint8_t data[PG_CONTROL_FILE_SIZE];
	struct errmsg why = {""};
	_cleanup_close_ int fd = -1;
	int64_t n;

	if (entry == NULL) {
		verify_say(f->v, f->info->id, false, "it has no global/pg_control");
		return;
	}
	fd = verify_open_entry(f->target, entry);
	n = fd < 0 ? fd : sys_pread_full(fd, data, sizeof(data), 0);
	f->has_control = n >= 0 && pg_control_parse(data, (size_t)n, &f->control, &why) == 0;
}

static void compare_control(struct verify_facts *f)
{
	const struct pg_control *c = &f->control;
	unsigned major = pg_major_of_catalog(c->catalog_version);

	for (unsigned i = 0; i < f->chain->count; i++) {
		if (f->chain->layers[i]->page_checksums == (c->checksum_version != 0))
			continue;
		verify_say(f->v, f->chain->layers[i]->id, false,
			   "backup.control says that its pages have %schecksums, pg_control of backup "
			   "%s that they have %s",
			   f->chain->layers[i]->page_checksums ? "" : "no ", f->info->id,
			   c->checksum_version != 0 ? "them" : "none");
	}
	if (major != 0 && f->chain->pg_version != 0 && major != f->chain->pg_version)
		verify_say(f->v, f->info->id, false,
			   "backup.control says that it is of PostgreSQL %u, pg_control of %u",
			   f->chain->pg_version, major);
}

/* ---- the other members, the settings of the instance ---- */

static const struct backup_info *find_info(const struct verify_facts *f, const char *id)
{
	for (size_t i = 0; i < f->v->list.count; i++) {
		const struct backup_info *info = &f->v->list.items[i];

		if (strcmp(info->instance, f->chain->instance) == 0 && strcmp(info->id, id) == 0)
			return info;
	}
	return NULL;
}

static void compare_members(struct verify_facts *f)
{
	const struct backup_info *older = NULL;
	char a[PG_LSN_TEXT_SIZE], b[PG_LSN_TEXT_SIZE];

	for (unsigned i = 0; i < f->chain->count; i++) {
		const struct backup_info *info = find_info(f, f->chain->layers[i]->id);

		if (older != NULL && info != NULL && info->start_lsn < older->start_lsn)
			verify_say(f->v, info->id, false,
				   "it starts at %s, before backup %s that it is made on (%s)",
				   pg_lsn_text(info->start_lsn, a), older->id,
				   pg_lsn_text(older->start_lsn, b));
		older = info;
	}
}

static int compare_instance(struct verify_facts *f)
{
	struct wal_list list = {0};
	struct errmsg e = {""};
	int rc = -ENOTDIR;

	if (f->v->store->driver->wal_list != NULL)
		rc = f->v->store->driver->wal_list(f->v->store, f->chain->instance, &e, &list);
	if (rc == -ENOTDIR || rc == -ENOMEM)
		return rc == -ENOMEM ? rc : 0;
	if (rc < 0) {
		verify_say(f->v, f->info->id, false, "%s", errmsg_text(&e, rc));
		return 0;
	}
	f->has_archive = true;
	if (f->has_control && list.system_identifier != 0 &&
	    list.system_identifier != f->control.system_identifier)
		verify_say(f->v, f->info->id, false,
			   "it is of another cluster than its instance: system identifier %" PRIu64
			   ", not %" PRIu64,
			   f->control.system_identifier, list.system_identifier);
	if (f->has_control && list.segment_size != f->control.wal_segment_size)
		verify_say(f->v, f->info->id, false,
			   "its WAL segments have %u bytes, those of its instance %u",
			   f->control.wal_segment_size, list.segment_size);
	if (!f->has_control) {
		f->system_identifier = list.system_identifier;
		f->segment_size = list.segment_size;
	}
	wal_list_free(&list);
	return 0;
}

int verify_facts(struct verify *v, const struct layer_chain *chain, const struct backup_info *info)
{
	struct verify_facts f = {.v = v,
			  .chain = chain,
			  .target = chain->layers[chain->count - 1],
			  .info = info,
			  .segment_size = SEGMENT_DEFAULT};
	int rc = check_label(&f);

	read_control(&f);
	if (f.has_control) {
		compare_control(&f);
		f.system_identifier = f.control.system_identifier;
		if (pg_wal_segment_size_is_valid(f.control.wal_segment_size))
			f.segment_size = f.control.wal_segment_size;
	}
	compare_members(&f);
	if (rc == 0)
		rc = compare_instance(&f);
	if (rc == 0)
		rc = verify_wal(&f);
	return rc;
}
