/*
 * fallocate(2) and posix_fallocate(3) in all their modes, against a copy of each file in memory.
 *
 *   fallocate_check change DIR WANTED SEED [--plain] PATH...   PATH... are there, others are made
 *   fallocate_check check DIR WANTED PATH...                   what change left is still there
 *   fallocate_check full DIR HOST PATH                         ENOSPC; HOST is the small disk
 *
 * change leaves what every file must contain in the directory WANTED, for check after a remount. --plain: on a file system
 * that offers more modes, so that nothing is said about the others; the rest has to hold there, too. Prints one line
 * a case, as the shell tests do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLCK 8192
#define MOST ((size_t)8 << 20)
#define RANDOM_OPS 120

struct subject {
	const char *name;
	int fd;
	unsigned char *want, *got;
	size_t size;
	bool ok;
};

static uint64_t rng_state;
static bool plain;
static int failures;

static uint64_t rng(uint64_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (rng_state >> 11) % below;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "fallocate_check: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(errno));
	va_end(args);
	exit(2);
}

static void result(bool ok, const char *what, const char *name)
{
	printf("%s %s: %s\n", ok ? "ok" : "not ok", what, name);
	failures += !ok;
}

/* The first difference is told, the rest of the file's operations still run on what was wanted. */
__attribute__((format(printf, 2, 3))) static void wrong(struct subject *s, const char *format, ...)
{
	va_list args;

	if (!s->ok)
		return;
	s->ok = false;
	printf("    %s: ", s->name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* ---- the copy in memory ---- */

static void read_all(int fd, unsigned char *to, size_t size, const char *name)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, to + done, size - done, (off_t)done);

		if (n <= 0)
			die("read of %s at %zu", name, done);
		done += (size_t)n;
	}
}

static void compare(struct subject *s, const char *after)
{
	struct stat st;
	size_t i;

	if (fstat(s->fd, &st) < 0)
		die("fstat of %s", s->name);
	if ((size_t)st.st_size != s->size) {
		wrong(s, "size %lld instead of %zu after %s", (long long)st.st_size, s->size, after);
		return;
	}
	read_all(s->fd, s->got, s->size, s->name);
	if (memcmp(s->got, s->want, s->size) == 0)
		return;
	for (i = 0; s->got[i] == s->want[i]; i++)
		;
	wrong(s, "byte %zu is %02x instead of %02x after %s", i, s->got[i], s->want[i], after);
}

/* The same, but what the kernel has cached of the file is dropped first. */
static void compare_cold(struct subject *s, const char *after)
{
	if (fsync(s->fd) < 0)
		wrong(s, "fsync after %s: %s", after, strerror(errno));
	(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
	compare(s, after);
}

static void grow(struct subject *s, size_t size)
{
	if (size > s->size) {
		memset(s->want + s->size, 0, size - s->size);
		s->size = size;
	}
}

/* What the mode does to the file. */
static void model_fallocate(struct subject *s, int mode, size_t off, size_t len)
{
	size_t end = off + len, to;

	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(s, end);
	to = end < s->size ? end : s->size;
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && off < to)
		memset(s->want + off, 0, to - off);
}

/* ---- operations: on the file and on the copy ---- */

static void do_fallocate(struct subject *s, int mode, size_t off, size_t len)
{
	char after[80];

	snprintf(after, sizeof(after), "fallocate(%#x, %zu, %zu)", (unsigned)mode, off, len);
	if (fallocate(s->fd, mode, (off_t)off, (off_t)len) < 0)
		wrong(s, "%s: %s", after, strerror(errno));
	model_fallocate(s, mode, off, len);
	compare(s, after);
}

static void do_posix_fallocate(struct subject *s, size_t off, size_t len)
{
	char after[80];
	int rc = posix_fallocate(s->fd, (off_t)off, (off_t)len);

	snprintf(after, sizeof(after), "posix_fallocate(%zu, %zu)", off, len);
	if (rc != 0)
		wrong(s, "%s: %s", after, strerror(rc));
	model_fallocate(s, 0, off, len);
	compare(s, after);
}

static void do_write(struct subject *s, size_t off, size_t len)
{
	size_t i;

	grow(s, off);
	for (i = 0; i < len; i++)
		s->want[off + i] = (unsigned char)(1 + rng(255));
	if (pwrite(s->fd, s->want + off, len, (off_t)off) != (ssize_t)len)
		wrong(s, "write at %zu: %s", off, strerror(errno));
	if (off + len > s->size)
		s->size = off + len;
	compare(s, "write");
}

static void do_truncate(struct subject *s, size_t size)
{
	if (ftruncate(s->fd, (off_t)size) < 0)
		wrong(s, "truncate to %zu: %s", size, strerror(errno));
	grow(s, size);
	s->size = size;
	compare(s, "truncate");
}

static void refused(struct subject *s, int fd, int mode, off_t off, off_t len, int error)
{
	char after[80];
	int rc;

	snprintf(after, sizeof(after), "refused fallocate(%#x, %lld, %lld)", (unsigned)mode, (long long)off, (long long)len);
	rc = fallocate(fd, mode, off, len) < 0 ? errno : 0;
	if (rc != error)
		wrong(s, "%s: %s, wanted %s", after, strerror(rc), strerror(error));
	compare(s, after);
}

/* ---- cases ---- */

static void case_refused(struct subject *s)
{
	char path[64];
	int reader;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	if (reader < 0)
		die("open of %s for reading", s->name);
	refused(s, reader, 0, 0, BLCK, EBADF);
	close(reader);
	refused(s, s->fd, 0, 0, 0, EINVAL);
	refused(s, s->fd, 0, -1, BLCK, EINVAL);
	refused(s, s->fd, 0, 0, -1, EINVAL);
	refused(s, s->fd, 0, INT64_MAX - BLCK, 2 * BLCK, EFBIG);
	refused(s, s->fd, FALLOC_FL_PUNCH_HOLE, 0, BLCK, EOPNOTSUPP);
	refused(s, s->fd, 0x4000, 0, BLCK, EOPNOTSUPP);
	if (plain)
		return;
	refused(s, s->fd, FALLOC_FL_COLLAPSE_RANGE, 0, BLCK, EOPNOTSUPP);
	refused(s, s->fd, FALLOC_FL_INSERT_RANGE, 0, BLCK, EOPNOTSUPP);
	refused(s, s->fd, FALLOC_FL_UNSHARE_RANGE, 0, BLCK, EOPNOTSUPP);
}

/* As PostgreSQL 16 and later extend a relation: many blocks at once behind the end, which are then written one by one. */
static void case_extend(struct subject *s)
{
	size_t start = (s->size + BLCK - 1) / BLCK * BLCK, i;

	do_posix_fallocate(s, start, 64 * BLCK);
	for (i = 0; i < 64; i += 3)
		do_write(s, start + i * BLCK, BLCK);
	compare_cold(s, "extending");
	do_posix_fallocate(s, start + 64 * BLCK, 8 * BLCK);
	do_truncate(s, start + 16 * BLCK);
	compare_cold(s, "extending again");
}

static void case_inside(struct subject *s)
{
	size_t middle = s->size / 2;

	do_posix_fallocate(s, 0, s->size ? s->size : 1);
	do_fallocate(s, FALLOC_FL_KEEP_SIZE, 0, s->size);
	do_fallocate(s, FALLOC_FL_KEEP_SIZE, s->size + 64 * BLCK + 17, 5);
	compare_cold(s, "allocating inside");
	do_fallocate(s, FALLOC_FL_ZERO_RANGE, middle + 100, 3 * BLCK);
	do_fallocate(s, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, s->size - 10, 2 * BLCK);
	do_fallocate(s, FALLOC_FL_ZERO_RANGE, s->size - 10, 2 * BLCK);
	do_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLCK, 2 * BLCK);
	do_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->size - 100, 3 * BLCK);
	compare_cold(s, "zeroing and punching");
	do_posix_fallocate(s, 0, 4 * BLCK);
	do_write(s, BLCK + 77, 100);
	compare_cold(s, "allocating over a hole");
}

static void case_random(struct subject *s)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int i;

	for (i = 0; i < RANDOM_OPS && s->ok; i++) {
		size_t most = s->size + 10 * BLCK < MOST / 2 ? s->size + 10 * BLCK : MOST / 2;
		size_t off = rng(most), len = 1 + rng(12 * BLCK);

		if (rng(2) == 0) {
			off = off / BLCK * BLCK;
			len = (len + BLCK - 1) / BLCK * BLCK;
		}
		switch (rng(10)) {
		case 0:
			do_truncate(s, off);
			break;
		case 1:
		case 2:
		case 3:
			do_write(s, off, len);
			break;
		case 4:
			compare_cold(s, "random operations");
			break;
		case 5:
			do_posix_fallocate(s, off, len);
			break;
		default:
			do_fallocate(s, modes[rng(sizeof(modes) / sizeof(*modes))], off, len);
		}
	}
	compare_cold(s, "random operations");
}

/* ---- phases ---- */

static void path_of(char to[4096], const char *dir, const char *name)
{
	if (snprintf(to, 4096, "%s/%s", dir, name) >= 4096)
		die("%s is too long", name);
}

static void wanted_of(char to[4096], const char *dir, const char *name)
{
	char *c;

	path_of(to, dir, name);
	for (c = to + strlen(dir) + 1; *c; c++)
		*c = *c == '/' ? '_' : *c;
}

static void subject_open(struct subject *s, const char *dir, const char *name, int flags)
{
	char path[4096];
	struct stat st;

	path_of(path, dir, name);
	*s = (struct subject){.name = name, .ok = true};
	s->fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	s->want = calloc(1, MOST);
	s->got = calloc(1, MOST);
	if (s->fd < 0 || !s->want || !s->got || fstat(s->fd, &st) < 0 || (size_t)st.st_size > MOST / 4)
		die("%s cannot be used", path);
	s->size = (size_t)st.st_size;
	read_all(s->fd, s->want, s->size, name);
}

static void subject_close(struct subject *s)
{
	close(s->fd);
	free(s->want);
	free(s->got);
}

static void keep_wanted(struct subject *s, const char *dir)
{
	char path[4096];
	FILE *file;

	wanted_of(path, dir, s->name);
	file = fopen(path, "w");
	if (!file || fwrite(s->want, 1, s->size, file) != s->size || fclose(file) != 0)
		die("%s", path);
}

static void change_one(const char *dir, const char *wanted, const char *name, bool is_new)
{
	void (*const cases[])(struct subject *) = {case_refused, case_extend, case_inside, case_random};
	const char *const names[] = {"what fallocate refuses", "bulk extension", "every mode",
				     "random operations"};
	struct subject s;
	size_t i;

	subject_open(&s, dir, name, is_new ? O_CREAT | O_EXCL : 0);
	if (is_new && strcmp(name, "fallocate_new") == 0) {
		do_posix_fallocate(&s, 0, 10 * BLCK);
	} else if (is_new) { /* a hole of everything, and no whole number of blocks */
		do_truncate(&s, 20 * BLCK + 123);
		do_posix_fallocate(&s, 5 * BLCK + 5, 3 * BLCK);
	}
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cases[i](&s);
		result(s.ok, names[i], name);
	}
	keep_wanted(&s, wanted);
	subject_close(&s);
}

static void check_one(const char *dir, const char *wanted, const char *name)
{
	char path[4096];
	struct subject s;
	struct stat st;
	int fd;

	subject_open(&s, dir, name, 0);
	wanted_of(path, wanted, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || (size_t)st.st_size > MOST)
		die("%s", path);
	s.size = (size_t)st.st_size;
	read_all(fd, s.want, s.size, path);
	close(fd);
	compare(&s, "a remount");
	result(s.ok, "survives a remount", name);
	subject_close(&s);
}

static uint64_t host_free(const char *host)
{
	struct statvfs v;

	sync();
	if (statvfs(host, &v) < 0)
		die("statvfs of %s", host);
	return (uint64_t)v.f_bavail * v.f_frsize;
}

static void no_space(struct subject *s, const char *host, int mode, uint64_t off, uint64_t len)
{
	uint64_t before = host_free(host), after, taken;
	int rc = fallocate(s->fd, mode, (off_t)off, (off_t)len) < 0 ? errno : 0;

	if (rc != ENOSPC)
		wrong(s, "fallocate(%#x) of too much: %s", (unsigned)mode, strerror(rc));
	compare_cold(s, "fallocate without space");
	after = host_free(host);
	taken = before > after ? before - after : 0;
	if (taken > 2 << 20) /* the journal may have grown by a segment */
		wrong(s, "a failed fallocate(%#x) took %llu", (unsigned)mode, (unsigned long long)taken);
}

static void full_one(const char *dir, const char *host, const char *name, int flags)
{
	uint64_t room = host_free(host);
	struct subject s;
	int rc;

	subject_open(&s, dir, name, flags);
	if (flags)
		do_write(&s, 0, 5 * BLCK + 1);
	no_space(&s, host, 0, 0, room * 2);
	no_space(&s, host, 0, s.size, room);
	no_space(&s, host, FALLOC_FL_KEEP_SIZE, 3, room + BLCK);
	no_space(&s, host, FALLOC_FL_ZERO_RANGE, BLCK + 1, room + BLCK);
	no_space(&s, host, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, BLCK + 1, room + BLCK);
	rc = posix_fallocate(s.fd, (off_t)s.size, (off_t)room);
	if (rc != ENOSPC)
		wrong(&s, "posix_fallocate of too much: %s", strerror(rc));
	compare_cold(&s, "posix_fallocate without space");
	result(s.ok, "ENOSPC changes nothing", name);
	do_posix_fallocate(&s, s.size, 4 * BLCK);
	do_fallocate(&s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLCK, BLCK);
	compare_cold(&s, "going on");
	result(s.ok, "after ENOSPC less is granted", name);
	subject_close(&s);
}

/* What was allocated can be written when everything else is taken, down to the reserve. */
static void promised(const char *dir)
{
	static unsigned char chunk[64 * BLCK];
	struct subject s, filler;
	size_t i, n = 0;

	subject_open(&s, dir, "fallocate_promised", O_CREAT | O_EXCL);
	do_posix_fallocate(&s, 0, 128 * BLCK);
	subject_open(&filler, dir, "fallocate_filler", O_CREAT | O_EXCL);
	while (pwrite(filler.fd, chunk, sizeof(chunk), (off_t)(n * sizeof(chunk))) == (ssize_t)sizeof(chunk) && n < 100000)
		n++;
	if (errno != ENOSPC)
		wrong(&s, "the disk is not full after %zu writes: %s", n, strerror(errno));
	for (i = 0; i < 128; i++)
		do_write(&s, i * BLCK, BLCK);
	compare_cold(&s, "writing what was allocated");
	result(s.ok, "what was allocated can be written on a full disk", s.name);
	if (ftruncate(filler.fd, 0) < 0 || fsync(filler.fd) < 0)
		wrong(&filler, "no truncate on a full disk: %s", strerror(errno));
	sleep(1);
	do_posix_fallocate(&filler, 0, 32 * BLCK);
	result(filler.ok, "truncating gives room again", filler.name);
	subject_close(&s);
	subject_close(&filler);
}

int main(int argc, char **argv)
{
	const char *const fresh[] = {"fallocate_new", "fallocate_hole"};
	const char *phase = argc > 1 ? argv[1] : "";
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(phase, "change") == 0 && argc > 4) {
		rng_state = strtoull(argv[4], NULL, 10) * 0x9E3779B97F4A7C15 + 1;
		printf("# seed %s\n", argv[4]);
		plain = argc > 5 && strcmp(argv[5], "--plain") == 0;
		for (i = 5 + plain; i < argc; i++)
			change_one(argv[2], argv[3], argv[i], false);
		for (i = 0; i < 2; i++)
			change_one(argv[2], argv[3], fresh[i], true);
	} else if (strcmp(phase, "check") == 0 && argc > 3) {
		for (i = 4; i < argc; i++)
			check_one(argv[2], argv[3], argv[i]);
		for (i = 0; i < 2; i++)
			check_one(argv[2], argv[3], fresh[i]);
	} else if (strcmp(phase, "full") == 0 && argc == 5) {
		full_one(argv[2], argv[3], "fallocate_small", O_CREAT | O_EXCL);
		full_one(argv[2], argv[3], argv[4], 0);
		promised(argv[2]);
	} else {
		fprintf(stderr, "usage: fallocate_check change|check|full ..., see the source\n");
		return 2;
	}
	return failures != 0;
}
