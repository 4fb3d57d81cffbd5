/*
 * cmd/up_options.h: the command line of `up`.
 */
#ifndef CMD_UP_OPTIONS_H
#define CMD_UP_OPTIONS_H

#include "cmd/cmd.h"
#include "cmd/mount.h"
#include "cmd/settings.h"

#define UP_SETS_MAX 128
#define UP_GO_ON    (-1)

struct up_options {
	struct mount_request mount;
	enum cmd_format format;
	unsigned port; /* 0: a free one */
	const char *listen;
	const char *sets[UP_SETS_MAX + 1]; /* NULL at the end */
	unsigned set_count;
	bool keep_hba, keep_preload;
	bool all;	 /* every clone that is wanted; nothing else is given */
	bool foreground; /* stays until the server ends or SIGTERM comes, then takes it down */
};

/* Fills o, which starts with `.mount = MOUNT_REQUEST_INIT`. UP_GO_ON, or the exit status. Strings
 * stay argv's. */
int up_options_parse(int argc, char **argv, struct up_options *o);

#endif
