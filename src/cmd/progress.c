/*
 * cmd/progress.c: see progress.h.
 */
#include "cmd/progress.h"

#include "base/util.h"
#include "cmd/process.h"

#include <stdio.h>
#include <unistd.h>

#define TERMINAL_MS 200
#define LINES_MS    10000

void progress_start(struct progress *p, const char *what, bool lines)
{
	*p = (struct progress){.what = what,
			       .terminal = isatty(STDERR_FILENO) == 1,
			       .lines = lines,
			       .started_ms = process_now_ms()};
	p->shown_ms = p->started_ms;
}

double progress_seconds(const struct progress *p)
{
	return (double)(process_now_ms() - p->started_ms) / 1000;
}

void progress_format_bytes(uint64_t bytes, char *ret, size_t size)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1000;
		unit++;
	}
	(void)snprintf(ret, size, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value,
		       units[unit]);
}

static void format_left(double seconds, char *ret, size_t size)
{
	unsigned long long left = seconds < 1e9 ? (unsigned long long)(seconds + 0.5) : 999999999;

	if (left >= 3600)
		(void)snprintf(ret, size, "%llu:%02llu:%02llu", left / 3600, left / 60 % 60,
			       left % 60);
	else
		(void)snprintf(ret, size, "%llu:%02llu", left / 60, left % 60);
}

void progress_format(uint64_t done, uint64_t total, double seconds, char *ret, size_t size)
{
	char of[32], all[32], rate[32], left[48];
	double speed = seconds > 0 ? (double)done / seconds : 0;

	progress_format_bytes(done, of, sizeof(of));
	progress_format_bytes(total, all, sizeof(all));
	(void)snprintf(ret, size, "%.0f %%, %s of %s",
		       total > 0 ? 100.0 * (double)MIN(done, total) / (double)total : 100.0, of,
		       all);
	if (speed < 1 || seconds < 0.5)
		return;
	progress_format_bytes((uint64_t)speed, rate, sizeof(rate));
	format_left((double)(total > done ? total - done : 0) / speed, left, sizeof(left));
	(void)snprintf(ret + strlen(ret), size - strlen(ret), ", %s/s, %s left", rate, left);
}

void progress_clear(struct progress *p)
{
	if (p->width > 0)
		(void)fprintf(stderr, "\r%*s\r", (int)p->width, "");
	p->width = 0;
}

void progress_show(struct progress *p, uint64_t done, uint64_t total)
{
	uint64_t now = process_now_ms();
	char text[160];
	int n;

	if (!p->terminal && !p->lines)
		return;
	if (now - p->shown_ms < (p->terminal ? TERMINAL_MS : LINES_MS))
		return;
	p->shown_ms = now;
	progress_format(done, total, (double)(now - p->started_ms) / 1000, text, sizeof(text));
	if (!p->terminal) {
		(void)fprintf(stderr, "%s %s\n", p->what, text);
		return;
	}
	n = fprintf(stderr, "\r%s %s", p->what, text);
	if (n > 0 && (size_t)n - 1 < p->width)
		(void)fprintf(stderr, "%*s", (int)(p->width - ((size_t)n - 1)), "");
	p->width = n > 0 ? (size_t)n - 1 : 0;
	(void)fflush(stderr);
}
