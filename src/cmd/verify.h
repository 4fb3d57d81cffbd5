/*
 * cmd/verify.h: what the files of `verify` share.
 *
 *	verify.c        the command line
 *	verify_run.c    which backups, and the threads that read their files
 *	verify_facts.c  what a backup says of itself against its label, its control file and its instance
 *	verify_wal.c    the WAL from its start to its stop
 *	verify_report.c findings: lines, JSON, the summary
 *	verify_start.c, verify_clone.c  --start (verify_clone.h)
 *
 * Each stored file is read once: of one backup those of its chain that it stands on; of all backups each its
 * own, which together is everything.
 */
#ifndef CMD_VERIFY_H
#define CMD_VERIFY_H

#include "base/err.h"
#include "cmd/progress.h"
#include "layer/layer.h"
#include "pg/control.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct verify_request {
	const char *store, *instance, *backup;
	unsigned jobs; /* 0: as many as processors */
	bool all, force, json, progress;
	bool quiet; /* nothing is printed (tests) */
};

struct verify_counters {
	uint64_t backups, files, pages, bytes; /* looked at */
	uint64_t damages, warnings;	       /* damages: all of the following, and backups that cannot be opened */
	uint64_t in_files;		       /* damages of stored files */
	uint64_t refused;		       /* backups that were not looked at */
};

struct verify {
	struct verify_request request;
	/*
	 * NULL, or what is done with each backup that is good so far. The backup's locks are held; what is wrong goes
	 * to verify_say. *ret_started: for the report, or NULL. Negative: the run ends.
	 */
	int (*start)(struct verify *v, const struct backup_info *info, cJSON **ret_started);
	struct store *store;
	struct backup_list list;
	struct progress progress;
	pthread_mutex_t lock; /* of what follows */
	struct verify_counters counters;
	uint64_t total; /* bytes, as far as known */
	cJSON *damages, *warnings, *backups;
	const char *instance; /* whose backup is looked at */
	double started_seconds; /* that `start` took */
	bool stopped;
};

/* A damage makes the exit status 1. Any thread. */
void verify_found(struct verify *v, const struct layer_finding *finding);
/* The same of something that is in no file of a backup; printf rules. */
void verify_say(struct verify *v, const char *backup, bool harmless, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/*
 * What came of one backup; reason: why it was not looked at, or NULL. damages: of its whole chain. started: of
 * `start`, or NULL; taken.
 */
void verify_backup_done(struct verify *v, const struct backup_info *info, const char *reason,
			uint64_t damages, cJSON *started);
/* All at the end; 0 or -errno. */
int verify_print(struct verify *v);

/*
 * Checks what the request names. 0: everything was looked at (the counters tell what was found); negative:
 * not, e says why. verify_free in any case.
 */
int verify_run(struct verify *v, struct errmsg *e);
void verify_stop(void); /* from a signal handler: the run ends with -EINTR */
bool verify_is_stopped(void);
void verify_free(struct verify *v);

/* The target of the chain against label, control file and WAL. -ENOMEM or -EINTR. */
int verify_facts(struct verify *v, const struct layer_chain *chain, const struct backup_info *info);

struct verify_facts {
	struct verify *v;
	const struct layer_chain *chain;
	const struct layer *target;
	const struct backup_info *info;
	bool has_control, has_archive;
	bool of_primary; /* its label does not say that it was taken on a standby */
	struct pg_control control;
	uint32_t segment_size;
	uint64_t system_identifier; /* 0: not known */
};

/* Each record from start to stop, and that the last one is the end of this backup. -ENOMEM or -EINTR. */
int verify_wal(struct verify_facts *f);

/* An entry that the layer stores, or NULL. */
const struct layer_entry *verify_find_entry(const struct layer *layer, const char *path);
int verify_open_entry(const struct layer *layer, const struct layer_entry *entry);

#endif
