/*
 * tests/fault/run.c: see run.h.
 */
#include "run.h"

#include "scratch.h"
#include "scripts.h"
#include "template.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define NEW_DIRS 8u /* where new files get to: 256 in each */

/* Of the sanitizer, where there is one. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : 0;
}

static void make_diff(struct runner *r, const char *diff_path)
{
	static const struct script nothing = {.name = "nothing", .fresh = true, .steps = ""};

	r->p.diff_path = diff_path;
	r->p.script = &nothing;
	r->p.engine = IO_KIND_SYNC;
	if (!player_open(&r->p) || !r->p.open)
		abort();
}

void runner_init(struct runner *r, struct layer_chain *chain, const char *layers_path,
		 const char *diff_path)
{
	*r = (struct runner){.layers_path = layers_path};
	player_init(&r->p, chain, diff_path);
	r->chain_book = r->p.book;
	make_diff(r, diff_path);
	scripts_read_chain(&r->p);
	player_close(&r->p);
	r->p.book = book_new();
}

void runner_move(struct runner *r, const char *diff_path)
{
	r->p.left = false;
	book_copy(r->p.book, r->chain_book);
	make_diff(r, diff_path);
	player_close(&r->p);
	template_take(diff_path);
	r->fds = 0;
	r->bytes = 0;
}

void runner_free(struct runner *r)
{
	book_free(r->chain_book);
	player_free(&r->p);
}

static void start_over(struct runner *r, const struct script *script, enum io_kind engine,
		       const struct inject *inject)
{
	struct player *p = &r->p;
	bool used[256] = {false};

	p->script = script;
	p->engine = engine;
	p->inject = *inject;
	p->armed = p->open = p->left = false;
	p->hits_known = 0;
	p->fill = 0;
	p->why[0] = '\0';
	book_copy(p->book, r->chain_book);
	if (script->fresh) {
		scratch_remove(p->diff_path);
		return;
	}
	for (unsigned i = 0; i < BOOK_FILES; i++)
		used[p->ids[i] >> 8 & 0xff] = true;
	for (unsigned i = 0; i < NEW_DIRS; i++)
		used[i] = true;
	template_put(p->diff_path, used);
}

/* A difference alone may be a cache of a library; what nothing leads to any more is a leak. */
static bool check_left(struct runner *r)
{
	unsigned fds = descriptors();
	size_t bytes = allocated();

	if (r->fds && fds != r->fds)
		return player_wrong(&r->p, "%u descriptors instead of %u", fds, r->fds);
	r->fds = fds;
	if (r->bytes && bytes > r->bytes && __lsan_do_recoverable_leak_check &&
	    __lsan_do_recoverable_leak_check())
		return player_wrong(&r->p, "memory has leaked");
	r->bytes = bytes;
	return true;
}

bool runner_run(struct runner *r, const struct script *script, enum io_kind engine,
		const struct inject *inject, struct inject_seen *ret_seen, bool *ret_hit)
{
	struct player *p = &r->p;
	const struct inject_hit *hits;
	bool good;

	start_over(r, script, engine, inject);
	good = player_play(p, script->setup);
	inject_start(inject, r->layers_path);
	p->armed = true;
	good = good && player_play(p, script->steps);
	if (good)
		good = player_end(p);
	*ret_seen = inject_seen();
	*ret_hit = inject_hits(&hits) > 0;
	p->armed = false;
	inject_stop();
	if (p->open)
		player_close(p);
	if (good)
		good = player_reopen(p);
	if (p->open)
		player_close(p);
	return check_left(r) && good && !p->why[0];
}
