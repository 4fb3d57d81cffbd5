/*
 * cmd/verify_start.c: `verify --start`: the process that has the clone, and what becomes of it when one of the
 * two is killed. See verify_clone.h.
 *
 * The child hears of the parent's end by a pipe that nobody writes to, and is interrupted then. The parent
 * hears of the mount before a server runs on it, and takes down what a dead child has left.
 */
#include "cmd/verify_clone.h"

#include "base/util.h"
#include "cmd/bring_up.h"
#include "cmd/clone_end.h"
#include "cmd/cmd.h"
#include "cmd/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MS 200

struct child {
	pid_t pid;
	int report; /* lines of JSON, from the child */
	int life;   /* closed when the parent ends */
	FILE *text;
	char *data; /* of text */
	size_t len;
};

/* ---- in the child ---- */

static void send_object(int fd, const cJSON *o)
{
	char *text = cJSON_PrintUnformatted(o);

	if (text != NULL)
		(void)dprintf(fd, "%s\n", text);
	cJSON_free(text);
}

static void send_mountpoint(void *ctx, const char *mountpoint)
{
	cJSON *o = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(o, "mountpoint", mountpoint);
	send_object(*(const int *)ctx, o);
	cJSON_Delete(o);
}

/* SIGTERM when the other end of the pipe is closed. */
static void watch(int fd)
{
	struct pollfd p = {.fd = fd};

	if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGTERM) < 0 ||
	    fcntl(fd, F_SETFL, O_ASYNC) < 0 ||
	    (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) != 0)) /* it was quicker */
		up_interrupted = true;
}

static void __attribute__((noreturn))
run_child(const struct verify *v, const struct backup_info *info, int report, int life)
{
	const struct verify_clone clone = {.request = &v->request,
					   .instance = info->instance,
					   .backup = info->id,
					   .on_mount = send_mountpoint,
					   .ctx = &report};
	cJSON *o = cJSON_CreateObject();

	owner_leave(); /* a mount needs the rights that reading does without */
	(void)signal(SIGPIPE, SIG_IGN);
	up_catch_signals();
	watch(life);
	verify_clone_check(&clone, o);
	send_object(report, o);
	cJSON_Delete(o);
	_exit(CMD_GOOD);
}

/* ---- in the parent ---- */

static int start_child(const struct verify *v, const struct backup_info *info, struct child *c)
{
	int report[2], life[2];
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(life, O_CLOEXEC) < 0) {
		int rc = -errno;

		(void)close(report[0]);
		(void)close(report[1]);
		return rc;
	}
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		(void)close(report[0]);
		(void)close(life[1]);
		run_child(v, info, report[1], life[0]);
	}
	(void)close(report[1]);
	(void)close(life[0]);
	c->pid = pid;
	c->report = report[0];
	c->life = life[1];
	if (pid > 0)
		return 0;
	(void)close(report[0]);
	(void)close(life[1]);
	return -EAGAIN;
}

/* Until it has ended, which it does when it is told to. 0, or -EINTR if it was. */
static int listen_to_child(struct child *c)
{
	bool told = false;
	char buf[8192];

	for (;;) {
		struct pollfd p = {.fd = c->report, .events = POLLIN};
		ssize_t n;

		if (verify_is_stopped() && !told) {
			(void)kill(c->pid, SIGTERM);
			told = true;
		}
		if (poll(&p, 1, POLL_MS) <= 0)
			continue;
		n = read(c->report, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return told ? -EINTR : 0;
		(void)fwrite(buf, 1, (size_t)n, c->text);
	}
}

static void __attribute__((noreturn)) end_left_clone(const char *mountpoint)
{
	static const volatile bool never;
	struct errmsg e = {""};
	struct clone clone;
	bool stopped;
	int rc;

	owner_leave();
	(void)signal(SIGPIPE, SIG_IGN);
	rc = registry_find(mountpoint, &e, &clone);
	if (rc == 0 && clone.run_dir != NULL) {
		rc = clone_end(&clone, true, up_tell, &never, &e, &stopped);
		registry_clone_free(&clone);
	}
	if (rc < 0 && rc != -ENOENT)
		(void)cmd_failed(&e, rc);
	_exit(CMD_GOOD);
}

/* In a process of its own: it takes the rights back, which this one does not want. */
static void clean_up(const char *mountpoint)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		end_left_clone(mountpoint);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

/* The last line is the report; one before it names the mount. */
static cJSON *parse_report(char *text, char **ret_mountpoint)
{
	for (char *next, *line = text; *line != '\0'; line = next) {
		const cJSON *mountpoint;
		cJSON *o;

		next = line + strcspn(line, "\n");
		if (*next != '\0')
			*next++ = '\0';
		o = cJSON_Parse(line);
		if (cJSON_HasObjectItem(o, "failed"))
			return o;
		mountpoint = cJSON_GetObjectItemCaseSensitive(o, "mountpoint");
		if (cJSON_IsString(mountpoint) && *ret_mountpoint == NULL)
			*ret_mountpoint = strdup(mountpoint->valuestring);
		cJSON_Delete(o);
	}
	return NULL;
}

static int end_child(struct child *c, int rc, cJSON **ret)
{
	_cleanup_free_ char *mountpoint = NULL;
	int status = 0;

	(void)close(c->report);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	(void)close(c->life);
	if (fclose(c->text) == 0)
		*ret = parse_report(c->data, &mountpoint);
	free(c->data);
	if ((!WIFEXITED(status) || *ret == NULL) && mountpoint != NULL)
		clean_up(mountpoint);
	return rc;
}

static void say_failures(struct verify *v, const char *backup, const cJSON *started)
{
	const cJSON *failed = cJSON_GetObjectItemCaseSensitive(started, "failed"), *o;

	cJSON_ArrayForEach(o, failed)
	{
		const cJSON *step = cJSON_GetObjectItemCaseSensitive(o, "step");
		const cJSON *database = cJSON_GetObjectItemCaseSensitive(o, "database");
		const cJSON *message = cJSON_GetObjectItemCaseSensitive(o, "message");

		if (cJSON_IsString(database))
			verify_say(v, backup, false, "started: database '%s': %s: %s",
				   database->valuestring, cJSON_GetStringValue(step),
				   cJSON_GetStringValue(message));
		else if (strcmp(cJSON_GetStringValue(step), "start") == 0)
			verify_say(v, backup, false, "PostgreSQL does not start on it: %s",
				   cJSON_GetStringValue(message));
		else
			verify_say(v, backup, false, "started: %s: %s", cJSON_GetStringValue(step),
				   cJSON_GetStringValue(message));
	}
}

/* amcheck calls indexes damaged that are only in another order. */
static void warn_of_collations(struct verify *v, const char *backup, const cJSON *started)
{
	const cJSON *all = cJSON_GetObjectItemCaseSensitive(started, "collations");
	const cJSON *first = cJSON_GetArrayItem(all, 0);

	if (first != NULL)
		verify_say(v, backup, true,
			   "database '%s': its collation has version %s here, not %s (%d such "
			   "collations): indexes of text may be called damaged",
			   cJSON_GetStringValue(cJSON_GetObjectItem(first, "database")),
			   cJSON_GetStringValue(cJSON_GetObjectItem(first, "actual")),
			   cJSON_GetStringValue(cJSON_GetObjectItem(first, "recorded")),
			   cJSON_GetArraySize(all));
}

int verify_start(struct verify *v, const struct backup_info *info, cJSON **ret_started)
{
	struct child child = {0};
	cJSON *started = NULL;
	int rc;

	progress_clear(&v->progress);
	child.text = open_memstream(&child.data, &child.len);
	if (child.text == NULL)
		return -ENOMEM;
	rc = start_child(v, info, &child);
	if (rc < 0) {
		(void)fclose(child.text);
		free(child.data);
		return rc;
	}
	rc = end_child(&child, listen_to_child(&child), &started);
	if (rc == 0 && started == NULL)
		verify_say(v, info->id, false,
			   "the process that checked its clone was killed, or died");
	if (rc == 0) {
		warn_of_collations(v, info->id, started);
		say_failures(v, info->id, started);
	}
	*ret_started = started;
	return rc;
}
