/*
 * tests/tools/ledger.c: many threads write to a mount and keep a ledger, outside of it, of what was
 * acknowledged; after a power cut or a kill it says whether all of that is there.
 *
 *	ledger init  DIR LEDGER BASE THREADS [FILE...]
 *	ledger write DIR LEDGER SEED [OPERATIONS]
 *	ledger check DIR LEDGER BASE NEW_LEDGER
 *
 * init makes DIR, with a directory for each thread, and moves two FILEs of the mount into each, with
 * a copy in BASE: what the backup has. write goes on until something fails, or for so many operations a
 * thread, and prints `ACKNOWLEDGED ERRNO WHAT SECONDS`: the clock (CLOCK_MONOTONIC) when it ended, at its first
 * error. check reads everything, says what is lost, torn or out of order, and writes the ledger with which
 * the next write goes on: what was found is durable by now. ledger.h says what may be found.
 *
 * The ledger is written without fsync: the machine it lies on goes on.
 */
#include "ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct owner owners[THREADS_MAX];
static unsigned threads;

static int complain(const char *path)
{
	(void)fprintf(stderr, "ledger: %s: %s\n", path, strerror(errno));
	return 2;
}

/* ---- init ---- */

static bool take_file(const char *file, const char *dir, const char *base, unsigned thread,
		      unsigned name, FILE *out)
{
	struct object ob = {.thread = (uint8_t)thread, .name = (uint8_t)name, .id = name};
	uint8_t *buf = must_alloc(NULL, (size_t)SECTORS_MAX * SECTOR + 1);
	uint32_t versions[SECTORS_MAX] = {0};
	char path[4096];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : pread(fd, buf, (size_t)SECTORS_MAX * SECTOR + 1, 0);
	FILE *copy;

	if (fd >= 0)
		(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/%u.%u", base, thread, name);
	copy = fopen(path, "we");
	if (len < 0 || len % SECTOR != 0 || len > SECTORS_MAX * (ssize_t)SECTOR || copy == NULL)
		return false;
	(void)fwrite(buf, 1, (size_t)len, copy);
	for (ssize_t i = 0; i < len; i++)
		if (buf[i] != 0)
			versions[i / SECTOR] = VERSION_BASE;
	ledger_put_object(out, &ob, name, (uint64_t)len, versions);
	free(buf);
	(void)snprintf(path, sizeof(path), "%s/t%u/c%u", dir, thread, name - NAME_CHAIN);
	return fclose(copy) == 0 && rename(file, path) == 0;
}

static int init(int argc, char **argv)
{
	const char *dir = argv[0], *base = argv[2];
	FILE *out = fopen(argv[1], "we");
	char path[4096];
	int next = 4;

	threads = (unsigned)strtoul(argv[3], NULL, 10);
	if (out == NULL || threads == 0 || threads > THREADS_MAX || mkdir(dir, 0700) < 0)
		return complain(dir);
	for (unsigned t = 0; t < threads; t++) {
		struct owner o;

		owner_init(&o, t);
		o.next_object = NAMES;
		(void)snprintf(path, sizeof(path), "%s/t%u", dir, t);
		if (mkdir(path, 0700) < 0)
			return complain(path);
		ledger_put_thread(out, &o);
		for (unsigned n = NAME_CHAIN; n < NAMES && next < argc; n++, next++)
			if (!take_file(argv[next], dir, base, t, n, out))
				return complain(argv[next]);
	}
	for (unsigned t = 0; t <= threads; t++) { /* DIR itself last */
		int fd;

		(void)snprintf(path, sizeof(path), t < threads ? "%s/t%u" : "%s/.", dir, t);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			return complain(path);
		(void)close(fd);
	}
	return fclose(out) == 0 ? 0 : complain(argv[1]);
}

/* ---- write ---- */

static int do_write(int argc, char **argv)
{
	struct run run = {.dir = argv[0], .seed = strtoull(argv[2], NULL, 10)};
	char what[128] = "-";
	struct timespec now;
	uint64_t acknowledged;
	int error;

	run.ops = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	if (!ledger_read(argv[1], UINT64_MAX, owners, &threads))
		return 2;
	run.ledger = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
	if (run.ledger < 0)
		return complain(argv[1]);
	run.threads = threads;
	acknowledged = ledger_write(&run, owners, &error, what);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)printf("%llu %s %lld.%03ld %s\n", (unsigned long long)acknowledged,
		     error != 0 ? strerrorname_np(error) : "-", (long long)now.tv_sec,
		     now.tv_nsec / 1000000, what);
	return 0;
}

/* ---- check ---- */

static int check(int argc, char **argv)
{
	uint64_t acknowledged = 0;
	bool good = true;
	FILE *out;

	if (!ledger_read(argv[1], UINT64_MAX, owners, &threads))
		return 2;
	out = fopen(argv[3], "we");
	if (out == NULL)
		return complain(argv[3]);
	for (unsigned t = 0; t < threads; t++) {
		if (!owner_load_base(&owners[t], argv[2]))
			return 2;
		good &= ledger_check(&owners[t], argv[0], out);
		acknowledged += owners[t].acknowledged;
	}
	if (fclose(out) != 0)
		return complain(argv[3]);
	(void)printf("%llu acknowledged, %s\n", (unsigned long long)acknowledged,
		     good ? "all there" : "LOST");
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc >= 6 && strcmp(argv[1], "init") == 0)
		return init(argc - 2, argv + 2);
	if (argc >= 5 && strcmp(argv[1], "write") == 0)
		return do_write(argc - 2, argv + 2);
	if (argc == 6 && strcmp(argv[1], "check") == 0)
		return check(argc - 2, argv + 2);
	(void)fprintf(stderr, "usage: ledger init DIR LEDGER BASE THREADS [FILE...]\n"
			      "       ledger write DIR LEDGER SEED [OPERATIONS]\n"
			      "       ledger check DIR LEDGER BASE NEW_LEDGER\n");
	return 2;
}
