/*
 * cmd/server.c: see server.h.
 */
#include "cmd/server.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/server_stuck.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_TIMEOUT_MS 60000
#define TELL_EVERY_MS	 5000
#define KILL_AFTER_MS	 10000
#define POLL_FIRST_MS	 5
#define POLL_MAX_MS	 100

/* ---- command line ---- */

struct arguments {
	const char **argv;
	char **texts; /* "name=value" */
	size_t count;
};

static void arguments_clear(struct arguments *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->texts[i]);
	free(a->texts);
	free(a->argv);
	*a = (struct arguments){0};
}

/* postgres -D dir -c name=value ... and the extra arguments (NULL at their end). */
static int arguments_make(const struct pgbin *bin, const struct settings *settings,
			  const char *data_dir, const char *const *extra, size_t extra_count,
			  struct arguments *ret)
{
	size_t n = 0;

	ret->texts = calloc(settings->count + 1, sizeof(char *));
	ret->argv = calloc(settings->count * 2 + extra_count + 4, sizeof(char *));
	if (ret->texts == NULL || ret->argv == NULL)
		return -ENOMEM;
	ret->argv[n++] = bin->postgres;
	ret->argv[n++] = "-D";
	ret->argv[n++] = data_dir;
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *s = &settings->items[i];
		char *text;

		if (s->value == NULL)
			continue;
		if (asprintf(&text, "%s=%s", s->name, s->value) < 0)
			return -ENOMEM;
		ret->texts[ret->count++] = text;
		ret->argv[n++] = "-c";
		ret->argv[n++] = text;
	}
	for (size_t i = 0; i < extra_count; i++)
		ret->argv[n++] = extra[i];
	return 0;
}

int server_check(const struct pgbin *bin, const struct owner *owner,
		 const struct settings *settings, const char *data_dir, struct errmsg *e,
		 char **ret_output)
{
	/* English and undecorated, so that it can be understood. */
	static const char *const env[] = {"LC_ALL=C", "LANG=C", NULL};
	static const char *const extra[] = {"-c", "lc_messages=C",
					    "-c", "log_error_verbosity=default",
					    "-c", "log_min_messages=warning",
					    "-c", "log_line_prefix=",
					    "-C", "data_directory"};
	_cleanup_(arguments_clear) struct arguments args = {0};
	_cleanup_free_ char *output = NULL;
	int rc, status;

	rc = arguments_make(bin, settings, data_dir, extra, ARRAY_SIZE(extra), &args);
	if (rc < 0)
		return errmsg_set(e, rc, "out of memory");
	rc = process_run(owner, args.argv, env, CHECK_TIMEOUT_MS, e, &output, &status);
	if (rc < 0)
		return rc;
	if (status == 0)
		return 1;
	*ret_output = TAKE_PTR(output);
	return 0;
}

int server_start(const struct pgbin *bin, const struct owner *owner,
		 const struct settings *settings, const char *data_dir, const char *log,
		 struct errmsg *e, pid_t *ret)
{
	_cleanup_(arguments_clear) struct arguments args = {0};
	int rc;

	rc = arguments_make(bin, settings, data_dir, NULL, 0, &args);
	if (rc < 0)
		return errmsg_set(e, rc, "out of memory");
	return process_start(owner, args.argv, log, e, ret);
}

/* ---- waiting ---- */

#define STATUS_LINE 8 /* of postmaster.pid, versions 10 and up */

/* Line `number` of postmaster.pid, blanks at its end cut; false if it is not there yet. */
static bool pid_file_line(const char *data_dir, unsigned number, char *ret, size_t size)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	const char *p;
	size_t len;

	if (asprintf(&path, "%s/postmaster.pid", data_dir) < 0) {
		path = NULL;
		return false;
	}
	if (sys_read_file(AT_FDCWD, path, 8192, &data, &len) < 0)
		return false;
	p = data;
	for (unsigned line = 1; line < number; line++) {
		p = strchr(p, '\n');
		if (p == NULL)
			return false;
		p++;
	}
	len = strcspn(p, "\n");
	while (len > 0 && p[len - 1] == ' ')
		len--;
	if (len == 0 || len >= size)
		return false;
	memcpy(ret, p, len);
	ret[len] = '\0';
	return true;
}

static pid_t pid_in_file(const char *data_dir)
{
	char text[32];

	return pid_file_line(data_dir, 1, text, sizeof(text)) ? (pid_t)atol(text) : 0;
}

bool server_state(const char *data_dir, pid_t pid, char *ret, size_t size)
{
	return pid_in_file(data_dir) == pid && pid_file_line(data_dir, STATUS_LINE, ret, size);
}

static bool is_ready(const char *data_dir, pid_t pid)
{
	char text[32];

	return server_state(data_dir, pid, text, sizeof(text)) &&
	       (strcmp(text, "ready") == 0 || strcmp(text, "standby") == 0);
}

char *server_startup_title(pid_t pid, pid_t *ret_startup)
{
	_cleanup_free_ char *children = NULL;
	char path[64], *title = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (sys_read_file(AT_FDCWD, path, 65536, &children, &len) < 0)
		return NULL;
	for (char *next, *p = children; title == NULL; p = next) {
		long child = strtol(p, &next, 10);

		if (next == p)
			break;
		(void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", child);
		*ret_startup = (pid_t)child;
		if (sys_read_file(AT_FDCWD, path, 4096, &title, &len) < 0 ||
		    strstr(title, "startup") == NULL) {
			free(title);
			title = NULL;
		}
	}
	return title;
}

static void tell_progress(pid_t pid, uint64_t since, void (*tell)(const char *text))
{
	pid_t startup;
	_cleanup_free_ char *title = server_startup_title(pid, &startup);
	const char *does = title == NULL ? NULL : strstr(title, "startup");
	char text[256];

	(void)snprintf(text, sizeof(text), "PostgreSQL is starting (%llu s)%s%s",
		       (unsigned long long)((process_now_ms() - since) / 1000),
		       does == NULL ? "" : ": ", does == NULL ? "" : does);
	tell(text);
}

/* Also takes the status of a child of ours, which would stay a zombie. */
bool server_has_ended(pid_t pid, int *ret_status)
{
	int status;

	*ret_status = -1;
	if (waitpid(pid, &status, WNOHANG) == pid) {
		*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		return true;
	}
	return !process_is_alive(pid);
}

static bool has_ended(pid_t pid)
{
	int status;

	return server_has_ended(pid, &status);
}

int server_wait(const char *data_dir, pid_t pid, void (*tell)(const char *text),
		const volatile bool *stop)
{
	uint64_t since = process_now_ms(), told = since;
	unsigned pause = POLL_FIRST_MS;

	while (!is_ready(data_dir, pid)) {
		if (has_ended(pid))
			return -ECHILD;
		if (*stop)
			return -EINTR;
		process_sleep_ms(pause);
		pause = MIN(pause + 1, POLL_MAX_MS);
		if (process_now_ms() - told >= TELL_EVERY_MS) {
			told = process_now_ms();
			tell_progress(pid, since, tell);
		}
	}
	return 0;
}

/* ---- finding and stopping ---- */

pid_t server_find(const char *data_dir)
{
	_cleanup_free_ char *works_in = NULL;
	pid_t pid = pid_in_file(data_dir);

	if (!process_is_alive(pid))
		return 0;
	/* The number may be another process's by now; a server works in its data directory. */
	works_in = process_directory(pid);
	return works_in == NULL || strcmp(works_in, data_dir) == 0 ? pid : 0;
}

pid_t server_find_foreign(const char *data_dir, char ret_name[32])
{
	_cleanup_free_ char *name = NULL;
	pid_t pid = pid_in_file(data_dir);
	char path[64];
	size_t len;

	if (!process_is_alive(pid) || server_find(data_dir) == pid)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (sys_read_file(AT_FDCWD, path, 64, &name, &len) < 0)
		return 0;
	(void)snprintf(ret_name, 32, "%.*s", (int)strcspn(name, "\n"), name);
	return pid;
}

int server_stop(pid_t pid, enum server_stop how, void (*tell)(const char *text),
		const volatile bool *stop, struct errmsg *e)
{
	uint64_t since = process_now_ms(), told = since;
	uint64_t start_time = process_start_time(pid);
	struct server_calm calm = {0};
	unsigned pause = POLL_FIRST_MS;
	bool killed = false;

	if (kill(pid, how == SERVER_STOP_FAST ? SIGINT : SIGQUIT) < 0 && errno != ESRCH)
		return errmsg_set(e, -errno, "cannot stop PostgreSQL (pid %d): %s", (int)pid,
				  strerror(errno));
	while (!has_ended(pid) && process_start_time(pid) == start_time) {
		uint64_t now = process_now_ms();

		if (*stop)
			return errmsg_set(e, -EINTR,
					  "interrupted: PostgreSQL (pid %d) goes on stopping",
					  (int)pid);
		if (how == SERVER_STOP_IMMEDIATE && !killed && now - since > KILL_AFTER_MS) {
			(void)kill(pid, SIGKILL);
			killed = true;
		}
		if (how == SERVER_STOP_FAST && server_is_stuck(pid, now, &calm)) {
			tell("PostgreSQL does not stop by itself; stopping it at once, the next "
			     "start recovers");
			how = SERVER_STOP_IMMEDIATE;
			since = told = now;
			(void)kill(pid, SIGQUIT);
		}
		if (now - told >= TELL_EVERY_MS) {
			told = now;
			tell("PostgreSQL is stopping: its last checkpoint is being written");
		}
		process_sleep_ms(pause);
		pause = MIN(pause + 1, POLL_MAX_MS);
	}
	return 0;
}

/* ---- what a dead postmaster leaves ---- */

struct leftovers {
	const char *data_dir;
	bool killing;
	unsigned count;
};

/* Somebody's shell may work there too; only servers count. */
static bool is_postgres(pid_t pid)
{
	_cleanup_free_ char *comm = NULL;
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return process_is_alive(pid) && sys_read_file(AT_FDCWD, path, 64, &comm, &len) == 0 &&
	       strncmp(comm, "postgres", 8) == 0;
}

static int look_at_process(void *ctx, const char *name, unsigned char d_type)
{
	struct leftovers *l = ctx;
	_cleanup_free_ char *works_in = NULL;
	pid_t pid = (pid_t)strtol(name, NULL, 10);

	(void)d_type;
	if (pid <= 1 || !is_postgres(pid))
		return 0;
	works_in = process_directory(pid);
	if (works_in == NULL || strcmp(works_in, l->data_dir) != 0)
		return 0;
	l->count++;
	if (l->killing)
		(void)kill(pid, SIGKILL);
	return 0;
}

void server_wait_gone(const char *data_dir)
{
	uint64_t since = process_now_ms();
	struct leftovers l = {.data_dir = data_dir};

	do {
		uint64_t waited = process_now_ms() - since;

		l.killing = waited > KILL_AFTER_MS;
		l.count = 0;
		(void)sys_readdir(AT_FDCWD, "/proc", look_at_process, &l);
		if (l.count == 0 || waited > 2 * KILL_AFTER_MS)
			return;
		process_sleep_ms(POLL_MAX_MS / 4);
	} while (true);
}

/* ---- who writes WAL ---- */

struct wal_users {
	const char *wal_dir;
	pid_t looking_at, found;
	int fd_dir;
};

static int look_at_descriptor(void *ctx, const char *name, unsigned char d_type)
{
	struct wal_users *u = ctx;
	size_t len = strlen(u->wal_dir);
	char target[4096];
	ssize_t n;

	(void)d_type;
	n = readlinkat(u->fd_dir, name, target, sizeof(target) - 1);
	if (n < 0 || (size_t)n <= len)
		return 0;
	target[n] = '\0';
	if (strncmp(target, u->wal_dir, len) == 0 && target[len] == '/')
		u->found = u->looking_at;
	return u->found;
}

static int look_at_descriptors(void *ctx, const char *name, unsigned char d_type)
{
	struct wal_users *u = ctx;
	pid_t pid = (pid_t)strtol(name, NULL, 10);
	_cleanup_close_ int dir = -1;
	char path[64];

	(void)d_type;
	if (pid <= 1 || !is_postgres(pid))
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return 0;
	u->looking_at = pid;
	u->fd_dir = dir;
	(void)sys_readdir(dir, ".", look_at_descriptor, u);
	return u->found;
}

pid_t server_wal_user(const char *wal_dir)
{
	struct wal_users u = {.wal_dir = wal_dir};

	(void)sys_readdir(AT_FDCWD, "/proc", look_at_descriptors, &u);
	return u.found;
}

/* ---- the log ---- */

char *server_log_tail(const char *log, uint64_t from, unsigned lines)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, log, O_RDONLY | O_NOFOLLOW, 0);
	char buf[16384], *text = NULL;
	struct stat st;
	uint64_t start;
	size_t size;
	int64_t n;
	FILE *f;

	if (fd < 0 || sys_fstat(fd, &st) < 0)
		return strdup("");
	start = (uint64_t)st.st_size > sizeof(buf) ? (uint64_t)st.st_size - sizeof(buf) : 0;
	start = MAX(start, from);
	n = sys_pread_full(fd, buf, sizeof(buf), start);
	if (n <= 0)
		return strdup("");
	f = open_memstream(&text, &size);
	if (f == NULL)
		return NULL;
	for (int64_t i = n - 1; i > 0 && lines > 0; i--)
		if (buf[i - 1] == '\n' && --lines == 0) {
			memmove(buf, buf + i, (size_t)(n - i));
			n -= i;
		}
	for (int64_t i = 0; i < n; i++) {
		if (i == 0 || buf[i - 1] == '\n')
			(void)fputs("    ", f);
		(void)putc(buf[i], f);
	}
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
