/*
 * Arguments are kept each with a NUL behind it, as /proc/<pid>/cmdline has them.
 */
#include "cmd/again.h"
#include "cmd/place.h"
#include "cmd/registry.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX (1u << 20)

/* ---- keeping ---- */

static void put(FILE *out, const char *name, const char *value)
{
	(void)fprintf(out, "%s%c", name, 0);
	if (value != NULL)
		(void)fprintf(out, "%s%c", value, 0);
}

static void put_number(FILE *out, const char *name, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	put(out, name, text);
}

static void put_flag(FILE *out, const char *name, bool on)
{
	if (on)
		put(out, name, NULL);
}

static void put_engine(FILE *out, enum io_kind kind)
{
	if (kind == IO_KIND_URING || kind == IO_KIND_THREADS)
		put(out, "--io-engine", kind == IO_KIND_URING ? "uring" : "threads");
}

/* A target is not repeated: the diff knows what it was prepared for. */
static void put_all(FILE *out, const struct up *up)
{
	const struct mount_request *r = &up->options->mount;
	const struct up_options *o = up->options;

	put(out, "up", up->mount.store);
	put(out, "--instance", up->mount.instance);
	put(out, "--backup", up->mount.backup);
	put(out, "--diff", up->mount.diff);
	put(out, "--owner", up->owner.name);
	put_engine(out, r->engine);
	put_number(out, "--index-memory", r->index_memory);
	put_number(out, "--reserve", r->reserve);
	if (o->port != 0)
		put_number(out, "--port", o->port);
	if (o->listen != NULL)
		put(out, "--listen", o->listen);
	if (r->wal_dir != NULL)
		put(out, "--wal-dir", up->mount.wal_dir);
	for (unsigned i = 0; i < o->set_count; i++)
		put(out, "--set", o->sets[i]);
	if (r->no_verify_reads)
		put(out, "--verify-reads", "off");
	put_flag(out, "--keep-hba", o->keep_hba);
	put_flag(out, "--keep-preload", o->keep_preload);
	put_flag(out, "--force", r->force);
	put_flag(out, "--external", r->external);
	put_flag(out, "--write-back", r->writes == WRITE_BACK);
	put_flag(out, "--write-through", r->writes == WRITE_THROUGH);
}

void again_remember(const struct up *up)
{
	_cleanup_free_ char *home = NULL;
	char *text = NULL;
	size_t len;
	FILE *out;

	if (up->mount.diff == NULL || up->mount.temporary || registry_home(true, NULL, &home) != 0)
		return;
	out = open_memstream(&text, &len);
	if (out == NULL)
		return;
	put_all(out, up);
	if (fclose(out) == 0)
		registry_remember_start(home, up->mount.diff, text, len);
	free(text);
}

/* ---- a command line ---- */

static int split(const char *text, size_t len, int *ret_argc, char ***ret_argv)
{
	size_t count = 0;
	char **argv, *copy;

	for (size_t i = 0; i < len; i++)
		count += text[i] == 0;
	argv = malloc((count + 1) * sizeof(*argv) + len + 1);
	if (argv == NULL)
		return -ENOMEM;
	copy = memcpy((char *)(argv + count + 1), text, len);
	copy[len] = 0;
	for (size_t i = 0; i < count; i++) {
		argv[i] = copy;
		copy += strlen(copy) + 1;
	}
	argv[count] = NULL;
	*ret_argc = (int)count;
	*ret_argv = argv;
	return 0;
}

static int load(const char *path, int *ret_argc, char ***ret_argv)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int rc = sys_read_file(AT_FDCWD, path, ARGUMENTS_MAX, &text, &len);

	return rc == 0 ? split(text, len, ret_argc, ret_argv) : rc;
}

int again_load(const char *diff, struct errmsg *e, int *ret_argc, char ***ret_argv)
{
	_cleanup_free_ char *canonical = NULL;
	_cleanup_free_ char *home = NULL;
	_cleanup_free_ char *path = NULL;
	int rc = place_new(diff, e, &canonical);

	if (rc == 0)
		rc = registry_home(false, e, &home);
	if (rc == 0)
		path = registry_start_path(home, canonical);
	if (rc == 0)
		rc = path != NULL ? load(path, ret_argc, ret_argv) : -ENOMEM;
	return rc == 0 ? 0
		       : errmsg_set(e, rc,
				    "how the clone with the diff '%s' was started is not known "
				    "here (%s); "
				    "give the STORE and its options once",
				    diff, strerror(-rc));
}

/* ---- all of them ---- */

static bool runs(const char *diff)
{
	struct clone clone;
	bool running;

	if (registry_find_diff(diff, NULL, &clone) != 0)
		return false;
	running = clone.running;
	registry_clone_free(&clone);
	return running;
}

static const char *value_of(char *const *argv, const char *name)
{
	for (; argv[0] != NULL && argv[1] != NULL; argv++) {
		if (strcmp(argv[0], name) == 0)
			return argv[1];
	}
	return "";
}

/* By its own program, so that one clone's failure is no other's. */
static int start(char **argv)
{
	pid_t pid;
	int status;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		(void)execv("/proc/self/exe", argv);
		_exit(CMD_FAILED);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return CMD_FAILED;
	}
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : CMD_FAILED;
}

struct all {
	const char *known;
	unsigned failed;
};

static int start_one(void *ctx, const char *name, unsigned char d_type)
{
	struct all *all = ctx;
	size_t len = strlen(name), suffix = strlen(REGISTRY_WANTED);
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char **argv = NULL, **full = NULL;
	const char *diff;
	int argc;

	if (len <= suffix || strcmp(name + len - suffix, REGISTRY_WANTED) != 0)
		return 0;
	if (asprintf(&path, "%s/%.*s" REGISTRY_START, all->known, (int)(len - suffix), name) < 0)
		return -ENOMEM;
	if (load(path, &argc, &argv) != 0)
		return 0;
	diff = value_of(argv, "--diff");
	if (runs(diff))
		return 0;
	full = calloc((size_t)argc + 2, sizeof(*full));
	if (full == NULL)
		return -ENOMEM;
	full[0] = (char[]){"pgoverlay"};
	memcpy(full + 1, argv, (size_t)argc * sizeof(*argv));
	if (start(full) != CMD_GOOD) {
		(void)fprintf(stderr, "pgoverlay: the clone with the diff '%s' did not come up\n",
			      diff);
		all->failed++;
	}
	return 0;
}

int again_all(void)
{
	_cleanup_free_ char *home = NULL;
	_cleanup_free_ char *known = NULL;
	struct errmsg e = {0};
	struct all all = {0};
	int rc = registry_home(false, &e, &home);

	if (rc == 0 && asprintf(&known, "%s/known", home) < 0)
		rc = -ENOMEM;
	all.known = known;
	if (rc == 0)
		rc = sys_readdir(AT_FDCWD, known, start_one, &all);
	if (rc != 0 && rc != -ENOENT)
		return cmd_failed(&e, rc);
	return all.failed == 0 ? CMD_GOOD : CMD_FAILED;
}

/* ---- who started us ---- */

void again_notify(const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	_cleanup_close_ int fd = -1;
	size_t len;

	if (path == NULL || (path[0] != '/' && path[0] != '@') ||
	    strlen(path) >= sizeof(address.sun_path))
		return;
	len = strlen(path);
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL,
			     (const struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}
