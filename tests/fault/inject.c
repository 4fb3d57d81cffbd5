/*
 * tests/fault/inject.c: see inject.h. Which call goes wrong is decided in the hook; what it cannot
 * do itself it leaves as a mark for the same thread, on which the call, or the submission to the
 * ring, follows.
 */
#include "inject.h"

#include "memory_fail.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKS 300u /* what the engine prepares before it submits */

static struct inject what;
static const char *layers_path;
static atomic_long seen, transfers;
static atomic_uint hits;
static atomic_bool paused;
static struct inject_hit hit_list[INJECT_HITS];
static pthread_mutex_t hit_lock = PTHREAD_MUTEX_INITIALIZER;

static __thread struct below_mark marks[MARKS];
static __thread unsigned mark_count;

bool inject_take(struct below_mark *ret)
{
	if (mark_count == 0)
		return false;
	*ret = marks[--mark_count];
	return true;
}

static void push_mark(enum below below, int error, const struct sys_event *event, long number)
{
	if (mark_count < MARKS)
		marks[mark_count++] = (struct below_mark){
			.what = below, .error = error, .event = *event, .number = number};
}

void inject_put_rest(int error)
{
	push_mark(BELOW_REST, error, &(struct sys_event){0}, 0);
}

/* ---- what was hit ---- */

static void describe(const struct sys_event *ev, struct inject_hit *hit)
{
	char link[40], dir[160] = "";
	const char *data;
	ssize_t n = 0;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", ev->fd);
	if (ev->fd >= 0)
		n = readlink(link, dir, sizeof(dir) - 1);
	dir[MAX(n, 0)] = '\0';
	*hit = (struct inject_hit){.call = ev->call, .data_dir = -1};
	(void)snprintf(hit->path, sizeof(hit->path), "%.150s%s%.40s", dir, ev->path ? "/" : "",
		       ev->path ? ev->path : "");
	hit->layer = strncmp(hit->path, layers_path, strlen(layers_path)) == 0;
	data = strstr(hit->path, "/data/");
	if (!data)
		return;
	if (strlen(data) == 8)
		hit->data_dir = (int)strtol(data + 6, NULL, 16);
	else if (strlen(data) > 9)
		hit->file_id = strtoull(data + 9, NULL, 16);
}

static void note_hit(const struct sys_event *ev)
{
	unsigned n;

	pthread_mutex_lock(&hit_lock);
	n = atomic_load(&hits);
	if (n < INJECT_HITS)
		describe(ev, &hit_list[n]);
	atomic_store(&hits, n + 1); /* last: who reads the number reads the list next */
	pthread_mutex_unlock(&hit_lock);
}

/* ---- the hook ---- */

static bool concerns(const struct sys_event *ev)
{
	if (what.kind == INJECT_SHORT || what.kind == INJECT_BROKEN)
		return ev->call == SYS_CALL_READ || ev->call == SYS_CALL_WRITE;
	return true;
}

static int go_wrong(const struct sys_event *ev, long number)
{
	switch (what.kind) {
	case INJECT_ERROR:
		note_hit(ev);
		if (ev->call != SYS_CALL_CLOSE)
			return what.error;
		push_mark(BELOW_CLOSE, what.error, ev, number);
		return 0;
	case INJECT_EINTR:
		note_hit(ev);
		push_mark(BELOW_EINTR, -EINTR, ev, number);
		return 0;
	case INJECT_SHORT:
		note_hit(ev);
		push_mark(BELOW_SHORT, 0, ev, number);
		return 0;
	case INJECT_BROKEN:
		note_hit(ev);
		push_mark(BELOW_BROKEN, what.error, ev, number);
		return 0;
	case INJECT_NONE:
	case INJECT_MEMORY:
		break;
	}
	return 0;
}

static int before(void *ctx, const struct sys_event *ev)
{
	long number;

	(void)ctx;
	if (atomic_load(&paused) || !concerns(ev))
		return 0;
	if (ev->call == SYS_CALL_READ || ev->call == SYS_CALL_WRITE)
		atomic_fetch_add(&transfers, 1);
	number = atomic_fetch_add(&seen, 1) + 1;
	if (what.at == 0 || (what.sticky ? number < what.at : number != what.at))
		return 0;
	return go_wrong(ev, number);
}

static const struct sys_hook hook = {.before = before};

void inject_start(const struct inject *how, const char *layers)
{
	what = *how;
	layers_path = layers;
	atomic_store(&seen, 0);
	atomic_store(&transfers, 0);
	atomic_store(&hits, 0);
	atomic_store(&paused, false);
	mark_count = 0;
	if (what.kind == INJECT_MEMORY || what.kind == INJECT_NONE)
		memory_fail_from(what.kind == INJECT_MEMORY ? what.at : -1, what.sticky);
	if (what.kind != INJECT_MEMORY)
		sys_set_hook(&hook);
}

void inject_stop(void)
{
	memory_fail(0);
	sys_set_hook(NULL);
	mark_count = 0;
}

void inject_pause(bool pause)
{
	atomic_store(&paused, pause);
	memory_fail_pause(pause);
}

struct inject_seen inject_seen(void)
{
	return (struct inject_seen){.calls = atomic_load(&seen),
				    .transfers = atomic_load(&transfers),
				    .allocations = memory_fail_count()};
}

unsigned inject_hits(const struct inject_hit **ret)
{
	*ret = hit_list;
	return what.kind == INJECT_MEMORY ? memory_fail_hit() : atomic_load(&hits);
}
