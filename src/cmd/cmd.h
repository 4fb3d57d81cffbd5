/*
 * cmd/cmd.h: the commands of the program; one file a command, main.c only dispatches.
 *
 * Each takes its own argv (argv[0] is the command's name) and returns the exit status: 0 good, 1
 * the operation failed, 2 usage. Facts go to stdout, messages to stderr as "pgoverlay: what: why",
 * once.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CMD_GOOD   0
#define CMD_FAILED 1
#define CMD_USAGE  2

int cmd_list(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_down(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_cleanup(int argc, char **argv);
int cmd_wal_get(int argc, char **argv);
int cmd_changes(int argc, char **argv);
int cmd_extract(int argc, char **argv);
int cmd_verify(int argc, char **argv);

enum cmd_format { CMD_FORMAT_TEXT, CMD_FORMAT_JSON, CMD_FORMAT_PROMETHEUS };

/* Prints "pgoverlay: <message>" to stderr, with a pointer to --help of the command; returns
 * CMD_USAGE. */
int cmd_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints "pgoverlay: <message of e or text of rc>"; returns CMD_FAILED. */
int cmd_failed(const struct errmsg *e, int rc);

/* Standard answers of every command: prints the help text or the version; returns CMD_GOOD. */
int cmd_print_help(const char *text);
int cmd_print_version(void);

/* "text", "json" or, if allowed, "prometheus"; -EINVAL. */
int cmd_parse_format(const char *text, bool prometheus, enum cmd_format *ret);
/* A number of bytes with an optional k, M, G or T (powers of 1024); -EINVAL. */
int cmd_parse_bytes(const char *text, uint64_t *ret);

/* All that comes until the other side closes, with a NUL behind it (malloc'ed); -EFBIG above max
 * bytes. */
int cmd_read_all(int fd, size_t max, char **ret);

#endif
