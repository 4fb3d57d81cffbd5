/*
 * layer/probackup/content_ahead.c: see content_ahead.h.
 *
 * Each thread has a ring of batches of lines, and reads every so manieth list. A batch is written by
 * the thread and read by the caller, never at once: counters under the mutex say whose it is. With
 * the last batch of a list its sums are handed over, or what is wrong with it.
 */
#include "layer/probackup/content_ahead.h"
#include "base/big.h"
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 2u /* the caller has work of its own */
#define NICE	    5
#define BATCHES	    95u
#define BATCH_BYTES (128u << 10)
/* A line in a batch: what comes behind the path, without an unknown key if there is none; then the path with its NUL. */
#define HEAD	offsetof(struct content_line, path_len)
#define FIXED	(offsetof(struct content_line, unknown_key) + 1 - HEAD)
#define KEY	(sizeof(struct content_line) - HEAD - FIXED) /* but for its first byte */

struct batch {
	uint32_t len; /* bytes of lines */
	bool last;    /* of its list */
};

/* What became of a list. */
struct outcome {
	int rc;
	struct content_sums sums;
	struct errmsg e;
};

struct reader {
	struct content_ahead *ahead;
	unsigned first; /* the list it begins with */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint64_t written, taken; /* guarded by: mutex; batches so far */
	bool cancelled;		 /* guarded by: mutex */
	struct batch batches[BATCHES];
	uint8_t *bytes; /* BATCH_BYTES each */
};

struct content_ahead {
	const struct content_source *sources;
	unsigned count;
	unsigned next; /* source that is to be delivered */
	struct outcome *outcomes; /* of each source */
	unsigned threads, started;
	struct reader readers[THREADS_MAX];
};

static struct batch *batch_at(struct reader *r, uint64_t number, uint8_t **ret_bytes)
{
	*ret_bytes = r->bytes + number % BATCHES * BATCH_BYTES;
	return &r->batches[number % BATCHES];
}

/* ---- a thread ---- */

/* The batch being written; only the thread changes `written`. */
static struct batch *writing(struct reader *r, uint8_t **ret_bytes)
{
	return batch_at(r, r->written, ret_bytes);
}

/* Hands the batch over and waits for the next one to be free. -ECANCELED: nobody wants any more. */
static int hand_over(struct reader *r)
{
	uint8_t *bytes;
	bool cancelled;

	(void)pthread_mutex_lock(&r->mutex);
	r->written++;
	(void)pthread_cond_signal(&r->changed);
	while (r->written - r->taken == BATCHES && !r->cancelled)
		(void)pthread_cond_wait(&r->changed, &r->mutex);
	cancelled = r->cancelled;
	(void)pthread_mutex_unlock(&r->mutex);
	if (cancelled)
		return -ECANCELED;
	writing(r, &bytes)->len = 0;
	writing(r, &bytes)->last = false;
	return 0;
}

static int put_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	struct reader *r = ctx;
	size_t path = line->path_len + 1, key = line->unknown_key[0] != '\0' ? KEY : 0;
	size_t len = round_up_u64(FIXED + key + path, 8);
	uint8_t *bytes, *at;
	struct batch *b = writing(r, &bytes);
	int rc = 0;

	(void)e;
	if (b->len + len > BATCH_BYTES) {
		rc = hand_over(r);
		b = writing(r, &bytes);
	}
	if (rc < 0)
		return rc;
	at = bytes + b->len;
	memcpy(at, (const char *)line + HEAD, FIXED + key);
	memcpy(at + FIXED + key, line->path, path);
	b->len += (uint32_t)len;
	return 0;
}

static void *thread_main(void *arg)
{
	struct reader *r = arg;
	struct content_ahead *a = r->ahead;
	int rc = 0;

	/* The target's list is waited for first, so the thread that has it goes before. */
	if (r->first > 0)
		(void)nice(NICE);
	for (unsigned i = r->first; i < a->count && rc == 0; i += a->threads) {
		struct outcome *o = &a->outcomes[i];
		uint8_t *bytes;

		rc = content_read(a->sources[i].dirfd, a->sources[i].id, put_line, r, &o->sums,
				  &o->e);
		if (rc == -ECANCELED)
			break;
		o->rc = rc;
		writing(r, &bytes)->last = true;
		if (hand_over(r) < 0)
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

static int start(struct reader *r)
{
	r->bytes = big_realloc(NULL, 0, BATCHES * BATCH_BYTES);
	if (r->bytes == NULL)
		return -ENOMEM;
	(void)pthread_mutex_init(&r->mutex, NULL);
	(void)pthread_cond_init(&r->changed, NULL);
	return thread_start(&r->thread, thread_main, r);
}

static bool start_all(struct content_ahead *a)
{
	bool ok = true;

	for (unsigned i = 0; i < a->threads; i++) {
		a->readers[i].ahead = a;
		a->readers[i].first = i;
	}
	for (; a->started < a->threads && ok; a->started += ok)
		ok = start(&a->readers[a->started]) == 0;
	return ok;
}

struct content_ahead *content_ahead_begin(const struct content_source *sources, unsigned count,
					  uint64_t min_bytes)
{
	struct content_ahead *a;

	if (count == 0 || !is_long(&sources[0], min_bytes) || parallel_processors() < 2)
		return NULL;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return NULL;
	a->sources = sources;
	a->count = count;
	a->threads = MIN(count, THREADS_MAX);
	a->outcomes = calloc(count, sizeof(*a->outcomes));
	if (a->outcomes == NULL || !start_all(a)) {
		content_ahead_end(a);
		return NULL;
	}
	return a;
}

/* The next batch; the thread has handed it over. */
static const struct batch *await_batch(struct reader *r, uint8_t **ret_bytes)
{
	const struct batch *b;

	(void)pthread_mutex_lock(&r->mutex);
	while (r->written == r->taken)
		(void)pthread_cond_wait(&r->changed, &r->mutex);
	b = batch_at(r, r->taken, ret_bytes);
	(void)pthread_mutex_unlock(&r->mutex);
	return b;
}

static void give_back(struct reader *r)
{
	(void)pthread_mutex_lock(&r->mutex);
	/* The thread is woken when there is much to do again. */
	if (r->written - r->taken++ <= BATCHES / 2 + 1)
		(void)pthread_cond_signal(&r->changed);
	(void)pthread_mutex_unlock(&r->mutex);
}

/* Returns how many bytes the line has taken. */
static uint32_t get_line(const uint8_t *at, struct content_line *ret)
{
	size_t key, path;

	memcpy((char *)ret + HEAD, at, FIXED);
	key = ret->unknown_key[0] != '\0' ? KEY : 0;
	if (key > 0)
		memcpy((char *)ret + HEAD + FIXED, at + FIXED, key);
	else
		memset((char *)ret + HEAD + FIXED, 0, KEY);
	path = ret->path_len + 1;
	memcpy(ret->path, at + FIXED + key, path);
	return (uint32_t)round_up_u64(FIXED + key + path, 8);
}

static int deliver(const struct batch *b, const uint8_t *bytes,
		   int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e),
		   void *ctx, uint64_t *lines, struct errmsg *e)
{
	struct content_line line = {0};

	for (uint32_t at = 0; at < b->len;) {
		int rc;

		at += get_line(bytes + at, &line);
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
	struct reader *r = &a->readers[a->next % a->threads];
	const struct outcome *o = &a->outcomes[a->next];
	const char *id = a->sources[a->next++].id;
	struct errmsg why = {""};
	uint64_t lines = 0;
	bool last = false;

	while (!last) {
		uint8_t *bytes;
		const struct batch *b = await_batch(r, &bytes);
		int rc = deliver(b, bytes, fn, ctx, &lines, &why);

		if (rc < 0)
			return content_line_error(id, lines, rc, &why, e);
		last = b->last;
		give_back(r);
	}
	if (o->rc < 0)
		return errmsg_set(e, o->rc, "%s", errmsg_text(&o->e, o->rc));
	*ret = o->sums;
	return 0;
}

static void end_reader(struct reader *r)
{
	(void)pthread_mutex_lock(&r->mutex);
	r->cancelled = true;
	(void)pthread_cond_signal(&r->changed);
	(void)pthread_mutex_unlock(&r->mutex);
	(void)pthread_join(r->thread, NULL);
	(void)pthread_mutex_destroy(&r->mutex);
	(void)pthread_cond_destroy(&r->changed);
}

void content_ahead_end(struct content_ahead *a)
{
	if (a == NULL)
		return;
	for (unsigned i = 0; i < a->started; i++)
		end_reader(&a->readers[i]);
	for (unsigned i = 0; i < THREADS_MAX; i++)
		free(a->readers[i].bytes);
	free(a->outcomes);
	free(a);
}
