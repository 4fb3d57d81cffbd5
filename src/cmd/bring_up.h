/*
 * cmd/bring_up.h: a mounted clone with PostgreSQL on it: what `up` and `extract` share.
 *
 * Steps: mount; look at the data directory (version, programs, what must go); decide on the
 * settings; start the server as the owner; wait until it answers, or has recovered. One thread.
 */
#ifndef CMD_BRING_UP_H
#define CMD_BRING_UP_H

#include "cmd/collation.h"
#include "cmd/mount.h"
#include "cmd/recovery.h"
#include "cmd/server.h"
#include "cmd/server_recovery.h"
#include "cmd/settings.h"
#include "cmd/up_options.h"

struct up {
	const struct up_options *options;
	struct errmsg *e;
	void (*on_mount)(void *ctx, const char *mountpoint); /* as soon as it is mounted; NULL is fine */
	void *ctx;
	bool mounted, diff_is_new;
	struct mount_result mount;
	struct owner owner;
	struct pgbin bin;
	struct settings settings;
	struct server_facts facts;
	struct collation_list collations;
	char *notes;
	uint64_t log_start; /* bytes of the log that are of earlier starts */
	bool started;
	bool recovers; /* at this start, as `recovery` says */
	struct recovery recovery;
	enum recovery_end end; /* how that came out */
};

/* SIGINT, SIGTERM or SIGHUP has come since up_bring mounted, or since up_catch_signals. */
extern volatile bool up_interrupted;
void up_catch_signals(void);

/* One line of what goes on, to stderr. */
void up_tell(const char *text);

/* On a failure up_take_down must follow, and up_clear in any case. */
int up_bring(struct up *up);
/*
 * Stops the server at once and unmounts; removes what goes with the mount, and a diff that this
 * call made and nothing ever ran on.
 */
void up_take_down(struct up *up);
void up_clear(struct up *up);

/* ---- look_inside.c ---- */

/* Finds the programs and makes the data directory fit to be started. */
int up_look_inside(struct up *up);

#endif
