/*
 * cmd/extract_name.h: names of tables and databases as SQL writes them, in pg_dump's words. Pure.
 */
#ifndef CMD_EXTRACT_NAME_H
#define CMD_EXTRACT_NAME_H

#include "base/err.h"

/*
 * "db.schema.table": a connection string for exactly that database, and a pattern of pg_dump that
 * matches exactly that table (both malloc'ed). Parts without quotes are folded to lower case, as in
 * SQL; a quote inside quotes is doubled. -EINVAL with a message.
 */
int extract_table(const char *text, char **ret_dbname, char **ret_pattern, struct errmsg *e);
/* The name as it stands. */
int extract_database(const char *name, char **ret_dbname);

#endif
