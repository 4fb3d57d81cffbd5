/*
 * The control socket: how other commands talk to a running mount. One line in, one JSON object out.
 *
 *	status   facts and figures
 *	reset    the same, and the figures start again at zero
 *	sync     commits everything now
 *	changes  what the clone changed (overlay_changes_json)
 *	umount   commits, unmounts unless somebody uses it; answers when the session has ended
 *	stop     as SIGTERM: commits, unmounts lazily; answers when the session has ended
 *
 * Answers without facts are {"ok":true} or {"error":"..."}. Only the owner and root are heard.
 */
#include "fuse/fuse_internal.h"

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
/* The kernel lets go at once, unless another mount namespace has a copy of the mount. */
#define OTHERS_WAIT_NS	UINT64_C(5000000000)

struct connection {
	struct loop_source source;
	struct session *session;
	struct connection *next;
	char line[64];
	size_t line_len;
	char *answer;
	size_t answer_len, answer_pos;
	struct overlay_sync sync;
	bool sync_runs;
	bool unmounts; /* sync is followed by an unmount */
	bool waits;    /* for the end of the session */
	uint64_t unmounted; /* when its unmount was done; 0: not yet */
	bool watched;  /* by the loop */
	bool closed;
};

struct control {
	struct loop_source source;
	struct session *session;
	struct connection *connections;
	unsigned count;
	struct connection *unmounter; /* the helper works for it */
};

char *(*control_test_command)(struct session *session, const char *line);

/* ---- answers ---- */

static void connection_end(struct connection *c)
{
	if (c->watched)
		loop_remove(c->session, &c->source);
	c->watched = false;
	c->closed = true;
	c->waits = false;
}

static void send_some(struct connection *c)
{
	while (c->answer_pos < c->answer_len) {
		ssize_t n = send(c->source.fd, c->answer + c->answer_pos,
				 c->answer_len - c->answer_pos, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && c->watched) {
			if (loop_want_write(c->session, &c->source) == 0)
				return;
			break;
		}
		if (n <= 0)
			break;
		c->answer_pos += (size_t)n;
	}
	connection_end(c);
}

/* Takes the text over; NULL: there was no memory for it. */
static void answer(struct connection *c, char *text)
{
	if (c->closed) {
		free(text);
		return;
	}
	free(c->answer);
	c->answer = text;
	c->answer_len = text != NULL ? strlen(text) : 0;
	c->answer_pos = 0;
	send_some(c);
}

static void answer_result(struct connection *c, int rc)
{
	char *text = NULL;

	if (rc == 0)
		text = strdup("{\"ok\":true}\n");
	else if (asprintf(&text, "{\"error\":\"%s\",\"errno\":%d}\n", strerror(-rc), -rc) < 0)
		text = NULL;
	answer(c, text);
}

/* ---- commands ---- */

static void unmount(struct connection *c)
{
	struct control *control = c->session->control;
	struct helper *helper = c->session->parts.helper;
	int rc;

	if (control->unmounter != NULL || helper == NULL) {
		answer_result(c, helper == NULL ? -EPIPE : -EALREADY);
		return;
	}
	rc = helper_unmount(helper, false);
	if (rc != 0) {
		answer_result(c, rc);
		return;
	}
	control->unmounter = c;
	c->waits = true;
}

void control_unmounted(struct session *s, int rc)
{
	struct connection *c = s->control != NULL ? TAKE_PTR(s->control->unmounter) : NULL;

	/* Unmounted: the answer comes with the end of the session. */
	if (c != NULL && rc != 0)
		answer_result(c, rc);
	else if (c != NULL)
		c->unmounted = request_now();
}

void control_tick(struct session *s)
{
	struct connection *c = s->control != NULL ? s->control->connections : NULL;

	for (; c != NULL; c = c->next) {
		if (!c->waits || c->unmounted == 0 ||
		    request_now() - c->unmounted < OTHERS_WAIT_NS)
			continue;
		log_warning("unmounted, but a mount namespace of other processes still has it");
		c->waits = false;
		answer_result(c, -ETOOMANYREFS);
	}
}

static void synced(struct overlay_sync *op)
{
	struct connection *c = CONTAINER_OF(op, struct connection, sync);

	c->sync_runs = false;
	if (op->result == 0 && c->unmounts && !c->closed)
		unmount(c);
	else
		answer_result(c, op->result);
}

static void start_sync(struct connection *c, bool unmounts)
{
	c->unmounts = unmounts;
	c->sync_runs = true;
	c->sync = (struct overlay_sync){.all = true, .done = synced};
	overlay_sync(c->session->ov, &c->sync);
}

static void run_command(struct connection *c)
{
	struct session *s = c->session;

	if (strcmp(c->line, "status") == 0) {
		answer(c, status_json(s));
	} else if (strcmp(c->line, "reset") == 0) {
		char *text = status_json(s);

		status_reset(s);
		answer(c, text);
	} else if (strcmp(c->line, "changes") == 0) {
		answer(c, overlay_changes_json(s->ov));
	} else if (strcmp(c->line, "sync") == 0) {
		start_sync(c, false);
	} else if (strcmp(c->line, "umount") == 0) {
		start_sync(c, true);
	} else if (strcmp(c->line, "stop") == 0) {
		log_notice("stopping: asked to through the control socket");
		c->waits = true;
		loop_stop(s);
	} else if (control_test_command != NULL) {
		answer(c, control_test_command(s, c->line));
	} else {
		answer_result(c, -EINVAL);
	}
}

/* ---- connections ---- */

static void connection_ready(struct loop_source *source, unsigned events)
{
	struct connection *c = CONTAINER_OF(source, struct connection, source);
	char *end;
	ssize_t n;

	if (c->closed)
		return;
	if (c->answer != NULL) {
		send_some(c);
		return;
	}
	n = recv(source->fd, c->line + c->line_len, sizeof(c->line) - 1 - c->line_len,
		 MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || c->sync_runs || c->waits) {
		connection_end(c);
		return;
	}
	c->line_len += (size_t)n;
	end = memchr(c->line, '\n', c->line_len);
	if (end != NULL) {
		*end = 0;
		run_command(c);
	} else if (c->line_len == sizeof(c->line) - 1) {
		answer_result(c, -EINVAL);
	}
}

static bool peer_is_heard(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void control_ready(struct loop_source *source, unsigned events)
{
	struct control *control = CONTAINER_OF(source, struct control, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *c;

	if (fd < 0)
		return;
	c = control->count < CONNECTIONS_MAX && peer_is_heard(fd) ? calloc(1, sizeof(*c)) : NULL;
	if (c == NULL) {
		(void)sys_close(fd);
		return;
	}
	c->session = control->session;
	c->source = (struct loop_source){.fd = fd, .ready = connection_ready};
	c->next = control->connections;
	control->connections = c;
	control->count++;
	c->watched = loop_add(c->session, &c->source) == 0;
	if (!c->watched)
		c->closed = true;
}

void control_sweep(struct session *s)
{
	struct connection **at;

	if (s->control == NULL)
		return;
	at = &s->control->connections;
	while (*at != NULL) {
		struct connection *c = *at;

		if (!c->closed || c->sync_runs || s->control->unmounter == c) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		s->control->count--;
		(void)sys_close(c->source.fd);
		free(c->answer);
		free(c);
	}
}

void control_finish(struct session *s, int rc)
{
	if (s->control == NULL)
		return;
	s->control->unmounter = NULL;
	for (struct connection *c = s->control->connections; c != NULL; c = c->next) {
		if (c->waits)
			answer_result(c, rc);
	}
	control_sweep(s);
}

/* ---- the socket ---- */

/* The name is given relative to the directory's descriptor: the path may be longer than an address
 * holds. */
int control_open(struct session *s, int dirfd, struct errmsg *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control *control = calloc(1, sizeof(*control));
	int fd, rc = 0;

	if (control == NULL)
		return -ENOMEM;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd,
		       SESSION_CONTROL);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0) {
		mode_t mask = umask(0177);

		if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		    listen(fd, 8) < 0)
			rc = -errno;
		(void)umask(mask);
	} else {
		rc = -errno;
	}
	control->session = s;
	control->source = (struct loop_source){.fd = fd, .ready = control_ready};
	if (rc == 0)
		rc = loop_add(s, &control->source);
	if (rc == 0) {
		s->control = control;
		return 0;
	}
	if (fd >= 0)
		(void)sys_close(fd);
	free(control);
	return errmsg_set(e, rc, "cannot make the control socket: %s", strerror(-rc));
}

void control_close(struct session *s)
{
	struct control *control = TAKE_PTR(s->control);

	if (control == NULL)
		return;
	while (control->connections != NULL) {
		struct connection *c = control->connections;

		control->connections = c->next;
		(void)sys_close(c->source.fd);
		free(c->answer);
		free(c);
	}
	(void)sys_close(control->source.fd);
	free(control);
}
