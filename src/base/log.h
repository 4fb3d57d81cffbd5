/*
 * base/log.h: one log for the process: stderr, or a file given with log_open. Thread-safe.
 * Rooms below fuse/ and cmd/ return errors instead of logging; the exceptions are one-line notices that
 * nobody above can say (the engine's fallback, a damaged page).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_DEBUG };

/* Appends to the file from now on (created 0600); log_reopen opens it anew after a rotation. A file
 * gets LOG_BURST lines at once and then one a second at most; how many were left out is said with
 * the next one. */
#define LOG_BURST 1000
int log_open(int dirfd, const char *name);
int log_reopen(void);
void log_set_level(enum log_level max);

/* Writes "<time> <level> <text>\n" to a file, "pgoverlay: <text>\n" to stderr. Never fails, never blocks on a lock long. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_msg(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
