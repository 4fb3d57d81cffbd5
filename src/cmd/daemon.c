/*
 * The order matters. The helper is forked first, while there is little memory and every right.
 * Store and diff are opened with the owner's effective ids, so that what the owner may not read
 * fails here and by name. The mount needs the rights again. Only then they go, and with them every
 * way to files that are neither store nor diff; only after that the threads and the ring that stay are
 * made.
 */
#include "cmd/daemon_internal.h"

#include "base/big.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/facts.h"
#include "cmd/rights.h"
#include "cmd/title.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define BUFFER_BYTES  (64u << 20)

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

static int give_layers(struct daemon *d)
{
	_cleanup_free_ int *fds = calloc(d->chain->count, sizeof(*fds));

	if (fds == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < d->chain->count; i++)
		fds[i] = d->chain->layers[i]->dirfd;
	return helper_give(d->helper, fds, d->chain->count);
}

/*
 * Before the engine's threads, which are born confined. What the process cannot do any more, the
 * helper does at the end: it has the directories whose locks are to be taken off.
 */
static int confine(struct daemon *d, struct errmsg *e)
{
	_cleanup_close_ int cache = -1;
	int rc = give_layers(d);

	if (rc != 0)
		return errmsg_set(e, rc, "cannot hand the layers to the helper: %s", strerror(-rc));
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
	/* Nobody waits for that now. */
	layer_chain_drop_older_entries(d->chain);
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
		rc = daemon_open_layers(d, e);
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
	overlay_free(d->tree);
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
