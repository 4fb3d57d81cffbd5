/*
 * cmd/verify_run.c: which backups `verify` looks at, and the threads that read their files.
 *
 * The largest file first. A thread takes the next part of a file that another one has begun, or begins the next one.
 */
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "cmd/verify.h"
#include "overlay/bulk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What a thread holds of a file of 1 GiB is 6 MiB at most, so all of them stay below 256 MiB. */
#define JOBS_MAX     32u
#define TICK_NS	     100000000
#define WORKER_STACK (512u << 10)

struct work {
	struct layer *layer;
	const struct layer_entry *entry;
	uint64_t size;
};

/* A file that has been begun. */
struct begun {
	struct begun *next;
	const struct layer_ops *ops;
	struct layer_verifying *verifying;
	uint32_t parts, taken, done;
};

struct pool {
	struct verify *v;
	struct work *items;
	size_t count, next, cap;
	unsigned workers;
	struct layer_verify calls;
	pthread_mutex_t lock; /* of next, rc and begun */
	struct begun *begun;
	int rc;
	pthread_cond_t done;
};

static volatile sig_atomic_t interrupted;

void verify_stop(void)
{
	interrupted = 1;
}

bool verify_is_stopped(void)
{
	return interrupted != 0;
}

/* ---- the threads ---- */

static void found(void *ctx, const struct layer_finding *finding)
{
	struct pool *p = ctx;

	verify_found(p->v, finding);
	if (!finding->harmless)
		__atomic_fetch_add(&p->v->counters.in_files, 1, __ATOMIC_RELAXED);
}

static bool step(void *ctx, uint64_t bytes, uint32_t pages)
{
	struct pool *p = ctx;

	__atomic_fetch_add(&p->v->counters.bytes, bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&p->v->counters.pages, pages, __ATOMIC_RELAXED);
	return !interrupted;
}

/* What is done next, with the lock held: a part of a file that has been begun, or a file. False: nothing is left. */
static bool take_next(struct pool *p, struct begun **ret_begun, uint32_t *ret_part,
		      const struct work **ret_work)
{
	*ret_begun = NULL;
	if (interrupted || p->rc < 0)
		return false;
	for (struct begun *b = p->begun; b != NULL; b = b->next) {
		if (b->taken == b->parts)
			continue;
		*ret_begun = b;
		*ret_part = b->taken++;
		return true;
	}
	if (p->next == p->count)
		return false;
	*ret_work = &p->items[p->next++];
	return true;
}

static int begin_file(struct pool *p, const struct work *work)
{
	struct begun *b = calloc(1, sizeof(*b));
	int rc;

	if (b == NULL)
		return -ENOMEM;
	b->ops = work->layer->ops;
	rc = b->ops->verify_begin(work->layer, work->entry, &p->calls, &b->verifying, &b->parts);
	if (rc < 0) {
		free(b);
		return rc;
	}
	pthread_mutex_lock(&p->lock);
	b->next = p->begun;
	p->begun = b;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void end_file(struct begun *b)
{
	b->ops->verify_end(b->verifying);
	free(b);
}

static int check_part(struct pool *p, struct begun *b, uint32_t part)
{
	int rc = b->ops->verify_part(b->verifying, part);
	bool last;

	pthread_mutex_lock(&p->lock);
	last = ++b->done == b->parts;
	if (last) {
		struct begun **at = &p->begun;

		while (*at != b)
			at = &(*at)->next;
		*at = b->next;
	}
	pthread_mutex_unlock(&p->lock);
	if (last) {
		end_file(b);
		__atomic_fetch_add(&p->v->counters.files, 1, __ATOMIC_RELAXED);
	}
	return rc;
}

static void *worker_main(void *arg)
{
	struct pool *p = arg;

	for (;;) {
		const struct work *work = NULL;
		struct begun *b = NULL;
		uint32_t part = 0;
		bool more;
		int rc;

		pthread_mutex_lock(&p->lock);
		more = take_next(p, &b, &part, &work);
		pthread_mutex_unlock(&p->lock);
		if (!more)
			break;
		rc = b != NULL ? check_part(p, b, part) : begin_file(p, work);
		if (rc < 0) {
			pthread_mutex_lock(&p->lock);
			p->rc = rc;
			pthread_mutex_unlock(&p->lock);
		}
	}
	pthread_mutex_lock(&p->v->lock);
	p->workers--;
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->v->lock);
	return NULL;
}

static void show_progress(struct verify *v)
{
	uint64_t done = __atomic_load_n(&v->counters.bytes, __ATOMIC_RELAXED);

	if (!v->request.quiet)
		progress_show(&v->progress, done, MAX(done, v->total));
}

static void wait_for_workers(struct pool *p)
{
	pthread_mutex_lock(&p->v->lock);
	while (p->workers > 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TICK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&p->done, &p->v->lock, &until);
		show_progress(p->v);
	}
	pthread_mutex_unlock(&p->v->lock);
}

static int start_worker(struct pool *p, const pthread_attr_t *attr, pthread_t *ret)
{
	pthread_mutex_lock(&p->v->lock);
	p->workers++;
	pthread_mutex_unlock(&p->v->lock);
	if (pthread_create(ret, attr, worker_main, p) == 0)
		return 0;
	pthread_mutex_lock(&p->v->lock);
	p->workers--;
	pthread_mutex_unlock(&p->v->lock);
	return -EAGAIN;
}

static int run_pool(struct pool *p)
{
	const struct verify_request *r = &p->v->request;
	unsigned jobs = MIN(r->jobs > 0 ? r->jobs : parallel_processors(), JOBS_MAX), started = 0;
	pthread_t threads[JOBS_MAX];
	pthread_attr_t attr;

	p->calls = (struct layer_verify){.found = found, .step = step, .ctx = p};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->done, NULL);
	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, WORKER_STACK);
	while (started < jobs && start_worker(p, &attr, &threads[started]) == 0)
		started++;
	pthread_attr_destroy(&attr);
	wait_for_workers(p);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (struct begun *next, *b = p->begun; b != NULL; b = next) { /* it was interrupted */
		next = b->next;
		end_file(b);
	}
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	if (started == 0)
		return -EAGAIN;
	return interrupted ? -EINTR : p->rc;
}

/* ---- the files of a chain ---- */

static int add_work(struct pool *p, struct layer *layer, const struct layer_entry *entry)
{
	if (p->count == p->cap) {
		size_t cap = p->cap > 0 ? p->cap * 2 : 1024;
		struct work *items = reallocarray(p->items, cap, sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		p->items = items;
		p->cap = cap;
	}
	p->items[p->count++] = (struct work){
		.layer = layer, .entry = entry, .size = layer->ops->stored(layer, entry->file)};
	return 0;
}

static int compare_work(const void *a, const void *b)
{
	const struct work *x = a, *y = b;

	return x->size < y->size ? 1 : x->size > y->size ? -1 : 0;
}

static int verify_files(struct verify *v, struct layer_chain *chain, unsigned first)
{
	struct pool p = {.v = v};
	uint64_t bytes = 0;
	int rc = 0;

	for (unsigned i = first; i < chain->count; i++) {
		struct layer *layer = chain->layers[i];

		/* Every version that is read writes it. */
		if (layer->unsummed)
			verify_say(v, layer->id, false,
				   "backup.control has no content-crc: nothing tells whether its "
				   "list is whole");
		for (uint32_t k = 0; k < layer->entry_count && rc == 0; k++) {
			if (layer->entries[k].file != LAYER_NO_FILE)
				rc = add_work(&p, layer, &layer->entries[k]);
		}
	}
	for (size_t i = 0; i < p.count; i++)
		bytes += p.items[i].size;
	v->total = MAX(v->total, v->counters.bytes + bytes);
	if (p.count > 0)
		qsort(p.items, p.count, sizeof(*p.items), compare_work);
	if (rc == 0)
		rc = run_pool(&p);
	free(p.items);
	return rc;
}

/* ---- backups ---- */

static size_t find_info(const struct verify *v, const char *instance, const char *id)
{
	size_t i = 0;

	while (i < v->list.count && (strcmp(v->list.items[i].instance, instance) != 0 ||
				     strcmp(v->list.items[i].id, id) != 0))
		i++;
	return i;
}

/* The merged view: what only the lists together tell, as a restore would read them. */
static int check_view(struct verify *v, struct layer_chain *chain)
{
	const struct overlay_options options = {.verify_reads = true};
	struct overlay *ov = NULL;
	struct errmsg e = {""};
	int rc = overlay_new(chain, NULL, &options, &e, &ov);

	overlay_free(ov);
	if (rc < 0 && rc != -ENOMEM) {
		verify_say(v, chain->layers[chain->count - 1]->id, false, "%s",
			   errmsg_text(&e, rc));
		rc = 0;
	}
	return rc;
}

/* Only what is good so far: damage would be met again, and told less well. */
static int start_backup(struct verify *v, const struct backup_info *info, uint64_t damages,
			cJSON **ret_started)
{
	double before = progress_seconds(&v->progress);
	int rc;

	if (v->start == NULL)
		return 0;
	if (damages == 0) {
		rc = v->start(v, info, ret_started);
		v->started_seconds += progress_seconds(&v->progress) - before;
		return rc;
	}
	*ret_started = cJSON_CreateObject();
	(void)cJSON_AddStringToObject(*ret_started, "result", "not started");
	return 0;
}

static int verify_chain(struct verify *v, struct layer_chain *chain, bool alone,
			uint64_t *damages)
{
	size_t at = find_info(v, chain->instance, chain->layers[chain->count - 1]->id);
	uint64_t before = v->counters.damages, below = 0;
	cJSON *started = NULL;
	int rc;

	v->instance = chain->instance;
	rc = check_view(v, chain);
	if (rc == 0 && at < v->list.count)
		rc = verify_facts(v, chain, &v->list.items[at]);
	if (rc == 0)
		rc = verify_files(v, chain, alone ? 0 : chain->count - 1);
	if (rc < 0 || at == v->list.count)
		return rc;
	for (unsigned i = 0; i + 1 < chain->count; i++) {
		size_t k = find_info(v, chain->instance, chain->layers[i]->id);

		below += k < v->list.count ? damages[k] : 0;
	}
	rc = start_backup(v, &v->list.items[at], v->counters.damages - before + below, &started);
	damages[at] = v->counters.damages - before;
	if (rc == 0)
		verify_backup_done(v, &v->list.items[at], NULL, damages[at] + below, TAKE_PTR(started));
	cJSON_Delete(started);
	return rc;
}

static int verify_one(struct verify *v, uint64_t *damages, struct errmsg *e)
{
	struct layer_chain *chain = NULL;
	int rc = v->store->driver->open_chain(v->store, v->request.instance, v->request.backup,
					      getpid(), e, &chain);

	if (rc < 0)
		return rc;
	rc = verify_chain(v, chain, true, damages);
	v->store->driver->close_chain(chain);
	return rc;
}

static int verify_each(struct verify *v, uint64_t *damages)
{
	int rc = 0;

	for (size_t i = 0; i < v->list.count; i++)
		v->total += v->list.items[i].mountable ? v->list.items[i].bytes : 0;
	for (size_t i = 0; i < v->list.count && rc == 0; i++) {
		const struct backup_info *info = &v->list.items[i];
		struct layer_chain *chain = NULL;
		struct errmsg e = {""};

		v->instance = info->instance;
		if (!info->mountable) {
			verify_backup_done(v, info, info->reason, 0, NULL);
			continue;
		}
		rc = v->store->driver->open_chain(v->store, info->instance, info->id, getpid(), &e,
						  &chain);
		if (rc < 0 && rc != -ENOMEM) {
			verify_backup_done(v, info, errmsg_text(&e, rc), 0, NULL);
			rc = 0;
			continue;
		}
		if (rc == 0)
			rc = verify_chain(v, chain, false, damages);
		v->store->driver->close_chain(chain);
	}
	return rc;
}

int verify_run(struct verify *v, struct errmsg *e)
{
	_cleanup_free_ uint64_t *damages = NULL;
	int rc;

	pthread_mutex_init(&v->lock, NULL);
	v->instance = "";
	v->damages = cJSON_CreateArray();
	v->warnings = cJSON_CreateArray();
	v->backups = cJSON_CreateArray();
	progress_start(&v->progress, "checked", v->request.progress);
	rc = store_open(v->request.store, e, &v->store);
	if (rc == 0) {
		v->store->options.force = v->request.force;
		v->store->options.external = true;
		rc = v->store->driver->list(v->store, v->request.instance, e, &v->list);
	}
	if (rc < 0)
		return rc;
	damages = calloc(v->list.count + 1, sizeof(*damages));
	if (damages == NULL)
		return errmsg_set(e, -ENOMEM, "out of memory");
	rc = v->request.all ? verify_each(v, damages) : verify_one(v, damages, e);
	v->stopped = rc < 0;
	return rc < 0 ? errmsg_set(e, rc, "%s", rc == -EINTR ? "interrupted" : errmsg_text(NULL, rc))
		      : 0;
}

void verify_free(struct verify *v)
{
	cJSON_Delete(v->damages);
	cJSON_Delete(v->warnings);
	cJSON_Delete(v->backups);
	if (v->list.owned != NULL)
		v->store->driver->list_free(&v->list);
	store_close(v->store);
	pthread_mutex_destroy(&v->lock);
}
