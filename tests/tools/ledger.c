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

static bool read_ledger(const char *path)
{
	FILE *f = fopen(path, "re");
	struct entry e;
	bool good = f != NULL;

	while (good && fread(&e, sizeof(e), 1, f) == 1) {
		good = e.thread < THREADS_MAX;
		while (good && threads <= e.thread)
			owner_init(&owners[threads], threads), threads++;
		good = good && owner_apply(&owners[e.thread], &e);
	}
	if (f != NULL)
		(void)fclose(f);
	if (!good)
		(void)fprintf(stderr, "ledger: %s makes no sense\n", path);
	return good;
}

/* ---- what was found, as the beginning of a ledger ---- */

static void put_entry(FILE *out, struct entry e)
{
	(void)fwrite(&e, sizeof(e), 1, out);
}

static void put_object(FILE *out, const struct object *ob, unsigned name, uint64_t size,
		       const uint32_t *versions)
{
	uint32_t count;

	put_entry(out, (struct entry){.kind = ENTRY_FOUND_NAME,
				      .thread = ob->thread,
				      .name = (uint8_t)name,
				      .object = ob->id,
				      .size = size});
	for (uint32_t s = 0; s < SECTORS_MAX; s += count) {
		for (count = 1; s + count < SECTORS_MAX && versions[s + count] == versions[s];)
			count++;
		put_entry(out, (struct entry){.kind = ENTRY_FOUND_RUN,
					      .thread = ob->thread,
					      .object = ob->id,
					      .first = s,
					      .count = count,
					      .version = versions[s]});
	}
}

static void put_thread(FILE *out, const struct owner *o)
{
	put_entry(out, (struct entry){.kind = ENTRY_FOUND_THREAD,
				      .thread = o->index,
				      .object = o->next_object,
				      .version = o->next_version});
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
	put_object(out, &ob, name, (uint64_t)len, versions);
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
		put_thread(out, &o);
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
	if (!read_ledger(argv[1]))
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

struct found {
	int fd; /* -1: not there */
	uint64_t size;
	uint32_t object; /* what its sectors say; 0: nothing */
	uint32_t versions[SECTORS_MAX];
};

static int find(int dirfd, unsigned n, struct found *f)
{
	uint8_t buf[SECTOR];
	struct stat st;
	uint32_t version;

	f->object = 0;
	f->fd = openat(dirfd, ledger_names[n], O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	for (uint64_t off = 0; n != NAME_STREAM && off < f->size && f->object == 0; off += SECTOR)
		if (pread(f->fd, buf, SECTOR, (off_t)off) != SECTOR ||
		    !sector_parse(buf, &f->object, &version))
			f->object = 0;
	return 0;
}

/* NULL, or what does not fit if the names are those after so many changes. */
static const char *fits(const struct owner *o, uint32_t changes, struct found *found,
			unsigned *ret_name)
{
	uint32_t ids[NAMES];
	const char *what;

	owner_names_after(o, changes, ids);
	for (unsigned n = 0; n < NAMES; n++) {
		*ret_name = n;
		if ((ids[n] != 0) != (found[n].fd >= 0))
			return ids[n] != 0 ? "it is not there" : "it is there";
		if (ids[n] != 0 && found[n].object != 0 && found[n].object != ids[n])
			return "it is another file";
	}
	for (unsigned n = 0; n < NAMES; n++) {
		*ret_name = n;
		if (ids[n] == 0)
			continue;
		what = object_check(owner_object(o, ids[n]), found[n].fd, found[n].size,
				    found[n].versions);
		if (what != NULL)
			return what;
	}
	return NULL;
}

static unsigned count_entries(int dirfd)
{
	DIR *d = fdopendir(dup(dirfd));
	unsigned count = 0;

	if (d == NULL)
		return 0;
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		count += e->d_name[0] != '.';
	(void)closedir(d);
	return count;
}

static bool judge(const struct owner *o, struct found *found, unsigned entries, FILE *out)
{
	uint32_t changes = o->count + 1, ids[NAMES];
	unsigned name = 0, there = 0;
	const char *what = NULL;

	do {
		what = fits(o, --changes, found, &name);
	} while (what != NULL && changes > o->durable);
	for (unsigned n = 0; n < NAMES; n++)
		there += found[n].fd >= 0;
	if (what == NULL && there != entries)
		what = "the directory shows something else";
	if (what != NULL) {
		(void)printf("LOST: thread %u, %s: %s (%u to %u changes of names)\n", o->index,
			     ledger_names[name], what, o->durable, o->count);
		return false;
	}
	put_thread(out, o);
	owner_names_after(o, changes, ids);
	for (unsigned n = 0; n < NAMES; n++)
		if (ids[n] != 0)
			put_object(out, owner_object(o, ids[n]), n, found[n].size,
				   found[n].versions);
	return true;
}

static bool check_thread(struct owner *o, const char *dir, FILE *out)
{
	static struct found found[NAMES];
	char path[4096];
	bool good = true;
	int dirfd, rc;

	(void)snprintf(path, sizeof(path), "%s/t%u", dir, o->index);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		(void)printf("LOST: %s: %s\n", path, strerror(errno));
		return false;
	}
	for (unsigned n = 0; n < NAMES; n++) {
		rc = find(dirfd, n, &found[n]);
		if (rc < 0)
			(void)printf("LOST: thread %u, %s: %s\n", o->index, ledger_names[n],
				     strerror(-rc));
		good &= rc == 0;
	}
	good = good && judge(o, found, count_entries(dirfd), out);
	for (unsigned n = 0; n < NAMES; n++)
		if (found[n].fd >= 0)
			(void)close(found[n].fd);
	(void)close(dirfd);
	return good;
}

static int check(int argc, char **argv)
{
	uint64_t acknowledged = 0;
	bool good = true;
	FILE *out;

	if (!read_ledger(argv[1]))
		return 2;
	out = fopen(argv[3], "we");
	if (out == NULL)
		return complain(argv[3]);
	for (unsigned t = 0; t < threads; t++) {
		if (!owner_load_base(&owners[t], argv[2]))
			return 2;
		good &= check_thread(&owners[t], argv[0], out);
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
