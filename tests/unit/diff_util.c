/*
 * tests/unit/diff_util.c: see diff_util.h.
 */
#include "diff_util.h"

#include <sys/stat.h>

struct env env;

static const char *const backups[] = {"FULL1", "DELTA2"};

/* ---- the namespace ---- */

static struct env_inode *inode(uint64_t id)
{
	for (unsigned i = 0; i < ENV_NAMES; i++)
		if (env.inodes[i].id == id)
			return &env.inodes[i];
	return NULL;
}

static struct env_name *name_slot(const char *name)
{
	for (unsigned i = 0; i < ENV_NAMES; i++)
		if (strcmp(env.names[i].name, name) == 0)
			return &env.names[i];
	return NULL;
}

static void add_inode(uint64_t id, const struct diff_attr *attr)
{
	struct env_inode *in = inode(0);

	MUST(in);
	*in = (struct env_inode){.id = id, .attr = *attr};
}

static int link_name(const char *name, uint64_t id)
{
	struct env_name *slot = name_slot("");

	if (name_slot(name) || !inode(id))
		return -EUCLEAN;
	MUST(slot);
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	slot->id = id;
	inode(id)->names++;
	return 0;
}

static int unlink_name(const char *name)
{
	struct env_name *slot = name_slot(name);

	if (!slot)
		return -EUCLEAN;
	inode(slot->id)->names--;
	*slot = (struct env_name){0};
	return 0;
}

static int apply(void *ctx, const struct diff_record *r)
{
	char name[32], name2[32];
	uint64_t id;
	int rc;

	snprintf(name, sizeof(name), "%.*s", (int)r->name_len, r->name ? r->name : "");
	snprintf(name2, sizeof(name2), "%.*s", (int)r->name2_len, r->name2 ? r->name2 : "");
	switch (r->type) {
	case DIFF_RECORD_INODE:
		if (inode(r->id))
			return -EUCLEAN;
		add_inode(r->id, &r->attr);
		return 0;
	case DIFF_RECORD_ATTR:
		if (inode(r->id))
			inode(r->id)->attr = r->attr;
		return 0;
	case DIFF_RECORD_LINK:
		return link_name(name, r->id);
	case DIFF_RECORD_UNLINK:
		return unlink_name(name);
	case DIFF_RECORD_RENAME:
		id = env_id(name);
		if (name_slot(name2))
			unlink_name(name2);
		rc = unlink_name(name);
		return rc < 0 ? rc : link_name(name2, id);
	default:
		return -EUCLEAN;
	}
}

static bool is_base(const char *name)
{
	return strncmp(name, "base", 4) == 0;
}

static int dump(void *ctx, int (*emit)(void *sink, const struct diff_record *record), void *sink)
{
	char base[32];
	int rc = 0;

	for (unsigned i = 0; i < ENV_NAMES && rc == 0; i++) {
		struct diff_record r = {.id = env.inodes[i].id, .attr = env.inodes[i].attr};

		r.type = r.id & DIFF_ID_BASE ? DIFF_RECORD_ATTR : DIFF_RECORD_INODE;
		if (r.id && env.inodes[i].names)
			rc = emit(sink, &r);
	}
	for (unsigned i = 0; i < BASE_FILES && rc == 0; i++) {
		struct diff_record r = {.type = DIFF_RECORD_UNLINK, .dir = 1, .name = base};

		r.name_len = (uint32_t)snprintf(base, sizeof(base), "base%u", i);
		if (env_id(base) != (DIFF_ID_BASE | (i + 1)))
			rc = emit(sink, &r);
	}
	for (unsigned i = 0; i < ENV_NAMES && rc == 0; i++) {
		const struct env_name *n = &env.names[i];
		struct diff_record r = {
			.type = DIFF_RECORD_LINK, .dir = 1, .id = n->id, .name = n->name};

		r.name_len = (uint32_t)strlen(n->name);
		if (n->name[0] && !(is_base(n->name) && n->id & DIFF_ID_BASE))
			rc = emit(sink, &r);
	}
	return rc;
}

static bool is_named(void *ctx, uint64_t id)
{
	return inode(id) && inode(id)->names > 0;
}

static uint64_t base_size(void *ctx, uint64_t id)
{
	return id & DIFF_ID_BASE ? BASE_BLOCKS * DIFF_BLCKSZ : 0;
}

static void bare_chain(void)
{
	struct diff_attr attr = {.mode = S_IFREG | 0600};
	char name[32];

	memset(env.names, 0, sizeof(env.names));
	memset(env.inodes, 0, sizeof(env.inodes));
	for (unsigned i = 0; i < BASE_FILES; i++) {
		snprintf(name, sizeof(name), "base%u", i);
		add_inode(DIFF_ID_BASE | (i + 1), &attr);
		MUST(link_name(name, DIFF_ID_BASE | (i + 1)) == 0);
	}
}

/* ---- open and close ---- */

void env_setup(void)
{
	unit_setup();
	memset(&env, 0, sizeof(env));
	snprintf(env.path, sizeof(env.path), "%s/diff", unit_path);
	env.binding = (struct diff_binding){.kind = "pg_probackup",
					    .store = "/srv/store",
					    .instance = "main",
					    .backups = backups,
					    .backup_count = 2};
	memset(env.binding.content_hash, 7, sizeof(env.binding.content_hash));
	env.engine.kind = IO_KIND_SYNC;
	env.slots = 64;
	env.ns = (struct diff_namespace){
		.apply = apply, .dump = dump, .is_named = is_named, .base_size = base_size};
	diff_test_defect = DIFF_DEFECT_NONE;
	env_fail(0, false, 0);
}

static void close_all(void)
{
	diff_close(env.diff);
	env.diff = NULL;
	while (env.io && !io_idle(env.io))
		io_wait(env.io, -1);
	vfd_cache_free(env.vfds);
	io_engine_free(env.io);
	env.vfds = NULL;
	env.io = NULL;
}

void env_teardown(void)
{
	sys_set_hook(NULL);
	if (env.diff)
		env_kill();
	unit_teardown();
}

int env_try(bool create)
{
	int rc;

	memset(&env.e, 0, sizeof(env.e));
	bare_chain();
	MUST(io_engine_new(&env.engine, &env.e, &env.io) == 0);
	MUST(vfd_cache_new(env.io, env.slots, &env.vfds) == 0);
	if (env.before_open)
		env.before_open();
	rc = diff_open(env.path, create, &env.binding, &env.options, &env.e, &env.diff);
	if (rc == 0)
		rc = diff_recover(env.diff, &env.ns, &env.e);
	if (rc == 0)
		rc = diff_start(env.diff, env.io, env.vfds);
	if (rc < 0)
		close_all();
	return rc;
}

void env_open(void)
{
	int rc = env_try(true);

	ck_assert_msg(rc == 0, "%s", errmsg_text(&env.e, rc));
}

void env_drain(void)
{
	while (!io_idle(env.io))
		io_wait(env.io, -1);
}

void env_close(void)
{
	ck_assert_int_eq(env_sync("*"), 0);
	env_drain();
	ck_assert(diff_is_idle(env.diff));
	ck_assert_int_eq(diff_checkpoint(env.diff), 0);
	close_all();
}

void env_kill(void)
{
	env_drain();
	close_all();
}

/* ---- names ---- */

uint64_t env_id(const char *name)
{
	struct env_name *slot = name_slot(name);

	return slot && slot->name[0] ? slot->id : 0;
}

struct diff_file *env_file(const char *name)
{
	struct diff_file *file;
	uint64_t id = env_id(name);

	MUST(id != 0);
	if (diff_file_get(env.diff, id, base_size(NULL, id), &file) < 0)
		return NULL;
	return file;
}

struct room {
	struct diff_room_wait wait;
	bool ready;
};

static void room_ready(struct diff_room_wait *wait)
{
	((struct room *)(void *)wait)->ready = true;
}

void env_wait_for_room(void)
{
	struct room room = {.wait.ready = room_ready};

	diff_wait_room(env.diff, &room.wait);
	while (!room.ready)
		MUST(io_wait(env.io, 10000) > 0);
}

int env_log(const struct diff_record *records, unsigned count)
{
	int rc;

	while ((rc = diff_log(env.diff, records, count)) == -EAGAIN)
		env_wait_for_room();
	for (unsigned i = 0; i < count && rc == 0; i++)
		MUST(apply(NULL, &records[i]) == 0);
	return rc;
}

int env_create(const char *name)
{
	uint64_t id = diff_new_id(env.diff);
	struct diff_record r[2] = {
		{.type = DIFF_RECORD_INODE, .id = id, .attr = {.mode = S_IFREG | 0600}},
		{.type = DIFF_RECORD_LINK,
		 .dir = 1,
		 .id = id,
		 .name = name,
		 .name_len = (uint32_t)strlen(name)},
	};

	return env_log(r, 2);
}

static int log_unlink(const char *name, uint64_t *ret_id)
{
	struct diff_record r = {.type = DIFF_RECORD_UNLINK,
				.dir = 1,
				.name = name,
				.name_len = (uint32_t)strlen(name)};

	*ret_id = env_id(name);
	return env_log(&r, 1);
}

static void drop_nameless(uint64_t id)
{
	struct env_inode *in = id ? inode(id) : NULL;
	struct diff_file *file = id ? diff_file_find(env.diff, id) : NULL;

	if (!in || in->names > 0)
		return;
	*in = (struct env_inode){0};
	if (file)
		diff_file_drop(env.diff, file);
}

void env_drop_nameless(void)
{
	for (unsigned i = 0; i < ENV_NAMES; i++)
		drop_nameless(env.inodes[i].id);
}

int env_unlink_open(const char *name)
{
	uint64_t id;

	return log_unlink(name, &id);
}

int env_unlink(const char *name)
{
	uint64_t id;
	int rc = log_unlink(name, &id);

	if (rc == 0)
		drop_nameless(id);
	return rc;
}

int env_rename(const char *name, const char *name2)
{
	struct diff_record r = {.type = DIFF_RECORD_RENAME,
				.dir = 1,
				.dir2 = 1,
				.name = name,
				.name_len = (uint32_t)strlen(name),
				.name2 = name2,
				.name2_len = (uint32_t)strlen(name2)};
	uint64_t id = env_id(name2);
	int rc = env_log(&r, 1);

	if (rc == 0)
		drop_nameless(id);
	return rc;
}
