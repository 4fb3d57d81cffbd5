/*
 * `mount`: prepares, forks the daemon, and comes back when it serves.
 *
 * The daemon reports over a pipe: the facts as one JSON object, or {"error": text, "errno":
 * number}.
 */
#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "cmd/facts.h"
#include "cmd/options.h"
#include "cmd/server.h"
#include "fuse/mountinfo.h"

#include "base/sys.h"
#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX (4u << 20)

/* ---- in the daemon ---- */

static void send_text(int fd, char *text)
{
	size_t len = text != NULL ? strlen(text) : 0, sent = 0;

	while (sent < len) {
		ssize_t n = write(fd, text + sent, len - sent);

		if (n < 0 && errno != EINTR)
			break;
		sent += n > 0 ? (size_t)n : 0;
	}
	free(text);
}

static void report_serving(void *ctx, const struct mount_result *result)
{
	int *fd = ctx;

	send_text(*fd, facts_text(result));
	(void)sys_close(TAKE_FD(*fd));
}

static void report_failure(int fd, const struct errmsg *e, int rc)
{
	cJSON *o = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(o, "error", errmsg_text(e, rc));
	(void)cJSON_AddNumberToObject(o, "errno", -rc);
	send_text(fd, cJSON_PrintUnformatted(o));
	cJSON_Delete(o);
}

static void __attribute__((noreturn)) run_daemon(struct mount_plan *plan, int fd)
{
	const struct daemon_report report = {.serving = report_serving, .ctx = &fd};
	struct errmsg e = {0};
	bool served = false;
	int rc = daemon_detach(fd, plan->run_fd);

	if (rc == 0)
		rc = daemon_serve(plan, &report, &e, &served);
	if (!served)
		report_failure(fd, &e, rc);
	_exit(rc == 0 ? CMD_GOOD : CMD_FAILED);
}

/* ---- in the caller ---- */

static int parse_report(const char *text, struct errmsg *e, struct mount_result *ret)
{
	cJSON *o = cJSON_Parse(text);
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(o, "error");
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(o, "errno");
	int rc;

	if (cJSON_IsString(message) && cJSON_IsNumber(number) && number->valueint > 0)
		rc = errmsg_set(e, -number->valueint, "%s", message->valuestring);
	else if (text[0] == 0)
		rc = errmsg_set(e, -EIO, "the serving process ended before it served");
	else
		rc = facts_parse_result(text, ret);
	cJSON_Delete(o);
	return rc;
}

static int wait_for_daemon(const struct mount_plan *plan, pid_t pid, int fd, struct errmsg *e,
			   struct mount_result *ret)
{
	_cleanup_free_ char *text = NULL;
	int rc = cmd_read_all(fd, REPORT_MAX, &text);

	if (rc == 0)
		rc = parse_report(text, e, ret);
	if (rc == 0) {
		/* As root; for others the mount reads ahead less. */
		mountinfo_set_readahead(ret->mountpoint, MOUNT_READAHEAD_KIB);
		return 0;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	plan_undo(plan);
	return rc;
}

static int serve_in_background(struct mount_plan *plan, struct errmsg *e, struct mount_result *ret)
{
	int fds[2];
	pid_t pid;
	int rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return errmsg_set(e, -errno, "cannot make a pipe: %s", strerror(errno));
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		(void)sys_close(fds[0]);
		run_daemon(plan, fds[1]);
	}
	rc = pid < 0 ? -errno : 0;
	(void)sys_close(fds[1]);
	if (pid > 0)
		rc = wait_for_daemon(plan, pid, fds[0], e, ret);
	else
		rc = errmsg_set(e, rc, "cannot fork: %s", strerror(-rc));
	(void)sys_close(fds[0]);
	return rc;
}

/* ---- in the foreground ---- */

static void print_serving(void *ctx, const struct mount_result *result)
{
	const bool *json = ctx;

	mount_result_print(result, *json);
	(void)fflush(stdout);
}

static int serve_in_foreground(struct mount_plan *plan, struct errmsg *e)
{
	bool json = plan->request->json;
	const struct daemon_report report = {.serving = print_serving, .ctx = &json};
	bool served;
	int rc = daemon_serve(plan, &report, e, &served);

	if (!served)
		plan_undo(plan);
	else if (rc != 0)
		return errmsg_set(e, rc, "the last commit of the diff failed: %s", strerror(-rc));
	return rc;
}

int mount_clone(const struct mount_request *request, struct errmsg *e, struct mount_result *ret)
{
	struct mount_result result = {0};
	struct mount_plan plan;
	int rc = plan_make(request, e, &plan);

	if (rc != 0)
		return rc;
	rc = request->foreground ? serve_in_foreground(&plan, e)
				 : serve_in_background(&plan, e, &result);
	plan_free(&plan);
	if (rc == 0)
		*ret = result;
	return rc;
}

/* `up` removes such a file; who starts the server himself reads here why it would refuse. */
static void warn_of_pid_file(const struct mount_result *result)
{
	char name[32];
	pid_t pid = server_find_foreign(result->mountpoint, name);

	if (pid != 0)
		(void)fprintf(stderr,
			      "pgoverlay: warning: postmaster.pid is left from an earlier server; "
			      "its number %d is "
			      "now the process '%s': remove '%s/postmaster.pid' before you start "
			      "PostgreSQL\n",
			      (int)pid, name, result->mountpoint);
}

int cmd_mount(int argc, char **argv)
{
	struct mount_request request = MOUNT_REQUEST_INIT;
	struct mount_result result = {0};
	struct errmsg e = {0};
	int rc = options_parse_mount(argc, argv, &request);

	if (rc >= 0)
		return rc;
	rc = mount_clone(&request, &e, &result);
	if (rc != 0)
		return cmd_failed(&e, rc);
	if (strcmp(argv[0], "mount") != 0)
		mount_result_warn(&result); /* as mount(8): nothing more to say */
	else if (!request.foreground)
		mount_result_print(&result, request.json);
	if (!request.foreground)
		warn_of_pid_file(&result);
	mount_result_free(&result);
	return CMD_GOOD;
}
