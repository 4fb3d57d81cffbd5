/*
 * cmd/daemon_layers.c: what the mount is made of, opened with the owner's rights: the chain, the diff,
 * and the tree of both. Making a diff is mostly waiting for the disk: the tree of the chain is built
 * meanwhile.
 */
#include "cmd/daemon_internal.h"

#include "base/log.h"
#include "base/parallel.h"
#include "base/util.h"
#include "cmd/host.h"
#include "cmd/rights.h"
#include "cmd/wal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define JOURNAL_LIMIT 0 /* the diff's default */

/* Before anything is made there. */
static int look_at_host(struct daemon *d, struct errmsg *e)
{
	const struct mount_plan *p = d->plan;
	size_t len;
	FILE *out = open_memstream(&d->warnings, &len);
	int rc = 0;

	if (out == NULL)
		return -ENOMEM;
	if (!p->temporary)
		rc = host_check("diff", p->diff, out, e);
	if (rc == 0 && !p->temporary && p->wal_dir != NULL && !p->own_wal)
		rc = host_check("WAL directory", p->wal_dir, out, e);
	return fclose(out) == 0 ? rc : -ENOMEM;
}

static int add_warnings(struct daemon *d)
{
	char *all = NULL;

	if (asprintf(&all, "%s%s", d->warnings, diff_warnings(d->diff)) < 0)
		return -ENOMEM;
	free(d->warnings);
	d->warnings = all;
	return 0;
}

static int new_tree(struct daemon *d, struct errmsg *e)
{
	const struct mount_request *r = d->plan->request;
	const struct overlay_options options = {
		.uid = d->plan->owner.uid,
		.gid = d->plan->owner.gid,
		.index_memory = r->index_memory,
		.cache = d->plan->cache,
		.verify_reads = !r->no_verify_reads,
	};

	return overlay_new_tree(d->chain, &options, e, &d->tree);
}

static int new_overlay(struct daemon *d, const char *wal_dir, struct errmsg *e)
{
	int rc = d->tree == NULL ? new_tree(d, e) : 0;

	if (rc == 0)
		rc = overlay_add_diff(d->tree, d->diff, wal_dir, e);
	if (rc == 0)
		d->overlay = TAKE_PTR(d->tree);
	return rc;
}

/* Opens the diff while the tree is built: making a new one is mostly waiting for the disk. */
struct diff_opening {
	struct diff *diff;
	const struct diff_binding *binding;
	int rc;
	struct errmsg e;
};

static void *finish_diff(void *arg)
{
	struct diff_opening *o = arg;

	o->rc = diff_finish(o->diff, true, o->binding, &o->e);
	return NULL;
}

static int finish_diff_and_tree(struct daemon *d, struct diff_opening *o, struct errmsg *e)
{
	pthread_t thread;
	bool apart = thread_start(&thread, finish_diff, o) == 0;
	int rc;

	if (!apart)
		(void)finish_diff(o);
	rc = d->tree == NULL ? new_tree(d, e) : 0;
	if (apart)
		(void)pthread_join(thread, NULL);
	if (o->rc != 0 && rc == 0)
		rc = errmsg_set(e, o->rc, "%s", errmsg_text(&o->e, o->rc));
	return rc;
}

/* Before anything that has to say something is done in there. */
static int open_log(struct daemon *d, int dirfd, struct errmsg *e)
{
	int rc;

	if (d->plan->request->foreground || d->log_open)
		return 0;
	rc = log_open(dirfd, "log");
	d->log_open = rc == 0;
	return rc == 0 ? 0 : errmsg_set(e, rc, "cannot open the log: %s", strerror(-rc));
}

static int open_diff(struct daemon *d, struct errmsg *e)
{
	const struct mount_request *r = d->plan->request;
	const struct diff_options options = {.reserve = r->reserve, .journal_limit = JOURNAL_LIMIT};
	_cleanup_free_ const char **backups = calloc(d->chain->count, sizeof(*backups));
	struct diff_binding binding = {
		.kind = d->chain->driver->name,
		.store = d->chain->store_path,
		.instance = d->chain->instance,
		.backups = backups,
		.backup_count = d->chain->count,
	};
	struct diff_opening opening = {.binding = &binding};
	int rc;

	if (backups == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < d->chain->count; i++)
		backups[i] = d->chain->layers[i]->id;
	memcpy(binding.content_hash, d->chain->content_hash, sizeof(binding.content_hash));
	rc = d->warnings == NULL ? look_at_host(d, e) : 0;
	if (rc == 0)
		rc = diff_begin(d->plan->diff, true, &binding, &options, e, &opening.diff);
	if (rc != 0)
		return rc;
	rc = open_log(d, diff_dirfd(opening.diff), e);
	if (rc == 0)
		rc = finish_diff_and_tree(d, &opening, e);
	if (rc != 0) {
		diff_close(opening.diff);
		return rc;
	}
	d->diff = opening.diff;
	/* It is opened again after it was filled: only the first time says how it was made. */
	return add_warnings(d);
}

static int place_wal(struct daemon *d, struct errmsg *e)
{
	bool fill;
	int rc;

	if (d->diff == NULL)
		return 0;
	rc = wal_place(d->diff, d->plan->wal_dir, e, &d->wal_dir, &fill);
	if (rc != 0 || !fill)
		return rc;
	rc = new_overlay(d, NULL, e);
	if (rc != 0)
		return rc;
	d->diff = NULL;
	rc = wal_fill(TAKE_PTR(d->overlay), d->wal_dir, d->plan->own_wal, e);
	if (rc == 0)
		rc = open_diff(d, e);
	if (rc == 0)
		rc = wal_record(d->diff, d->wal_dir, e);
	return rc;
}

/* After place_wal: nothing but an error of the disk keeps a new diff from being prepared. */
static int place_recovery(struct daemon *d, struct errmsg *e)
{
	int rc;

	if (d->recovery.kind == TARGET_NONE)
		return 0;
	rc = new_overlay(d, d->wal_dir, e);
	if (rc != 0)
		return rc;
	d->diff = NULL;
	rc = recovery_prepare(TAKE_PTR(d->overlay), &d->recovery, d->chain->pg_version,
			      d->plan->owner.uid, d->plan->owner.gid, e);
	if (rc == 0)
		rc = open_diff(d, e);
	if (rc == 0)
		rc = recovery_record(diff_dirfd(d->diff), &d->recovery, e);
	return rc;
}

static int open_chain(struct daemon *d, struct errmsg *e)
{
	const struct mount_request *r = d->plan->request;
	bool is_new = d->plan->diff != NULL && recovery_diff_is_new(d->plan->diff);
	bool chosen = is_new && recovery_is_asked(&r->target);
	struct target_choice choice = {0};
	_cleanup_free_ char *resumed = NULL;
	const char *backup;
	int rc = 0;

	d->store->options = (struct store_options){
		.force = r->force,
		.external = r->external,
		.cache = d->plan->cache,
		/* Nothing new is made, and no page read, before open_layers waits. */
		.settle_later = d->plan->diff != NULL && !is_new,
	};
	if (chosen)
		rc = target_choose(d->store, r->instance, r->backup, &r->target, e, &choice);
	else if (d->plan->diff != NULL && !is_new)
		rc = recovery_resume(d->plan->diff, &r->target, e, &resumed);
	backup = chosen ? choice.backup : r->backup == NULL ? resumed : r->backup;
	if (rc == 0)
		rc = d->store->driver->open_chain(d->store, r->instance, backup, getpid(), e,
						  &d->chain);
	if (rc == 0 && is_new)
		rc = recovery_plan(d->store, d->chain, &r->target, chosen ? &choice : NULL, e,
				   &d->recovery);
	target_choice_free(&choice);
	return rc;
}

/* Who is changing the store may be why what came of it does not fit: rc is of that. */
static int settle_chain(struct daemon *d, int rc, struct errmsg *e)
{
	struct errmsg why = {""};
	int rc_chain = layer_chain_settle(d->chain, &why);

	if (rc_chain == 0)
		return rc;
	*e = why;
	return rc_chain;
}

static int open_layers(struct daemon *d, struct errmsg *e)
{
	int rc = store_open(d->plan->store, e, &d->store);

	if (rc == 0)
		rc = open_chain(d, e);
	if (rc == 0 && d->plan->diff != NULL)
		rc = open_diff(d, e);
	if (d->chain != NULL)
		rc = settle_chain(d, rc, e);
	if (rc == 0)
		rc = place_wal(d, e);
	if (rc == 0)
		rc = place_recovery(d, e);
	if (rc == 0)
		rc = open_log(d, d->plan->run_fd, e);
	if (rc == 0)
		rc = new_overlay(d, d->wal_dir, e);
	if (rc == 0 && d->store->driver->keep != NULL && d->plan->cache != NULL)
		d->store->driver->keep(d->chain, d->plan->cache);
	return rc;
}

int daemon_open_layers(struct daemon *d, struct errmsg *e)
{
	int rc = owner_enter(&d->plan->owner, e);

	if (rc != 0)
		return rc;
	rc = open_layers(d, e);
	owner_leave();
	return rc;
}
