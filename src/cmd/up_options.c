/*
 * cmd/up_options.c: see up_options.h.
 */
#include "cmd/up_options.h"

#include "base/util.h"
#include "cmd/options.h"

#include <getopt.h>
#include <stdio.h>

static const char help[] =
	"Usage: pgoverlay up STORE [options]\n"
	"       pgoverlay up --diff DIR [--foreground]\n"
	"       pgoverlay up --all\n"
	"Mounts a backup as a writable data directory and starts PostgreSQL on it. Without STORE "
	"as DIR was\n"
	"started last; --all: every clone with a diff of its own that was up and that nobody has "
	"taken down.\n"
	"\n"
	"  --instance I          instance of the store; may be left out where there is one\n"
	"  --backup ID           backup to start; the newest usable one by default\n"
	"  --diff DIR            keep what is written in DIR; without it the clone is temporary\n"
	"  --port P              port of the server; a free one by default\n"
	"  --listen ADDR         accept TCP connections there (with passwords, scram-sha-256); "
	"none by default\n"
	"  --set NAME=VALUE      give the server this setting, instead of ours too; may be "
	"repeated\n"
	"  --keep-hba            the backup's pg_hba.conf instead of our own\n"
	"  --keep-preload        the backup's preload libraries, schedulers too\n"
	"  --owner USER          user who owns the files and runs the server\n"
	"  --wal-dir DIR         directory for pg_wal; in the clone's own folder by default\n"
	"  --write-back          the kernel may keep writes until fsync (default where that is safe on a full disk)\n"
	"  --write-through       each write is answered when the diff has it\n"
	"  --io-engine E         auto, uring or threads\n"
	"  --index-memory N      bytes of block index held in memory, 256M\n"
	"  --verify-reads X      on (default) or off: check pages read from the backup\n"
	"  --force               also a backup, named with --backup, of status ORPHAN or CORRUPT\n"
	"  --external            show external directories, below .pgoverlay/external/\n"
	"  --reserve N           bytes of disk space kept free for the diff's journal; the kernel holds as much of writes at most; 64M\n"
	"  --foreground          stay, take it down on SIGTERM (for systemd: pgoverlay@.service)\n"
	"  --format F            text or json\n"
	"  --help, --version\n"
	"\n"
	"Recovery from the store's WAL archive (a backup that has its WAL elsewhere is recovered "
	"to "
	"its own\n"
	"state if no target is given):\n" TARGET_HELP "\n"
	"Stop it with `pgoverlay down`.\n";

/* ---- command line ---- */

enum option_value {
	OPT_INSTANCE = 256,
	OPT_BACKUP,
	OPT_DIFF,
	OPT_PORT,
	OPT_LISTEN,
	OPT_SET,
	OPT_KEEP_HBA,
	OPT_KEEP_PRELOAD,
	OPT_OWNER,
	OPT_WAL_DIR,
	OPT_ENGINE,
	OPT_INDEX_MEMORY,
	OPT_VERIFY,
	OPT_FORCE,
	OPT_EXTERNAL,
	OPT_WRITE_BACK,
	OPT_WRITE_THROUGH,
	OPT_RESERVE,
	OPT_TARGET, /* any of them */
	OPT_ALL,
	OPT_FOREGROUND,
	OPT_FORMAT,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option long_options[] = {
	{"instance", required_argument, NULL, OPT_INSTANCE},
	{"backup", required_argument, NULL, OPT_BACKUP},
	{"diff", required_argument, NULL, OPT_DIFF},
	{"port", required_argument, NULL, OPT_PORT},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"set", required_argument, NULL, OPT_SET},
	{"keep-hba", no_argument, NULL, OPT_KEEP_HBA},
	{"keep-preload", no_argument, NULL, OPT_KEEP_PRELOAD},
	{"owner", required_argument, NULL, OPT_OWNER},
	{"wal-dir", required_argument, NULL, OPT_WAL_DIR},
	{"io-engine", required_argument, NULL, OPT_ENGINE},
	{"index-memory", required_argument, NULL, OPT_INDEX_MEMORY},
	{"verify-reads", required_argument, NULL, OPT_VERIFY},
	{"force", no_argument, NULL, OPT_FORCE},
	{"external", no_argument, NULL, OPT_EXTERNAL},
	{"write-back", no_argument, NULL, OPT_WRITE_BACK},
	{"write-through", no_argument, NULL, OPT_WRITE_THROUGH},
	{"reserve", required_argument, NULL, OPT_RESERVE},
	{"target", required_argument, NULL, OPT_TARGET},
	{"target-time", required_argument, NULL, OPT_TARGET},
	{"target-lsn", required_argument, NULL, OPT_TARGET},
	{"target-xid", required_argument, NULL, OPT_TARGET},
	{"target-name", required_argument, NULL, OPT_TARGET},
	{"target-action", required_argument, NULL, OPT_TARGET},
	{"target-timeline", required_argument, NULL, OPT_TARGET},
	{"target-inclusive", required_argument, NULL, OPT_TARGET},
	{"all", no_argument, NULL, OPT_ALL},
	{"foreground", no_argument, NULL, OPT_FOREGROUND},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int take_port(struct up_options *o, const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || port == 0 || port > 65535)
		return cmd_usage("up", "--port takes a number from 1 to 65535, not '%s'", text);
	o->port = (unsigned)port;
	return UP_GO_ON;
}

static int take_set(struct up_options *o, const char *text)
{
	struct settings none = {0};
	struct errmsg e = {0};
	struct pgconf empty = {0};
	int rc;

	if (o->set_count == UP_SETS_MAX)
		return cmd_usage("up", "more than %d times --set", UP_SETS_MAX);
	rc = settings_override(&none, text, &empty, &e);
	settings_free(&none);
	if (rc < 0)
		return cmd_usage("up", "%s", errmsg_text(&e, rc));
	o->sets[o->set_count++] = text;
	return UP_GO_ON;
}

static int take_mount_option(struct up_options *o, int option, const char *value)
{
	bool on;

	switch (option) {
	case OPT_INSTANCE:
		o->mount.instance = value;
		return UP_GO_ON;
	case OPT_BACKUP:
		o->mount.backup = value;
		return UP_GO_ON;
	case OPT_DIFF:
		o->mount.diff = value;
		return UP_GO_ON;
	case OPT_OWNER:
		o->mount.owner = value;
		return UP_GO_ON;
	case OPT_WAL_DIR:
		o->mount.wal_dir = value;
		return UP_GO_ON;
	case OPT_ENGINE:
		if (options_parse_engine(value, &o->mount.engine) < 0)
			return cmd_usage("up", "--io-engine takes auto, uring or threads, not '%s'",
					 value);
		return UP_GO_ON;
	case OPT_INDEX_MEMORY:
		if (cmd_parse_bytes(value, &o->mount.index_memory) < 0)
			return cmd_usage("up", "--index-memory takes a number of bytes, not '%s'",
					 value);
		return UP_GO_ON;
	case OPT_RESERVE:
		if (cmd_parse_bytes(value, &o->mount.reserve) < 0)
			return cmd_usage("up", "--reserve takes a number of bytes, not '%s'",
					 value);
		return UP_GO_ON;
	case OPT_FORCE:
		o->mount.force = true;
		return UP_GO_ON;
	case OPT_EXTERNAL:
		o->mount.external = true;
		return UP_GO_ON;
	case OPT_WRITE_BACK:
		o->mount.writes = WRITE_BACK;
		return UP_GO_ON;
	case OPT_WRITE_THROUGH:
		o->mount.writes = WRITE_THROUGH;
		return UP_GO_ON;
	case OPT_VERIFY:
		if (options_parse_switch(value, &on) < 0)
			return cmd_usage("up", "--verify-reads takes on or off, not '%s'", value);
		o->mount.no_verify_reads = !on;
		return UP_GO_ON;
	default:
		return cmd_usage("up", "option not known");
	}
}

static int take_option(struct up_options *o, int option, const char *value)
{
	switch (option) {
	case OPT_PORT:
		return take_port(o, value);
	case OPT_LISTEN:
		o->listen = value;
		return UP_GO_ON;
	case OPT_SET:
		return take_set(o, value);
	case OPT_ALL:
		o->all = true;
		return UP_GO_ON;
	case OPT_FOREGROUND:
		o->foreground = true;
		return UP_GO_ON;
	case OPT_KEEP_HBA:
		o->keep_hba = true;
		return UP_GO_ON;
	case OPT_KEEP_PRELOAD:
		o->keep_preload = true;
		return UP_GO_ON;
	case OPT_FORMAT:
		if (cmd_parse_format(value, false, &o->format) < 0)
			return cmd_usage("up", "--format takes text or json, not '%s'", value);
		return UP_GO_ON;
	case OPT_HELP:
		return cmd_print_help(help);
	case OPT_VERSION:
		return cmd_print_version();
	default:
		return take_mount_option(o, option, value);
	}
}

static int take_target(struct up_options *o, const char *name, const char *value)
{
	struct errmsg e = {0};
	int rc = target_option(&o->mount.target, name, value, &e);

	return rc < 0 ? cmd_usage("up", "%s", errmsg_text(&e, rc)) : UP_GO_ON;
}

int up_options_parse(int argc, char **argv, struct up_options *o)
{
	struct errmsg e = {0};
	int option, rc, number = 0;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, ":", long_options, &number)) != -1) {
		if (option == ':')
			return cmd_usage("up", "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return cmd_usage("up", "there is no option %s", argv[optind - 1]);
		rc = option == OPT_TARGET ? take_target(o, long_options[number].name, optarg)
					  : take_option(o, option, optarg);
		if (rc != UP_GO_ON)
			return rc;
	}
	if (o->all || (optind == argc && o->mount.diff != NULL))
		return o->all && argc != 2 ? cmd_usage("up", "--all takes nothing else") : UP_GO_ON;
	if (optind != argc - 1)
		return cmd_usage("up", optind == argc ? "which STORE?" : "one STORE only");
	o->mount.store = argv[optind];
	rc = target_check(&o->mount.target, &e);
	if (rc < 0)
		return cmd_usage("up", "%s", errmsg_text(&e, rc));
	if (o->mount.target.kind == TARGET_NONE)
		o->mount.target.kind = TARGET_AUTO;
	return UP_GO_ON;
}
