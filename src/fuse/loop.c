/*
 * The event loop: receive, let the engine go, reap, sleep.
 *
 * One turn reads at most RECEIVE_MAX requests, so that completions are not kept waiting by a flood
 * of new ones. Without a receive buffer, or with too many requests in flight, /dev/fuse is not
 * read: the kernel then holds the callers back.
 */
#include "fuse/fuse_internal.h"

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "fuse/mountinfo.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RECEIVE_MAX	64
#define EVENTS_MAX	16
#define UNMOUNT_WAIT_MS 20000
#define DRAIN_MS	1

static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

static void signal_set(sigset_t *ret)
{
	(void)sigemptyset(ret);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(ret, signals[i]);
}

void session_block_signals(void)
{
	sigset_t set;

	signal_set(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

/* ---- sources ---- */

static int watch(struct session *s, struct loop_source *source, int op, unsigned events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(s->epoll_fd, op, source->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct session *s, struct loop_source *source)
{
	return watch(s, source, EPOLL_CTL_ADD, EPOLLIN);
}

int loop_want_write(struct session *s, struct loop_source *source)
{
	return watch(s, source, EPOLL_CTL_MOD, EPOLLOUT);
}

void loop_remove(struct session *s, struct loop_source *source)
{
	(void)watch(s, source, EPOLL_CTL_DEL, 0);
}

/* ---- requests ---- */

static bool may_receive(struct session *s)
{
	return s->in_flight < REQUESTS_MAX && loop_take_buffer(s);
}

static void receive_one(struct session *s)
{
	fuse_session_process_buf(s->fuse, &s->receiving->buf);
	if (s->initialised && !s->told) {
		s->told = true;
		if (s->parts.serving != NULL)
			s->parts.serving(s->parts.ctx);
	}
}

/* True if there may be more. */
static bool receive(struct session *s)
{
	for (unsigned i = 0; i < RECEIVE_MAX; i++) {
		int n;

		if (!may_receive(s)) {
			s->held_back++;
			return false;
		}
		n = fuse_session_receive_buf(s->fuse, &s->receiving->buf);
		if (n == -EAGAIN)
			return false;
		if (n == -EINTR)
			continue;
		if (n <= 0) {
			if (n < 0)
				log_error("cannot read requests: %s", strerror(-n));
			s->end = SESSION_UNMOUNTED;
			return false;
		}
		receive_one(s);
	}
	return true;
}

static void fuse_ready(struct loop_source *source, unsigned events)
{
	struct session *s = CONTAINER_OF(source, struct session, fuse_source);

	/* Unmounted or aborted: nothing more will come. */
	if ((events & EPOLLERR) != 0 && !may_receive(s))
		s->end = SESSION_UNMOUNTED;
	s->fuse_ready = true;
}

/* The other side of the bound: read again when there is room. */
static void update_polling(struct session *s)
{
	bool on = may_receive(s);

	if (on == s->fuse_polled)
		return;
	if (watch(s, &s->fuse_source, EPOLL_CTL_MOD, on ? EPOLLIN : 0) == 0)
		s->fuse_polled = on;
}

/* ---- the timer ---- */

static void timer_synced(struct overlay_sync *op)
{
	struct session *s = CONTAINER_OF(op, struct session, timer_sync);

	s->timer_sync_runs = false;
	if (op->result != s->timer_result && op->result != 0)
		log_error("cannot commit the diff: %s", strerror(-op->result));
	s->timer_result = op->result;
}

static void timer_ready(struct loop_source *source, unsigned events)
{
	struct session *s = CONTAINER_OF(source, struct session, timer_source);
	struct diff *diff = overlay_diff(s->ov);
	uint64_t ticks;

	(void)!read(source->fd, &ticks, sizeof(ticks));
	request_log_stuck(s);
	control_tick(s);
	overlay_trim(s->ov);
	loop_trim_buffers(s);
	admission_tick(s);
	if (s->flushed) /* others write without end */
		s->end = SESSION_STOPPED;
	if (diff == NULL || s->timer_sync_runs || !diff_has_pending(diff))
		return;
	s->timer_sync_runs = true;
	s->timer_sync = (struct overlay_sync){.all = true, .done = timer_synced};
	overlay_sync(s->ov, &s->timer_sync);
}

/* ---- signals, helper, engine ---- */

void loop_stop(struct session *s)
{
	struct helper *helper = s->parts.helper;

	if (s->end != SESSION_RUNS)
		return;
	if (s->write_back && !s->flushing && helper != NULL && helper_flush(helper) == 0) {
		s->flushing = true;
		return;
	}
	if (s->write_back && !s->flushed)
		log_warning("what the kernel keeps and nobody has synced is lost");
	s->end = SESSION_STOPPED;
}

static void flushed(struct session *s, int rc)
{
	if (rc != 0)
		log_error("the kernel did not write out what it keeps: %s", strerror(-rc));
	s->flushed = true;
}

static void signal_ready(struct loop_source *source, unsigned events)
{
	struct session *s = CONTAINER_OF(source, struct session, signal_source);
	struct signalfd_siginfo info;

	if (read(source->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		(void)log_reopen();
		return;
	}
	log_notice("stopping: signal %u from process %u", info.ssi_signo, info.ssi_pid);
	loop_stop(s);
}

static void helper_ready(struct loop_source *source, unsigned events)
{
	struct session *s = CONTAINER_OF(source, struct session, helper_source);
	enum helper_asked asked;
	int result;
	int rc = helper_answer(s->parts.helper, &asked, &result);

	if (rc == -EAGAIN)
		return;
	if (rc != 0) {
		loop_remove(s, source);
		control_unmounted(s, rc);
		if (s->flushing && !s->flushed)
			flushed(s, rc);
	} else if (asked == HELPER_ASKED_FLUSH) {
		flushed(s, result);
	} else {
		control_unmounted(s, result);
	}
}

static void engine_ready(struct loop_source *source, unsigned events)
{
	struct session *s = CONTAINER_OF(source, struct session, engine_source);

	(void)io_reap(s->parts.io); /* also clears it when nothing is in flight any more */
}

static int add_source(struct session *s, struct loop_source *source, int fd,
		      void (*ready)(struct loop_source *source, unsigned events))
{
	*source = (struct loop_source){.fd = fd, .ready = ready};
	return fd < 0 ? -errno : loop_add(s, source);
}

int loop_open(struct session *s)
{
	const struct itimerspec period = {.it_interval.tv_sec = COMMIT_SECONDS,
					  .it_value.tv_sec = COMMIT_SECONDS};
	sigset_t set;
	int rc;

	signal_set(&set);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return -errno;
	rc = add_source(s, &s->fuse_source, fuse_session_fd(s->fuse), fuse_ready);
	s->fuse_polled = rc == 0;
	if (rc == 0)
		rc = add_source(s, &s->engine_source, io_poll_fd(s->parts.io), engine_ready);
	if (rc == 0 && s->parts.helper != NULL)
		rc = add_source(s, &s->helper_source, helper_fd(s->parts.helper), helper_ready);
	if (rc == 0)
		rc = add_source(s, &s->timer_source,
				timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
				timer_ready);
	if (rc == 0 && timerfd_settime(s->timer_source.fd, 0, &period, NULL) < 0)
		rc = -errno;
	if (rc == 0)
		rc = add_source(s, &s->signal_source,
				signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), signal_ready);
	return rc;
}

void loop_close(struct session *s)
{
	if (s->epoll_fd < 0)
		return;
	if (s->timer_source.fd > 0)
		(void)sys_close(s->timer_source.fd);
	if (s->signal_source.fd > 0)
		(void)sys_close(s->signal_source.fd);
	(void)sys_close(s->epoll_fd);
	s->epoll_fd = -1;
}

/* ---- serving ---- */

static void sleep_for_events(struct session *s, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n;

	update_polling(s);
	n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, timeout_ms);
	for (int i = 0; i < n; i++) {
		struct loop_source *source = events[i].data.ptr;

		source->ready(source, events[i].events);
	}
	control_sweep(s);
}

/* After a flush: nothing was there to be read after the last answer. */
static void end_if_drained(struct session *s, uint64_t in_flight_before, bool more)
{
	if (s->flushed && in_flight_before == 0 && s->in_flight == 0 && !more)
		s->end = SESSION_STOPPED;
}

static void serve_requests(struct session *s)
{
	struct io_engine *io = s->parts.io;

	while (s->end == SESSION_RUNS) {
		uint64_t before = s->in_flight;
		bool more = (s->fuse_ready || s->flushed) && receive(s);

		end_if_drained(s, before, more);
		s->fuse_ready = more;
		if (!io_idle(io))
			(void)io_reap(io);
		if (s->end == SESSION_RUNS)
			sleep_for_events(s, more ? 0 : s->flushed ? DRAIN_MS : -1);
	}
}

static void set_done(struct overlay_sync *op)
{
	op->file = NULL;
	op->all = false; /* what commit_all waits for */
}

static int commit_all(struct session *s)
{
	struct overlay_sync sync = {.all = true, .done = set_done};

	overlay_sync(s->ov, &sync);
	while (sync.all)
		(void)io_wait(s->parts.io, -1);
	return sync.result;
}

/* Of the answers that come, the one to the lazy unmount. */
static int wait_for_unmount(struct helper *helper)
{
	struct pollfd p = {.fd = helper_fd(helper), .events = POLLIN};
	enum helper_asked asked;
	int result;

	while (poll(&p, 1, UNMOUNT_WAIT_MS) > 0) {
		int rc = helper_answer(helper, &asked, &result);

		if (rc == 0 && asked == HELPER_ASKED_UNMOUNT_LAZY)
			return result;
		if (rc != 0 && rc != -EAGAIN)
			return rc;
	}
	return -ETIMEDOUT;
}

/* The helper has the right to; without one it is tried directly. One that is still in its flush
 * waits for this process, not the other way round: it unmounts when this has ended. */
static void unmount_lazily(struct session *s)
{
	struct helper *helper = s->parts.helper;
	int result = 0;

	if (helper != NULL && helper_unmount(helper, true) == 0) {
		if (!s->flushing || s->flushed)
			result = wait_for_unmount(helper);
	} else {
		result = mountinfo_unmount(s->mountpoint, true);
	}
	if (result != 0)
		log_error("cannot unmount '%s': %s", s->mountpoint, strerror(-result));
}

int session_serve(struct session *s)
{
	int rc;

	s->fuse_ready = true;
	serve_requests(s);
	/* Whoever wants to mount again sees that the end is near. */
	if (s->control != NULL)
		(void)sys_unlinkat(s->parts.run_dirfd, SESSION_CONTROL, 0);
	/* What was accepted is brought to its end; what still lies in the kernel was never
	 * answered. */
	while ((s->in_flight > 0 || s->timer_sync_runs) && !io_idle(s->parts.io))
		(void)io_wait(s->parts.io, -1);
	if (s->in_flight > 0)
		log_error("%llu requests were left unanswered", (unsigned long long)s->in_flight);
	rc = commit_all(s);
	if (rc != 0)
		log_error("cannot commit the diff: %s", strerror(-rc));
	/* A commit goes on after its answer: it frees host space and makes room in the journal. */
	while (!io_idle(s->parts.io))
		(void)io_wait(s->parts.io, -1);
	if (s->end == SESSION_STOPPED)
		unmount_lazily(s);
	if (s->parts.helper != NULL)
		(void)helper_done(s->parts.helper);
	control_finish(s, rc);
	return rc;
}
