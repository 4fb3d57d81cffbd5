/*
 * mount STORE MOUNTPOINT [--option value]..., or STORE MOUNTPOINT -o option=value,...
 *
 * Both forms know the same names. mount(8) adds generic options that mean nothing here (dev, suid,
 * rw, ...): those are accepted and change nothing, nosuid and nodev stay.
 */
#include "cmd/options.h"

#include "base/util.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>

static const char help[] =
	"Usage: pgoverlay mount STORE MOUNTPOINT [OPTION]...\n"
	"       pgoverlay STORE MOUNTPOINT -o OPTION[=VALUE],...      as mount(8) calls it\n"
	"Mount a backup of STORE as a PostgreSQL data directory on MOUNTPOINT.\n\n"
	"  --instance NAME           instance of the store (default: the only one)\n"
	"  --backup ID               backup (default: the newest that can be mounted)\n"
	"  --diff DIR                where changes are kept (default: a temporary place, gone on "
	"umount)\n"
	"  --force                   also a backup, named with --backup, of status ORPHAN or CORRUPT\n"
	"  --external                show external directories, below .pgoverlay/external/\n"
	"  --read-only               no changes\n"
	"  --owner USER              whom all files belong to and the serving process runs as\n"
	"  --wal-dir DIR             keep pg_wal natively in DIR\n"
	"  --foreground              serve in this process\n"
	"  --write-back              the kernel may keep writes until fsync (default where that is safe on a full disk)\n"
	"  --write-through           each write is answered when the diff has it\n"
	"  --io-engine KIND          auto, uring or threads (default: auto)\n"
	"  --index-memory SIZE       bytes of block index held in memory (default: 256M)\n"
	"  --verify-reads on|off     check what is read against the backup's sums (default: on)\n"
	"  --reserve SIZE            host space kept free for journal and checkpoints, and the most the kernel may hold of writes (default: 64M)\n"
	"  --format text|json        how the facts of the mount are printed\n"
	"  --help, --version\n"
	"\nPrepare a new diff so that PostgreSQL, however it is started, recovers from the store's "
	"WAL "
	"archive:\n" TARGET_HELP;

enum option_id {
	OPTION_INSTANCE = 256,
	OPTION_BACKUP,
	OPTION_DIFF,
	OPTION_FORCE,
	OPTION_EXTERNAL,
	OPTION_READ_ONLY,
	OPTION_OWNER,
	OPTION_WAL_DIR,
	OPTION_FOREGROUND,
	OPTION_WRITE_BACK,
	OPTION_WRITE_THROUGH,
	OPTION_IO_ENGINE,
	OPTION_INDEX_MEMORY,
	OPTION_VERIFY_READS,
	OPTION_RESERVE,
	OPTION_TARGET,
	OPTION_TARGET_TIME,
	OPTION_TARGET_LSN,
	OPTION_TARGET_XID,
	OPTION_TARGET_NAME,
	OPTION_TARGET_ACTION,
	OPTION_TARGET_TIMELINE,
	OPTION_TARGET_INCLUSIVE,
	OPTION_FORMAT,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{"instance", required_argument, NULL, OPTION_INSTANCE},
	{"backup", required_argument, NULL, OPTION_BACKUP},
	{"diff", required_argument, NULL, OPTION_DIFF},
	{"force", no_argument, NULL, OPTION_FORCE},
	{"external", no_argument, NULL, OPTION_EXTERNAL},
	{"read-only", no_argument, NULL, OPTION_READ_ONLY},
	{"owner", required_argument, NULL, OPTION_OWNER},
	{"wal-dir", required_argument, NULL, OPTION_WAL_DIR},
	{"foreground", no_argument, NULL, OPTION_FOREGROUND},
	{"write-back", no_argument, NULL, OPTION_WRITE_BACK},
	{"write-through", no_argument, NULL, OPTION_WRITE_THROUGH},
	{"io-engine", required_argument, NULL, OPTION_IO_ENGINE},
	{"index-memory", required_argument, NULL, OPTION_INDEX_MEMORY},
	{"verify-reads", required_argument, NULL, OPTION_VERIFY_READS},
	{"reserve", required_argument, NULL, OPTION_RESERVE},
	{"target", required_argument, NULL, OPTION_TARGET},
	{"target-time", required_argument, NULL, OPTION_TARGET_TIME},
	{"target-lsn", required_argument, NULL, OPTION_TARGET_LSN},
	{"target-xid", required_argument, NULL, OPTION_TARGET_XID},
	{"target-name", required_argument, NULL, OPTION_TARGET_NAME},
	{"target-action", required_argument, NULL, OPTION_TARGET_ACTION},
	{"target-timeline", required_argument, NULL, OPTION_TARGET_TIMELINE},
	{"target-inclusive", required_argument, NULL, OPTION_TARGET_INCLUSIVE},
	{"format", required_argument, NULL, OPTION_FORMAT},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

int options_parse_engine(const char *text, enum io_kind *ret)
{
	if (strcmp(text, "auto") == 0)
		*ret = IO_KIND_AUTO;
	else if (strcmp(text, "uring") == 0)
		*ret = IO_KIND_URING;
	else if (strcmp(text, "threads") == 0)
		*ret = IO_KIND_THREADS;
	else
		return -EINVAL;
	return 0;
}

int options_parse_switch(const char *text, bool *ret)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*ret = text[1] == 'n';
	return 0;
}

/* Those without a value. */
static bool set_flag(struct mount_request *r, enum option_id id)
{
	bool *flag = id == OPTION_FORCE	       ? &r->force
		     : id == OPTION_EXTERNAL   ? &r->external
		     : id == OPTION_READ_ONLY  ? &r->read_only
		     : id == OPTION_FOREGROUND ? &r->foreground
					       : NULL;

	if (flag != NULL)
		*flag = true;
	return flag != NULL;
}

static const char *name_of(int id)
{
	for (const struct option *o = long_options; o->name != NULL; o++) {
		if (o->val == id)
			return o->name;
	}
	return "?";
}

/* e: a message of its own, where there is one. */
static int set_option(struct mount_request *r, enum option_id id, const char *value,
		      struct errmsg *e)
{
	enum cmd_format format;
	bool on;
	int rc = 0;

	if (set_flag(r, id))
		return 0;
	switch (id) {
	case OPTION_INSTANCE:
		r->instance = value;
		break;
	case OPTION_BACKUP:
		r->backup = value;
		break;
	case OPTION_DIFF:
		r->diff = value;
		break;
	case OPTION_OWNER:
		r->owner = value;
		break;
	case OPTION_WAL_DIR:
		r->wal_dir = value;
		break;
	case OPTION_IO_ENGINE:
		rc = options_parse_engine(value, &r->engine);
		break;
	case OPTION_INDEX_MEMORY:
		rc = cmd_parse_bytes(value, &r->index_memory);
		break;
	case OPTION_VERIFY_READS:
		rc = options_parse_switch(value, &on);
		r->no_verify_reads = rc == 0 && !on;
		break;
	case OPTION_RESERVE:
		rc = cmd_parse_bytes(value, &r->reserve);
		break;
	case OPTION_WRITE_BACK:
		r->writes = WRITE_BACK;
		break;
	case OPTION_WRITE_THROUGH:
		r->writes = WRITE_THROUGH;
		break;
	case OPTION_FORMAT:
		rc = cmd_parse_format(value, false, &format);
		r->json = rc == 0 && format == CMD_FORMAT_JSON;
		break;
	default:
		rc = target_option(&r->target, name_of((int)id), value, e);
		break;
	}
	return rc;
}

/* ---- -o ---- */

/* What mount(8) and fstab may add and what changes nothing here. */
static bool is_generic(const char *name)
{
	static const char *const names[] = {
		"rw",
		"dev",
		"nodev",
		"suid",
		"nosuid",
		"exec",
		"async",
		"sync",
		"dirsync",
		"atime",
		"noatime",
		"diratime",
		"nodiratime",
		"relatime",
		"norelatime",
		"strictatime",
		"nostrictatime",
		"lazytime",
		"nolazytime",
		"silent",
		"loud",
		"defaults",
		"auto",
		"noauto",
		"user",
		"nouser",
		"users",
		"owner",
		"group",
		"nofail",
		"_netdev",
		"default_permissions",
		"allow_other",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "comment=", 8) == 0;
}

static const struct option *find_long(const char *name, size_t len)
{
	for (const struct option *o = long_options; o->name != NULL; o++) {
		size_t i = 0;

		while (i < len && (o->name[i] == name[i] || (o->name[i] == '-' && name[i] == '_')))
			i++;
		if (i == len && o->name[len] == 0 && o->val < OPTION_FORMAT)
			return o;
	}
	return NULL;
}

static int set_mount_option(struct mount_request *r, char *text)
{
	char *equals = strchr(text, '=');
	size_t len = equals != NULL ? (size_t)(equals - text) : strlen(text);
	const struct option *o = find_long(text, len);
	struct errmsg e = {0};

	if (strcmp(text, "ro") == 0) {
		r->read_only = true;
		return 0;
	}
	if (strcmp(text, "noexec") == 0) {
		r->noexec = true;
		return 0;
	}
	/* `owner` alone is mount(8)'s, owner=USER is ours. */
	if (o != NULL && (o->has_arg == required_argument) == (equals != NULL)) {
		if (set_option(r, (enum option_id)o->val, equals != NULL ? equals + 1 : NULL, &e) ==
		    0)
			return 0;
		if (e.text[0] != 0)
			return cmd_usage("mount", "%s", e.text);
		return cmd_usage("mount", "bad value: -o %s", text);
	}
	if (is_generic(text))
		return 0;
	return cmd_usage("mount", "unknown option: -o %s", text);
}

static int set_mount_options(struct mount_request *r, char *list)
{
	char *rest = NULL;

	for (char *text = strtok_r(list, ",", &rest); text != NULL;
	     text = strtok_r(NULL, ",", &rest)) {
		int rc = set_mount_option(r, text);

		if (rc != 0)
			return rc;
	}
	return 0;
}

/* ---- all of it ---- */

static int parse_options(int argc, char **argv, struct mount_request *r)
{
	int id;

	opterr = 0;
	optind = 1;
	while ((id = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
		struct errmsg e = {0};
		int rc = 0;

		if (id == OPTION_HELP)
			return cmd_print_help(help);
		if (id == OPTION_VERSION)
			return cmd_print_version();
		if (id == ':')
			return cmd_usage("mount", "%s needs a value", argv[optind - 1]);
		if (id == '?')
			return cmd_usage("mount", "unknown option: %s", argv[optind - 1]);
		if (id == 'o')
			rc = set_mount_options(r, optarg);
		else if (set_option(r, (enum option_id)id, optarg, &e) != 0)
			rc = e.text[0] != 0 ? cmd_usage("mount", "%s", e.text)
					    : cmd_usage("mount", "bad value for --%s: '%s'",
							name_of(id), optarg);
		if (rc != 0)
			return rc;
	}
	return -1;
}

int options_parse_mount(int argc, char **argv, struct mount_request *ret)
{
	struct errmsg e = {0};
	int rc = parse_options(argc, argv, ret);

	if (rc >= 0)
		return rc;
	rc = target_check(&ret->target, &e);
	if (rc < 0)
		return cmd_usage("mount", "%s", errmsg_text(&e, rc));
	if (ret->read_only && ret->target.kind != TARGET_NONE)
		return cmd_usage("mount",
				 "--read-only shows the backup itself: it takes no target");
	if (argc - optind != 2)
		return cmd_usage("mount", argc - optind < 2 ? "STORE and MOUNTPOINT are needed"
							    : "too many arguments");
	ret->store = argv[optind];
	ret->mountpoint = argv[optind + 1];
	if (ret->read_only && (ret->diff != NULL || ret->wal_dir != NULL))
		return cmd_usage("mount", "--read-only takes neither --diff nor --wal-dir");
	return -1;
}
