/*
 * The program: finds the command and runs it.
 *
 * mount(8) knows no commands: for a line of type fuse.pgoverlay it runs `pgoverlay STORE MOUNTPOINT
 * -o OPTIONS`.
 */
#include "cmd/cmd.h"
#include "cmd/title.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

static const struct command commands[] = {
	{"list", cmd_list, "backups of a store, their chains, and which can be mounted"},
	{"mount", cmd_mount, "mount a backup as a writable data directory"},
	{"umount", cmd_umount, "unmount a clone"},
	{"up", cmd_up, "mount a backup and start PostgreSQL on it"},
	{"down", cmd_down, "stop PostgreSQL and unmount"},
	{"extract", cmd_extract, "a table or database out of a backup, at any point in time"},
	{"changes", cmd_changes, "what a clone changed, by file and block"},
	{"status", cmd_status, "what is mounted, and figures of a mount"},
	{"verify", cmd_verify, "check every byte of backups that a restore would use"},
	{"restore", cmd_restore, "write a backup as a plain data directory"},
	{"wal-get", cmd_wal_get, "fetch a file of a store's WAL archive: the restore_command of clones"},
	{"cleanup", cmd_cleanup, "remove what clones have left behind"},
};

static int print_help(void)
{
	(void)puts("Usage: pgoverlay COMMAND [OPTION]...\n"
		   "Start PostgreSQL on a backup without restoring it.\n\n"
		   "Commands:");
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		(void)printf("  %-10s %s\n", commands[i].name, commands[i].help);
	(void)puts("\n'pgoverlay COMMAND --help' tells more about each.");
	return CMD_GOOD;
}

static bool is_mount_line(int argc, char **argv)
{
	if (argc < 3 || argv[1][0] == '-')
		return false;
	if (strchr(argv[1], '/') != NULL)
		return true;
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "-o") == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	title_init(argc, argv);
	if (argc < 2)
		return cmd_usage("", "no command given");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return print_help();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return cmd_print_version();
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	if (is_mount_line(argc, argv))
		return cmd_mount(argc, argv);
	return cmd_usage("", "no such command: '%s'", argv[1]);
}
