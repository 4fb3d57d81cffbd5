/*
 * Talking to the control socket of a running mount.
 */
#include "cmd/registry.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (512u << 20) /* "changes" of a clone that changed everything */

/* Through the directory's descriptor: the path may be longer than an address holds. */
static int connect_to(const char *run_dir)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int dirfd = sys_openat(AT_FDCWD, run_dir, O_PATH | O_DIRECTORY, 0);
	_cleanup_close_ int fd = -1;

	if (dirfd < 0)
		return dirfd;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd,
		       SESSION_CONTROL);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int send_line(int fd, const char *command)
{
	_cleanup_free_ char *line = NULL;
	size_t len, sent = 0;

	if (asprintf(&line, "%s\n", command) < 0)
		return -ENOMEM;
	len = strlen(line);
	while (sent < len) {
		ssize_t n = send(fd, line + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int registry_ask(const struct clone *clone, const char *command, struct errmsg *e, char **ret)
{
	_cleanup_close_ int fd = -1;
	int rc;

	if (clone->run_dir == NULL)
		return errmsg_set(e, -ECONNREFUSED, "the clone on '%s' does not run",
				  clone->mountpoint);
	fd = connect_to(clone->run_dir);
	rc = fd < 0 ? fd : send_line(fd, command);
	if (rc == 0)
		rc = cmd_read_all(fd, ANSWER_MAX, ret);
	if (rc == 0 && (*ret)[0] == 0) {
		free(TAKE_PTR(*ret));
		rc = -ECONNRESET;
	}
	if (rc == -ENOENT)
		rc = -ECONNREFUSED;
	if (rc != 0)
		return errmsg_set(e, rc, "cannot talk to process %d, which serves '%s': %s",
				  (int)clone->pid, clone->mountpoint, strerror(-rc));
	return 0;
}
