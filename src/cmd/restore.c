/*
 * `restore`: a backup as a plain data directory, without pg_probackup.
 *
 * Everything is checked before anything is made. Then, in this order: the directories and a marker,
 * all files but the control file's name, our settings, everything durable, the control file's name,
 * the marker away.
 */
#include "cmd/restore.h"

#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/mount.h"
#include "cmd/plan.h"
#include "cmd/process.h"
#include "cmd/progress.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define DAMAGE_MAX    1000u /* bad blocks that are listed before the restore gives up */
#define INDEX_MEMORY  (96u << 20)
#define SPARE_FILES   16u    /* descriptors that are not for the files being written */
#define FILES_COUNTED 65536u /* descriptors that are looked at, where the kernel does not tell */
#define DIRECT_JOBS   32u    /* with more, twice the threads would make runs too short */

struct restore {
	struct restore_request request;
	struct restore_tree tree;
	struct store *store;
	char *store_path;
	struct owner owner;
	struct progress progress;
	struct bulk_counters counters;
	double seconds, sync_seconds;
	bool began; /* something was made */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	interrupted = signal;
}

static void catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	const struct sigaction action = {.sa_handler = interrupt};

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaction(signals[i], &action, NULL);
}

/* A chain of many layers has many stored files of one relation. */
static void raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* ---- opening ---- */

static void print_warnings(const struct layer_chain *chain)
{
	const char *line = chain->warnings;

	for (; *line; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n");

		/* True of a mount only. */
		if (!memmem(line, len, "external directories", strlen("external directories")))
			(void)fprintf(stderr, "pgoverlay: %.*s\n", (int)len, line);
	}
}

static int add_outside_files(struct restore_tree *tree)
{
	int rc = 0;

	for (size_t i = 0; i < tree->extras.entry_count && rc == 0; i++) {
		struct layer_outside_entry *entry = &tree->extras.entries[i];

		if (S_ISREG(entry->mode) && restore_places_outside(&tree->places, entry->number))
			rc = bulk_add(tree->bulk, entry->layer, entry->name, entry->size, entry);
	}
	return rc;
}

/* Everything that can be refused is refused in here, and nothing is made. */
static int open_chain(struct restore *r, pid_t lock_pid, struct errmsg *e)
{
	const struct overlay_options options = {.verify_reads = true};
	struct restore_tree *tree = &r->tree;
	int rc = store_open(r->store_path, e, &r->store);

	if (rc == 0)
		rc = r->store->driver->open_chain(r->store, r->request.instance, r->request.backup,
						  lock_pid, e, &tree->chain);
	if (rc == 0)
		rc = r->store->driver->extras(tree->chain, e, &tree->extras);
	if (rc == 0)
		rc = restore_places_find(&r->request, &tree->extras, r->store_path, e,
					 &tree->places);
	if (rc == 0)
		rc = overlay_new(tree->chain, NULL, &options, e, &tree->ov);
	if (rc == 0)
		rc = bulk_new(tree->ov, &tree->bulk);
	if (rc == 0)
		rc = add_outside_files(tree);
	if (rc == 0)
		rc = restore_assign_files(tree, e);
	return rc < 0 ? errmsg_set(e, rc, "%s", errmsg_text(NULL, rc)) : 0;
}

static void close_chain(struct restore *r)
{
	struct restore_tree *tree = &r->tree;

	bulk_free(tree->bulk);
	free(tree->files);
	overlay_free(tree->ov);
	restore_places_free(&tree->places);
	layer_extras_free(&tree->extras);
	if (tree->chain)
		tree->chain->driver->close_chain(tree->chain);
	store_close(r->store);
	tree->bulk = NULL;
	tree->files = NULL;
	tree->ov = NULL;
	tree->chain = NULL;
	r->store = NULL;
}

/* The data directory for the owner, in a place where only root may make one. */
static int give_directory(const struct restore *r, char *path, struct errmsg *e)
{
	int rc = restore_make_path(path);

	if (rc == -EEXIST)
		rc = 0;
	if (rc == 0 && chown(path, r->owner.uid, r->owner.gid) < 0)
		rc = -errno;
	return rc < 0 ? errmsg_set(e, rc, "%s: %s", path, errmsg_text(NULL, rc)) : 0;
}

/*
 * Root works as the owner of the files, for good, once there is a directory for it. What can be
 * refused is refused before that.
 */
static int become_owner(struct restore *r, struct errmsg *e)
{
	int rc;

	if (geteuid() != 0 || r->owner.uid == 0)
		return 0;
	rc = owner_enter(&r->owner, e);
	if (rc < 0)
		return rc;
	rc = open_chain(r, 0, e);
	owner_leave();
	if (rc == 0 && !interrupted)
		rc = give_directory(r, r->tree.places.roots[0].path, e);
	close_chain(r);
	if (rc == 0)
		rc = owner_become(&r->owner);
	return rc < 0 ? errmsg_set(e, rc, "cannot act as user %s: %s", r->owner.name,
				   errmsg_text(NULL, rc))
		      : 0;
}

static int find_owner(struct restore *r, struct errmsg *e)
{
	const struct mount_request like = {.owner = r->request.owner,
					   .instance = r->request.instance};

	r->store_path = realpath(r->request.store, NULL);
	if (!r->store_path)
		return errmsg_set(e, -errno, "%s: %s", r->request.store, strerror(errno));
	return plan_owner(&like, r->store_path, e, &r->owner);
}

static int open_all(struct restore *r, struct errmsg *e)
{
	int rc = find_owner(r, e);

	if (rc == 0)
		rc = become_owner(r, e);
	if (rc == 0)
		rc = open_chain(r, getpid(), e);
	if (rc == 0)
		print_warnings(r->tree.chain);
	return rc;
}

/* ---- settings ---- */

static void format_now(char *ret, size_t size)
{
	char text[64], offset[8];
	time_t now = time(NULL);
	struct tm tm;

	ret[0] = '\0';
	if (!localtime_r(&now, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) == 0 ||
	    strftime(offset, sizeof(offset), "%z", &tm) != 5)
		return;
	(void)snprintf(ret, size, "%s%.3s%s", text, offset,
		       strcmp(offset + 3, "00") == 0 ? "" : offset + 3);
}

static const struct layer_entry *find_conf(const struct layer_chain *chain)
{
	const struct layer *target = chain->layers[chain->count - 1];

	for (uint32_t i = 0; i < target->entry_count; i++) {
		if (target->entries[i].kind == LAYER_INLINE &&
		    strcmp(target->entries[i].path, "postgresql.auto.conf") == 0)
			return &target->entries[i];
	}
	return NULL;
}

static int write_conf_files(struct restore_tree *tree, const struct restore_conf_files *files,
			    struct errmsg *e)
{
	const struct layer_entry *entry = find_conf(tree->chain);
	_cleanup_free_ char *text = NULL;
	int len = asprintf(&text, "%.*s%s", entry ? (int)entry->size : 0,
			   entry ? (const char *)entry->data : "", files->auto_conf);
	int rc = len < 0 ? errmsg_set(e, -ENOMEM, "out of memory") : 0;

	if (rc == 0)
		rc = restore_write_file(tree, "postgresql.auto.conf", text, (size_t)len, 0600, e);
	if (rc == 0 && files->recovery_conf)
		rc = restore_write_file(tree, "recovery.conf", files->recovery_conf,
					strlen(files->recovery_conf), 0600, e);
	if (rc == 0 && files->recovery_signal)
		rc = restore_write_file(tree, "recovery.signal", "", 0, 0666, e);
	if (rc == 0 && files->standby_signal)
		rc = restore_write_file(tree, "standby.signal", "", 0, 0666, e);
	return rc;
}

static int write_settings(struct restore *r, struct errmsg *e)
{
	const struct layer_chain *chain = r->tree.chain;
	_cleanup_free_ char *command = NULL;
	struct restore_conf_files files = {0};
	char program[4096] = "pgoverlay", now[80];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	int rc;

	program[n > 0 ? (size_t)n : strlen("pgoverlay")] = '\0';
	format_now(now, sizeof(now));
	command = restore_conf_command(program, r->store_path, chain->instance);
	if (!command)
		return errmsg_set(e, -ENOMEM, "out of memory");
	rc = restore_conf_make(&r->request.recovery,
			       &(struct restore_conf){
				       .backup = chain->layers[chain->count - 1]->id,
				       .local_time = now,
				       .restore_command = command,
				       .primary_conninfo = r->tree.extras.primary_conninfo,
				       .needs_archive = chain->needs_archive,
				       .pg_version = chain->pg_version,
			       },
			       &files);
	if (rc < 0)
		return errmsg_set(e, rc, "out of memory");
	rc = write_conf_files(&r->tree, &files, e);
	restore_conf_free(&files);
	return rc;
}

/* ---- writing ---- */

static int tick(void *ctx, const struct bulk_counters *c)
{
	struct restore *r = ctx;

	progress_show(&r->progress, c->bytes, c->total_bytes);
	return interrupted ? -EINTR : 0;
}

/* File systems that are known to report errors of write-back through syncfs, as Linux does
 * since 5.8. */
static bool is_syncfs_safe(int fd)
{
	static const unsigned long types[] = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010,
					      0x01021994};
	unsigned major = 0, minor = 0;
	struct utsname name;
	struct statfs st;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2 ||
	    (major < 5 || (major == 5 && minor < 8)) || fstatfs(fd, &st) < 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		if ((unsigned long)st.f_type == types[i])
			return true;
	}
	return false;
}

/* While one thread waits for the disk another decodes. */
static unsigned count_threads(const struct restore_request *request, bool direct)
{
	unsigned jobs = request->jobs > 0 ? request->jobs : parallel_processors();

	return direct && jobs <= DIRECT_JOBS ? 2 * jobs : jobs;
}

/* What is left of the limit. */
static unsigned count_descriptors(void)
{
	struct rlimit limit;
	rlim_t need = SPARE_FILES;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	need += sys_count_fds((unsigned)MIN(limit.rlim_cur, (rlim_t)FILES_COUNTED));
	return limit.rlim_cur > need ? (unsigned)MIN(limit.rlim_cur - need, (rlim_t)UINT_MAX) : 1;
}

static int write_data(struct restore *r, struct errmsg *e)
{
	struct restore_tree *tree = &r->tree;
	struct bulk_sink sink = restore_sink_ops;
	const bool direct = restore_direct_choose(tree);
	const struct bulk_options options = {.jobs = count_threads(&r->request, direct),
					     .descriptors = count_descriptors(),
					     .memory = INDEX_MEMORY,
					     .max_damage = DAMAGE_MAX,
					     .tick = tick,
					     .ctx = r};
	int rc;

	sink.ctx = tree;
	rc = bulk_run(tree->bulk, &options, &sink, &r->counters);
	progress_clear(&r->progress);
	r->seconds = progress_seconds(&r->progress);
	if (rc == -EINTR)
		return errmsg_set(e, rc, "interrupted");
	if (r->counters.damage > 0)
		return errmsg_set(e, -EUCLEAN,
				  "the backup is damaged: %llu blocks cannot be restored%s",
				  (unsigned long long)r->counters.damage,
				  r->counters.damage >= DAMAGE_MAX ? ", and more may follow" : "");
	return rc < 0 ? errmsg_set(e, rc, "%s", errmsg_text(&tree->error, rc)) : 0;
}

static int write_all(struct restore *r, struct errmsg *e)
{
	struct restore_tree *tree = &r->tree;
	const struct layer_chain *chain = tree->chain;
	struct progress sync;
	int rc;

	r->began = true;
	progress_start(&r->progress, "restored", r->request.progress);
	rc = restore_places_make(&tree->places, chain->layers[chain->count - 1]->id, e);
	for (size_t i = 0; i < tree->places.count && rc == 0; i++)
		tree->sync_files = tree->sync_files || !is_syncfs_safe(tree->places.roots[i].fd);
	if (rc == 0)
		rc = restore_make_directories(tree, e);
	if (rc == 0)
		rc = write_data(r, e);
	if (rc == 0)
		rc = write_settings(r, e);
	progress_start(&sync, "", false);
	if (rc == 0)
		rc = restore_sync(tree, e);
	if (rc == 0)
		rc = restore_finish(tree, e);
	r->sync_seconds = progress_seconds(&sync);
	return rc;
}

/* ---- the report ---- */

static int print_json(const struct restore *r, bool complete)
{
	const struct layer_chain *chain = r->tree.chain;
	const struct bulk_counters *c = &r->counters;
	cJSON *o = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddBoolToObject(o, "complete", complete);
	(void)cJSON_AddStringToObject(o, "directory", r->tree.places.roots[0].path);
	(void)cJSON_AddStringToObject(o, "instance", chain->instance);
	(void)cJSON_AddStringToObject(o, "backup", chain->layers[chain->count - 1]->id);
	(void)cJSON_AddNumberToObject(o, "files", (double)c->files);
	(void)cJSON_AddNumberToObject(o, "bytes", (double)c->bytes);
	(void)cJSON_AddNumberToObject(o, "stored_bytes", (double)c->stored_bytes);
	(void)cJSON_AddNumberToObject(o, "damage", (double)c->damage);
	(void)cJSON_AddNumberToObject(o, "seconds", r->seconds + r->sync_seconds);
	(void)cJSON_AddNumberToObject(o, "sync_seconds", r->sync_seconds);
	text = cJSON_Print(o);
	cJSON_Delete(o);
	if (!text)
		return -ENOMEM;
	(void)puts(text);
	cJSON_free(text);
	return 0;
}

static void print_text(const struct restore *r)
{
	const struct layer_chain *chain = r->tree.chain;
	double seconds = r->seconds + r->sync_seconds;
	char bytes[32], rate[32];

	progress_format_bytes(r->counters.bytes, bytes, sizeof(bytes));
	progress_format_bytes(
		(uint64_t)((double)r->counters.bytes / (seconds > 0.001 ? seconds : 0.001)), rate,
		sizeof(rate));
	(void)printf("restored backup %s to %s: %llu files, %s in %.1f s (%s/s)\n",
		     chain->layers[chain->count - 1]->id, r->tree.places.roots[0].path,
		     (unsigned long long)r->counters.files, bytes, seconds, rate);
	for (size_t i = 1; i < r->tree.places.count; i++)
		(void)printf("  and %s\n", r->tree.places.roots[i].path);
}

static int report(const struct restore *r, int rc, const struct errmsg *e)
{
	int status = CMD_GOOD;

	if (rc < 0) {
		status = cmd_failed(e, rc);
		if (r->began)
			restore_places_left(&r->tree.places);
	}
	if (r->request.json && r->began)
		rc = print_json(r, rc == 0);
	else if (rc == 0)
		print_text(r);
	if (status == CMD_GOOD && (fflush(stdout) != 0 || ferror(stdout)))
		status = cmd_failed(NULL, -EIO);
	return status;
}

int cmd_restore(int argc, char **argv)
{
	struct restore r = {.tree = {.lock = PTHREAD_MUTEX_INITIALIZER}};
	struct errmsg e = {""};
	int rc = restore_options_parse(argc, argv, &r.request);

	if (rc < 0) {
		r.tree.request = &r.request;
		catch_signals();
		raise_files();
		rc = open_all(&r, &e);
		if (rc == 0)
			rc = write_all(&r, &e);
		rc = report(&r, rc, &e);
		close_chain(&r);
		owner_clear(&r.owner);
		free(r.store_path);
	}
	restore_request_free(&r.request);
	return rc;
}
