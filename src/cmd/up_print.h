/*
 * cmd/up_print.h: what `up` says when the server runs.
 */
#ifndef CMD_UP_PRINT_H
#define CMD_UP_PRINT_H

#include "cmd/collation.h"
#include "cmd/mount.h"
#include "cmd/pgbin.h"
#include "cmd/recovery.h"
#include "cmd/server.h"
#include "cmd/server_recovery.h"
#include "cmd/settings.h"

struct up_report {
	const struct mount_result *mount;
	const struct pgbin *bin;
	const struct server_facts *facts;
	const struct settings *settings;
	const struct collation_list *collations;
	const struct recovery *recovery; /* NULL: it had none at this start */
	enum recovery_end end;
	const char *notes; /* lines, each ending in \n */
};

void up_print_text(const struct up_report *report);
/* Besides the keys that scripts rely on (docs): postmaster, log, version, temporary, notes[],
 * collations[]. -ENOMEM. */
int up_print_json(const struct up_report *report);

#endif
