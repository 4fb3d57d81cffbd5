/*
 * cmd/wal_get.c: `pgoverlay wal-get`: the restore_command of clones.
 *
 * PostgreSQL takes the exit statuses 1 to 125 of a restore_command for "there is no such file", and
 * that for the end of the archive: recovery would stop there and open the cluster, with committed
 * transactions missing. So 1 is said only when the archive was looked into and has no such file.
 * Everything else, a wrong command line too, is 200: above 125 PostgreSQL gives up and says why.
 */
#include "cmd/cmd.h"

#include "base/sys.h"
#include "base/util.h"
#include "layer/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>

#define NOT_THERE 1
#define BROKEN	  200
#define GO_ON	  (-1)

static const char help[] =
	"Usage: pgoverlay wal-get STORE NAME PATH [--instance I]\n"
	"Fetch one file of the WAL archive of STORE: the restore_command of clones,\n"
	"  restore_command = 'pgoverlay wal-get STORE %f %p --instance I'\n\n"
	"NAME is a segment, history or backup file as PostgreSQL names it (%f), PATH where it is "
	"put\n"
	"(%p), relative to the working directory, which is the data directory. Compressed "
	"segments\n"
	"are decoded, partial ones are filled up with zeros; length, gzip checksum and first page "
	"are\n"
	"checked. The file appears under its name when it is whole and durable.\n\n"
	"  --instance I    instance of the store; may be left out where there is one\n"
	"  --help, --version\n\n"
	"Exit status: 0 fetched; 1 the archive has no such file; 200 anything else (damage, no "
	"store,\n"
	"no permission, wrong usage), at which PostgreSQL ends its recovery instead of opening\n"
	"without the rest.\n";

struct request {
	const char *store, *name, *path, *instance;
};

static int parse(int argc, char **argv, struct request *r)
{
	static const struct option options[] = {{"instance", required_argument, NULL, 'i'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{NULL, 0, NULL, 0}};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			r->instance = optarg;
			break;
		case 'h':
			return cmd_print_help(help);
		case 'V':
			return cmd_print_version();
		default:
			(void)cmd_usage("wal-get", "%s: no such option, or without its value",
					argv[optind - 1]);
			return BROKEN;
		}
	}
	if (argc - optind != 3) {
		(void)cmd_usage("wal-get", "STORE, NAME and PATH are needed");
		return BROKEN;
	}
	r->store = argv[optind];
	r->name = argv[optind + 1];
	r->path = argv[optind + 2];
	return GO_ON;
}

/* ---- writing ---- */

struct output {
	int fd;
	uint64_t size;
};

static int write_part(void *ctx, const void *data, size_t len)
{
	struct output *out = ctx;
	int rc = sys_pwrite_full(out->fd, data, len, out->size);

	out->size += len;
	return rc;
}

static int put(struct store *store, const struct request *r, const char *temp, struct errmsg *e)
{
	struct output out = {.fd = -1};
	const struct wal_sink sink = {write_part, &out};
	int rc;

	out.fd = sys_openat(AT_FDCWD, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (out.fd < 0)
		return errmsg_set(e, out.fd == -ENOENT ? -ENOTDIR : out.fd, "cannot make %s: %s",
				  temp, errmsg_text(NULL, out.fd));
	rc = store->driver->wal_read(store, r->instance, r->name, &sink, e);
	if (rc == 0) {
		rc = sys_fsync(out.fd);
		if (rc == 0)
			rc = sys_renameat(AT_FDCWD, temp, AT_FDCWD, r->path);
		if (rc < 0)
			rc = errmsg_set(e, rc == -ENOENT ? -EIO : rc, "cannot write %s: %s",
					r->path, errmsg_text(NULL, rc));
	}
	(void)sys_close(out.fd);
	if (rc < 0)
		(void)sys_unlinkat(AT_FDCWD, temp, 0);
	return rc;
}

/* -ENOENT: the archive has no such file, and nothing else. */
static int fetch(const struct request *r, struct errmsg *e)
{
	_cleanup_free_ char *temp = NULL;
	struct store *store;
	int rc = store_open(r->store, e, &store);

	if (rc < 0)
		return rc == -ENOENT ? -ENOTDIR : rc;
	if (store->driver->wal_read == NULL)
		rc = errmsg_set(e, -ENOTSUP, "%s: a %s store keeps no WAL archive", r->store,
				store->driver->name);
	if (rc == 0 && asprintf(&temp, "%s.part", r->path) < 0) {
		temp = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0)
		rc = put(store, r, temp, e);
	store_close(store);
	return rc;
}

int cmd_wal_get(int argc, char **argv)
{
	struct request request = {0};
	struct errmsg e = {0};
	int rc = parse(argc, argv, &request);

	if (rc != GO_ON)
		return rc;
	rc = fetch(&request, &e);
	if (rc == 0)
		return CMD_GOOD;
	/* PostgreSQL asks for histories that need not be there all the time. */
	if (rc == -ENOENT && strstr(request.name, ".history") != NULL)
		return NOT_THERE;
	(void)cmd_failed(&e, rc);
	return rc == -ENOENT ? NOT_THERE : BROKEN;
}
