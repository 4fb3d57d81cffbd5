/*
 * cmd/restore_options.c: the command line of `restore`. Options that pg_probackup has, too, are
 * taken by its names as well.
 */
#include "cmd/restore.h"

#include "base/util.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>

static const char help[] =
	"Usage: pgoverlay restore STORE DIRECTORY [OPTION]...\n"
	"Write a backup as a plain data directory. DIRECTORY must be empty or missing.\n\n"
	"  --instance NAME           instance of the store (default: the only one)\n"
	"  --backup ID               backup (default: the newest that can be restored)\n"
	"  -j, --jobs N              threads that decode (default: as many as processors)\n"
	"  -T, --tablespace-mapping OLDDIR=NEWDIR\n"
	"                            put that tablespace elsewhere; may be repeated\n"
	"  --waldir DIR              put pg_wal in DIR, with a link to it\n"
	"  --external-mapping OLDDIR=NEWDIR\n"
	"                            put that external directory elsewhere; may be repeated\n"
	"  --skip-external-dirs      leave external directories out\n"
	"  --db-include NAME         only this database (and the templates); may be repeated\n"
	"  --db-exclude NAME         all but this database; may be repeated\n"
	"  --target-time T | --target-lsn L | --target-xid X | --target-name N\n"
	"  | --target immediate|latest\n"
	"                            how far recovery goes when the server is started\n"
	"  --target-timeline T, --target-inclusive B, --target-action pause|promote|shutdown\n"
	"  --restore-command CMD     instead of pgoverlay wal-get\n"
	"  -R, --restore-as-replica  start as a standby\n"
	"  --primary-conninfo C, -S, --primary-slot-name N\n"
	"                            of that standby's primary\n"
	"  --no-sync                 do not wait until all is on disk\n"
	"  --owner USER              whom all files belong to (root only)\n"
	"  --progress                a line now and then where there is no terminal, too\n"
	"  --format text|json        how the report is printed\n"
	"  --help, --version\n";

enum option_id {
	OPTION_INSTANCE = 256,
	OPTION_BACKUP,
	OPTION_WAL_DIR,
	OPTION_EXTERNAL_MAPPING,
	OPTION_SKIP_EXTERNAL,
	OPTION_INCLUDE,
	OPTION_EXCLUDE,
	OPTION_TIME,
	OPTION_LSN,
	OPTION_XID,
	OPTION_NAME,
	OPTION_STOP,
	OPTION_TIMELINE,
	OPTION_INCLUSIVE,
	OPTION_ACTION,
	OPTION_RESTORE_COMMAND,
	OPTION_CONNINFO,
	OPTION_NO_SYNC,
	OPTION_OWNER,
	OPTION_PROGRESS,
	OPTION_FORMAT,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{"instance", required_argument, NULL, OPTION_INSTANCE},
	{"backup", required_argument, NULL, OPTION_BACKUP},
	{"backup-id", required_argument, NULL, OPTION_BACKUP},
	{"jobs", required_argument, NULL, 'j'},
	{"threads", required_argument, NULL, 'j'},
	{"tablespace-mapping", required_argument, NULL, 'T'},
	{"waldir", required_argument, NULL, OPTION_WAL_DIR},
	{"external-mapping", required_argument, NULL, OPTION_EXTERNAL_MAPPING},
	{"skip-external-dirs", no_argument, NULL, OPTION_SKIP_EXTERNAL},
	{"db-include", required_argument, NULL, OPTION_INCLUDE},
	{"db-exclude", required_argument, NULL, OPTION_EXCLUDE},
	{"target-time", required_argument, NULL, OPTION_TIME},
	{"recovery-target-time", required_argument, NULL, OPTION_TIME},
	{"target-lsn", required_argument, NULL, OPTION_LSN},
	{"recovery-target-lsn", required_argument, NULL, OPTION_LSN},
	{"target-xid", required_argument, NULL, OPTION_XID},
	{"recovery-target-xid", required_argument, NULL, OPTION_XID},
	{"target-name", required_argument, NULL, OPTION_NAME},
	{"recovery-target-name", required_argument, NULL, OPTION_NAME},
	{"target", required_argument, NULL, OPTION_STOP},
	{"recovery-target", required_argument, NULL, OPTION_STOP},
	{"target-timeline", required_argument, NULL, OPTION_TIMELINE},
	{"recovery-target-timeline", required_argument, NULL, OPTION_TIMELINE},
	{"target-inclusive", required_argument, NULL, OPTION_INCLUSIVE},
	{"recovery-target-inclusive", required_argument, NULL, OPTION_INCLUSIVE},
	{"target-action", required_argument, NULL, OPTION_ACTION},
	{"recovery-target-action", required_argument, NULL, OPTION_ACTION},
	{"restore-command", required_argument, NULL, OPTION_RESTORE_COMMAND},
	{"restore-as-replica", no_argument, NULL, 'R'},
	{"primary-conninfo", required_argument, NULL, OPTION_CONNINFO},
	{"primary-slot-name", required_argument, NULL, 'S'},
	{"no-sync", no_argument, NULL, OPTION_NO_SYNC},
	{"owner", required_argument, NULL, OPTION_OWNER},
	{"progress", no_argument, NULL, OPTION_PROGRESS},
	{"format", required_argument, NULL, OPTION_FORMAT},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

/* OLDDIR=NEWDIR, with \= for a sign that belongs to a path; both absolute. Or a name alone. */
static int add_to_list(struct restore_list *list, const char *text, bool mapping)
{
	struct restore_mapping *items = reallocarray(list->items, list->count + 1, sizeof(*items));
	char *copy = strdup(text), *out = copy, *to = NULL;

	if (items)
		list->items = items;
	if (!items || !copy) {
		free(copy);
		return -ENOMEM;
	}
	for (const char *p = text; mapping && *p; p++) {
		if (*p == '\\' && p[1] == '=')
			*out++ = *++p;
		else if (*p == '=' && !to) {
			*out++ = '\0';
			to = out;
		} else
			*out++ = *p;
	}
	if (mapping)
		*out = '\0';
	if (mapping && (!to || copy[0] != '/' || to[0] != '/')) {
		free(copy);
		return -EINVAL;
	}
	items[list->count++] = (struct restore_mapping){.from = copy, .to = to};
	return 0;
}

static int parse_jobs(const char *text, unsigned *ret)
{
	uint64_t n;

	if (cmd_parse_bytes(text, &n) < 0 || n < 1 || n > 4096)
		return -EINVAL;
	*ret = (unsigned)n;
	return 0;
}

static int set_recovery(struct restore_recovery *r, int id, const char *value)
{
	const struct {
		int id;
		const char **to;
	} fields[] = {
		{OPTION_TIME, &r->time},
		{OPTION_LSN, &r->lsn},
		{OPTION_XID, &r->xid},
		{OPTION_NAME, &r->name},
		{OPTION_STOP, &r->stop},
		{OPTION_TIMELINE, &r->timeline},
		{OPTION_INCLUSIVE, &r->inclusive},
		{OPTION_ACTION, &r->action},
		{OPTION_RESTORE_COMMAND, &r->restore_command},
		{OPTION_CONNINFO, &r->primary_conninfo},
		{'S', &r->slot},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		if (fields[i].id == id) {
			*fields[i].to = value;
			return 0;
		}
	}
	return -ENOENT;
}

static int set_option(struct restore_request *r, int id, const char *value)
{
	enum cmd_format format;
	int rc = set_recovery(&r->recovery, id, value);

	if (rc == 0)
		return 0;
	rc = 0;
	switch (id) {
	case OPTION_INSTANCE:
		r->instance = value;
		break;
	case OPTION_BACKUP:
		r->backup = value;
		break;
	case OPTION_WAL_DIR:
		r->wal_dir = value;
		break;
	case OPTION_OWNER:
		r->owner = value;
		break;
	case 'j':
		rc = parse_jobs(value, &r->jobs);
		break;
	case 'T':
		rc = add_to_list(&r->tablespaces, value, true);
		break;
	case OPTION_EXTERNAL_MAPPING:
		rc = add_to_list(&r->externals, value, true);
		break;
	case OPTION_INCLUDE:
		rc = add_to_list(&r->include, value, false);
		break;
	case OPTION_EXCLUDE:
		rc = add_to_list(&r->exclude, value, false);
		break;
	case OPTION_SKIP_EXTERNAL:
		r->skip_external = true;
		break;
	case 'R':
		r->recovery.as_replica = true;
		break;
	case OPTION_NO_SYNC:
		r->no_sync = true;
		break;
	case OPTION_PROGRESS:
		r->progress = true;
		break;
	case OPTION_FORMAT:
		rc = cmd_parse_format(value, false, &format);
		r->json = rc == 0 && format == CMD_FORMAT_JSON;
		break;
	default:
		break;
	}
	return rc;
}

static int check_request(const struct restore_request *r)
{
	struct errmsg e = {""};

	if (r->include.count > 0 && r->exclude.count > 0)
		return cmd_usage("restore", "--db-include and --db-exclude exclude each other");
	if (r->wal_dir && r->wal_dir[0] != '/')
		return cmd_usage("restore", "--waldir '%s': not an absolute path", r->wal_dir);
	if (restore_recovery_check(&r->recovery, &e) < 0)
		return cmd_usage("restore", "%s", e.text);
	return -1;
}

int restore_options_parse(int argc, char **argv, struct restore_request *ret)
{
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":j:T:RS:hV", long_options, NULL)) >= 0) {
		if (c == OPTION_HELP || c == 'h')
			return cmd_print_help(help);
		if (c == OPTION_VERSION || c == 'V')
			return cmd_print_version();
		if (c == ':')
			return cmd_usage("restore", "'%s' needs a value", argv[optind - 1]);
		if (c == '?')
			return cmd_usage("restore", "no such option: '%s'", argv[optind - 1]);
		if (set_option(ret, c, optarg) < 0)
			return cmd_usage("restore", "'%s' is no value of %s", optarg,
					 argv[optind - (argv[optind - 1] == optarg ? 2 : 1)]);
	}
	if (argc - optind != 2)
		return cmd_usage("restore", "give the store and the directory to restore to");
	ret->store = argv[optind];
	ret->directory = argv[optind + 1];
	return check_request(ret);
}

static void free_list(struct restore_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].from);
	free(list->items);
	*list = (struct restore_list){0};
}

void restore_request_free(struct restore_request *r)
{
	free_list(&r->tablespaces);
	free_list(&r->externals);
	free_list(&r->include);
	free_list(&r->exclude);
}
