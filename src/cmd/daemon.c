/*
 * The order matters. The helper is forked first, while there is little memory and every right.
 * Store and diff are opened with the owner's effective ids, so that what the owner may not read
 * fails here and by name. The mount needs the rights again. Only then they go, and with them every
 * way to files that are neither store nor diff; only after that threads and the ring are made.
 */
#include "cmd/daemon_internal.h"

#include "base/big.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/facts.h"
#include "cmd/host.h"
#include "cmd/rights.h"
#include "cmd/title.h"
#include "cmd/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define BUFFER_BYTES  (64u << 20)
#define JOURNAL_LIMIT 0 /* the diff's default */

int daemon_detach(int keep, int keep2)
{
	if (setsid() < 0 || chdir("/") < 0)
		return -errno;
	helper_close_others(keep, keep2);
	(void)umask(077);
	return 0;
}

/* ---- the helper ---- */

static void helper_started(void *ctx)
{
	const struct daemon *d = ctx;

	title_set("pgoverlay: unmounts %s", d->plan->mountpoint);
}

static void helper_finish(void *ctx, bool orderly, const int *fds, unsigned count)
{
	const struct daemon *d = ctx;
	bool entered = count > 0 && owner_enter(&d->plan->owner, NULL) == 0;

	for (unsigned i = 0; entered && i < count; i++)
		store_unlock(fds[i], d->pid);
	if (entered)
		owner_leave();
	/* A clone whose daemon was killed stays as it is: its owner may want what it holds. */
	if (orderly)
		plan_finish(d->plan);
}

static int start_helper(struct daemon *d, struct errmsg *e)
{
	const struct helper_options options = {
		.mountpoint = d->plan->mountpoint,
		.keep_fd = d->plan->run_fd,
		.started = helper_started,
		.finish = helper_finish,
		.ctx = d,
	};

	d->pid = getpid();
	return helper_start(&options, e, &d->helper);
}

/* ---- with the owner's rights ---- */

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
	int rc;

	if (backups == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < d->chain->count; i++)
		backups[i] = d->chain->layers[i]->id;
	memcpy(binding.content_hash, d->chain->content_hash, sizeof(binding.content_hash));
	rc = d->warnings == NULL ? look_at_host(d, e) : 0;
	if (rc == 0)
		rc = diff_open(d->plan->diff, true, &binding, &options, e, &d->diff);
	/* It is opened again after it was filled: only the first time says how it was made. */
	return rc == 0 ? add_warnings(d) : rc;
}

static int new_overlay(struct daemon *d, const char *wal_dir, struct errmsg *e)
{
	const struct mount_request *r = d->plan->request;
	const struct overlay_options options = {
		.uid = d->plan->owner.uid,
		.gid = d->plan->owner.gid,
		.wal_dir = wal_dir,
		.index_memory = r->index_memory,
		.cache = d->plan->cache,
		.verify_reads = !r->no_verify_reads,
	};

	return overlay_new(d->chain, d->diff, &options, e, &d->overlay);
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

static int open_log(struct daemon *d, struct errmsg *e)
{
	int rc;

	if (d->plan->request->foreground)
		return 0;
	rc = log_open(d->diff != NULL ? diff_dirfd(d->diff) : d->plan->run_fd, "log");
	return rc == 0 ? 0 : errmsg_set(e, rc, "cannot open the log: %s", strerror(-rc));
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
		.force = r->force, .external = r->external, .cache = d->plan->cache};
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

static int open_layers(struct daemon *d, struct errmsg *e)
{
	int rc = store_open(d->plan->store, e, &d->store);

	if (rc == 0)
		rc = open_chain(d, e);
	if (rc == 0 && d->plan->diff != NULL)
		rc = open_diff(d, e);
	if (rc == 0)
		rc = place_wal(d, e);
	if (rc == 0)
		rc = place_recovery(d, e);
	if (rc == 0)
		rc = open_log(d, e);
	if (rc == 0)
		rc = new_overlay(d, d->wal_dir, e);
	if (rc == 0 && d->store->driver->keep != NULL && d->plan->cache != NULL)
		d->store->driver->keep(d->chain, d->plan->cache);
	if (rc == 0)
		layer_chain_drop_older_entries(d->chain);
	return rc;
}

static int open_as_owner(struct daemon *d, struct errmsg *e)
{
	int rc = owner_enter(&d->plan->owner, e);

	if (rc != 0)
		return rc;
	rc = open_layers(d, e);
	owner_leave();
	return rc;
}

/* ---- mounting ---- */

static int mount_session(struct daemon *d, struct errmsg *e)
{
	const struct session_options options = {
		.store = d->plan->store,
		.read_only = d->plan->diff == NULL,
		.allow_other = d->plan->allow_other,
		.noexec = d->plan->request->noexec,
	};
	int rc = session_new(&options, e, &d->session);

	if (rc == 0)
		rc = session_mount(d->session, d->plan->mountpoint, e);
	if (rc == 0)
		rc = helper_mounted(d->helper);
	if (rc == 0)
		writes_bound(d);
	return rc;
}

/* ---- for good ---- */

/*
 * Before the engine's threads, which are born confined. What the process cannot do any more, the
 * helper does at the end: it has the directories whose locks are to be taken off.
 */
static int confine(struct daemon *d, struct errmsg *e)
{
	_cleanup_close_ int cache = -1;
	int rc = 0;

	for (unsigned i = 0; i < d->chain->count && rc == 0; i++)
		rc = helper_give(d->helper, d->chain->layers[i]->dirfd);
	if (rc != 0)
		return errmsg_set(e, rc, "the helper is gone: %s", strerror(-rc));
	d->confined = true;
	/* That of a diff lies in it; without one it may not be there. */
	if (d->diff == NULL && d->plan->cache != NULL)
		cache = sys_openat(AT_FDCWD, d->plan->cache, O_PATH | O_DIRECTORY, 0);
	return rights_confine(d->store->dirfd, d->diff != NULL ? diff_dirfd(d->diff) : -1, cache,
			      d->plan->run_fd, e);
}

static void serving(void *ctx)
{
	struct daemon *d = ctx;

	d->served = true;
	(void)helper_readahead(d->helper, MOUNT_READAHEAD_KIB);
	title_set("pgoverlay: serves %s", d->plan->mountpoint);
	d->report->serving(d->report->ctx, &d->result);
}

static int start_parts(struct daemon *d, struct errmsg *e)
{
	const struct io_engine_options options = {.kind = d->plan->request->engine};
	int rc = io_engine_new(&options, e, &d->io);

	if (rc == 0)
		rc = vfd_cache_new(d->io, 0, &d->vfds);
	if (rc == -EMFILE)
		return errmsg_set(e, rc,
				  "too few files may be open; raise the limit ('ulimit -n')");
	if (rc == 0)
		rc = bufpool_new(BUFFER_BYTES, &d->buffers);
	if (rc == 0)
		rc = overlay_start(d->overlay, d->io, d->vfds, d->buffers);
	if (rc == 0)
		rc = daemon_copy_string(io_engine_name(d->io), &d->result.engine);
	return rc;
}

static int start_session(struct daemon *d, struct errmsg *e)
{
	_cleanup_free_ char *facts = facts_text(&d->result);
	const struct session_parts parts = {
		.overlay = d->overlay,
		.chain = d->chain,
		.io = d->io,
		.vfds = d->vfds,
		.helper = d->helper,
		.run_dirfd = d->plan->run_fd,
		.write_back = d->write_back,
		.facts = facts,
		.serving = serving,
		.ctx = d,
	};
	int rc;

	if (facts == NULL)
		return -ENOMEM;
	rc = registry_write(d->plan->run_fd, facts);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot write to '%s': %s", d->plan->run_dir,
				  strerror(-rc));
	return session_start(d->session, &parts, e);
}

static int prepare(struct daemon *d, struct errmsg *e)
{
	int rc = start_helper(d, e);

	if (rc == 0)
		rc = open_as_owner(d, e);
	if (rc == 0)
		rc = daemon_fill_result(d);
	if (rc == 0)
		rc = mount_session(d, e);
	if (rc != 0)
		return rc;
	daemon_remember(d);
	session_block_signals();
	rc = rights_drop(&d->plan->owner, e);
	if (rc == 0)
		rc = confine(d, e);
	if (rc == 0)
		rc = writes_choose(d, e);
	if (rc == 0)
		rc = start_parts(d, e);
	if (rc == 0)
		rc = start_session(d, e);
	if (rc == 0)
		rights_confine_calls();
	return rc;
}

static void wait_idle(struct io_engine *io)
{
	while (io != NULL && !io_idle(io))
		(void)io_wait(io, -1);
}

/*
 * Frees what is there, last made first. Where mounting failed the rights are still there, but lock
 * files in the store are rewritten as the owner; where it did not, the helper does that. The helper
 * goes last: it removes what nobody uses any more.
 */
static void tear_down(struct daemon *d)
{
	bool entered;

	session_free(d->session);
	entered = owner_enter(&d->plan->owner, NULL) == 0;
	/* Files without a name went with their last node: their host space is being freed. */
	wait_idle(d->io);
	if (d->overlay != NULL && d->diff != NULL)
		(void)diff_checkpoint(d->diff); /* else the next mount replays the journal */
	overlay_free(d->overlay);
	wait_idle(d->io);
	diff_close(d->diff);
	vfd_cache_free(d->vfds);
	bufpool_free(d->buffers);
	io_engine_free(d->io);
	if (d->chain != NULL)
		d->chain->driver->close_chain(d->chain);
	store_close(d->store);
	if (entered)
		owner_leave();
	mount_result_free(&d->result);
	free(d->wal_dir);
	free(d->warnings);
	recovery_clear(&d->recovery);
	if (!d->served && d->helper != NULL)
		(void)helper_done(d->helper);
	helper_end(d->helper);
}

int daemon_serve(struct mount_plan *plan, const struct daemon_report *report, struct errmsg *e,
		 bool *ret_served)
{
	struct daemon d = {.plan = plan, .report = report};
	int rc;

	big_heap();
	rc = prepare(&d, e);

	if (rc == 0)
		rc = session_serve(d.session);
	else if (d.session != NULL && !d.confined)
		session_unmount(d.session);
	*ret_served = d.served;
	if (rc != 0 && !d.served)
		rc = errmsg_set(e, rc, "cannot mount '%s': %s", plan->store, strerror(-rc));
	tear_down(&d);
	return rc;
}
