/*
 * cmd/clone_config.h: the configuration a clone's server starts with: the backup's own files where
 * they can be used, else one file made of them, and what is given on the command line.
 *
 * Used by `up` alone. The server's -c wins over files, but a file that it cannot read, a line that
 * is none, or a value it does not take stop it all the same; then what remains of postgresql.conf
 * goes into a file of ours (flat, without includes), and of postgresql.auto.conf, which is read
 * whatever we say, into that file itself (in the diff).
 */
#ifndef CMD_CLONE_CONFIG_H
#define CMD_CLONE_CONFIG_H

#include "base/err.h"
#include "cmd/pgbin.h"
#include "cmd/process.h"
#include "cmd/settings.h"

#include <stdbool.h>

struct clone_config_request {
	const struct pgbin *bin;
	const struct owner *owner;
	const char *data_dir; /* the mount */
	const char *run_dir;  /* for our own files */
	const char *socket_dir;
	const char *listen; /* NULL: no TCP */
	unsigned port;
	const char *const *sets; /* --set, NULL at the end */
	const struct setting_pair *recovery; /* as in settings_input */
	unsigned recovery_count;
	bool recovered, needs_queries;
	bool keep_hba, keep_preload;
};

/*
 * Decides on all settings and writes the files. After success the server takes the configuration as
 * it is. Notes are lines for the user, each ending in \n (malloc'ed, "" if none).
 */
int clone_config_make(const struct clone_config_request *request, struct errmsg *e,
		      struct settings *ret, char **ret_notes);

/*
 * What one line of the server's own check complains about: a setting's name, or a line of a file
 * (*ret_line > 0). Both copied to buffers of `size` bytes. False: neither. For clone_config and its
 * tests.
 */
bool clone_config_complaint(const char *text, char *ret_name, char *ret_file, size_t size,
			    unsigned *ret_line);

#endif
