/*
 * cmd/title.h: what ps shows of a process.
 */
#ifndef CMD_TITLE_H
#define CMD_TITLE_H

/* Remembers where the arguments lie. First thing in main, while argv is in its order. */
void title_init(int argc, char **argv);

/*
 * Replaces the command line that ps shows, as far as there is room. Strings of argv are gone then:
 * for processes that have copied what they need.
 */
void title_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
