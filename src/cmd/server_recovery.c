/*
 * cmd/server_recovery.c: see server_recovery.h.
 *
 * What recovery is at is read from the title of the server's startup process, which needs no
 * connection; only whether it has paused must be asked of the server.
 */
#include "cmd/server_recovery.h"

#include "base/sys.h"
#include "base/util.h"
#include "pg/control.h"
#include "pg/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define TELL_EVERY_MS	 5000
#define ASK_EVERY_MS	 300
#define ASK_TIMEOUT_MS	 20000
#define STALL_DEFAULT_MS 600000
#define POLL_FIRST_MS	 5
#define POLL_MAX_MS	 100

/* ---- how far it is ---- */

struct progress {
	uint64_t moved_at; /* ms */
	uint64_t lsn, cpu;
};

uint64_t server_recovery_lsn(const char *title, uint32_t segment_size)
{
	char text[PG_WAL_NAME_SIZE];
	struct pg_wal_name name;
	const char *at = strstr(title, "startup");

	at = at == NULL ? NULL : strpbrk(at, "0123456789");
	if (at == NULL || segment_size == 0)
		return 0;
	(void)snprintf(text, sizeof(text), "%s", at);
	return pg_wal_name_parse(text, segment_size, &name) && name.kind == PG_WAL_SEGMENT
		       ? name.segment * segment_size
		       : 0;
}

/* Fields 14 and 15 of /proc/<pid>/stat. */
static uint64_t cpu_of(pid_t pid)
{
	_cleanup_free_ char *data = NULL;
	unsigned long long user = 0, system = 0;
	char path[64];
	const char *p;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (sys_read_file(AT_FDCWD, path, 4096, &data, &len) < 0)
		return 0;
	p = strrchr(data, ')');
	if (p == NULL || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
				&user, &system) != 2)
		return 0;
	return user + system;
}

static void look(const struct recovery_wait *w, struct progress *p)
{
	pid_t startup = 0;
	_cleanup_free_ char *title = server_startup_title(w->facts->pid, &startup);
	uint64_t lsn = title == NULL ? 0 : server_recovery_lsn(title, w->segment_size);
	uint64_t cpu = title == NULL ? 0 : cpu_of(startup);

	if ((lsn != 0 && lsn != p->lsn) || cpu != p->cpu)
		p->moved_at = process_now_ms();
	if (lsn != 0)
		p->lsn = lsn;
	p->cpu = cpu;
}

static void tell_progress(const struct recovery_wait *w, const struct progress *p, uint64_t since)
{
	unsigned long long seconds = (process_now_ms() - since) / 1000;
	char at[PG_LSN_TEXT_SIZE], end[PG_LSN_TEXT_SIZE], text[128];

	if (p->lsn == 0)
		(void)snprintf(text, sizeof(text), "PostgreSQL is starting (%llu s)", seconds);
	else if (w->end_lsn < p->lsn)
		(void)snprintf(text, sizeof(text), "recovering, at LSN %s (%llu s)",
			       pg_lsn_text(p->lsn, at), seconds);
	else
		(void)snprintf(text, sizeof(text), "recovering, at LSN %s of %s (%llu s)",
			       pg_lsn_text(p->lsn, at), pg_lsn_text(w->end_lsn, end), seconds);
	w->tell(text);
}

/* ---- how it ends ---- */

/* Before the server answers, and when it is asked in the wrong moment, the answer is no. */
static bool is_paused(const struct recovery_wait *w)
{
	const char *question = w->bin->major >= 14
				       ? "select pg_get_wal_replay_pause_state() = 'paused'"
				       : "select pg_is_wal_replay_paused()";
	char port[16];
	const char *argv[] = {w->bin->psql,   "-X", "-q",     "-A", "-t",	    "-h",
			      w->facts->host, "-p", port,     "-U", w->facts->user, "-d",
			      "postgres",     "-c", question, NULL};
	_cleanup_free_ char *output = NULL;
	int status;

	(void)snprintf(port, sizeof(port), "%u", w->facts->port);
	return process_run(w->owner, argv, NULL, ASK_TIMEOUT_MS, NULL, &output, &status) == 0 &&
	       status == 0 && output[0] == 't';
}

/* What the control file says; PG_STATE_MAX_ while it is being written. */
static enum pg_state control_state(const struct recovery_wait *w)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	struct pg_control control;
	size_t len;

	if (asprintf(&path, "%s/global/pg_control", w->data_dir) < 0) {
		path = NULL;
		return PG_STATE_MAX_;
	}
	return sys_read_file(AT_FDCWD, path, PG_CONTROL_FILE_SIZE, &data, &len) == 0 &&
			       pg_control_parse(data, len, &control, NULL) == 0
		       ? control.state
		       : PG_STATE_MAX_;
}

/*
 * 1: it has come to its end; 0: not yet. The server calls itself ready in hot standby already, long
 * before it is there.
 */
static int look_for_end(const struct recovery_wait *w, uint64_t *asked_at)
{
	char state[32];
	int status;

	if (server_has_ended(w->facts->pid, &status))
		return w->end == RECOVERY_SHUT_DOWN && status == 0 &&
				       control_state(w) == PG_STATE_SHUTDOWN_IN_RECOVERY
			       ? 1
			       : -ECHILD;
	if (!server_state(w->data_dir, w->facts->pid, state, sizeof(state)) ||
	    strcmp(state, "ready") != 0)
		return 0;
	/* Whatever was asked for: what lies before hot standby is possible is no place to pause. */
	if (control_state(w) == PG_STATE_PRODUCTION)
		return 1;
	if (w->end != RECOVERY_PAUSED || process_now_ms() - *asked_at < ASK_EVERY_MS)
		return 0;
	*asked_at = process_now_ms();
	return is_paused(w);
}

int server_wait_recovered(const struct recovery_wait *w)
{
	uint64_t since = process_now_ms(), told = since, asked_at = 0;
	unsigned stall = w->stall_ms != 0 ? w->stall_ms : STALL_DEFAULT_MS;
	struct progress progress = {.moved_at = since};
	unsigned pause = POLL_FIRST_MS;

	for (;;) {
		int rc = look_for_end(w, &asked_at);

		if (rc != 0)
			return MIN(rc, 0);
		if (*w->stop)
			return -EINTR;
		process_sleep_ms(pause);
		pause = MIN(pause + 1, POLL_MAX_MS);
		if (pause == POLL_MAX_MS || process_now_ms() - told >= TELL_EVERY_MS)
			look(w, &progress);
		if (process_now_ms() - told >= TELL_EVERY_MS) {
			told = process_now_ms();
			tell_progress(w, &progress, since);
		}
		if (process_now_ms() - progress.moved_at > stall)
			return -ETIMEDOUT;
	}
}
