/*
 * layer/probackup/chain.c: opening the members of a chain: locks, lists, and what the user should know.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/drivers.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* What is known before anything is locked. */
static int name_member(struct probackup_chain *chain, unsigned i, const struct catalog_backup *item)
{
	struct probackup_layer *member = &chain->members[i];

	member->base.id = arena_strndup(chain->arena, item->id, strlen(item->id));
	member->control = item->control;
	member->base.page_checksums = member->control.checksum_version != 0;
	member->base.unsummed = !member->control.has_crc;
	return member->base.id != NULL ? 0 : -ENOMEM;
}

static int chain_new(unsigned count, struct probackup_chain **ret)
{
	struct probackup_chain *chain = calloc(1, sizeof(*chain));

	if (chain == NULL)
		return -ENOMEM;
	chain->base.driver = &probackup_driver;
	chain->instance_dirfd = -1;
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
static void warn_codecs(FILE *out, const struct probackup_layer *member)
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
			catalog_caution_codec(out, member->base.id, codec_name((enum codec)codec));
	}
}

static void warn_member(FILE *out, const struct probackup_layer *member)
{
	catalog_caution(out, member->base.id, &member->control);
	warn_codecs(out, member);
	if (member->map_fd < 0 && stores_pages(member))
		(void)fprintf(
			out,
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

static void warn(FILE *out, const struct probackup_chain *chain)
{
	const struct probackup_layer *target = &chain->members[chain->base.count - 1];
	int problem = first_lock_problem(chain);

	if (problem != 0)
		(void)fprintf(out,
			      "the store cannot be written (%s): pg_probackup is not kept from "
			      "deleting or "
			      "merging backups of this chain while it is mounted\n",
			      errmsg_text(NULL, -problem));
	if (chain->has_external && chain->external)
		external_describe(out, target->base.id, target->control.external_dirs);
	else if (chain->has_external)
		(void)fprintf(out,
			      "backup %s has external directories: they are not shown (--external "
			      "shows them)\n",
			      target->base.id);
}

/*
 * A chain with a suspect member: is what its lists name still there, as long as they say? What is
 * not is an error when it is read; here it is counted.
 */
static void recheck_member(FILE *out, const struct probackup_layer *member)
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
			out,
			"backup %s: %u files are missing or not as long as its list says, such "
			"as '%s'\n",
			member->base.id, missing, first);
}

static int open_all(struct probackup_chain *chain, const struct catalog_chain *members,
		    const struct store_options *options, struct errmsg *e)
{
	const struct probackup_control *target;
	int rc = 0;

	/* Two a member, and what is opened later beside threads. */
	sys_expect_fds(chain->instance_dirfd, 2 * chain->base.count + 64);
	for (unsigned i = 0; i < chain->base.count && rc == 0; i++)
		rc = name_member(chain, i, members->items[i]);
	if (rc == 0)
		rc = chain_lock_begin(chain, options->cache, e);
	if (rc == 0)
		rc = load_chain(chain, e);
	if (rc < 0 && chain->locking != NULL) {
		int rc_lock = chain_lock_end(chain, e);

		return rc_lock < 0 ? rc_lock : rc;
	}
	if (rc < 0)
		return rc;
	target = &chain->members[chain->base.count - 1].control;
	chain->base.needs_archive = !target->stream;
	chain->base.pg_version = target->pg_version;
	chain->base.start_time = target->start_time;
	return options->settle_later ? 0 : chain_settle(chain, e);
}

static int make_warnings(struct probackup_chain *chain)
{
	size_t len;
	FILE *out = open_memstream(&chain->base.warnings, &len);

	if (out == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < chain->base.count; i++) {
		warn_member(out, &chain->members[i]);
		if (chain->force)
			recheck_member(out, &chain->members[i]);
	}
	warn(out, chain);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

int chain_settle(struct probackup_chain *chain, struct errmsg *e)
{
	int rc = chain->settled ? 0 : chain_lock_end(chain, e);

	if (rc < 0 || chain->settled)
		return rc;
	free(chain->base.warnings);
	chain->base.warnings = NULL;
	rc = make_warnings(chain);
	if (rc < 0)
		return rc;
	util_closep(&chain->instance_dirfd);
	chain->settled = true;
	return 0;
}

int chain_open(int instance_dirfd, const struct catalog_chain *members,
	       const struct store_options *options, pid_t lock_pid, struct errmsg *e,
	       struct probackup_chain **ret)
{
	struct probackup_chain *chain;
	int rc = chain_new(members->count, &chain);

	if (rc < 0) {
		util_closep(&instance_dirfd);
		return errmsg_set(e, rc, "out of memory");
	}
	chain->instance_dirfd = instance_dirfd;
	chain->lock_pid = lock_pid;
	chain->force = options->force;
	chain->external = options->external;
	rc = open_all(chain, members, options, e);
	if (rc < 0) {
		chain_close(chain);
		return rc == -ENOMEM ? errmsg_set(e, rc, "out of memory") : rc;
	}
	*ret = chain;
	return 0;
}

static void close_member(struct probackup_layer *member)
{
	util_closep(&member->map_fd);
	util_closep(&member->base.dirfd);
}

void chain_close(struct probackup_chain *chain)
{
	if (chain == NULL)
		return;
	chain_lock_free(chain);
	util_closep(&chain->instance_dirfd);
	for (unsigned i = 0; i < chain->base.count; i++)
		close_member(&chain->members[i]);
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
