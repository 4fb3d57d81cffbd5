/*
 * tests/mount/posix_check.h: how the groups of posix_check ask and answer.
 */
#ifndef POSIX_CHECK_H
#define POSIX_CHECK_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The begin of every line from here on */
extern const char *check_group;

/* One line each: CALL = the name of the error or 0; CALL = the number; CALL = the text. Counted
 * when not as wanted. */
void answer_rc(const char *call, long rc, int wanted);
void answer_value(const char *call, long long got, long long wanted);
void answer_text(const char *call, const char *got, const char *wanted);

#define FAILS(call, wanted) answer_rc(#call, (call), wanted)
#define DOES(call)	    answer_rc(#call, (call), 0)
#define GIVES(call, wanted) answer_value(#call, (call), wanted)

/* open and close: 0, or -1 with errno */
int opens(const char *path, int flags);
/* A new file with one byte: 0, or -1 with errno */
int make(const char *path, mode_t mode);

/* lstat; all bits set if there is nothing */
struct stat stat_of(const char *path);
long links(const char *path);
long size(const char *path);
long mode(const char *path);

/* The groups: of posix_check_users.c, of posix_check_more.c */
void check_permissions(void);
void check_sticky(void);
void check_setgid(void);
void check_times(void);
void check_mmap(void);
void check_locks(void);
void check_special(void);
void check_listing(void);

#endif
