/*
 * overlay/bulk.c: hands out the work of a whole chain to worker threads.
 *
 * Each worker goes on with an open file that nobody else is writing, or opens one of its own, so
 * that neither a file's lock in the kernel nor building the index of a large one holds up others;
 * workers share a file when enough are open or no more are left. One lock guards the queue; it is
 * held for a few instructions a chunk.
 */
#include "overlay/bulk.h"

#include "base/log.h"
#include "base/parallel.h"
#include "base/util.h"
#include "overlay/bulk_internal.h"

#include <errno.h>
#include <time.h>

#define MEMORY	     (96u << 20)
#define DESCRIPTORS  3u /* of an open file but for its backups': the sink's, a header map's */
#define FILES_OPEN   8u /* each has a descriptor for every backup of the chain */
#define BUFFERS	     (32u << 20) /* of decoded bytes, all workers together */
#define CHUNK_MAX    128u	 /* blocks */
#define CHUNK_MIN    8u
#define JOBS_MAX     512u
#define BUILD_COST   64u /* bytes a block while an index is built: extents, headers */
#define TICK_NS	     100000000
#define WORKER_STACK (512u << 10)

/* ---- the list of files ---- */

static struct bulk_file *add_file(struct bulk *bulk)
{
	if (bulk->count == bulk->cap) {
		size_t cap = bulk->cap ? bulk->cap * 2 : 1024;
		struct bulk_file *files = reallocarray(bulk->files, cap, sizeof(*files));

		if (!files)
			return NULL;
		bulk->files = files;
		bulk->cap = cap;
	}
	bulk->files[bulk->count] = (struct bulk_file){0};
	return &bulk->files[bulk->count++];
}

/* Where its content is, until bulk_run points it back to the file, which may have moved. */
static int add_state(struct bulk_file *file)
{
	struct bulk_state *state = calloc(1, sizeof(*state));

	if (!state)
		return -ENOMEM;
	state->blocks = (uint32_t)((file->size + BLCK - 1) / BLCK);
	file->state = state;
	return 0;
}

int bulk_new(struct overlay *ov, struct bulk **ret)
{
	const struct layer *target = ov->chain->layers[ov->chain->count - 1];
	struct bulk *bulk = calloc(1, sizeof(*bulk));
	int rc = bulk ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < target->entry_count && rc == 0; i++) {
		const struct layer_entry *entry = &target->entries[i];
		struct file *node = overlay_find(ov, tree_base_id(entry->path));
		struct bulk_file *file;

		if (!node || !file_is_regular(node))
			continue;
		file = add_file(bulk);
		if (file) {
			file->entry = entry;
			file->size = file_size(node);
		}
		rc = file ? add_state(file) : -ENOMEM;
		if (rc == 0)
			((struct bulk_state *)file->state)->node = node;
	}
	if (rc < 0) {
		bulk_free(bulk);
		return rc;
	}
	bulk->ov = ov;
	pthread_mutex_init(&bulk->lock, NULL);
	pthread_cond_init(&bulk->work, NULL);
	pthread_cond_init(&bulk->done, NULL);
	*ret = bulk;
	return 0;
}

int bulk_add(struct bulk *bulk, const struct layer *layer, const char *name, uint64_t size,
	     void *user)
{
	struct bulk_file *file = add_file(bulk);
	int rc;

	if (!file)
		return -ENOMEM;
	file->size = size;
	file->user = user;
	rc = add_state(file);
	if (rc < 0) {
		bulk->count--;
		return rc;
	}
	((struct bulk_state *)file->state)->layer = layer;
	((struct bulk_state *)file->state)->name = name;
	return 0;
}

struct bulk_file *bulk_files(struct bulk *bulk, size_t *ret_count)
{
	*ret_count = bulk->count;
	return bulk->files;
}

void bulk_free(struct bulk *bulk)
{
	if (!bulk)
		return;
	for (size_t i = 0; i < bulk->count; i++)
		free(bulk->files[i].state);
	free(bulk->files);
	if (bulk->ov) {
		pthread_mutex_destroy(&bulk->lock);
		pthread_cond_destroy(&bulk->work);
		pthread_cond_destroy(&bulk->done);
	}
	free(bulk);
}

/* ---- under the lock ---- */

static void stop(struct bulk *bulk, int rc)
{
	if (bulk->rc == 0)
		bulk->rc = rc;
	bulk->stop = true;
	pthread_cond_broadcast(&bulk->work);
}

static uint64_t index_cost(const struct bulk_state *state, uint64_t bytes_a_block)
{
	const struct base *base = state->node ? state->node->base : NULL;

	return base && base->kind == LAYER_BLOCKS ? state->blocks * bytes_a_block : 0;
}

static uint64_t descriptor_cost(const struct bulk_state *state)
{
	const struct base *base = state->node ? state->node->base : NULL;

	return DESCRIPTORS + (base ? MAX(base->part_count, 1u) : 1);
}

static void push_open(struct bulk *bulk, struct bulk_state *state)
{
	state->next_open = NULL;
	*(bulk->open_tail ? &bulk->open_tail->next_open : &bulk->open_head) = state;
	bulk->open_tail = state;
}

static void remove_open(struct bulk *bulk, struct bulk_state *state)
{
	struct bulk_state **at = &bulk->open_head, *before = NULL;

	while (*at != state) {
		before = *at;
		at = &before->next_open;
	}
	*at = state->next_open;
	if (bulk->open_tail == state)
		bulk->open_tail = before;
}

/* An open file with chunks left that nobody is writing. */
static struct bulk_state *find_idle(const struct bulk *bulk)
{
	struct bulk_state *state = bulk->open_head;

	while (state && state->in_flight > 0)
		state = state->next_open;
	return state;
}

static bool may_open(struct bulk *bulk)
{
	const struct bulk_options *options = &bulk->options;
	struct bulk_state *state;

	while (bulk->next < bulk->count && bulk->files[bulk->next].skip)
		bulk->next++;
	if (bulk->next == bulk->count)
		return false;
	state = bulk->files[bulk->next].state;
	if (bulk->files_open > 0 && options->descriptors > 0 &&
	    bulk->descriptors + descriptor_cost(state) > options->descriptors)
		return false;
	return bulk->memory == 0 || bulk->memory + index_cost(state, BUILD_COST) <= options->memory;
}

/* ---- workers ---- */

static void close_file(struct bulk *bulk, struct bulk_state *state, int rc)
{
	int closed = 0;

	bulk_close_parts(state);
	if (state->opened)
		closed = bulk->sink->close(bulk->sink->ctx, state->file,
					   state->rc < 0 ? state->rc : rc);
	state->opened = false;
	pthread_mutex_lock(&bulk->lock);
	bulk->memory -= state->memory;
	state->memory = 0;
	bulk->files_open--;
	bulk->descriptors -= descriptor_cost(state);
	bulk->counters.files++;
	if (closed < 0)
		stop(bulk, closed);
	pthread_cond_broadcast(&bulk->work);
	pthread_mutex_unlock(&bulk->lock);
}

/* Takes the next file; called and returns with the lock. */
static void open_next(struct bulk *bulk)
{
	struct bulk_state *state = bulk->files[bulk->next++].state;
	int rc;

	bulk->opening++;
	bulk->files_open++;
	bulk->descriptors += descriptor_cost(state);
	state->memory = index_cost(state, BUILD_COST);
	bulk->memory += state->memory;
	pthread_mutex_unlock(&bulk->lock);
	rc = bulk_open_parts(bulk, state);
	if (rc == 0) {
		rc = bulk->sink->open(bulk->sink->ctx, state->file);
		state->opened = rc == 0;
	}
	if (rc < 0 || state->rc < 0 || state->blocks == 0)
		close_file(bulk, state, rc);
	pthread_mutex_lock(&bulk->lock);
	bulk->opening--;
	if (rc < 0) {
		stop(bulk, rc);
	} else if (state->rc == 0 && state->blocks > 0) {
		uint64_t kept = index_cost(state, sizeof(struct index_entry));

		bulk->memory -= state->memory - kept;
		state->memory = kept;
		push_open(bulk, state);
	}
	pthread_cond_broadcast(&bulk->work);
}

/* Does the next chunk of the file; called and returns with the lock. */
static void do_chunk(struct bulk_worker *w, struct bulk_state *state)
{
	struct bulk *bulk = w->bulk;
	uint32_t first = state->next, count = MIN(bulk->chunk_blocks, state->blocks - first);
	bool last;
	int rc;

	state->next += count;
	state->in_flight++;
	bulk->in_flight++;
	if (state->next == state->blocks)
		remove_open(bulk, state);
	pthread_mutex_unlock(&bulk->lock);
	rc = bulk_chunk(w, state, first, count);
	pthread_mutex_lock(&bulk->lock);
	if (rc < 0)
		stop(bulk, rc);
	last = --state->in_flight == 0 && state->next == state->blocks;
	if (last) {
		pthread_mutex_unlock(&bulk->lock);
		close_file(bulk, state, rc);
		pthread_mutex_lock(&bulk->lock);
	}
	bulk->in_flight--;
	if (bulk->in_flight == 0)
		pthread_cond_broadcast(&bulk->work);
}

/*
 * A file of one's own is better than one that others write at the same time, who would wait for its
 * inode's lock in the kernel.
 */
static void *worker_main(void *arg)
{
	struct bulk_worker *w = arg;
	struct bulk *bulk = w->bulk;

	pthread_mutex_lock(&bulk->lock);
	while (!bulk->stop) {
		struct bulk_state *state = find_idle(bulk);

		if (!state && (bulk->files_open >= FILES_OPEN || !may_open(bulk)))
			state = bulk->open_head;
		if (state)
			do_chunk(w, state);
		else if (may_open(bulk))
			open_next(bulk);
		else if (bulk->next == bulk->count && bulk->opening == 0 && bulk->in_flight == 0)
			break;
		else
			pthread_cond_wait(&bulk->work, &bulk->lock);
	}
	bulk->workers--;
	pthread_cond_broadcast(&bulk->work);
	pthread_cond_signal(&bulk->done);
	pthread_mutex_unlock(&bulk->lock);
	return NULL;
}

void bulk_damage(struct bulk *bulk, struct bulk_state *state, uint64_t blocks)
{
	pthread_mutex_lock(&bulk->lock);
	state->rc = -EUCLEAN;
	bulk->counters.damage += blocks;
	if (bulk->options.max_damage > 0 && bulk->counters.damage >= bulk->options.max_damage)
		stop(bulk, -EUCLEAN);
	pthread_mutex_unlock(&bulk->lock);
}

/* ---- the run ---- */

static struct bulk_counters counters_now(struct bulk *bulk)
{
	struct bulk_counters c = bulk->counters;

	c.bytes = __atomic_load_n(&bulk->counters.bytes, __ATOMIC_RELAXED);
	c.stored_bytes = __atomic_load_n(&bulk->counters.stored_bytes, __ATOMIC_RELAXED);
	return c;
}

static void wait_for_workers(struct bulk *bulk)
{
	pthread_mutex_lock(&bulk->lock);
	while (bulk->workers > 0) {
		struct bulk_counters c;
		struct timespec until;
		int rc;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TICK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&bulk->done, &bulk->lock, &until);
		c = counters_now(bulk);
		if (!bulk->options.tick)
			continue;
		pthread_mutex_unlock(&bulk->lock);
		rc = bulk->options.tick(bulk->options.ctx, &c);
		pthread_mutex_lock(&bulk->lock);
		if (rc < 0)
			stop(bulk, rc);
	}
	pthread_mutex_unlock(&bulk->lock);
}

static int start_worker(struct bulk_worker *w, struct bulk *bulk, const pthread_attr_t *attr)
{
	w->bulk = bulk;
	w->out = aligned_alloc(BULK_ALIGN, (size_t)bulk->chunk_blocks * BLCK);
	w->reads = bulk_reads_new(bulk->chunk_blocks);
	if (!w->out || !w->reads)
		return -ENOMEM;
	pthread_mutex_lock(&bulk->lock);
	bulk->workers++;
	pthread_mutex_unlock(&bulk->lock);
	if (pthread_create(&w->thread, attr, worker_main, w) != 0) {
		pthread_mutex_lock(&bulk->lock);
		bulk->workers--;
		pthread_mutex_unlock(&bulk->lock);
		return -EAGAIN;
	}
	w->started = true;
	return 0;
}

static int run_workers(struct bulk *bulk, unsigned jobs)
{
	struct bulk_worker *workers = calloc(jobs, sizeof(*workers));
	pthread_attr_t attr;
	int rc = workers ? 0 : -ENOMEM;

	if (rc < 0)
		return rc;
	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, WORKER_STACK);
	for (unsigned i = 0; i < jobs && rc == 0; i++) {
		rc = start_worker(&workers[i], bulk, &attr);
		if (rc < 0 && i > 0)
			log_warning("only %u of %u threads could be started", i, jobs);
		if (rc < 0 && i > 0)
			break; /* fewer will do */
		if (rc < 0)
			stop(bulk, rc);
	}
	pthread_attr_destroy(&attr);
	wait_for_workers(bulk);
	for (unsigned i = 0; i < jobs; i++) {
		if (workers[i].started)
			pthread_join(workers[i].thread, NULL);
		free(workers[i].out);
		free(workers[i].raw);
		free(workers[i].reads);
	}
	free(workers);
	return 0;
}

static void prepare(struct bulk *bulk, unsigned jobs)
{
	uint64_t blocks = BUFFERS / BLCK / jobs;

	bulk->chunk_blocks = (uint32_t)MAX(MIN(blocks, (uint64_t)CHUNK_MAX), (uint64_t)CHUNK_MIN);
	for (size_t i = 0; i < bulk->count; i++) {
		struct bulk_file *file = &bulk->files[i];

		((struct bulk_state *)file->state)->file = file;
		if (file->skip)
			continue;
		bulk->counters.total_files++;
		bulk->counters.total_bytes += file->size;
	}
}

int bulk_run(struct bulk *bulk, const struct bulk_options *options, const struct bulk_sink *sink,
	     struct bulk_counters *ret_counters)
{
	unsigned jobs = options->jobs > 0 ? MIN(options->jobs, JOBS_MAX) : parallel_processors();
	int rc;

	bulk->options = *options;
	if (bulk->options.memory == 0)
		bulk->options.memory = MEMORY;
	bulk->sink = sink;
	prepare(bulk, jobs);
	rc = run_workers(bulk, jobs);
	/* Those that a stopped run left open. */
	for (size_t i = 0; i < bulk->count; i++) {
		struct bulk_state *state = bulk->files[i].state;

		if (state->opened || state->fds)
			close_file(bulk, state, bulk->rc);
	}
	*ret_counters = counters_now(bulk);
	if (rc == 0)
		rc = bulk->rc;
	return rc == 0 && ret_counters->damage > 0 ? -EUCLEAN : rc;
}
