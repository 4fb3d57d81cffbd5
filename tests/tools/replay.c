/*
 * tests/tools/replay.c: states that a disk may be in after a power cut, of the log of a recorder.
 *
 *	replay LOG MIB IMAGE MNT STATES SEED ledger LEDGER BASE STORE BACKUP DUMP
 *	replay LOG MIB IMAGE MNT STATES SEED ask BEGINS
 *
 * A state has everything up to one of the flushes, and of what was written from there to the next one
 * nothing, all, or any part: writes are left out, or only some of their 4 KiB got there.
 * It is made in IMAGE and mounted at MNT (ext4 replays its own journal), and must have what was acknowledged until the
 * next flush. STATES are spread over all flushes since the ledger's first entry, or since BEGINS (see recorder_now).
 *
 * ledger: the diff is opened without FUSE, each state in a process of its own, and must have what the ledger knows.
 * ask: `check UNTIL` is said to whoever has started this, who looks for what was acknowledged until then, lets go
 * of the file system and answers with a line: `good`, or another, and that is the end.
 *
 * Prints a line for each state that is wrong, and a count; status 0: none is.
 */
#include "replay.h"

#include "ledger.h"
#include "recorder.h"
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u

struct log {
	struct recorded *records;
	uint8_t **data;
	size_t count;
};

struct disk {
	uint8_t *durable; /* what was flushed */
	uint8_t *state;	  /* the image itself */
	size_t size;
	int image, control, loop;
	const char *image_path;
	char loop_path[64];
};

__attribute__((noreturn)) static void fatal(const char *what)
{
	(void)fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void read_log(const char *path, struct log *log)
{
	FILE *f = fopen(path, "re");
	struct recorded r;
	size_t cap = 0;

	if (f == NULL)
		fatal(path);
	while (fread(&r, sizeof(r), 1, f) == 1) {
		if (log->count == cap) {
			cap = cap * 2 + 1024;
			log->records = must_alloc(log->records, cap * sizeof(r));
			log->data = must_alloc(log->data, cap * sizeof(*log->data));
		}
		log->data[log->count] = r.len > 0 ? must_alloc(NULL, r.len) : NULL;
		if (r.len > 0 && fread(log->data[log->count], r.len, 1, f) != 1)
			fatal(path);
		log->records[log->count++] = r;
	}
	(void)fclose(f);
}

/* The ledger's first entry that was made while the log was. */
static uint64_t ledger_begins(const char *path)
{
	FILE *f = fopen(path, "re");
	struct entry e = {0};

	if (f == NULL)
		fatal(path);
	while (e.when == 0 && fread(&e, sizeof(e), 1, f) == 1)
		continue;
	(void)fclose(f);
	return e.when != 0 ? e.when : UINT64_MAX;
}

/* ---- one state ---- */

static void apply(const struct log *log, size_t i, uint8_t *to, struct rng *torn)
{
	const struct recorded *r = &log->records[i];

	for (uint32_t at = 0, n; at < r->len; at += n) {
		n = r->len - at < PAGE ? r->len - at : PAGE;
		if (torn == NULL || rng_one_in(torn, 2))
			memcpy(to + r->off + at, log->data[i] + at, n);
	}
}

/*
 * Of the writes between two flushes none, all, or some. Whatever order they reach the disk in, of two to the same
 * place the later one wins: so it is enough to choose which.
 */
static void apply_some(const struct log *log, size_t first, size_t end, uint64_t how,
		       struct disk *d, struct rng *rng)
{
	for (size_t i = first; i < end && how > 0; i++) {
		if (how == 1)
			apply(log, i, d->state, NULL);
		else if (rng_one_in(rng, 2))
			apply(log, i, d->state, rng_one_in(rng, 8) ? rng : NULL);
	}
}

static void make_image(struct disk *d)
{
	(void)unlink(d->image_path);
	d->image = open(d->image_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (d->image < 0 || ftruncate(d->image, (off_t)d->size) < 0)
		fatal(d->image_path);
	d->state = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->image, 0);
	if (d->state == MAP_FAILED)
		fatal(d->image_path);
}

/*
 * The device has its last user behind it, or somebody's mount namespace has a copy of the mount. When that goes its file
 * system writes once more: so it keeps the image, and the next state gets another.
 */
static void detach(struct disk *d)
{
	struct loop_info64 info;
	int fd;

	(void)close(d->loop);
	fd = open(d->loop_path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
		(void)munmap(d->state, d->size);
		(void)close(d->image);
		make_image(d);
	}
	if (fd >= 0)
		(void)close(fd);
}

/* What the state before and its recovery have changed. */
static void restore(struct disk *d)
{
	for (size_t at = 0; at < d->size; at += PAGE)
		if (memcmp(d->state + at, d->durable + at, PAGE) != 0)
			memcpy(d->state + at, d->durable + at, PAGE);
}

/* The next free one, whoever else takes some. It goes with its last user, however that one ends. */
static void attach(struct disk *d)
{
	const struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	int number;

	for (unsigned i = 0; i < 1000; i++) {
		number = ioctl(d->control, LOOP_CTL_GET_FREE);
		(void)snprintf(d->loop_path, sizeof(d->loop_path), "/dev/loop%d", number);
		d->loop = number < 0 ? -1 : open(d->loop_path, O_RDWR | O_CLOEXEC);
		if (d->loop < 0)
			fatal(d->loop_path);
		if (ioctl(d->loop, LOOP_SET_FD, d->image) == 0) {
			if (ioctl(d->loop, LOOP_SET_STATUS64, &info) < 0)
				fatal(d->loop_path);
			return;
		}
		(void)close(d->loop);
		(void)usleep(10000);
	}
	fatal(d->loop_path);
}

static bool check_apart(const struct place *p, uint64_t until)
{
	int status = 0;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(replay_check(p, until) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		fatal("fork");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool ask(uint64_t until)
{
	char answer[64];

	(void)printf("check %llu\n", (unsigned long long)until);
	(void)fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) != NULL && strcmp(answer, "good\n") == 0;
}

/* As soon as whoever has worked on it is gone. */
static void unmount(const char *mnt)
{
	for (unsigned i = 0; umount(mnt) < 0; i++) {
		if (errno != EBUSY || i == 1000)
			fatal(mnt);
		(void)usleep(10000);
	}
}

static bool check_state(struct disk *d, const struct place *p, uint64_t until)
{
	bool good;

	attach(d);
	if (mount(d->loop_path, p->mnt, "ext4", MS_NOATIME, NULL) < 0)
		fatal("mount");
	good = p->ledger != NULL ? check_apart(p, until) : ask(until);
	unmount(p->mnt);
	detach(d);
	return good;
}

/* ---- all of them ---- */

struct plan {
	uint64_t states, seed, begins;
	size_t *flushes, count; /* since the ledger begins */
};

static void find_flushes(const struct log *log, struct plan *plan)
{
	plan->flushes = must_alloc(NULL, (log->count + 1) * sizeof(size_t));
	for (size_t i = 0; i < log->count; i++)
		if (log->records[i].len == 0 && log->records[i].when >= plan->begins)
			plan->flushes[plan->count++] = i;
}

/*
 * The flush of a state: STATES stretches of flushes, and of each the middle one, or, where any part of what came
 * behind it may be missing, the one behind which the most came.
 */
static size_t pick(const struct plan *plan, uint64_t i, uint64_t how)
{
	size_t first = (size_t)(i * (plan->count - 1) / plan->states);
	size_t end = (size_t)((i + 1) * (plan->count - 1) / plan->states), best = first;

	if (how < 2)
		return (first + end) / 2;
	for (size_t n = first; n < end; n++)
		if (plan->flushes[n + 1] - plan->flushes[n] >
		    plan->flushes[best + 1] - plan->flushes[best])
			best = n;
	return best;
}

static int run(const struct log *log, const struct plan *plan, struct disk *d,
	       const struct place *p)
{
	struct rng rng = {.state = plan->seed};
	uint64_t wrong = 0, writes = 0;
	size_t at = 0;

	for (uint64_t i = 0; i < plan->states; i++) {
		uint64_t how = (plan->seed + i) % 4;
		size_t n = pick(plan, i, how);
		size_t flush = plan->flushes[n], next = plan->flushes[n + 1];

		for (; at < flush; at++)
			apply(log, at, d->durable, NULL);
		restore(d);
		apply_some(log, flush + 1, next, how, d, &rng);
		writes += next - flush - 1;
		if (check_state(d, p, log->records[next].when))
			continue;
		(void)printf("LOST: state %llu, after flush %zu of %zu, how %llu\n",
			     (unsigned long long)i, n, plan->count, (unsigned long long)how);
		if (++wrong == 5 || p->ledger == NULL)
			break;
	}
	(void)printf("%llu states, %zu flushes, %llu writes between them, %llu wrong\n",
		     (unsigned long long)plan->states, plan->count, (unsigned long long)writes,
		     (unsigned long long)wrong);
	return wrong > 0;
}

static void prepare(struct disk *d)
{
	d->control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	d->durable = calloc(1, d->size);
	if (d->control < 0 || d->durable == NULL)
		fatal("prepare");
	make_image(d);
}

static void open_chain(const char *path, const char *backup, struct place *p)
{
	struct store *store = NULL;
	struct errmsg e = {0};
	int rc = store_open(path, &e, &store);

	if (rc == 0)
		rc = store->driver->open_chain(store, NULL, backup, getpid(), &e, &p->chain);
	if (rc < 0) {
		(void)fprintf(stderr, "replay: %s\n", e.text);
		exit(2);
	}
}

/* What the words behind the seed say of how a state is checked. */
static bool read_form(char **words, int count, struct place *p, struct plan *plan)
{
	if (count == 6 && strcmp(words[0], "ledger") == 0) {
		p->ledger = words[1];
		p->base = words[2];
		p->dump = words[5];
		plan->begins = ledger_begins(p->ledger);
		open_chain(words[3], words[4], p);
		return true;
	}
	if (count == 2 && strcmp(words[0], "ask") == 0) {
		plan->begins = strtoull(words[1], NULL, 10);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct place p = {0};
	struct disk disk = {0};
	struct plan plan = {0};
	struct log log = {0};
	int rc;

	if (argc < 8 || !read_form(argv + 7, argc - 7, &p, &plan)) {
		(void)fprintf(stderr, "usage: replay LOG MIB IMAGE MNT STATES SEED"
				      " ledger LEDGER BASE STORE BACKUP DUMP | ask BEGINS\n");
		return 2;
	}
	disk.size = (size_t)strtoull(argv[2], NULL, 10) << 20;
	disk.image_path = argv[3];
	p.mnt = argv[4];
	plan.states = strtoull(argv[5], NULL, 10);
	plan.seed = strtoull(argv[6], NULL, 10);
	read_log(argv[1], &log);
	find_flushes(&log, &plan);
	if (plan.count < 10) {
		(void)fprintf(stderr, "replay: only %zu flushes\n", plan.count);
		return 2;
	}
	prepare(&disk);
	rc = run(&log, &plan, &disk, &p);
	if (p.chain != NULL)
		p.chain->driver->close_chain(p.chain);
	return rc;
}
