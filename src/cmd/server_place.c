/*
 * cmd/server_place.c: where a clone's server is reached, and the note that finds it again. See
 * server.h.
 */
#include "cmd/server.h"

#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FACTS_NAME "server"
#define FACTS_MAX  16384

void server_facts_clear(struct server_facts *facts)
{
	free(facts->host);
	free(facts->user);
	free(facts->log);
	*facts = (struct server_facts){0};
}

static char *facts_path(const char *run_dir)
{
	char *path;

	return asprintf(&path, "%s/%s", run_dir, FACTS_NAME) < 0 ? NULL : path;
}

int server_facts_write(const char *run_dir, const struct owner *owner,
		       const struct server_facts *facts, struct errmsg *e)
{
	_cleanup_free_ char *path = facts_path(run_dir);
	_cleanup_free_ char *text = NULL;
	int rc;

	if (path == NULL ||
	    asprintf(&text,
		     "pid = %d\nstart-time = %llu\nhost = '%s'\nport = %u\nuser = '%s'\nlog = "
		     "'%s'\nown-host = %d\n",
		     (int)facts->pid, (unsigned long long)facts->start_time, facts->host,
		     facts->port, facts->user == NULL ? "" : facts->user, facts->log,
		     facts->own_host) < 0) {
		text = NULL;
		return errmsg_set(e, -ENOMEM, "out of memory");
	}
	rc = owner_enter(owner, e);
	if (rc < 0)
		return rc;
	rc = sys_replace_file(AT_FDCWD, path, text, strlen(text), 0600);
	owner_leave();
	return rc < 0 ? errmsg_set(e, rc, "cannot write %s: %s", path, strerror(-rc)) : 0;
}

static int take_text(const char *value, char **ret)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return -ENOMEM;
	free(*ret);
	*ret = copy;
	return 0;
}

static int take_fact(void *ctx, const char *key, const char *value)
{
	struct server_facts *facts = ctx;

	if (strcmp(key, "pid") == 0)
		facts->pid = (pid_t)atol(value);
	else if (strcmp(key, "start-time") == 0)
		facts->start_time = strtoull(value, NULL, 10);
	else if (strcmp(key, "host") == 0)
		return take_text(value, &facts->host);
	else if (strcmp(key, "port") == 0)
		facts->port = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(key, "user") == 0)
		return take_text(value, &facts->user);
	else if (strcmp(key, "log") == 0)
		return take_text(value, &facts->log);
	else if (strcmp(key, "own-host") == 0)
		facts->own_host = strcmp(value, "1") == 0;
	return 0;
}

int server_facts_read(const char *run_dir, struct server_facts *ret)
{
	_cleanup_free_ char *path = facts_path(run_dir);
	_cleanup_free_ char *text = NULL;
	struct server_facts facts = {0};
	size_t len;
	int rc;

	if (path == NULL)
		return -ENOMEM;
	rc = sys_read_file(AT_FDCWD, path, FACTS_MAX, &text, &len);
	if (rc < 0)
		return rc;
	rc = ini_parse(text, len, take_fact, &facts, NULL);
	if (rc == 0 && (facts.pid <= 0 || facts.host == NULL || facts.log == NULL))
		rc = -EUCLEAN;
	if (rc < 0) {
		server_facts_clear(&facts);
		return rc;
	}
	*ret = facts;
	return 0;
}

bool server_facts_alive(const struct server_facts *facts)
{
	return process_is_alive(facts->pid) && process_start_time(facts->pid) == facts->start_time;
}

int server_socket_dir(const char *run_dir, const struct owner *owner, struct errmsg *e, char **ret,
		      bool *ret_own)
{
	static const char longest[] = "/.s.PGSQL.65535";
	char dir[] = "/tmp/pgoverlay-XXXXXX";
	const char *made;
	int rc;

	*ret_own = false;
	if (strlen(run_dir) + sizeof(longest) <= SERVER_SOCKET_MAX) {
		*ret = strdup(run_dir);
		return *ret == NULL ? -ENOMEM : 0;
	}
	rc = owner_enter(owner, e);
	if (rc < 0)
		return rc;
	made = mkdtemp(dir);
	rc = made == NULL ? -errno : 0;
	owner_leave();
	if (rc < 0)
		return errmsg_set(e, rc, "cannot make a directory for the socket in /tmp: %s",
				  strerror(-rc));
	*ret_own = true;
	*ret = strdup(dir);
	return *ret == NULL ? -ENOMEM : 0;
}

/* Only what a server leaves there, so that nothing else can be removed by mistake. */
static int remove_socket(void *ctx, const char *name, unsigned char d_type)
{
	int dir = *(const int *)ctx;

	(void)d_type;
	if (strncmp(name, ".s.PGSQL.", 9) == 0 || strcmp(name, "postmaster.pid") == 0)
		(void)sys_unlinkat(dir, name, 0);
	return 0;
}

void server_socket_dir_remove(const char *dir)
{
	int fd = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd < 0)
		return;
	(void)sys_readdir(fd, ".", remove_socket, &fd);
	(void)sys_close(fd);
	(void)sys_unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
}

/* Sets the bits of ports that somebody listens on; without touching the network. */
static void read_listeners(const char *table, uint64_t *used)
{
	_cleanup_free_ char *data = NULL;
	size_t len;

	if (sys_read_file(AT_FDCWD, table, 64u << 20, &data, &len) < 0)
		return;
	/* "sl: local_address:port remote_address:port state ...", all in hex; 0A is LISTEN. */
	for (const char *line = data; line != NULL; line = strchr(line, '\n')) {
		unsigned port, state;

		line += *line == '\n';
		if (sscanf(line, " %*u: %*[0-9A-F]:%X %*[0-9A-F]:%*X %X", &port, &state) == 2 &&
		    state == 0x0a && port <= 65535)
			used[port / 64] |= UINT64_C(1) << port % 64;
	}
}

unsigned server_free_port(unsigned first)
{
	uint64_t used[65536 / 64] = {0};

	read_listeners("/proc/net/tcp", used);
	read_listeners("/proc/net/tcp6", used);
	for (unsigned port = first; port < first + 1000 && port <= 65535; port++)
		if ((used[port / 64] >> port % 64 & 1) == 0)
			return port;
	return first;
}
