/*
 * cmd/extract.c: `pgoverlay extract`: a table or a database out of a backup, as it was at a point
 * in time: a throw-away clone is brought up, pg_dump runs on it, the clone goes. Nothing is
 * restored: only what the dump reads is read from the store.
 */
#include "cmd/bring_up.h"
#include "cmd/cmd.h"
#include "cmd/extract_name.h"
#include "cmd/registry.h"

#include "base/sys.h"
#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define GO_ON	(-1)
#define POLL_MS 50

static const char help[] =
	"Usage: pgoverlay extract STORE --table DB.SCHEMA.TABLE | --database DB -o FILE|- "
	"[options]\n"
	"Dump a table or a database out of a backup, through a clone that is gone afterwards.\n"
	"\n"
	"  --table D.S.T         that table, or whatever pg_dump takes for one; a name with dots "
	"or\n"
	"                        capitals in double quotes: 'shop.\"My Schema\".t'\n"
	"  --database DB         a whole database\n"
	"  -o, --output FILE     where the dump goes; - for standard output\n"
	"  --format F            plain (SQL, the default) or custom (for pg_restore)\n"
	"  --instance I          instance of the store; may be left out where there is one\n"
	"  --backup ID           backup; the newest usable one by default, or the newest before "
	"the "
	"target\n"
	"  --owner USER          user who runs the server\n"
	"  --help, --version\n"
	"\n"
	"From a point in time (without: the state of the backup):\n" TARGET_HELP;

struct request {
	struct up_options up;
	const char *table, *database, *output;
	const char *format;	/* pg_dump's letter */
	char *dbname, *pattern; /* what pg_dump is told */
};

enum { OPT_TARGET = 256 };

static const struct option long_options[] = {
	{"table", required_argument, NULL, 't'},
	{"database", required_argument, NULL, 'd'},
	{"output", required_argument, NULL, 'o'},
	{"format", required_argument, NULL, 'f'},
	{"instance", required_argument, NULL, 'i'},
	{"backup", required_argument, NULL, 'b'},
	{"owner", required_argument, NULL, 'w'},
	{"target", required_argument, NULL, OPT_TARGET},
	{"target-time", required_argument, NULL, OPT_TARGET},
	{"target-lsn", required_argument, NULL, OPT_TARGET},
	{"target-xid", required_argument, NULL, OPT_TARGET},
	{"target-name", required_argument, NULL, OPT_TARGET},
	{"target-timeline", required_argument, NULL, OPT_TARGET},
	{"target-inclusive", required_argument, NULL, OPT_TARGET},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

/* ---- command line ---- */

static int take_format(struct request *r, const char *value)
{
	if (strcmp(value, "plain") != 0 && strcmp(value, "custom") != 0)
		return cmd_usage("extract", "--format takes plain or custom, not '%s'", value);
	r->format = value[0] == 'p' ? "-Fp" : "-Fc";
	return GO_ON;
}

static int take_option(struct request *r, int option, int number, const char *value)
{
	struct errmsg e = {0};
	int rc;

	switch (option) {
	case 't':
		r->table = value;
		return GO_ON;
	case 'd':
		r->database = value;
		return GO_ON;
	case 'o':
		r->output = value;
		return GO_ON;
	case 'f':
		return take_format(r, value);
	case 'i':
		r->up.mount.instance = value;
		return GO_ON;
	case 'b':
		r->up.mount.backup = value;
		return GO_ON;
	case 'w':
		r->up.mount.owner = value;
		return GO_ON;
	case OPT_TARGET:
		rc = target_option(&r->up.mount.target, long_options[number].name, value, &e);
		return rc < 0 ? cmd_usage("extract", "%s", errmsg_text(&e, rc)) : GO_ON;
	case 'h':
		return cmd_print_help(help);
	default:
		return cmd_print_version();
	}
}

/* What is to be dumped, in pg_dump's words. */
static int take_names(struct request *r)
{
	struct errmsg e = {0};
	int rc;

	if ((r->table == NULL) == (r->database == NULL))
		return cmd_usage("extract", "either --table or --database");
	if (r->output == NULL)
		return cmd_usage("extract", "where to? -o FILE, or -o -");
	rc = r->table != NULL ? extract_table(r->table, &r->dbname, &r->pattern, &e)
			      : extract_database(r->database, &r->dbname);
	return rc < 0 ? cmd_usage("extract", "%s", errmsg_text(&e, rc)) : GO_ON;
}

static int parse(int argc, char **argv, struct request *r)
{
	struct errmsg e = {0};
	int option, rc, number = 0;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":o:", long_options, &number)) != -1) {
		if (option == ':')
			return cmd_usage("extract", "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return cmd_usage("extract", "there is no option %s", argv[optind - 1]);
		rc = take_option(r, option, number, optarg);
		if (rc != GO_ON)
			return rc;
	}
	if (optind != argc - 1)
		return cmd_usage("extract", optind == argc ? "which STORE?" : "one STORE only");
	r->up.mount.store = argv[optind];
	rc = target_check(&r->up.mount.target, &e);
	if (rc < 0)
		return cmd_usage("extract", "%s", errmsg_text(&e, rc));
	if (r->up.mount.target.kind == TARGET_NONE)
		r->up.mount.target.kind = TARGET_AUTO;
	return take_names(r);
}

/* ---- the dump ---- */

static int wait_for_dump(pid_t pid, struct errmsg *e)
{
	bool told = false;
	int status;

	while (!server_has_ended(pid, &status)) {
		if (up_interrupted && !told)
			(void)kill(pid, SIGTERM);
		told = up_interrupted;
		process_sleep_ms(POLL_MS);
	}
	if (up_interrupted)
		return errmsg_set(e, -EINTR, "interrupted");
	return status == 0 ? 0
			   : errmsg_set(e, -EIO, "pg_dump failed (status %d); its message is above",
					status);
}

static int dump_to(const struct request *r, const struct up *up, int out)
{
	_cleanup_free_ char *program = NULL;
	char port[16];
	const char *argv[20];
	unsigned n = 0;
	pid_t pid;
	int rc;

	if (asprintf(&program, "%s/pg_dump", up->bin.dir) < 0) {
		program = NULL;
		return -ENOMEM;
	}
	(void)snprintf(port, sizeof(port), "%u", up->facts.port);
	argv[n++] = program;
	argv[n++] = r->format;
	argv[n++] = "-w";
	argv[n++] = "-h";
	argv[n++] = up->facts.host;
	argv[n++] = "-p";
	argv[n++] = port;
	argv[n++] = "-U";
	argv[n++] = up->facts.user;
	argv[n++] = "-d";
	argv[n++] = r->dbname;
	if (r->pattern != NULL) {
		argv[n++] = "-t";
		argv[n++] = r->pattern;
	}
	argv[n] = NULL;
	rc = process_pour(&up->owner, argv, out, up->e, &pid);
	return rc < 0 ? rc : wait_for_dump(pid, up->e);
}

/* Under another name until it is whole and durable. */
static int dump_to_file(const struct request *r, const struct up *up)
{
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int fd = -1;
	int rc;

	if (asprintf(&temp, "%s.part", r->output) < 0) {
		temp = NULL;
		return -ENOMEM;
	}
	fd = sys_openat(AT_FDCWD, temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return errmsg_set(up->e, fd, "cannot write %s: %s", temp, errmsg_text(NULL, fd));
	rc = dump_to(r, up, fd);
	if (rc == 0) {
		rc = sys_fsync(fd);
		if (rc == 0)
			rc = sys_renameat(AT_FDCWD, temp, AT_FDCWD, r->output);
		if (rc < 0)
			(void)errmsg_set(up->e, rc, "cannot write %s: %s", r->output,
					 errmsg_text(NULL, rc));
	}
	if (rc < 0)
		(void)sys_unlinkat(AT_FDCWD, temp, 0);
	return rc;
}

/* ---- what it took ---- */

static void tell_bytes(const struct up *up)
{
	_cleanup_free_ char *answer = NULL;
	const cJSON *layer;
	struct clone clone;
	double bytes = 0;
	cJSON *status;

	if (registry_find(up->mount.mountpoint, NULL, &clone) < 0)
		return;
	(void)registry_ask(&clone, "status", NULL, &answer);
	registry_clone_free(&clone);
	status = cJSON_Parse(answer != NULL ? answer : "");
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(status, "layers"))
	{
		const cJSON *n = cJSON_GetObjectItemCaseSensitive(layer, "read_bytes");

		bytes += cJSON_IsNumber(n) ? n->valuedouble : 0;
	}
	(void)fprintf(stderr,
		      "pgoverlay: read %.0f bytes of pages and files from backup %s and its chain "
		      "(%u backups)\n",
		      bytes, up->mount.backup, up->mount.chain_count);
	cJSON_Delete(status);
}

static int extract(const struct request *r, struct up *up)
{
	int rc = up_bring(up);

	if (rc == 0)
		rc = strcmp(r->output, "-") == 0 ? dump_to(r, up, STDOUT_FILENO)
						 : dump_to_file(r, up);
	if (rc == 0)
		tell_bytes(up);
	up_take_down(up);
	return rc;
}

int cmd_extract(int argc, char **argv)
{
	struct request request = {.up = {.mount = MOUNT_REQUEST_INIT}, .format = "-Fp"};
	struct errmsg e = {0};
	struct up up = {.options = &request.up, .e = &e};
	int rc = parse(argc, argv, &request);

	if (rc == GO_ON) {
		request.up.mount.native_wal = true;
		rc = extract(&request, &up);
		up_clear(&up);
		rc = rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
	}
	free(request.dbname);
	free(request.pattern);
	return rc;
}
