/*
 * `verify`: reads what a restore would read, and checks it against all that is known of it.
 */
#include "cmd/verify.h"

#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/mount.h"
#include "cmd/plan.h"
#include "cmd/process.h"
#include "cmd/verify_clone.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char help[] =
	"Usage: pgoverlay verify STORE [OPTION]...\n"
	"Check every byte that a restore would use. Exit status 1 if anything is damaged.\n\n"
	"  --instance NAME           instance of the store (default: the only one; with --all: all)\n"
	"  --backup ID               backup (default: the newest that can be mounted)\n"
	"  --all                     every backup, each stored byte once\n"
	"  --force                   also a backup of which pg_probackup has noted damage (with --backup)\n"
	"  --start                   also start PostgreSQL on a clone that is thrown away, let it recover,\n"
	"                            run pg_amcheck on all databases, and dump them to nowhere\n"
	"  -j, --jobs N              threads (default: as many as processors; at most 32)\n"
	"  --progress                a line now and then where there is no terminal, too\n"
	"  --format text|json        how the report is printed\n"
	"  --help, --version\n";

static void interrupt(int signal)
{
	(void)signal;
	verify_stop();
}

static void catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	const struct sigaction action = {.sa_handler = interrupt};

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaction(signals[i], &action, NULL);
}

/* What root leaves in the store for a while, the locks, must be its owner's. */
static int become_owner(const struct verify_request *request, bool for_good, struct errmsg *e)
{
	const struct mount_request like = {.instance = request->instance};
	_cleanup_free_ char *path = NULL;
	struct owner owner = {0};
	int rc;

	if (geteuid() != 0)
		return 0;
	path = realpath(request->store, NULL);
	if (path == NULL)
		return errmsg_set(e, -errno, "%s: %s", request->store, strerror(errno));
	rc = plan_owner(&like, path, e, &owner);
	if (rc == 0 && owner.uid != 0) {
		rc = for_good ? owner_become(&owner) : owner_enter(&owner, e);
		if (rc < 0 && for_good)
			rc = errmsg_set(e, rc, "cannot act as user %s: %s", owner.name,
					errmsg_text(NULL, rc));
	}
	owner_clear(&owner);
	return rc;
}

static int run(const struct verify_request *request, bool start)
{
	struct verify v = {.request = *request, .start = start ? verify_start : NULL};
	struct errmsg e = {""};
	int rc = become_owner(request, !start, &e), printed = 0;
	bool good;

	if (rc < 0)
		return cmd_failed(&e, rc);
	catch_signals();
	rc = verify_run(&v, &e);
	good = rc == 0 && v.counters.damages == 0 && v.counters.refused == 0;
	if (rc < 0) {
		progress_clear(&v.progress);
		(void)cmd_failed(&e, rc);
	}
	if (rc == 0 || v.counters.files > 0)
		printed = verify_print(&v);
	verify_free(&v);
	if (printed < 0)
		(void)cmd_failed(NULL, printed);
	return good && printed == 0 ? CMD_GOOD : CMD_FAILED;
}

static int set_option(struct verify_request *r, bool *start, int id, const char *value)
{
	enum cmd_format format;
	uint64_t n;

	switch (id) {
	case 'i':
		r->instance = value;
		break;
	case 'b':
		r->backup = value;
		break;
	case 'a':
		r->all = true;
		break;
	case 'F':
		r->force = true;
		break;
	case 's':
		*start = true;
		break;
	case 'p':
		r->progress = true;
		break;
	case 'j':
		if (cmd_parse_bytes(value, &n) < 0 || n < 1 || n > 4096)
			return -EINVAL;
		r->jobs = (unsigned)n;
		break;
	case 'f':
		if (cmd_parse_format(value, false, &format) < 0)
			return -EINVAL;
		r->json = format == CMD_FORMAT_JSON;
		break;
	default:
		break;
	}
	return 0;
}

int cmd_verify(int argc, char **argv)
{
	static const struct option options[] = {
		{"instance", required_argument, NULL, 'i'}, {"backup", required_argument, NULL, 'b'},
		{"backup-id", required_argument, NULL, 'b'}, {"all", no_argument, NULL, 'a'},
		{"force", no_argument, NULL, 'F'},	    {"jobs", required_argument, NULL, 'j'},
		{"threads", required_argument, NULL, 'j'},  {"progress", no_argument, NULL, 'p'},
		{"start", no_argument, NULL, 's'},	    {"format", required_argument, NULL, 'f'},   {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	    {0},
	};
	struct verify_request request = {0};
	bool start = false;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":j:hV", options, NULL)) >= 0) {
		if (c == 'h')
			return cmd_print_help(help);
		if (c == 'V')
			return cmd_print_version();
		if (c == ':')
			return cmd_usage("verify", "'%s' needs a value", argv[optind - 1]);
		if (c == '?')
			return cmd_usage("verify", "no such option: '%s'", argv[optind - 1]);
		if (set_option(&request, &start, c, optarg) < 0)
			return cmd_usage("verify", "'%s' is no value of %s", optarg,
					 argv[optind - (argv[optind - 1] == optarg ? 2 : 1)]);
	}
	if (argc - optind != 1)
		return cmd_usage("verify", "give one store");
	if (request.all && request.backup != NULL)
		return cmd_usage("verify", "--all and --backup exclude each other");
	if (request.force && request.backup == NULL)
		return cmd_usage("verify", "--force needs --backup");
	request.store = argv[optind];
	return run(&request, start);
}
