/*
 * tests/tools/hold_files.c: one client that holds many files open and reads and writes them at random.
 *
 *	hold_files [-s SEED] [-n FILES] [-o OPERATIONS] [-t SECONDS] DIR
 *
 * Makes FILES files below DIR and keeps all of them open, then does random operations until
 * OPERATIONS or SECONDS are over (0: does not count): writes and reads of some sectors anywhere in a
 * file, an fsync now and then. What a sector holds follows from the seed, the file, the sector and
 * how often it was written, so each read is compared with what was written last. Reads drop the
 * kernel's cache of the file first, so that they are asked of whoever serves it. At the end all files
 * are read whole, twice: through the open descriptors, and opened anew.
 *
 * Prints "operations N reads N writes N fsyncs N". Exit status 1 after a message about what is wrong.
 */
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, SECTORS = 40, FILE_MAX = SECTOR * SECTORS }; /* two and a half blocks */

struct held {
	int fd;
	unsigned size;		   /* sectors */
	uint16_t version[SECTORS]; /* 0: zeros, or behind the end */
};

static struct {
	const char *dir;
	uint64_t seed, files, operations, seconds;
} options = {.seed = 1, .files = 1000, .operations = 20000};

static struct held *held;
static uint64_t reads, writes, syncs;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "hold_files: seed %llu: ", (unsigned long long)options.seed);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static void sector_fill(uint64_t file, unsigned sector, unsigned version, uint8_t *buf)
{
	if (version == 0)
		memset(buf, 0, SECTOR);
	else
		rng_fill(options.seed ^ file << 32 ^ (uint64_t)sector << 16 ^ version, buf, SECTOR);
}

static void name_of(uint64_t file, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s/%05llu", options.dir, (unsigned long long)file);
}

static void make_files(void)
{
	char name[4200];

	held = calloc(options.files, sizeof(*held));
	for (uint64_t i = 0; held != NULL && i < options.files; i++) {
		name_of(i, name, sizeof(name));
		held[i].fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (held[i].fd < 0)
			fail("open %s: %s", name, strerror(errno));
	}
}

static void write_some(struct rng *r, uint64_t file)
{
	struct held *h = &held[file];
	unsigned first = (unsigned)rng_below(r, SECTORS);
	unsigned count = (unsigned)rng_range(r, 1, SECTORS - first);
	uint8_t buf[FILE_MAX];

	if (rng_one_in(r, 2) && count > 4)
		count = 4;
	for (unsigned i = 0; i < count; i++)
		sector_fill(file, first + i, ++h->version[first + i], buf + (size_t)i * SECTOR);
	if (pwrite(h->fd, buf, (size_t)count * SECTOR, (off_t)first * SECTOR) !=
	    (ssize_t)count * SECTOR)
		fail("write to file %llu: %s", (unsigned long long)file, strerror(errno));
	h->size = first + count > h->size ? first + count : h->size;
	writes++;
}

static void read_and_check(int fd, uint64_t file, unsigned first, unsigned count)
{
	const struct held *h = &held[file];
	unsigned there = first >= h->size ? 0 : h->size - first;
	uint8_t buf[FILE_MAX], want[SECTOR];
	ssize_t n;

	there = there < count ? there : count;
	n = pread(fd, buf, (size_t)count * SECTOR, (off_t)first * SECTOR);
	if (n < 0)
		fail("read of file %llu: %s", (unsigned long long)file, strerror(errno));
	if (n != (ssize_t)there * SECTOR)
		fail("read of file %llu at sector %u: %zd bytes, not %u", (unsigned long long)file,
		     first, n, there * SECTOR);
	for (unsigned i = 0; i < there; i++) {
		sector_fill(file, first + i, h->version[first + i], want);
		if (memcmp(buf + (size_t)i * SECTOR, want, SECTOR) != 0)
			fail("file %llu, sector %u does not hold its version %u",
			     (unsigned long long)file, first + i, h->version[first + i]);
	}
	reads++;
}

static void one_operation(struct rng *r)
{
	uint64_t file = rng_below(r, options.files);
	unsigned pick = (unsigned)rng_below(r, 100), first;

	if (pick < 45) {
		write_some(r, file);
	} else if (pick < 98) {
		first = (unsigned)rng_below(r, SECTORS);
		(void)posix_fadvise(held[file].fd, 0, 0, POSIX_FADV_DONTNEED);
		read_and_check(held[file].fd, file, first,
			       (unsigned)rng_range(r, 1, SECTORS - first));
	} else {
		if (fdatasync(held[file].fd) < 0)
			fail("fdatasync of file %llu: %s", (unsigned long long)file,
			     strerror(errno));
		syncs++;
	}
}

static void check_all(void)
{
	char name[4200];

	for (uint64_t i = 0; i < options.files; i++) {
		(void)posix_fadvise(held[i].fd, 0, 0, POSIX_FADV_DONTNEED);
		read_and_check(held[i].fd, i, 0, SECTORS);
		if (close(held[i].fd) < 0)
			fail("close of file %llu: %s", (unsigned long long)i, strerror(errno));
	}
	for (uint64_t i = 0; i < options.files; i++) {
		int fd;

		name_of(i, name, sizeof(name));
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail("open %s again: %s", name, strerror(errno));
		read_and_check(fd, i, 0, SECTORS);
		(void)close(fd);
	}
}

static bool parse(int argc, char **argv)
{
	int id;

	while ((id = getopt(argc, argv, "s:n:o:t:")) != -1) {
		uint64_t value = id == '?' ? 0 : strtoull(optarg, NULL, 10);

		if (id == 's')
			options.seed = value;
		else if (id == 'n')
			options.files = value;
		else if (id == 'o')
			options.operations = value;
		else if (id == 't')
			options.seconds = value;
		else
			return false;
	}
	options.dir = argv[optind];
	return argc - optind == 1 && options.files > 0;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	struct rng r;
	uint64_t done = 0;
	time_t end;

	if (!parse(argc, argv)) {
		(void)fprintf(stderr, "usage: hold_files [-s SEED] [-n FILES] [-o OPERATIONS] "
				      "[-t SECONDS] DIR\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	make_files();
	r.state = options.seed;
	end = time(NULL) + (time_t)options.seconds;
	while ((options.operations == 0 || done < options.operations) &&
	       (options.seconds == 0 || time(NULL) < end)) {
		one_operation(&r);
		done++;
	}
	check_all();
	free(held);
	printf("operations %llu reads %llu writes %llu fsyncs %llu\n", (unsigned long long)done,
	       (unsigned long long)reads, (unsigned long long)writes, (unsigned long long)syncs);
	return 0;
}
