/*
 * tests/mount/probe.c: linked with all of pgoverlay, this adds a command to the control socket of
 * its mounts: `probe` tries, inside of the serving process, what it must not be able to do, and
 * some of what it must. The answer has one line for each try. tests/mount/confined.sh judges it.
 *
 * $PROBE_OUTSIDE is a directory of the owner's, with a file `there`; $PROBE_STORE a file of the
 * store, $PROBE_DIFF a directory of the diff, $PROBE_PID another process of the owner's.
 */
#include "probe.h"

#include "base/util.h"
#include "fuse/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void probe_say(FILE *out, const char *how, const char *what, int rc)
{
	(void)fprintf(out, "%s %s %s\n", how, what, rc >= 0 ? "ok" : strerrorname_np(-rc));
}

static const char *in(const char *dir, const char *name)
{
	static _Thread_local char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int result(long rc)
{
	return rc < 0 ? -errno : 0;
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	int rc = result(fd);

	if (fd >= 0)
		(void)close(fd);
	return rc;
}

/* The child's exit status is its errno. */
static int try_exec(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)execl("/bin/true", "true", (char *)NULL);
		_exit(errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EFAULT;
}

static int try_ring(void)
{
	struct io_uring_params params = {0};

	return result(syscall(SYS_io_uring_setup, 4, &params));
}

static void probe_calls(FILE *out, const char *how)
{
	const char *outside = getenv("PROBE_OUTSIDE"), *store = getenv("PROBE_STORE"),
		   *diff = getenv("PROBE_DIFF");
	pid_t pid = (pid_t)strtol(getenv("PROBE_PID"), NULL, 10);
	char there[4096];

	(void)snprintf(there, sizeof(there), "%s", in(outside, "there"));
	probe_say(out, how, "open", try_open(there, O_RDONLY));
	probe_say(out, how, "open-write", try_open(there, O_WRONLY));
	probe_say(out, how, "open-root", try_open("/etc/passwd", O_RDONLY));
	probe_say(out, how, "list", try_open(outside, O_RDONLY | O_DIRECTORY));
	probe_say(out, how, "truncate", result(truncate(there, 0)));
	probe_say(out, how, "create", try_open(in(outside, how), O_WRONLY | O_CREAT));
	probe_say(out, how, "mkdir", result(mkdir(in(outside, "d"), 0700)));
	probe_say(out, how, "symlink", result(symlink("/", in(outside, "s"))));
	probe_say(out, how, "fifo", result(mknod(in(outside, "f"), S_IFIFO | 0600, 0)));
	probe_say(out, how, "link", result(link(there, in(outside, "l"))));
	probe_say(out, how, "rename", result(rename(there, in(outside, "r"))));
	probe_say(out, how, "socket-file", result(mknod(in(outside, "k"), S_IFSOCK | 0600, 0)));
	probe_say(out, how, "unlink", result(unlink(there)));
	probe_say(out, how, "store-write", try_open(store, O_WRONLY));
	probe_say(out, how, "store-unlink", result(unlink(store)));
	probe_say(out, how, "exec", try_exec());
	probe_say(out, how, "internet", result(socket(AF_INET, SOCK_STREAM, 0)));
	probe_say(out, how, "new-ring", try_ring());
	probe_say(out, how, "ptrace", result(ptrace(PTRACE_SEIZE, pid, NULL, NULL)));
	probe_say(out, how, "signal", result(kill(pid, 0)));
	probe_say(out, how, "may-store-read", try_open(store, O_RDONLY));
	probe_say(out, how, "may-create", try_open(in(diff, how), O_WRONLY | O_CREAT));
	probe_say(out, how, "may-unlink", result(unlink(in(diff, how))));
}

struct probe_job {
	struct io_op op;
	FILE *out;
	bool done;
};

static int64_t run_job(struct io_op *op)
{
	probe_calls(CONTAINER_OF(op, struct probe_job, op)->out, "thread");
	return 0;
}

static void job_done(struct io_op *op)
{
	CONTAINER_OF(op, struct probe_job, op)->done = true;
}

static char *probe(struct session *session, const char *line)
{
	struct probe_job job = {.op = {.code = IO_JOB, .job = run_job, .done = job_done}};
	struct io_engine *io = session->parts.io;
	char *text = NULL;
	size_t len;

	if (strcmp(line, "probe") != 0)
		return NULL;
	job.out = open_memstream(&text, &len);
	if (job.out == NULL)
		return NULL;
	while (!io_idle(io))
		(void)io_wait(io, -1);
	probe_calls(job.out, "core");
	io_submit(io, &job.op);
	while (!job.done)
		(void)io_wait(io, -1);
	probe_ring(job.out, io, getenv("PROBE_OUTSIDE"));
	return fclose(job.out) == 0 ? text : NULL;
}

__attribute__((constructor)) static void add_command(void)
{
	control_test_command = probe;
}
