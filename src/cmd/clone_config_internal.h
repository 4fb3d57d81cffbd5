/*
 * cmd/clone_config_internal.h: what clone_config.c and clone_check.c share.
 */
#ifndef CMD_CLONE_CONFIG_INTERNAL_H
#define CMD_CLONE_CONFIG_INTERNAL_H

#include "cmd/clone_config.h"
#include "cmd/pgconf.h"

#include <stdio.h>

struct clone_plan {
	const struct clone_config_request *request;
	struct errmsg *e;
	struct pgconf conf;
	struct settings settings;
	char *config_file, *hba_file, *ident_file,
		*auto_file; /* hba_file NULL: the server's default */
	bool own_config, own_auto, fewer, tried_alone;
	FILE *notes;
};

int clone_plan_no_memory(struct clone_plan *p); /* sets the message, returns -ENOMEM */
int clone_plan_write_file(struct clone_plan *p, const char *path, const char *text);
/* All files of ours as the plan has them now, with the owner's rights. */
int clone_plan_write_files(struct clone_plan *p);
/* Until the server takes what was written. */
int clone_plan_check(struct clone_plan *p);

#endif
