/*
 * layer/probackup/content_ahead.c: see content_ahead.h.
 *
 * Batches of lines go through a ring. Each is written by the thread and read by the caller, never at
 * once: counters under the mutex say whose a batch is. The last batch of a list has its sums, or what
 * is wrong with it.
 */
#include "layer/probackup/content_ahead.h"
#include "base/big.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

#define BATCHES	    15u
#define BATCH_BYTES (128u << 10)
/* A line in a batch: all of it from path_len on, then the path with its NUL. */
#define HEAD  offsetof(struct content_line, path_len)
#define FIXED (sizeof(struct content_line) - HEAD)

struct batch {
	uint32_t len; /* bytes of lines */
	bool last;    /* of its list */
	int rc;
	struct content_sums sums;
	struct errmsg e;
};

struct content_ahead {
	const struct content_source *sources;
	unsigned count;
	unsigned next; /* source that is to be delivered */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint64_t written, taken; /* guarded by: mutex; batches so far */
	bool cancelled;		 /* guarded by: mutex */
	struct batch batches[BATCHES];
	uint8_t *bytes; /* BATCH_BYTES each */
};

static struct batch *batch_at(struct content_ahead *a, uint64_t number, uint8_t **ret_bytes)
{
	*ret_bytes = a->bytes + number % BATCHES * BATCH_BYTES;
	return &a->batches[number % BATCHES];
}

/* ---- the thread ---- */

/* The batch being written; only the thread changes `written`. */
static struct batch *writing(struct content_ahead *a, uint8_t **ret_bytes)
{
	return batch_at(a, a->written, ret_bytes);
}

/* Hands the batch over and waits for the next one to be free. -ECANCELED: nobody wants any more. */
static int hand_over(struct content_ahead *a)
{
	uint8_t *bytes;
	bool cancelled;

	(void)pthread_mutex_lock(&a->mutex);
	a->written++;
	(void)pthread_cond_signal(&a->changed);
	while (a->written - a->taken == BATCHES && !a->cancelled)
		(void)pthread_cond_wait(&a->changed, &a->mutex);
	cancelled = a->cancelled;
	(void)pthread_mutex_unlock(&a->mutex);
	if (cancelled)
		return -ECANCELED;
	writing(a, &bytes)->len = 0;
	writing(a, &bytes)->last = false;
	return 0;
}

static int put_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct content_ahead *a = ctx;
	size_t path = line->path_len + 1, len = round_up_u64(FIXED + path, 8);
	uint8_t *bytes;
	struct batch *b = writing(a, &bytes);
	int rc = 0;

	(void)e;
	if (b->len + len > BATCH_BYTES) {
		rc = hand_over(a);
		b = writing(a, &bytes);
	}
	if (rc < 0)
		return rc;
	memcpy(bytes + b->len, (const char *)line + HEAD, FIXED);
	memcpy(bytes + b->len + FIXED, line->path, path);
	b->len += (uint32_t)len;
	return 0;
}

static void *thread_main(void *arg)
{
	struct content_ahead *a = arg;
	int rc = 0;

	for (unsigned i = 0; i < a->count && rc == 0; i++) {
		struct errmsg e = {""};
		struct content_sums sums = {0};
		uint8_t *bytes;
		struct batch *b;

		rc = content_read(a->sources[i].dirfd, a->sources[i].id, put_line, a, &sums, &e);
		if (rc == -ECANCELED)
			break;
		b = writing(a, &bytes);
		b->last = true;
		b->rc = rc;
		b->sums = sums;
		b->e = e;
		if (hand_over(a) < 0)
			break;
	}
	return NULL;
}

/* ---- the caller ---- */

static bool is_long(const struct content_source *source, uint64_t min_bytes)
{
	struct stat st;

	return sys_fstatat(source->dirfd, "backup_content.control", &st, AT_SYMLINK_NOFOLLOW) ==
		       0 &&
	       (uint64_t)st.st_size >= min_bytes;
}

static bool is_alone(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

static int start(struct content_ahead *a)
{
	sigset_t all, old;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&a->thread, NULL, thread_main, a);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

static void ahead_free(struct content_ahead *a)
{
	(void)pthread_mutex_destroy(&a->mutex);
	(void)pthread_cond_destroy(&a->changed);
	free(a->bytes);
	free(a);
}

struct content_ahead *content_ahead_begin(const struct content_source *sources, unsigned count,
					  uint64_t min_bytes)
{
	struct content_ahead *a;

	if (count == 0 || !is_long(&sources[0], min_bytes) || is_alone())
		return NULL;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return NULL;
	a->sources = sources;
	a->count = count;
	(void)pthread_mutex_init(&a->mutex, NULL);
	(void)pthread_cond_init(&a->changed, NULL);
	a->bytes = big_realloc(NULL, 0, BIG_BYTES);
	if (a->bytes == NULL || start(a) < 0) {
		ahead_free(a);
		return NULL;
	}
	return a;
}

/* The next batch; the thread has handed it over. */
static const struct batch *await_batch(struct content_ahead *a, uint8_t **ret_bytes)
{
	const struct batch *b;

	(void)pthread_mutex_lock(&a->mutex);
	while (a->written == a->taken)
		(void)pthread_cond_wait(&a->changed, &a->mutex);
	b = batch_at(a, a->taken, ret_bytes);
	(void)pthread_mutex_unlock(&a->mutex);
	return b;
}

static void give_back(struct content_ahead *a)
{
	(void)pthread_mutex_lock(&a->mutex);
	/* The thread is woken when there is much to do again. */
	if (a->written - a->taken++ <= BATCHES / 2 + 1)
		(void)pthread_cond_signal(&a->changed);
	(void)pthread_mutex_unlock(&a->mutex);
}

static int deliver(const struct batch *b, const uint8_t *bytes,
		   int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e),
		   void *ctx, uint64_t *lines, struct errmsg *e)
{
	struct content_line line;

	for (uint32_t at = 0; at < b->len;) {
		int rc;

		memcpy((char *)&line + HEAD, bytes + at, FIXED);
		memcpy(line.path, bytes + at + FIXED, line.path_len + 1);
		at += (uint32_t)round_up_u64(FIXED + line.path_len + 1, 8);
		++*lines;
		rc = fn(ctx, &line, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int content_ahead_read(struct content_ahead *a,
		       int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e),
		       void *ctx, struct content_sums *ret, struct errmsg *e)
{
	const char *id = a->sources[a->next++].id;
	struct errmsg why = {""};
	uint64_t lines = 0;
	bool last = false;
	int rc = 0;

	while (!last && rc == 0) {
		uint8_t *bytes;
		const struct batch *b = await_batch(a, &bytes);

		rc = deliver(b, bytes, fn, ctx, &lines, &why);
		if (rc < 0)
			return content_line_error(id, lines, rc, &why, e);
		last = b->last;
		if (last && b->rc < 0)
			rc = errmsg_set(e, b->rc, "%s", errmsg_text(&b->e, b->rc));
		else if (last)
			*ret = b->sums;
		give_back(a);
	}
	return rc;
}

void content_ahead_end(struct content_ahead *a)
{
	if (a == NULL)
		return;
	(void)pthread_mutex_lock(&a->mutex);
	a->cancelled = true;
	(void)pthread_cond_signal(&a->changed);
	(void)pthread_mutex_unlock(&a->mutex);
	(void)pthread_join(a->thread, NULL);
	ahead_free(a);
}
