/*
 * cmd/target.h: a point in time that a clone is recovered to: the options of `up`, `mount` and
 * `extract`, and which backup and which WAL they ask for.
 */
#ifndef CMD_TARGET_H
#define CMD_TARGET_H

#include "base/err.h"
#include "layer/layer.h"

#include <stdbool.h>
#include <stdint.h>

enum target_kind {
	TARGET_NONE,	  /* no recovery from the archive */
	TARGET_AUTO,	  /* as IMMEDIATE if the WAL is not in the backup, else NONE */
	TARGET_IMMEDIATE, /* the state of the backup */
	TARGET_LATEST,	  /* all WAL there is */
	TARGET_TIME,
	TARGET_LSN,
	TARGET_XID,
	TARGET_NAME,
	TARGET_MAX_
};

enum target_action { TARGET_PROMOTE, TARGET_PAUSE, TARGET_SHUTDOWN, TARGET_ACTION_MAX_ };

/* Zero is no target. */
struct target {
	enum target_kind kind;
	enum target_action action;
	const char *name;     /* NAME */
	const char *timeline; /* "current", "latest" or a number; NULL: not given */
	int64_t time;	      /* TIME: microseconds since 1970 */
	uint64_t lsn, xid;
	bool exclusive; /* stop before the target */
	bool has_action, has_inclusive;
};

#define TARGET_HELP                                                                                \
	"  --target-time T       recover to a time: 2026-11-20 10:41:23+00; without a zone it is " \
	"local time\n"                                                                             \
	"  --target-lsn L        to a WAL position, --target-xid X: to a transaction,\n"           \
	"  --target-name N       to a restore point; the newest backup before each is taken\n"     \
	"  --target immediate    to the state of the backup; latest: through all archived WAL\n"   \
	"  --target-action A     then promote (default), pause or shutdown\n"                      \
	"  --target-timeline T   current, latest (default) or a number\n"                          \
	"  --target-inclusive B  off: stop just before the target\n"

/* "immediate", "time", ...; "promote", ... */
const char *target_kind_name(enum target_kind kind);
const char *target_action_name(enum target_action action);
int target_kind_find(const char *name, enum target_kind *ret);	   /* -EINVAL */
int target_action_find(const char *name, enum target_action *ret); /* -EINVAL */

/*
 * Takes the option of that name ("target", "target-time", ...). -EINVAL with a message for a usage
 * error. The strings of `value` must live as long as the target.
 */
int target_option(struct target *target, const char *name, const char *value, struct errmsg *e);
/* After all options. -EINVAL with a message: they do not go together. */
int target_check(const struct target *target, struct errmsg *e);

/* What PostgreSQL is told: "2026-11-20 10:41:23.000000+00", "0/133D198", "781", the name, or "". */
#define TARGET_VALUE_SIZE 80
const char *target_value(const struct target *target, char ret[TARGET_VALUE_SIZE]);
/* "time 2026-11-20 10:41:23.000000+00", for messages. */
#define TARGET_TEXT_SIZE 96
const char *target_text(const struct target *target, char ret[TARGET_TEXT_SIZE]);

/* "2026-11-20 10:41:23.5+01:00" and what is like it; -EINVAL. */
int target_time_parse(const char *text, int64_t *ret);

/* ---- target_choose.c ---- */

struct target_choice {
	char *backup; /* malloc'ed */
	bool stream;
	uint32_t timeline; /* where recovery ends */
	uint64_t start_lsn;
	uint64_t end_lsn; /* of the target, or of the archive: for showing progress; 0 unknown */
	uint32_t segment_size;
	bool has_archive;
	char *gap; /* WAL that is missing beyond what is surely needed, malloc'ed; or NULL */
};

/*
 * Chooses the newest backup that the target can be reached from (backup NULL), or says why the one
 * that was named cannot serve, and which could. Makes sure that the archive has the WAL that is
 * needed in any case. Blocks; with the owner's rights.
 */
int target_choose(struct store *store, const char *instance, const char *backup,
		  const struct target *target, struct errmsg *e, struct target_choice *ret);
void target_choice_free(struct target_choice *choice);

#endif
