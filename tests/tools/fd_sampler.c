/*
 * tests/tools/fd_sampler.c: how many descriptors a process has open, over time.
 *
 *	fd_sampler PID MILLISECONDS
 *
 * Counts every so many milliseconds until the process ends or a SIGTERM comes, then prints
 * "samples N max N late N": late are the samples that came more than as many milliseconds after
 * their time.
 */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
				    .tv_nsec = (long)(ns % 1000000000u)};

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* False when the process is gone. */
static bool count(const char *path, unsigned *ret)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	if (dir == NULL)
		return false;
	for (struct dirent *d; (d = readdir(dir)) != NULL;)
		n += d->d_name[0] != '.';
	(void)closedir(dir);
	*ret = n;
	return true;
}

int main(int argc, char **argv)
{
	uint64_t samples = 0, late = 0, period, next;
	unsigned n, max = 0;
	char path[64];

	if (argc != 3 || atoi(argv[2]) <= 0) {
		(void)fprintf(stderr, "usage: fd_sampler PID MILLISECONDS\n");
		return 2;
	}
	(void)signal(SIGTERM, stop);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", atoi(argv[1]));
	period = (uint64_t)atoi(argv[2]) * 1000000u;
	next = now_ns();
	while (stopped == 0 && count(path, &n)) {
		samples++;
		max = n > max ? n : max;
		if (now_ns() > next + period)
			late++;
		next = now_ns() > next + period ? now_ns() + period : next + period;
		sleep_until(next);
	}
	printf("samples %llu max %u late %llu\n", (unsigned long long)samples, max,
	       (unsigned long long)late);
	return samples > 0 ? 0 : 1;
}
