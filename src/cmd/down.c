/*
 * cmd/down.c: `pgoverlay down`: stops the PostgreSQL server of a clone and unmounts it (clone_end.h).
 */
#include "cmd/clone_end.h"
#include "cmd/cmd.h"
#include "cmd/registry.h"

#include "base/util.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>

static const char help[] =
	"Usage: pgoverlay down MOUNTPOINT|DIFF [--discard]\n"
	"Stops PostgreSQL on a clone and unmounts it.\n"
	"\n"
	"  --discard    remove a diff of one's own too, and with it all that was written\n"
	"  --help, --version\n"
	"\n"
	"A clone without --diff is removed in any case.\n";

enum { OPT_DISCARD = 256, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
	{"discard", no_argument, NULL, OPT_DISCARD},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

#define GO_ON (-1)

static volatile bool interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = true;
}

static void tell(const char *text)
{
	(void)fprintf(stderr, "pgoverlay: %s\n", text);
}

static int parse(int argc, char **argv, bool *discard, const char **clone)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (option == OPT_HELP)
			return cmd_print_help(help);
		if (option == OPT_VERSION)
			return cmd_print_version();
		if (option != OPT_DISCARD)
			return cmd_usage("down", "there is no option %s", argv[optind - 1]);
		*discard = true;
	}
	if (optind != argc - 1)
		return cmd_usage("down",
				 optind == argc ? "which MOUNTPOINT?" : "one MOUNTPOINT only");
	*clone = argv[optind];
	return GO_ON;
}

/* By mount point or by diff. */
static int find(const char *name, struct errmsg *e, struct clone *ret)
{
	int rc = registry_find(name, NULL, ret);

	if (rc == -ENOENT)
		rc = registry_find_diff(name, NULL, ret);
	if (rc == -ENOENT)
		return errmsg_set(e, rc,
				  "%s is neither a mount point nor a diff of a clone; `pgoverlay "
				  "status` lists them",
				  name);
	if (rc < 0)
		return errmsg_set(e, rc, "cannot find the clone %s: %s", name,
				  errmsg_text(NULL, rc));
	if (ret->run_dir == NULL) {
		registry_clone_free(ret);
		return errmsg_set(e, -ENOENT, "%s is not mounted", name);
	}
	return 0;
}

static void print_result(const struct clone *clone, bool stopped, bool discard)
{
	(void)printf("%s%s\n", stopped ? "PostgreSQL stopped, unmounted " : "unmounted ",
		     clone->mountpoint);
	if (clone->temporary || discard)
		(void)printf("what was written there is gone\n");
	else if (clone->diff != NULL)
		(void)printf("start it again with: pgoverlay up %s --instance %s --backup %s "
			     "--diff %s\n",
			     clone->store, clone->instance, clone->backup, clone->diff);
}

static int take_down(const struct clone *clone, bool discard, struct errmsg *e)
{
	bool stopped = false;
	int rc = clone_end(clone, discard, tell, &interrupted, e, &stopped);

	if (rc == 0)
		print_result(clone, stopped, discard);
	return rc;
}

int cmd_down(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	const char *name = NULL;
	struct errmsg e = {0};
	struct clone clone;
	bool discard = false;
	int rc;

	rc = parse(argc, argv, &discard, &name);
	if (rc != GO_ON)
		return rc;
	rc = find(name, &e, &clone);
	if (rc < 0)
		return cmd_failed(&e, rc);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	rc = take_down(&clone, discard, &e);
	registry_clone_free(&clone);
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}
