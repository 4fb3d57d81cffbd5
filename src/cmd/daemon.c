/*
 * The order matters. The helper is forked first, while there is little memory and every right.
 * Store and diff are opened with the owner's effective ids, so that what the owner may not read
 * fails here and by name. The mount needs the rights again. Only then they go, and only after that
 * threads and the ring are made.
 */
#include "cmd/daemon.h"

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/facts.h"
#include "cmd/recovery.h"
#include "cmd/title.h"
#include "cmd/wal.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BUFFER_BYTES  (64u << 20)
#define JOURNAL_LIMIT 0 /* the diff's default */

struct daemon {
	struct mount_plan *plan;
	const struct daemon_report *report;
	struct helper *helper;
	struct store *store;
	struct layer_chain *chain;
	struct diff *diff;
	struct overlay *overlay;
	struct session *session;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	char *wal_dir;
	struct mount_result result;
	struct recovery recovery; /* what a new diff is prepared for */
	bool served;
};

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
	const struct mount_plan *plan = ctx;

	title_set("pgoverlay: unmounts %s", plan->mountpoint);
}

static void helper_finish(void *ctx, bool orderly)
{
	/* A clone whose daemon was killed stays as it is: its owner may want what it holds. */
	if (orderly)
		plan_finish(ctx);
}

static int start_helper(struct daemon *d, struct errmsg *e)
{
	const struct helper_options options = {
		.mountpoint = d->plan->mountpoint,
		.keep_fd = d->plan->run_fd,
		.started = helper_started,
		.finish = helper_finish,
		.ctx = d->plan,
	};

	return helper_start(&options, e, &d->helper);
}

/* ---- with the owner's rights ---- */

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

	if (backups == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < d->chain->count; i++)
		backups[i] = d->chain->layers[i]->id;
	memcpy(binding.content_hash, d->chain->content_hash, sizeof(binding.content_hash));
	return diff_open(d->plan->diff, true, &binding, &options, e, &d->diff);
}

static int new_overlay(struct daemon *d, const char *wal_dir, struct errmsg *e)
{
	const struct mount_request *r = d->plan->request;
	const struct overlay_options options = {
		.uid = d->plan->owner.uid,
		.gid = d->plan->owner.gid,
		.wal_dir = wal_dir,
		.index_memory = r->index_memory,
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

	d->store->options = (struct store_options){.force = r->force, .external = r->external};
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

/* ---- facts ---- */

static int copy_string(const char *from, char **to)
{
	if (from == NULL)
		return 0;
	*to = strdup(from);
	return *to != NULL ? 0 : -ENOMEM;
}

static int make_note(const struct daemon *d, char **ret)
{
	const struct recovery *r = &d->recovery;
	bool recovers = r->kind != TARGET_NONE;
	const char *parts[] = {
		d->plan->note,
		d->diff != NULL ? diff_recovery_note(d->diff) : NULL,
		recovers ? "prepared for recovery to " : NULL,
	};
	size_t len;
	FILE *out = open_memstream(ret, &len);

	if (out == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i] != NULL && parts[i][0] != 0)
			(void)fprintf(out, "%s%s", ftell(out) > 0 ? "; " : "", parts[i]);
	}
	if (recovers)
		(void)fprintf(out, "%s%s%s, then %s", target_kind_name(r->kind),
			      r->value[0] != 0 ? " " : "", r->value, target_action_name(r->action));
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int fill_chain(struct daemon *d)
{
	struct mount_result *r = &d->result;

	r->chain = calloc(d->chain->count, sizeof(*r->chain));
	if (r->chain == NULL)
		return -ENOMEM;
	for (; r->chain_count < d->chain->count; r->chain_count++) {
		int rc = copy_string(d->chain->layers[r->chain_count]->id,
				     &r->chain[r->chain_count]);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static int fill_result(struct daemon *d)
{
	const struct mount_plan *p = d->plan;
	struct mount_result *r = &d->result;
	const struct {
		const char *from;
		char **to;
	} copies[] = {
		{p->mountpoint, &r->mountpoint},
		{p->store, &r->store},
		{d->chain->instance, &r->instance},
		{d->chain->layers[d->chain->count - 1]->id, &r->backup},
		{p->diff, &r->diff},
		{d->wal_dir, &r->wal_dir},
		{p->folder, &r->folder},
		{p->run_dir, &r->run_dir},
		{d->chain->warnings, &r->warnings},
	};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ARRAY_SIZE(copies); i++)
		rc = copy_string(copies[i].from, copies[i].to);
	if (rc == 0)
		rc = make_note(d, &r->note);
	if (rc == 0)
		rc = fill_chain(d);
	r->pid = getpid();
	r->uid = p->owner.uid;
	r->gid = p->owner.gid;
	r->pg_version = d->chain->pg_version;
	r->needs_archive = d->chain->needs_archive;
	r->read_only = p->diff == NULL;
	r->temporary = p->temporary;
	r->own_mountpoint = p->own_mountpoint;
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
	return rc;
}

/* A permanent clone is listed even when it is not mounted. */
static void remember(const struct daemon *d)
{
	_cleanup_free_ char *facts = facts_text(&d->result);

	if (facts != NULL && d->plan->diff != NULL && !d->plan->temporary)
		registry_remember(d->plan->home, d->plan->diff, facts);
}

/* ---- for good ---- */

static int drop_rights(const struct owner *owner, struct errmsg *e)
{
	int rc;

	/* Write-out of a file system must not wait for dirty pages of its own making. */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (geteuid() != 0 || owner->uid == 0)
		return 0;
	rc = initgroups(owner->name, owner->gid);
	if (rc < 0)
		rc = setgroups(1, &owner->gid);
	if (rc < 0 || setresgid(owner->gid, owner->gid, owner->gid) < 0 ||
	    setresuid(owner->uid, owner->uid, owner->uid) < 0)
		return errmsg_set(e, -errno, "cannot become user %s: %s", owner->name,
				  strerror(errno));
	if (setuid(0) == 0 || geteuid() != owner->uid || getuid() != owner->uid)
		return errmsg_set(e, -EPERM, "cannot give up root's rights for user %s",
				  owner->name);
	return 0;
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
		rc = copy_string(io_engine_name(d->io), &d->result.engine);
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
		rc = fill_result(d);
	if (rc == 0)
		rc = mount_session(d, e);
	if (rc != 0)
		return rc;
	remember(d);
	session_block_signals();
	rc = drop_rights(&d->plan->owner, e);
	if (rc == 0)
		rc = start_parts(d, e);
	if (rc == 0)
		rc = start_session(d, e);
	return rc;
}

static void wait_idle(struct io_engine *io)
{
	while (io != NULL && !io_idle(io))
		(void)io_wait(io, -1);
}

/*
 * Frees what is there, last made first. Where mounting failed the rights are still there, but lock
 * files in the store are rewritten as the owner. The helper goes last: it removes what nobody uses
 * any more.
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
	recovery_clear(&d->recovery);
	if (!d->served && d->helper != NULL)
		(void)helper_done(d->helper);
	helper_end(d->helper);
}

int daemon_serve(struct mount_plan *plan, const struct daemon_report *report, struct errmsg *e,
		 bool *ret_served)
{
	struct daemon d = {.plan = plan, .report = report};
	int rc = prepare(&d, e);

	if (rc == 0)
		rc = session_serve(d.session);
	else if (d.session != NULL)
		session_unmount(d.session);
	*ret_served = d.served;
	if (rc != 0 && !d.served)
		rc = errmsg_set(e, rc, "cannot mount '%s': %s", plan->store, strerror(-rc));
	tear_down(&d);
	return rc;
}
