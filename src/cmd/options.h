/*
 * cmd/options.h: the command line of `mount`, and its other form, the options of mount(8) and
 * fstab.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "cmd/mount.h"

/* -1: the request is filled; else the exit status, everything has been said. Strings point into
 * argv. */
int options_parse_mount(int argc, char **argv, struct mount_request *ret);

/*
 * Options that `up` has too: "auto", "uring", "threads"; "on", "off". -EINVAL.
 */
int options_parse_engine(const char *text, enum io_kind *ret);
int options_parse_switch(const char *text, bool *ret);

#endif
