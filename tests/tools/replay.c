/*
 * tests/tools/replay.c: states that a disk may be in after a power cut, of the log of a recorder.
 *
 *	replay LOG MIB LEDGER BASE STORE BACKUP SCRATCH STATES SEED
 *
 * A state has everything up to one of the flushes, and of what was written from there to the next one
 * nothing, all, or any part: writes are left out, or only some of their 4 KiB got there.
 * It is mounted (ext4 replays its own journal), the diff on it is opened without FUSE, and must have what the ledger
 * knows to be acknowledged until the next flush. Each state in a process of its own. STATES are spread over all
 * flushes since the ledger's first entry. Prints a line for each state that is wrong, and a count; status 0: none is.
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
	char image_path[4096], loop_path[64];
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

/* What the state before and its recovery have changed. */
static void restore(struct disk *d)
{
	for (size_t at = 0; at < d->size; at += PAGE)
		if (memcmp(d->state + at, d->durable + at, PAGE) != 0)
			memcpy(d->state + at, d->durable + at, PAGE);
}

/* The next free one, whoever else takes some. */
static void attach(struct disk *d)
{
	int number;

	for (unsigned i = 0; i < 1000; i++) {
		number = ioctl(d->control, LOOP_CTL_GET_FREE);
		(void)snprintf(d->loop_path, sizeof(d->loop_path), "/dev/loop%d", number);
		d->loop = number < 0 ? -1 : open(d->loop_path, O_RDWR | O_CLOEXEC);
		if (d->loop < 0)
			fatal(d->loop_path);
		if (ioctl(d->loop, LOOP_SET_FD, d->image) == 0)
			return;
		(void)close(d->loop);
		(void)usleep(10000);
	}
	fatal(d->loop_path);
}

/* 0: as it must be, 1: not, 2: there is no telling */
static int check_state(struct disk *d, const struct place *p, uint64_t until)
{
	int status = 0;
	pid_t pid;

	attach(d);
	if (mount(d->loop_path, p->mnt, "ext4", MS_NOATIME, NULL) < 0)
		fatal("mount");
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(replay_check(p, until) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		fatal("fork");
	if (umount(p->mnt) < 0 || ioctl(d->loop, LOOP_CLR_FD) < 0)
		fatal("umount");
	(void)close(d->loop);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
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

static int run(const struct log *log, const struct plan *plan, struct disk *d,
	       const struct place *p)
{
	struct rng rng = {.state = plan->seed};
	uint64_t wrong = 0, writes = 0;
	size_t at = 0;

	for (uint64_t i = 0; i < plan->states; i++) {
		size_t n = (size_t)(i * (plan->count - 1) / plan->states);
		size_t flush = plan->flushes[n], next = plan->flushes[n + 1];

		for (; at < flush; at++)
			apply(log, at, d->durable, NULL);
		restore(d);
		apply_some(log, flush + 1, next, i % 4, d, &rng);
		writes += next - flush - 1;
		if (check_state(d, p, log->records[next].when) == 0)
			continue;
		(void)printf("LOST: state %llu, after flush %zu of %zu, how %llu\n",
			     (unsigned long long)i, n, plan->count, (unsigned long long)(i % 4));
		if (++wrong == 5)
			break;
	}
	(void)printf("%llu states, %zu flushes, %llu writes between them, %llu wrong\n",
		     (unsigned long long)plan->states, plan->count, (unsigned long long)writes,
		     (unsigned long long)wrong);
	return wrong > 0;
}

static void prepare(struct disk *d, const char *scratch)
{
	(void)snprintf(d->image_path, sizeof(d->image_path), "%s/state.img", scratch);
	d->image = open(d->image_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	d->control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (d->image < 0 || d->control < 0)
		fatal(d->image_path);
	d->durable = calloc(1, d->size);
	if (d->durable == NULL || ftruncate(d->image, (off_t)d->size) < 0)
		fatal(d->image_path);
	d->state = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->image, 0);
	if (d->state == MAP_FAILED)
		fatal(d->image_path);
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

int main(int argc, char **argv)
{
	char mnt[4096], dump[4096];
	struct place p = {.mnt = mnt, .dump = dump};
	struct disk disk = {0};
	struct plan plan = {0};
	struct log log = {0};
	int rc;

	if (argc != 10) {
		(void)fprintf(
			stderr,
			"usage: replay LOG MIB LEDGER BASE STORE BACKUP SCRATCH STATES SEED\n");
		return 2;
	}
	disk.size = (size_t)strtoull(argv[2], NULL, 10) << 20;
	p.ledger = argv[3];
	p.base = argv[4];
	(void)snprintf(mnt, sizeof(mnt), "%s/mnt", argv[7]);
	(void)snprintf(dump, sizeof(dump), "%s/dump", argv[7]);
	(void)mkdir(mnt, 0700);
	(void)mkdir(dump, 0700);
	plan.states = strtoull(argv[8], NULL, 10);
	plan.seed = strtoull(argv[9], NULL, 10);
	plan.begins = ledger_begins(p.ledger);
	read_log(argv[1], &log);
	find_flushes(&log, &plan);
	if (plan.count < 10) {
		(void)fprintf(stderr, "replay: only %zu flushes\n", plan.count);
		return 2;
	}
	open_chain(argv[5], argv[6], &p);
	prepare(&disk, argv[7]);
	rc = run(&log, &plan, &disk, &p);
	p.chain->driver->close_chain(p.chain);
	return rc;
}
