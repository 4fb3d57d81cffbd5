/*
 * cmd/settings.c: the table and the rules that need more than a value. See settings.h.
 *
 * Everything here is given to the server with -c, which wins over every file and over ALTER SYSTEM.
 * Values that could do harm are given even where our own reading of the files finds nothing to
 * change: safety must not hang on it.
 */
#include "cmd/settings.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum rule_kind {
	RULE_ALWAYS, /* given in any case; told where the backup says otherwise */
	RULE_IF_SET, /* given where the backup sets something else */
	RULE_OURS,   /* the clone's own value, told in any case */
};

struct decision {
	const struct settings_input *input;
	struct settings *out;
	struct errmsg *e;
};

struct rule {
	const char *name;
	enum rule_kind kind;
	unsigned since, until; /* major versions, 0: no bound */
	const char *value;     /* NULL: decide says */
	const char *reason;
	/* The value in `ret` (malloc'ed), or NULL there: nothing to give. was: the backup's, NULL
	 * unset. */
	int (*decide)(const struct decision *d, const struct rule *rule, const char *was,
		      char **ret);
};

static int copy(const char *text, char **ret)
{
	*ret = strdup(text);
	return *ret == NULL ? -ENOMEM : 0;
}

static int own_data_directory(const struct decision *d, const struct rule *rule, const char *was,
			      char **ret)
{
	return copy(d->input->data_dir, ret);
}

static int own_config_file(const struct decision *d, const struct rule *rule, const char *was,
			   char **ret)
{
	return d->input->config_file == NULL ? 0 : copy(d->input->config_file, ret);
}

static int own_hba_file(const struct decision *d, const struct rule *rule, const char *was,
			char **ret)
{
	return d->input->hba_file == NULL ? 0 : copy(d->input->hba_file, ret);
}

static int own_ident_file(const struct decision *d, const struct rule *rule, const char *was,
			  char **ret)
{
	return d->input->ident_file == NULL ? 0 : copy(d->input->ident_file, ret);
}

static int own_socket(const struct decision *d, const struct rule *rule, const char *was,
		      char **ret)
{
	return copy(d->input->socket_dir, ret);
}

/* Not empty: the server would complain of it in its log. */
static int own_pid_file(const struct decision *d, const struct rule *rule, const char *was,
			char **ret)
{
	return asprintf(ret, "%s/postmaster.pid", d->input->socket_dir) < 0 ? -ENOMEM : 0;
}

static int own_listen(const struct decision *d, const struct rule *rule, const char *was,
		      char **ret)
{
	return copy(d->input->listen == NULL ? "" : d->input->listen, ret);
}

static int own_port(const struct decision *d, const struct rule *rule, const char *was, char **ret)
{
	return asprintf(ret, "%u", d->input->port) < 0 ? -ENOMEM : 0;
}

/* A quarter of the memory at most; less stays as it is. */
static int less_buffers(const struct decision *d, const struct rule *rule, const char *was,
			char **ret)
{
	long long limit = (long long)(d->input->memory / 4 / 1024);
	long long now = pgconf_kilobytes(was == NULL ? "128MB" : was, 8);

	if (limit == 0 || now < 0 || now <= limit)
		return 0;
	if (limit < 128)
		limit = 128; /* the server takes no less */
	if (limit >= 1024)
		return asprintf(ret, "%lldMB", limit / 1024) < 0 ? -ENOMEM : 0;
	return asprintf(ret, "%lldkB", limit) < 0 ? -ENOMEM : 0;
}

static int try_huge_pages(const struct decision *d, const struct rule *rule, const char *was,
			  char **ret)
{
	return was != NULL && pgconf_bool(was) == 1 ? copy("try", ret) : 0;
}

static bool file_is_readable(const struct decision *d, const char *name, const char *fallback)
{
	const char *value = pgconf_get(d->input->conf, name);
	_cleanup_free_ char *path = NULL;
	int fd;

	if (value == NULL)
		value = fallback;
	if (*value == '\0')
		return true; /* not used */
	if (asprintf(&path, "%s%s%s", *value == '/' ? "" : d->input->data_dir,
		     *value == '/' ? "" : "/", value) < 0) {
		path = NULL;
		return true;
	}
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return false;
	(void)sys_close(fd);
	return true;
}

/* Over a Unix socket there is no SSL, so the files and the passphrase only matter with --listen. */
static int ssl_off(const struct decision *d, const struct rule *rule, const char *was, char **ret)
{
	const char *command = pgconf_get(d->input->conf, "ssl_passphrase_command");

	if (was == NULL || pgconf_bool(was) != 1)
		return 0;
	if (d->input->listen != NULL && (command == NULL || *command == '\0') &&
	    file_is_readable(d, "ssl_cert_file", "server.crt") &&
	    file_is_readable(d, "ssl_key_file", "server.key") &&
	    file_is_readable(d, "ssl_ca_file", "") && file_is_readable(d, "ssl_crl_file", "") &&
	    file_is_readable(d, "ssl_crl_dir", "") && file_is_readable(d, "ssl_dh_params_file", ""))
		return 0;
	return copy("off", ret);
}

/* A directory of the original; ours must be one that is there. */
static int inside_only(const struct decision *d, const struct rule *rule, const char *was,
		       char **ret)
{
	if (was == NULL || *was != '/')
		return 0;
	return copy(pgconf_name_equal(rule->name, "log_directory") ? "log" : "pg_stat_tmp", ret);
}

static int look_in_recovery(const struct decision *d, const struct rule *rule, const char *was,
			    char **ret)
{
	return d->input->needs_queries && was != NULL && pgconf_bool(was) == 0 ? copy("on", ret)
									       : 0;
}

/* Servers take an empty target after one that is set for a second one. */
static bool is_other_target(const struct settings_input *input, const char *name)
{
	return input->recovery_count > 0 && strncmp(name, "recovery_target", 15) == 0;
}

/* The clone's own recovery has the settings that are otherwise turned off. */
static const char *own_recovery(const struct settings_input *input, const char *name)
{
	for (unsigned i = 0; i < input->recovery_count; i++) {
		if (strcmp(input->recovery[i].name, name) == 0)
			return input->recovery[i].value;
	}
	return NULL;
}

/* ---- libraries ---- */

/* Adds the setting itself: its reason is in the list. */
static int fewer_libraries(const struct decision *d, const struct rule *rule, const char *was,
			   char **ret)
{
	struct preload_rule how = {
		.bin = d->input->bin,
		.search = pgconf_get(d->input->conf, "dynamic_library_path"),
		.schedulers = strcmp(rule->name, "shared_preload_libraries") == 0,
		.plugins = strcmp(rule->name, "local_preload_libraries") == 0,
	};
	_cleanup_free_ char *kept = NULL;
	_cleanup_free_ char *reason = NULL;
	int rc;

	if (was == NULL || d->input->keep_preload)
		return 0;
	rc = preload_filter(was, &how, &kept, &reason);
	if (rc <= 0)
		return rc;
	return settings_add(d->out, rule->name, kept, was, reason);
}

static int match_library(void *ctx, const char *name)
{
	return strcmp(name, ctx) == 0;
}

/* timescaledb's tables need it loaded; its jobs and its telemetry are what must not run. */
static int timescale_quiet(const struct decision *d, const struct rule *rule, const char *was,
			   char **ret)
{
	const char *libraries = pgconf_get(d->input->conf, "shared_preload_libraries");
	char name[] = "timescaledb";

	if (libraries == NULL || d->input->keep_preload ||
	    pgconf_split(libraries, match_library, name) == 0)
		return 0;
	return copy(strcmp(rule->name, "timescaledb.telemetry_level") == 0 ? "off" : "0", ret);
}

/* ---- the table ---- */

#define R_PRIMARY  "the clone must not feed or follow the original's servers"
#define R_ARCHIVE  "the clone's WAL must not get into the original's archive"
#define R_RECOVERY "belongs to the original's recovery"
#define R_FILES	   "files of the original's machine"
#define R_CRASH	   "a crash would cost the clone"

static const struct rule rules[] = {
	{"data_directory", RULE_ALWAYS, 0, 0, NULL, "the mount is the data directory",
	 own_data_directory},
	{"config_file", RULE_OURS, 0, 0, NULL, "the backup's own cannot be used as it is",
	 own_config_file},
	{"hba_file", RULE_OURS, 0, 0, NULL,
	 "only the clone's owner can reach its socket (--keep-hba: the backup's)", own_hba_file},
	{"ident_file", RULE_OURS, 0, 0, NULL, "goes with hba_file", own_ident_file},
	{"port", RULE_OURS, 0, 0, NULL, "the original may run here too (--port)", own_port},
	{"unix_socket_directories", RULE_OURS, 0, 0, NULL, "a place of the clone's own",
	 own_socket},
	{"listen_addresses", RULE_OURS, 0, 0, NULL,
	 "no client of the original must end up here (--listen)", own_listen},
	{"unix_socket_group", RULE_ALWAYS, 0, 0, "", "the owner may not be in that group", NULL},
	{"unix_socket_permissions", RULE_ALWAYS, 0, 0, "0700", "the socket is the owner's alone",
	 NULL},
	{"bonjour", RULE_ALWAYS, 0, 0, "off", "the clone must not announce itself", NULL},
	{"external_pid_file", RULE_ALWAYS, 0, 0, NULL, R_FILES, own_pid_file},

	{"archive_mode", RULE_ALWAYS, 0, 0, "off", R_ARCHIVE, NULL},
	{"archive_command", RULE_ALWAYS, 0, 0, "", R_ARCHIVE, NULL},
	{"archive_library", RULE_ALWAYS, 15, 0, "", R_ARCHIVE, NULL},
	{"archive_timeout", RULE_ALWAYS, 0, 0, "0", "without an archive it only fills segments",
	 NULL},
	{"archive_cleanup_command", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_end_command", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"restore_command", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target_lsn", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target_name", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target_time", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target_xid", RULE_ALWAYS, 12, 0, "", R_RECOVERY, NULL},
	{"recovery_target_timeline", RULE_ALWAYS, 12, 0, "latest", R_RECOVERY, NULL},
	{"recovery_target_action", RULE_ALWAYS, 12, 0, "pause", R_RECOVERY, NULL},
	{"recovery_target_inclusive", RULE_ALWAYS, 12, 0, "on", R_RECOVERY, NULL},
	{"hot_standby", RULE_IF_SET, 0, 0, NULL, "recovery is to pause where it can be looked at",
	 look_in_recovery},
	{"promote_trigger_file", RULE_ALWAYS, 12, 15, "", R_RECOVERY, NULL},
	{"primary_conninfo", RULE_ALWAYS, 12, 0, "", R_PRIMARY, NULL},
	{"primary_slot_name", RULE_ALWAYS, 12, 0, "", R_PRIMARY, NULL},
	{"synchronous_standby_names", RULE_ALWAYS, 0, 0, "",
	 "every commit would wait for a standby that is not there", NULL},
	{"synchronized_standby_slots", RULE_ALWAYS, 17, 0, "",
	 "logical decoding would wait for slots that are not there", NULL},
	{"max_logical_replication_workers", RULE_ALWAYS, 10, 0, "0",
	 "subscriptions would take the original's changes from their publishers", NULL},

	{"log_destination", RULE_ALWAYS, 0, 0, "stderr", "the log is the clone's file", NULL},
	{"logging_collector", RULE_ALWAYS, 0, 0, "off", "the log is the clone's file", NULL},
	{"log_directory", RULE_IF_SET, 0, 0, NULL, R_FILES, inside_only},
	{"stats_temp_directory", RULE_IF_SET, 0, 14, NULL, R_FILES, inside_only},
	{"ssl", RULE_IF_SET, 0, 0, NULL, "no TCP connections, or its files are not there", ssl_off},
	{"ssl_passphrase_command", RULE_ALWAYS, 11, 0, "", "a command of the original's machine",
	 NULL},

	{"shared_buffers", RULE_IF_SET, 0, 0, NULL, "at most a quarter of this machine's memory",
	 less_buffers},
	{"huge_pages", RULE_IF_SET, 0, 0, NULL, "this machine may have none", try_huge_pages},
	{"min_dynamic_shared_memory", RULE_ALWAYS, 14, 0, "0",
	 "memory that the original could spare", NULL},

	{"fsync", RULE_ALWAYS, 0, 0, "on", R_CRASH, NULL},
	{"full_page_writes", RULE_ALWAYS, 0, 0, "on", R_CRASH, NULL},
	{"data_sync_retry", RULE_ALWAYS, 12, 0, "off", R_CRASH, NULL},
	{"recovery_init_sync_method", RULE_ALWAYS, 14, 0, "syncfs",
	 "what a mount shows is durable; fsync would cost seven requests a file at start", NULL},

	{"shared_preload_libraries", RULE_IF_SET, 0, 0, NULL, NULL, fewer_libraries},
	{"session_preload_libraries", RULE_IF_SET, 0, 0, NULL, NULL, fewer_libraries},
	{"local_preload_libraries", RULE_IF_SET, 0, 0, NULL, NULL, fewer_libraries},
	{"timescaledb.max_background_workers", RULE_IF_SET, 0, 0, NULL,
	 "its jobs run on a schedule", timescale_quiet},
	{"timescaledb.telemetry_level", RULE_IF_SET, 0, 0, NULL,
	 "it sends reports over the network", timescale_quiet},
};

/* ---- the list ---- */

static void setting_clear(struct setting *s)
{
	free(s->name);
	free(s->value);
	free(s->was);
	free(s->reason);
}

static struct setting *find(const struct settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->count; i++)
		if (pgconf_name_equal(settings->items[i].name, name))
			return &settings->items[i];
	return NULL;
}

const struct setting *settings_find(const struct settings *settings, const char *name)
{
	return find(settings, name);
}

static struct setting *new_slot(struct settings *settings)
{
	struct setting *bigger;

	if (settings->count == settings->cap) {
		size_t cap = settings->cap == 0 ? 64 : settings->cap * 2;

		bigger = reallocarray(settings->items, cap, sizeof(*bigger));
		if (bigger == NULL)
			return NULL;
		settings->items = bigger;
		settings->cap = cap;
	}
	settings->items[settings->count] = (struct setting){0};
	return &settings->items[settings->count++];
}

int settings_add(struct settings *settings, const char *name, const char *value, const char *was,
		 const char *reason)
{
	struct setting s = {.changed = true};
	struct setting *slot;

	s.name = strdup(name);
	s.value = value == NULL ? NULL : strdup(value);
	s.was = was == NULL ? NULL : strdup(was);
	s.reason = strdup(reason);
	slot = find(settings, name);
	if (slot == NULL)
		slot = new_slot(settings);
	if (slot == NULL || s.name == NULL || s.reason == NULL ||
	    (value != NULL && s.value == NULL) || (was != NULL && s.was == NULL)) {
		setting_clear(&s);
		return -ENOMEM;
	}
	setting_clear(slot);
	*slot = s;
	return 0;
}

void settings_free(struct settings *settings)
{
	for (size_t i = 0; i < settings->count; i++)
		setting_clear(&settings->items[i]);
	free(settings->items);
	*settings = (struct settings){0};
}

/* "yes" is "on", and "" is what an unset string is. */
static bool same_value(const char *a, const char *b)
{
	int x = pgconf_bool(a), y = pgconf_bool(b);

	return strcasecmp(a, b) == 0 || (x >= 0 && x == y);
}

static int apply(const struct decision *d, const struct rule *rule)
{
	const char *was = pgconf_get(d->input->conf, rule->name);
	_cleanup_free_ char *made = NULL;
	const char *own = own_recovery(d->input, rule->name);
	const char *value = own != NULL ? own : rule->value;
	int rc;

	if ((rule->since != 0 && d->input->major < rule->since) ||
	    (rule->until != 0 && d->input->major > rule->until) ||
	    (own == NULL && is_other_target(d->input, rule->name)))
		return 0;
	if (rule->decide != NULL) {
		rc = rule->decide(d, rule, was, &made);
		if (rc < 0 || made == NULL)
			return rc;
		value = made;
	}
	rc = settings_add(d->out, rule->name, value, was,
			  own != NULL ? "the clone's own recovery" : rule->reason);
	if (rc == 0 && rule->kind == RULE_ALWAYS)
		find(d->out, rule->name)->changed =
			was != NULL && !same_value(was, value) &&
			!(d->input->recovered && strcmp(rule->reason, R_RECOVERY) == 0);
	return rc;
}

int settings_decide(const struct settings_input *input, struct errmsg *e, struct settings *ret)
{
	struct settings settings = {0};
	struct decision d = {.input = input, .out = &settings, .e = e};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(rules); i++)
		rc = apply(&d, &rules[i]);
	if (rc < 0) {
		settings_free(&settings);
		return errmsg_set(e, rc, "cannot decide on the settings: %s", strerror(-rc));
	}
	*ret = settings;
	return 0;
}

int settings_override(struct settings *settings, const char *assignment, const struct pgconf *conf,
		      struct errmsg *e)
{
	static const struct {
		const char *name, *instead;
	} fixed[] = {{"data_directory", "it is the mount"},
		     {"config_file", "change postgresql.conf in the mount instead"},
		     {"unix_socket_directories", "it is the clone's own"},
		     {"port", "use --port"},
		     {"listen_addresses", "use --listen"}};
	const char *equals = strchr(assignment, '=');
	_cleanup_free_ char *name = NULL;
	int rc;

	if (equals == NULL || equals == assignment ||
	    strspn(assignment,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") !=
		    (size_t)(equals - assignment))
		return errmsg_set(e, -EINVAL, "--set takes NAME=VALUE, not '%s'", assignment);
	name = strndup(assignment, (size_t)(equals - assignment));
	if (name == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		if (pgconf_name_equal(name, fixed[i].name))
			return errmsg_set(e, -EINVAL, "--set cannot change %s: %s", name,
					  fixed[i].instead);
	rc = settings_add(settings, name, equals + 1, pgconf_get(conf, name), "--set");
	if (rc == 0)
		find(settings, name)->given = true;
	return rc;
}

/* ---- memory ---- */

static uint64_t read_number(const char *path)
{
	_cleanup_free_ char *data = NULL;
	size_t len;

	if (sys_read_file(AT_FDCWD, path, 256, &data, &len) < 0)
		return 0;
	return strtoull(data, NULL, 10); /* "max" is 0 */
}

uint64_t settings_memory(void)
{
	static const char *const limits[] = {"/sys/fs/cgroup/memory.max",
					     "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		uint64_t limit = read_number(limits[i]);

		if (limit > 0 && (memory == 0 || limit < memory))
			memory = limit;
	}
	return memory;
}
