/*
 * Several processes on the same few files and names at once.
 *
 *	posix_stress DIR SEED PROCESSES OPERATIONS	DIR is empty
 *
 * The content that each file must have lies in memory that the processes share. A process takes a
 * record lock of the file system on the file's number, does an operation, compares, and lets go; so
 * what one wrote through one descriptor or mapping must be what the next reads through another,
 * also after renames, replacements and through descriptors that were open before. Then races: of
 * processes that all make, remove or rename the same name exactly one may succeed.
 * Prints one line of figures; exit status 1 after a message about what is wrong.
 */
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 6, MOST = 96 << 10, PIECE = 20000, PROCESSES_MOST = 16, RACES = 60 };

struct file {
	unsigned version; /* of its name: 'a' or 'b' and the number of renames and replacements */
	ino_t ino;
	size_t size;
	unsigned char content[MOST];
};

static struct shared {
	struct file files[FILES];
	pthread_barrier_t all;
	int winners[RACES][4];
	unsigned long compared, renamed, replaced;
} * shared;

struct process {
	int locks;
	struct rng rng;
	int held[FILES]; /* descriptors from earlier operations, or -1 */
};

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...)
{
	int err = errno;
	va_list args;

	va_start(args, format);
	fprintf(stderr, "posix_stress: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, " (%s)\n", strerror(err));
	va_end(args);
	_exit(1);
}

static void name_of(int file, char *ret_name)
{
	unsigned version = shared->files[file].version;

	sprintf(ret_name, "%c/file.%d.%u", version % 2 == 0 ? 'a' : 'b', file, version);
}

static void lock(struct process *p, int file, short type)
{
	struct flock l = {.l_type = type, .l_start = file, .l_len = 1};

	if (fcntl(p->locks, F_SETLKW, &l) != 0)
		wrong("lock of %d", file);
}

/* The descriptor from before, if it is still that file's; else a new one */
static int open_file(struct process *p, int file)
{
	struct stat st;
	char name[64];
	int fd = p->held[file];

	if (fd >= 0) {
		if (fstat(fd, &st) != 0)
			wrong("fstat");
		if (st.st_ino == shared->files[file].ino && !rng_one_in(&p->rng, 8))
			return fd;
		close(fd);
	}
	name_of(file, name);
	fd = open(name, O_RDWR);
	if (fd < 0 || fstat(fd, &st) != 0)
		wrong("%s", name);
	if (st.st_ino != shared->files[file].ino)
		wrong("%s is another file", name);
	return p->held[file] = fd;
}

static void compare(struct process *p, int file)
{
	static unsigned char got[MOST + 1];
	const struct file *f = &shared->files[file];
	struct stat st;
	ssize_t n;
	int fd = open_file(p, file);

	if (fstat(fd, &st) != 0 || (size_t)st.st_size != f->size)
		wrong("file %d has %ld bytes, wanted %zu", file, (long)st.st_size, f->size);
	if (rng_one_in(&p->rng, 3))
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	n = pread(fd, got, sizeof(got), 0);
	if (n < 0 || (size_t)n != f->size)
		wrong("file %d: read gives %zd, wanted %zu", file, n, f->size);
	for (size_t i = 0; i < f->size; i++)
		if (got[i] != f->content[i])
			wrong("file %d, byte %zu: %d, wanted %d", file, i, got[i], f->content[i]);
	__atomic_add_fetch(&shared->compared, 1, __ATOMIC_RELAXED);
}

static void set_size(struct file *f, size_t size)
{
	if (size > f->size)
		memset(f->content + f->size, 0, size - f->size);
	f->size = size;
}

static void write_piece(struct process *p, int file)
{
	static unsigned char piece[PIECE];
	struct file *f = &shared->files[file];
	size_t at = rng_below(&p->rng, MOST - PIECE), n = rng_range(&p->rng, 1, PIECE);
	int fd = open_file(p, file);

	for (size_t i = 0; i < n; i++)
		piece[i] = (unsigned char)rng_u64(&p->rng);
	if (rng_one_in(&p->rng, 3) && f->size > 0) {
		unsigned char *map = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (map == MAP_FAILED)
			wrong("mmap");
		at %= f->size;
		n = n < f->size - at ? n : f->size - at;
		memcpy(map + at, piece, n);
		if (munmap(map, f->size) != 0)
			wrong("munmap");
	} else if (pwrite(fd, piece, n, (off_t)at) != (ssize_t)n) {
		wrong("write");
	}
	if (at + n > f->size)
		set_size(f, at + n);
	memcpy(f->content + at, piece, n);
}

static void change_size(struct process *p, int file)
{
	struct file *f = &shared->files[file];
	size_t size = rng_below(&p->rng, MOST), at, n;
	int fd = open_file(p, file);

	if (rng_one_in(&p->rng, 2) || f->size < 2) {
		if (ftruncate(fd, (off_t)size) != 0)
			wrong("truncate");
		set_size(f, size);
		return;
	}
	at = rng_below(&p->rng, f->size);
	n = rng_range(&p->rng, 1, f->size - at);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n) != 0)
		wrong("punch");
	memset(f->content + at, 0, n);
}

/* The file gets its next name, or a new file takes its place under it. */
static void change_name(struct process *p, int file)
{
	struct file *f = &shared->files[file];
	char from[64], to[64];
	struct stat st;
	int fd;

	name_of(file, from);
	f->version++;
	name_of(file, to);
	if (rng_one_in(&p->rng, 4)) {
		unsigned char byte = (unsigned char)rng_u64(&p->rng);

		fd = open(to, O_CREAT | O_EXCL | O_RDWR, 0600);
		if (fd < 0 || write(fd, &byte, 1) != 1 || rename(to, from) != 0 ||
		    fstat(fd, &st) != 0)
			wrong("replacing %s", from);
		close(fd);
		f->ino = st.st_ino;
		f->content[0] = byte;
		f->size = 1;
		__atomic_add_fetch(&shared->replaced, 1, __ATOMIC_RELAXED);
	}
	if (rng_one_in(&p->rng, 3)) {
		if (link(from, to) != 0 || unlink(from) != 0)
			wrong("link %s %s", from, to);
	} else if (rename(from, to) != 0) {
		wrong("rename %s %s", from, to);
	}
	if (access(from, F_OK) == 0)
		wrong("%s is still there", from);
	__atomic_add_fetch(&shared->renamed, 1, __ATOMIC_RELAXED);
}

static void operate(struct process *p)
{
	int file = (int)rng_below(&p->rng, FILES);

	lock(p, file, F_WRLCK);
	switch (rng_below(&p->rng, 8)) {
	case 0:
	case 1:
	case 2:
		write_piece(p, file);
		break;
	case 3:
		change_size(p, file);
		break;
	case 4:
		change_name(p, file);
		break;
	case 5:
		if (fsync(open_file(p, file)) != 0)
			wrong("fsync");
		break;
	default:
		compare(p, file);
	}
	lock(p, file, F_UNLCK);
}

/* Counts a success; any error but the one that a loser gets is wrong. */
static void tried(int *winners, int rc, int loser)
{
	if (rc >= 0)
		__atomic_add_fetch(winners, 1, __ATOMIC_RELAXED);
	else if (errno != loser)
		wrong("in a race");
}

static void race(int round)
{
	int *winners = shared->winners[round], fd;
	char name[64], dir[64], other[64];

	sprintf(name, "race.%d", round);
	sprintf(dir, "racedir.%d", round);
	sprintf(other, "race.%d.moved", round);
	pthread_barrier_wait(&shared->all);
	fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
	tried(&winners[0], fd, EEXIST);
	if (fd >= 0)
		close(fd);
	pthread_barrier_wait(&shared->all);
	tried(&winners[1], mkdir(dir, 0700), EEXIST);
	pthread_barrier_wait(&shared->all);
	tried(&winners[2], rename(name, other), ENOENT);
	pthread_barrier_wait(&shared->all);
	tried(&winners[3], round % 2 == 0 ? unlink(other) : rmdir(dir), ENOENT);
}

static void run(int number, uint64_t seed, long operations)
{
	struct process p = {.rng = {.state = rng_mix(seed * PROCESSES_MOST + (uint64_t)number)}};

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* who waits for one that failed ends with the parent */
	p.locks = open("locks", O_RDWR);
	for (int i = 0; i < FILES; i++)
		p.held[i] = -1;
	if (p.locks < 0)
		wrong("locks");
	for (long i = 0; i < operations; i++)
		operate(&p);
	for (int i = 0; i < FILES; i++) {
		lock(&p, i, F_RDLCK);
		compare(&p, i);
		lock(&p, i, F_UNLCK);
	}
	for (int i = 0; i < RACES; i++)
		race(i);
	_exit(0);
}

static void prepare(int processes)
{
	pthread_barrierattr_t attr;
	char name[64];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || mkdir("a", 0700) != 0 || mkdir("b", 0700) != 0)
		wrong("preparing");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->all, &attr, (unsigned)processes);
	close(open("locks", O_CREAT | O_RDWR, 0600));
	for (int i = 0; i < FILES; i++) {
		struct stat st;

		name_of(i, name);
		if (mknod(name, S_IFREG | 0600, 0) != 0 || stat(name, &st) != 0)
			wrong("%s", name);
		shared->files[i].ino = st.st_ino;
	}
}

int main(int argc, char **argv)
{
	int processes, status;
	uint64_t seed;
	long operations;

	if (argc != 5 || chdir(argv[1]) != 0) {
		fprintf(stderr, "usage: posix_stress DIR SEED PROCESSES OPERATIONS\n");
		return 2;
	}
	seed = strtoull(argv[2], NULL, 10);
	processes = atoi(argv[3]);
	operations = atol(argv[4]);
	if (processes < 1 || processes > PROCESSES_MOST)
		return 2;
	prepare(processes);
	for (int i = 0; i < processes; i++)
		if (fork() == 0)
			run(i, seed, operations);
	for (int i = 0; i < processes; i++)
		if (wait(&status) < 0 || status != 0)
			return 1;
	for (int i = 0; i < RACES; i++)
		for (int j = 0; j < 4; j++)
			if (shared->winners[i][j] != 1)
				wrong("race %d, step %d: %d winners", i, j, shared->winners[i][j]);
	printf("%d processes, %ld operations each: %lu compared, %lu renamed, %lu replaced\n",
	       processes, operations, shared->compared, shared->renamed, shared->replaced);
	return 0;
}
