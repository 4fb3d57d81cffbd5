/*
 * layer/probackup/chain.c: opening the members of a chain.
 *
 * The locks are taken the FULL's first, one after the other, as pg_probackup does itself: whoever
 * holds one and waits for another must not be waited for by somebody who has that one. So those of a
 * long chain are taken on all processors as long as nobody has to be waited for, else in order. From
 * then on pg_probackup does not change the files. Of a long chain the target's list is read meanwhile:
 * it is the right one if its content-crc is that of a backup.control that has not changed when its
 * lock is there.
 */
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/drivers.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define APART_LEAST 16u /* members: below, threads for their locks do not pay */

struct open_chain {
	struct probackup_chain *chain;
	const struct catalog_chain *members;
	const struct store_options *options;
	int instance_dirfd;
	int line_fd; /* see lock.h */
	FILE *warnings;
};

/* What check_again is about. */
struct checked_member {
	const struct open_chain *oc;
	unsigned at;
};

/* Of what was read of a backup before its lock was there: does it still hold? */
static bool is_same_backup(const struct probackup_control *a, const struct probackup_control *b)
{
	return a->mode == b->mode && strcmp(a->parent, b->parent) == 0 &&
	       a->start_lsn == b->start_lsn && a->program_version == b->program_version &&
	       a->has_crc == b->has_crc && a->content_crc == b->content_crc;
}

/* Under the latch: is the backup still what the catalog said? A merge may have begun meanwhile. */
static int check_again(void *ctx, struct errmsg *e)
{
	const struct checked_member *checked = ctx;
	const struct open_chain *oc = checked->oc;
	const struct catalog_backup *item = oc->members->items[checked->at];
	const struct catalog_backup *target = oc->members->items[oc->members->count - 1];
	struct probackup_control now = item->control;
	int rc;

	rc = probackup_control_read(oc->chain->members[checked->at].base.dirfd, "backup.control",
				    item->id, &now, e);
	if (rc == 0)
		rc = catalog_check_member(item->id, &now, target->id, oc->options->force, e);
	if (rc == 0 && !is_same_backup(&now, &item->control))
		rc = errmsg_set(e, -ESTALE, "backup %s was changed meanwhile; try again", item->id);
	return rc;
}

/* line_fd as in lock.h. */
static int lock_member(struct open_chain *oc, unsigned at, bool at_once, int *line_fd,
		       struct errmsg *e)
{
	struct probackup_layer *member = &oc->chain->members[at];
	struct checked_member checked = {.oc = oc, .at = at};
	struct lock_request request = {
		.pid = oc->chain->lock_pid,
		.held_ms = LOCK_HELD_MS,
		.empty_ms = LOCK_EMPTY_MS,
		.at_once = at_once,
		.line_fd = line_fd,
	};
	int rc;

	member->lock_problem = 0;
	if (request.pid == 0)
		return check_again(&checked, e);
	rc = lock_share(member->base.dirfd, member->base.id, &request, check_again, &checked,
			&member->lock_problem, e);
	if (rc < 0)
		return rc;
	member->locked = rc > 0;
	return 0;
}

static int open_map(struct probackup_layer *member, struct errmsg *e)
{
	struct stat st;
	int fd, rc;

	fd = sys_open_beneath(member->base.dirfd, "page_header_map", O_RDONLY | O_NONBLOCK);
	if (fd == -ENOENT)
		return 0; /* the data files will be scanned, or there are none */
	rc = fd < 0 ? fd : sys_fstat(fd, &st);
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc < 0) {
		util_closep(&fd);
		return errmsg_set(e, rc, "backup %s: page_header_map: %s", member->base.id,
				  probackup_open_text(rc));
	}
	member->map_fd = fd;
	member->map_size = (uint64_t)st.st_size;
	return 0;
}

/* What is known before anything is locked. */
static int name_member(struct open_chain *oc, unsigned i)
{
	const struct catalog_backup *item = oc->members->items[i];
	struct probackup_layer *member = &oc->chain->members[i];

	member->base.id = arena_strndup(oc->chain->arena, item->id, strlen(item->id));
	member->control = item->control;
	member->base.page_checksums = member->control.checksum_version != 0;
	member->base.unsummed = !member->control.has_crc;
	return member->base.id != NULL ? 0 : -ENOMEM;
}

static int open_dir(const struct open_chain *oc, unsigned i, struct errmsg *e)
{
	struct layer *layer = &oc->chain->members[i].base;

	if (layer->dirfd >= 0)
		return 0; /* the target's, which somebody reads meanwhile */
	layer->dirfd = sys_open_beneath(oc->instance_dirfd, layer->id, O_RDONLY | O_DIRECTORY);
	if (layer->dirfd < 0)
		return errmsg_set(e, layer->dirfd, "backup %s: %s", layer->id,
				  probackup_open_text(layer->dirfd));
	return 0;
}

static int open_member(struct open_chain *oc, unsigned i, bool at_once, int *line_fd,
		       struct errmsg *e)
{
	int rc = open_dir(oc, i, e);

	if (rc == 0)
		rc = lock_member(oc, i, at_once, line_fd, e);
	return rc == 0 ? open_map(&oc->chain->members[i], e) : rc;
}

static int open_member_at_once(void *ctx, unsigned i, struct errmsg *e)
{
	struct open_chain *oc = ctx;

	/* The first one's file must not be made by several. */
	return open_member(oc, i + 1, true, oc->line_fd >= 0 ? &oc->line_fd : NULL, e);
}

static int unlock_member(struct probackup_chain *chain, struct probackup_layer *member)
{
	struct lock_request request = {
		.pid = chain->lock_pid, .held_ms = LOCK_RELEASE_MS, .empty_ms = LOCK_RELEASE_MS};
	int rc = member->locked ? lock_unshare(member->base.dirfd, &request) : 0;

	member->locked = false;
	util_closep(&member->map_fd);
	return rc;
}

/* Somebody may be waiting for one of these locks, with the latch in his hand, and go on waiting even
 * if it is taken back then: that he has a lock which is wanted here must not be waited for. */
static int give_back(struct open_chain *oc, struct errmsg *e)
{
	struct probackup_chain *chain = oc->chain;

	for (unsigned i = 1; i < chain->base.count; i++) {
		if (unlock_member(chain, &chain->members[i]) < 0)
			return errmsg_set(
				e, -EBUSY,
				"backup %s is being locked by another process, such as a "
				"pg_probackup delete or merge; try again when it has finished",
				chain->members[i].base.id);
	}
	return 0;
}

/* All but the first. LOCK_TAKEN: somebody must be waited for, or it does not pay; none is locked. */
static int lock_at_once(struct open_chain *oc, struct errmsg *e)
{
	unsigned others = oc->chain->base.count - 1;
	int rc;

	if (others < APART_LEAST)
		return LOCK_TAKEN;
	rc = parallel_for(others, APART_LEAST / 2, open_member_at_once, oc, e);
	if (rc != LOCK_TAKEN)
		return rc;
	rc = give_back(oc, e);
	return rc < 0 ? rc : LOCK_TAKEN;
}

static int lock_in_order(struct open_chain *oc, struct errmsg *e)
{
	int rc = 0;

	for (unsigned i = 1; i < oc->chain->base.count && rc == 0; i++)
		rc = open_member(oc, i, false, &oc->line_fd, e);
	return rc;
}

static int lock_all(struct open_chain *oc, struct errmsg *e)
{
	int rc = open_member(oc, 0, false, &oc->line_fd, e);

	if (rc == 0) {
		rc = lock_at_once(oc, e);
		if (rc == LOCK_TAKEN)
			rc = lock_in_order(oc, e);
	}
	util_closep(&oc->line_fd);
	return rc;
}

/* ---- locking while the target's list is read ---- */

struct locking {
	struct open_chain *oc;
	pthread_t thread;
	bool apart;
	int rc;
	struct errmsg e;
};

static void *lock_apart(void *arg)
{
	struct locking *l = arg;

	l->rc = lock_all(l->oc, &l->e);
	return NULL;
}

/* Long lists have threads of their own, and take so long that the locks do not count. */
static bool pays_apart(const struct open_chain *oc)
{
	const struct probackup_layer *target = &oc->chain->members[oc->chain->base.count - 1];

	return oc->chain->base.count >= APART_LEAST && target->control.has_crc &&
	       !load_is_long(target);
}

static int begin_locking(struct locking *l, struct errmsg *e)
{
	int rc = open_dir(l->oc, l->oc->chain->base.count - 1, e);

	if (rc < 0)
		return rc;
	l->apart = pays_apart(l->oc) && thread_start(&l->thread, lock_apart, l) == 0;
	return l->apart ? 0 : lock_all(l->oc, e);
}

/* Until all locks are there. */
static int end_locking(void *ctx, struct errmsg *e)
{
	struct locking *l = ctx;

	if (!l->apart)
		return 0;
	l->apart = false;
	(void)pthread_join(l->thread, NULL);
	if (l->rc == 0)
		return 0;
	e->text[0] = '\0'; /* what the list said: whoever is removing the backup may be why */
	return errmsg_set(e, l->rc, "%s", errmsg_text(&l->e, l->rc));
}

static int chain_new(unsigned count, pid_t lock_pid, struct probackup_chain **ret)
{
	struct probackup_chain *chain = calloc(1, sizeof(*chain));

	if (chain == NULL)
		return -ENOMEM;
	chain->base.driver = &probackup_driver;
	chain->lock_pid = lock_pid;
	chain->members = calloc(count, sizeof(*chain->members));
	chain->base.layers = calloc(count, sizeof(*chain->base.layers));
	if (chain->members == NULL || chain->base.layers == NULL || arena_new(&chain->arena) < 0) {
		chain_close(chain);
		return -ENOMEM;
	}
	chain->base.count = count;
	for (unsigned i = 0; i < count; i++) {
		struct probackup_layer *member = &chain->members[i];

		chain->base.layers[i] = &member->base;
		member->base.ops = &probackup_layer_ops;
		member->base.dirfd = -1;
		member->map_fd = -1;
	}
	*ret = chain;
	return 0;
}

static bool stores_pages(const struct probackup_layer *member)
{
	for (uint32_t i = 0; i < member->file_count; i++) {
		if (member->files[i].info.count > 0)
			return true;
	}
	return false;
}

/* What catalog_caution cannot know: the lists have the last word on how files are compressed. */
static void warn_codecs(struct open_chain *oc, const struct probackup_layer *member)
{
	bool said[CODEC_MAX_] = {false};
	int own = codec_from_name(member->control.compress_alg);

	if (own >= 0)
		said[own] = true;
	for (uint32_t i = 0; i < member->file_count; i++) {
		uint8_t codec = member->files[i].codec;

		if (said[codec])
			continue;
		said[codec] = true;
		if (catalog_is_unverified(codec))
			catalog_caution_codec(oc->warnings, member->base.id,
					      codec_name((enum codec)codec));
	}
}

static void warn_member(struct open_chain *oc, const struct probackup_layer *member)
{
	catalog_caution(oc->warnings, member->base.id, &member->control);
	warn_codecs(oc, member);
	if (member->map_fd < 0 && stores_pages(member))
		(void)fprintf(
			oc->warnings,
			"backup %s: page_header_map is missing: each of its data files is read "
			"whole before its first page\n",
			member->base.id);
}

/* errno of the first lock that could not be taken, or 0. */
static int first_lock_problem(const struct probackup_chain *chain)
{
	for (unsigned i = 0; i < chain->base.count; i++) {
		if (chain->members[i].lock_problem != 0)
			return chain->members[i].lock_problem;
	}
	return 0;
}

static void warn(struct open_chain *oc, bool has_external)
{
	const char *target = oc->members->items[oc->members->count - 1]->id;
	int problem = first_lock_problem(oc->chain);

	if (problem != 0)
		(void)fprintf(oc->warnings,
			      "the store cannot be written (%s): pg_probackup is not kept from "
			      "deleting or "
			      "merging backups of this chain while it is mounted\n",
			      errmsg_text(NULL, -problem));
	if (has_external && oc->options->external)
		external_describe(
			oc->warnings, target,
			oc->chain->members[oc->chain->base.count - 1].control.external_dirs);
	else if (has_external)
		(void)fprintf(oc->warnings,
			      "backup %s has external directories: they are not shown (--external "
			      "shows them)\n",
			      target);
}

/*
 * A chain with a suspect member: is what its lists name still there, as long as they say? What is
 * not is an error when it is read; here it is counted.
 */
static void recheck_member(struct open_chain *oc, const struct probackup_layer *member)
{
	const char *first = NULL;
	uint32_t missing = 0;

	for (uint32_t i = 0; i < member->file_count; i++) {
		const struct probackup_file *file = &member->files[i];
		struct stat st;

		if (sys_fstatat(member->base.dirfd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && (uint64_t)st.st_size == file->info.size)
			continue;
		if (missing++ == 0)
			first = file->name;
	}
	if (missing > 0)
		(void)fprintf(
			oc->warnings,
			"backup %s: %u files are missing or not as long as its list says, such "
			"as '%s'\n",
			member->base.id, missing, first);
}

static int open_all(struct open_chain *oc, struct errmsg *e)
{
	struct probackup_chain *chain = oc->chain;
	struct locking locking = {.oc = oc};
	const struct probackup_control *target;
	bool has_external = false;
	int rc = 0, rc_lock;

	/* Two a member, and what is opened later beside threads. */
	sys_expect_fds(oc->instance_dirfd, 2 * chain->base.count + 64);
	for (unsigned i = 0; i < chain->base.count && rc == 0; i++)
		rc = name_member(oc, i);
	if (rc == 0)
		rc = begin_locking(&locking, e);
	if (rc == 0)
		rc = load_chain(chain, oc->options, end_locking, &locking, &has_external, e);
	rc_lock = end_locking(&locking, e);
	rc = rc_lock < 0 ? rc_lock : rc;
	if (rc < 0)
		return rc;
	target = &chain->members[chain->base.count - 1].control;
	chain->base.needs_archive = !target->stream;
	chain->base.pg_version = target->pg_version;
	chain->base.start_time = target->start_time;
	for (unsigned i = 0; i < chain->base.count; i++) {
		warn_member(oc, &chain->members[i]);
		if (oc->options->force)
			recheck_member(oc, &chain->members[i]);
	}
	warn(oc, has_external);
	return 0;
}

int chain_open(int instance_dirfd, const struct catalog_chain *members,
	       const struct store_options *options, pid_t lock_pid, struct errmsg *e,
	       struct probackup_chain **ret)
{
	struct open_chain oc = {.members = members,
				.options = options,
				.instance_dirfd = instance_dirfd,
				.line_fd = -1};
	size_t len;
	int rc = chain_new(members->count, lock_pid, &oc.chain);

	if (rc < 0)
		return errmsg_set(e, rc, "out of memory");
	oc.warnings = open_memstream(&oc.chain->base.warnings, &len);
	rc = oc.warnings != NULL ? open_all(&oc, e) : -ENOMEM;
	if (oc.warnings != NULL && fclose(oc.warnings) != 0 && rc == 0)
		rc = -ENOMEM;
	if (rc < 0) {
		chain_close(oc.chain);
		return rc == -ENOMEM ? errmsg_set(e, rc, "out of memory") : rc;
	}
	*ret = oc.chain;
	return 0;
}

static void close_member(struct probackup_chain *chain, struct probackup_layer *member)
{
	(void)unlock_member(chain, member);
	util_closep(&member->base.dirfd);
}

void chain_unlock(int layer_dirfd, pid_t lock_pid)
{
	const struct lock_request request = {
		.pid = lock_pid, .held_ms = LOCK_RELEASE_MS, .empty_ms = LOCK_RELEASE_MS};

	lock_release(layer_dirfd, &request);
}

void chain_close(struct probackup_chain *chain)
{
	if (chain == NULL)
		return;
	for (unsigned i = 0; i < chain->base.count; i++)
		close_member(chain, &chain->members[i]);
	layer_chain_drop_older_entries(&chain->base);
	if (chain->base.count > 0)
		free(chain->base.layers[chain->base.count - 1]->entries);
	lists_free(&chain->lists);
	arena_free(chain->arena);
	free(chain->members);
	free(chain->base.layers);
	free(chain->base.store_path);
	free(chain->base.instance);
	free(chain->base.warnings);
	free(chain);
}
