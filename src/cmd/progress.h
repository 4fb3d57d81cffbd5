/*
 * cmd/progress.h: how far long work is: a bar that is written over on a terminal, a line now and
 * then elsewhere if it was asked for. On stderr. One thread.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	const char *what; /* "restored" */
	bool terminal, lines;
	uint64_t started_ms, shown_ms;
	size_t width; /* of the line that stands on the terminal */
};

/* On a terminal always; elsewhere a line every ten seconds if lines. */
void progress_start(struct progress *p, const char *what, bool lines);
/* Call it as often as you like; it shows itself a few times a second. */
void progress_show(struct progress *p, uint64_t done, uint64_t total);
/* Takes the bar away, so that a message can be written. */
void progress_clear(struct progress *p);
double progress_seconds(const struct progress *p);

/* "1.2 GB", "312 kB": units of 1000, as `list` prints sizes. */
void progress_format_bytes(uint64_t bytes, char *ret, size_t size);
/*
 * "45 %, 1.2 GB of 2.6 GB, 312 MB/s, 0:04 left"; nothing is said of what is not known yet. Pure.
 */
void progress_format(uint64_t done, uint64_t total, double seconds, char *ret, size_t size);

#endif
