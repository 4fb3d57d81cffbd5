/*
 * cmd/process.c: see process.h.
 */
#include "cmd/process.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX (1u << 20)
#define GROUPS_MAX 256
#define POLL_MS	   100

static gid_t saved_groups[GROUPS_MAX];
static int saved_group_count = -1; /* -1: not entered */

int owner_find(uid_t uid, gid_t gid, struct errmsg *e, struct owner *ret)
{
	struct owner owner = {.uid = uid, .gid = gid};
	const struct passwd *pw;

	errno = 0;
	pw = getpwuid(uid);
	if (pw != NULL) {
		owner.name = strdup(pw->pw_name);
		owner.home = strdup(pw->pw_dir);
	} else {
		if (asprintf(&owner.name, "%u", (unsigned)uid) < 0)
			owner.name = NULL;
		owner.home = strdup("/");
	}
	if (owner.name == NULL || owner.home == NULL) {
		owner_clear(&owner);
		return errmsg_set(e, -ENOMEM, "out of memory");
	}
	*ret = owner;
	return 0;
}

void owner_clear(struct owner *owner)
{
	free(owner->name);
	free(owner->home);
	*owner = (struct owner){0};
}

/* The owner's groups; one without a name has only its own. */
static int take_groups(const struct owner *owner)
{
	if (getpwuid(owner->uid) == NULL)
		return setgroups(1, &owner->gid) < 0 ? -errno : 0;
	return initgroups(owner->name, owner->gid) < 0 ? -errno : 0;
}

int owner_enter(const struct owner *owner, struct errmsg *e)
{
	int rc;

	if (geteuid() != 0 || owner->uid == 0)
		return 0;
	saved_group_count = getgroups(GROUPS_MAX, saved_groups);
	if (saved_group_count < 0)
		return errmsg_set(e, -errno, "cannot read the own groups: %s", strerror(errno));
	rc = take_groups(owner);
	if (rc == 0 && setegid(owner->gid) < 0)
		rc = -errno;
	if (rc == 0 && seteuid(owner->uid) < 0)
		rc = -errno;
	if (rc < 0) {
		owner_leave();
		return errmsg_set(e, rc, "cannot act as user %s: %s", owner->name, strerror(-rc));
	}
	return 0;
}

void owner_leave(void)
{
	if (saved_group_count < 0)
		return;
	/* Going on with half of the ids would be worse than ending. */
	if (seteuid(0) < 0 || setegid(0) < 0 ||
	    setgroups((size_t)saved_group_count, saved_groups) < 0)
		abort();
	saved_group_count = -1;
}

int owner_become(const struct owner *owner)
{
	int rc;

	owner_leave(); /* of the parent's state, which the child has copied */
	if (geteuid() != 0 || owner->uid == 0)
		return 0;
	rc = take_groups(owner);
	if (rc < 0)
		return rc;
	if (setresgid(owner->gid, owner->gid, owner->gid) < 0)
		return -errno;
	return setresuid(owner->uid, owner->uid, owner->uid) < 0 ? -errno : 0;
}

/*
 * What PostgreSQL's programs see: nothing of PG*, which would send psql elsewhere, nor LD_PRELOAD
 * and the like. HOME first, then the extra ones, then what is kept of ours.
 */
static const char *const kept_variables[] = {"PATH",	 "LANG", "LC_ALL",	    "LC_MESSAGES",
					     "LC_CTYPE", "TZ",	 "LD_LIBRARY_PATH", "ASAN_OPTIONS"};
#define EXTRA_MAX 8

struct environment {
	char *items[ARRAY_SIZE(kept_variables) + EXTRA_MAX + 2];
	unsigned count;
};

static void environment_clear(struct environment *env)
{
	while (env->count > 0)
		free(env->items[--env->count]);
}

static bool is_given(const struct environment *env, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < env->count; i++)
		if (strncmp(env->items[i], name, len) == 0 && env->items[i][len] == '=')
			return true;
	return false;
}

static int environment_add(struct environment *env, const char *name, const char *value)
{
	char *text;

	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	env->items[env->count++] = text;
	env->items[env->count] = NULL;
	return 0;
}

static int environment_make(const struct owner *owner, const char *const *extra,
			    struct environment *env)
{
	int rc = environment_add(env, "HOME", owner->home);

	for (unsigned i = 0; rc == 0 && extra != NULL && extra[i] != NULL && i < EXTRA_MAX; i++) {
		char *copy = strdup(extra[i]);

		if (copy == NULL)
			return -ENOMEM;
		env->items[env->count++] = copy;
		env->items[env->count] = NULL;
	}
	for (unsigned i = 0; rc == 0 && i < ARRAY_SIZE(kept_variables); i++) {
		const char *value = getenv(kept_variables[i]);

		if (value != NULL && !is_given(env, kept_variables[i]))
			rc = environment_add(env, kept_variables[i], value);
	}
	return rc;
}

/* In the child: descriptors 0, 1 and 2 are in place afterwards and nothing else is open. */
static void __attribute__((noreturn))
run_child(const struct owner *owner, const char *const *argv, char **envp, int in, int out, int err)
{
	sigset_t none;
	int rc;

	rc = owner_become(owner);
	if (rc == 0 && (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
			dup2(err, STDERR_FILENO) < 0))
		rc = -errno;
	if (rc == 0) {
		(void)close_range(3, ~0u, 0);
		(void)umask(077);
		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		(void)signal(SIGPIPE, SIG_DFL);
		(void)signal(SIGINT, SIG_DFL);
		(void)signal(SIGTERM, SIG_DFL);
		if (chdir("/") == 0)
			(void)execve(argv[0], (char *const *)(uintptr_t)argv, envp);
		rc = -errno;
	}
	(void)dprintf(STDERR_FILENO, "pgoverlay: cannot run %s: %s\n", argv[0], strerror(-rc));
	_exit(127);
}

struct pipe {
	int read_end, write_end;
};

static void pipe_close(struct pipe *p)
{
	util_closep(&p->read_end);
	util_closep(&p->write_end);
	*p = (struct pipe){-1, -1};
}

static int pipe_make(struct pipe *p)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*p = (struct pipe){fds[0], fds[1]};
	return 0;
}

static int read_some(int fd, char **output, size_t *len)
{
	char buf[8192];
	ssize_t n = read(fd, buf, sizeof(buf));
	char *bigger;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	if (*len + (size_t)n > OUTPUT_MAX)
		return 1; /* go on reading, so that the program can end */
	bigger = realloc(*output, *len + (size_t)n + 1);
	if (bigger == NULL)
		return -ENOMEM;
	memcpy(bigger + *len, buf, (size_t)n);
	*len += (size_t)n;
	bigger[*len] = '\0';
	*output = bigger;
	return 1;
}

/* Reads until the other end is closed, time is up, or *stop becomes true (NULL: never). */
static int collect(int fd, int timeout_ms, const volatile bool *stop, char **output)
{
	uint64_t end = timeout_ms < 0 ? UINT64_MAX : process_now_ms() + (uint64_t)timeout_ms;
	size_t len = 0;
	int rc;

	*output = strdup("");
	if (*output == NULL)
		return -ENOMEM;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = process_now_ms();

		if (now >= end || (stop != NULL && *stop))
			return now >= end ? -ETIMEDOUT : -EINTR;
		if (poll(&p, 1, (int)MIN(end - now, (uint64_t)POLL_MS)) < 0 && errno != EINTR)
			return -errno;
		if (p.revents == 0)
			continue;
		rc = read_some(fd, output, &len);
		if (rc <= 0)
			return rc;
	}
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The input as a file without a name: no pipe that both sides could wait on. */
static int input_file(const char *input)
{
	int fd, rc;

	if (input == NULL)
		return sys_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
	fd = memfd_create("input", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = sys_pwrite_full(fd, input, strlen(input), 0);
	if (rc < 0) {
		(void)sys_close(fd);
		return rc;
	}
	return fd;
}

static int begin(const struct owner *owner, const char *const *argv, char **envp, const char *input,
		 struct process *ret)
{
	_cleanup_(pipe_close) struct pipe out = {-1, -1};
	_cleanup_close_ int in = input_file(input);
	int rc;
	pid_t pid;

	if (in < 0)
		return in;
	rc = pipe_make(&out);
	if (rc < 0)
		return rc;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(owner, argv, envp, in, out.write_end, out.write_end);
	ret->pid = pid;
	ret->output = TAKE_FD(out.read_end);
	return 0;
}

int process_begin(const struct owner *owner, const char *const *argv, const char *const *env,
		  const char *input, struct errmsg *e, struct process *ret)
{
	_cleanup_(environment_clear) struct environment environment = {0};
	int rc;

	rc = environment_make(owner, env, &environment);
	if (rc == 0)
		rc = begin(owner, argv, environment.items, input, ret);
	return rc < 0 ? errmsg_set(e, rc, "cannot run %s: %s", argv[0], strerror(-rc)) : 0;
}

static int finish(struct process *process, int timeout_ms, const volatile bool *stop,
		  struct errmsg *e, char **ret_output, int *ret_status)
{
	_cleanup_free_ char *output = NULL;
	int rc, status;

	rc = collect(process->output, timeout_ms, stop, &output);
	if (rc < 0)
		(void)kill(process->pid, SIGKILL);
	util_closep(&process->output);
	process->output = -1;
	status = wait_for(process->pid);
	if (rc == 0 && status < 0)
		rc = status;
	if (rc < 0)
		return errmsg_set(e, rc, "a program failed: %s", strerror(-rc));
	*ret_output = TAKE_PTR(output);
	*ret_status = status;
	return 0;
}

int process_end(struct process *process, int timeout_ms, struct errmsg *e, char **ret_output,
		int *ret_status)
{
	return finish(process, timeout_ms, NULL, e, ret_output, ret_status);
}

int process_wait(struct process *process, const volatile bool *stop, struct errmsg *e,
		 char **ret_output, int *ret_status)
{
	return finish(process, -1, stop, e, ret_output, ret_status);
}

int process_run(const struct owner *owner, const char *const *argv, const char *const *env,
		int timeout_ms, struct errmsg *e, char **ret_output, int *ret_status)
{
	struct process process;
	int rc;

	rc = process_begin(owner, argv, env, NULL, e, &process);
	return rc < 0 ? rc : process_end(&process, timeout_ms, e, ret_output, ret_status);
}

/* The log is the owner's file: it is opened with the owner's rights and through no link. */
static int open_log(const struct owner *owner, const char *log, struct errmsg *e)
{
	int fd, rc;

	rc = owner_enter(owner, e);
	if (rc < 0)
		return rc;
	fd = sys_openat(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	owner_leave();
	if (fd < 0)
		return errmsg_set(e, fd, "cannot write the server's log %s: %s", log,
				  strerror(-fd));
	return fd;
}

/* In a session of its own: a terminal's Ctrl-C is for us, not for the program. */
static int start_apart(const struct owner *owner, const char *const *argv, int out, int err,
		       struct errmsg *e, pid_t *ret)
{
	_cleanup_(environment_clear) struct environment environment = {0};
	_cleanup_close_ int in = input_file(NULL);
	pid_t pid;
	int rc = in < 0 ? in : environment_make(owner, NULL, &environment);

	if (rc < 0)
		return errmsg_set(e, rc, "cannot run %s: %s", argv[0], strerror(-rc));
	pid = fork();
	if (pid < 0)
		return errmsg_set(e, -errno, "cannot start a process: %s", strerror(errno));
	if (pid == 0) {
		(void)setsid();
		run_child(owner, argv, environment.items, in, out, err);
	}
	*ret = pid;
	return 0;
}

int process_start(const struct owner *owner, const char *const *argv, const char *log,
		  struct errmsg *e, pid_t *ret)
{
	_cleanup_close_ int out = open_log(owner, log, e);

	return out < 0 ? out : start_apart(owner, argv, out, out, e, ret);
}

int process_pour(const struct owner *owner, const char *const *argv, int out, struct errmsg *e,
		 pid_t *ret)
{
	return start_apart(owner, argv, out, STDERR_FILENO, e, ret);
}

/* Fields 3 (state) and 22 (start time) of /proc/<pid>/stat; the name in field 2 may hold anything,
 * so from its last ')'. */
static bool read_stat(pid_t pid, char *state, uint64_t *start)
{
	_cleanup_free_ char *data = NULL;
	char path[64];
	const char *p;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (sys_read_file(AT_FDCWD, path, 4096, &data, &len) < 0)
		return false;
	p = strrchr(data, ')');
	if (p == NULL || strlen(p) < 3)
		return false;
	*state = p[2];
	p += 2;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (p == NULL)
			return false;
		p++;
	}
	*start = strtoull(p, NULL, 10);
	return true;
}

bool process_is_alive(pid_t pid)
{
	uint64_t start;
	char state;

	return pid > 0 && read_stat(pid, &state, &start) && state != 'Z' && state != 'X';
}

uint64_t process_start_time(pid_t pid)
{
	uint64_t start;
	char state;

	return pid > 0 && read_stat(pid, &state, &start) ? start : 0;
}

char *process_directory(pid_t pid)
{
	char link[64], target[4096];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return NULL;
	target[n] = '\0';
	return strdup(target);
}

void process_sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL);
}

uint64_t process_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
