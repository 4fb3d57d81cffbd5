/*
 * tests/fault/player.c: see player.h. Steps, opening and closing, and what answers are permitted.
 */
#include "player.h"

#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

void player_init(struct player *p, struct layer_chain *chain, const char *diff_path)
{
	*p = (struct player){.chain = chain, .diff_path = diff_path};
	p->book = book_new();
	p->live = need(calloc(1, BOOK_BYTES));
	p->candidate.bytes = need(calloc(1, BOOK_BYTES));
	for (unsigned i = 0; i < PLAYER_PENDING; i++)
		p->pending[i].buf = need(calloc(1, BOOK_BYTES));
}

void player_free(struct player *p)
{
	book_free(p->book);
	free(p->live);
	free(p->candidate.bytes);
	for (unsigned i = 0; i < PLAYER_PENDING; i++)
		free(p->pending[i].buf);
}

bool player_wrong(struct player *p, const char *format, ...)
{
	size_t len;
	va_list args;

	if (p->why[0])
		return false;
	(void)snprintf(p->why, sizeof(p->why), "'%s': ", p->step);
	len = strlen(p->why);
	va_start(args, format);
	(void)vsnprintf(p->why + len, sizeof(p->why) - len, format, args);
	va_end(args);
	return false;
}

/* ---- answers ---- */

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && strcmp(s + a - b, end) == 0;
}

/*
 * EROFS: an EIO of the diff, not of the chain; any other error only when it hit the journal, or
 * when a new state was already in place and could not be made durable. ENOSPC and EDQUOT of the
 * journal leave the mount writable.
 */
static bool stops_changes(const struct inject_hit *hit, int error)
{
	if (hit->layer)
		return false;
	return error == -EIO || (error == -ENOMEM && ends_with(hit->path, "/journal")) ||
	       (hit->call == SYS_CALL_FSYNC && ends_with(hit->path, "/gen/1"));
}

/*
 * The error itself, or EROFS. EIO for whatever keeps the chain from being read, by the step that
 * wanted to read it.
 */
bool player_judge(struct player *p, int64_t rc)
{
	const struct inject_hit *hits;
	unsigned n = p->armed ? inject_hits(&hits) : 0;
	int with = p->inject.kind == INJECT_MEMORY ? -ENOMEM : p->inject.error;

	if (rc >= 0)
		return true;
	if (n == 0)
		return player_wrong(p, "%s, and nothing had gone wrong", strerror((int)-rc));
	if (p->inject.kind == INJECT_EINTR || p->inject.kind == INJECT_SHORT)
		return player_wrong(p, "%s shows outside", strerror((int)-rc));
	if (rc == with)
		return true;
	if (p->inject.kind == INJECT_MEMORY)
		return player_wrong(p, "%s instead of ENOMEM", strerror((int)-rc));
	for (unsigned i = 0; i < MIN(n, INJECT_HITS); i++)
		if ((rc == -EIO && hits[i].layer && i >= p->hits_before) ||
		    (rc == -EROFS && stops_changes(&hits[i], with)))
			return true;
	return player_wrong(p, "%s instead of %s", strerror((int)-rc), strerror(-with));
}

/* A failed sync of a data file is the file's for the rest of the mount, whoever asked for it. */
struct synced player_hits(struct player *p, int file)
{
	struct synced found = {false, false, false};
	const struct inject_hit *hits;
	unsigned n;

	if (!p->armed || p->inject.kind != INJECT_ERROR)
		return found;
	n = MIN(inject_hits(&hits), INJECT_HITS);
	for (; p->hits_known < n; p->hits_known++) {
		const struct inject_hit *hit = &hits[p->hits_known];

		if (hit->call != SYS_CALL_FDATASYNC && hit->call != SYS_CALL_FSYNC)
			continue;
		found.journal |= ends_with(hit->path, "/journal");
		for (unsigned i = 0; i < p->book->file_count && hit->file_id; i++) {
			if (p->ids[i] != hit->file_id)
				continue;
			p->book->files[i].failed = true;
			found.data |= (int)i == file;
		}
		found.dir |= file >= 0 && hit->data_dir == (int)(p->ids[file] >> 8 & 0xff);
	}
	return found;
}

void player_quiet(struct player *p, bool quiet)
{
	if (quiet && p->open)
		core_drain(&p->b.core);
	if (p->armed)
		inject_pause(quiet);
}

/* ---- opening and closing ---- */

struct file *player_file(struct player *p, unsigned file, const char *path)
{
	struct file *f;

	for (unsigned i = 0; i < PLAYER_HELD; i++)
		if (p->held[i] && p->held_file[i] == file)
			return p->held[i];
	return core_find(&p->b.core, path, &f) == 0 ? f : NULL;
}

static void learn_ids(struct player *p)
{
	struct book_tree *t = book_now(p->book);

	for (unsigned i = 0; i < t->count; i++) {
		struct file *f = player_file(p, t->names[i].file, t->names[i].name);

		p->ids[t->names[i].file] = f ? overlay_file_id(f) : 0;
	}
}

bool player_open(struct player *p)
{
	const struct script *s = p->script;
	struct core_options o = {.kind = p->engine,
				 .threads = 2,
				 .journal_limit = s->journal_limit,
				 .reserve = s->reserve,
				 .slots = s->slots ? s->slots : 16,
				 .buffer_bytes = 2 * (size_t)BUFPOOL_LARGE,
				 .index_memory = s->index_memory ? s->index_memory : 1u << 20};
	int rc;

	backend_core_init(&p->b, p->chain, p->diff_path);
	rc = core_new(&p->b.core, &o, &p->b.e);
	if (rc == 0) {
		rc = core_open(&p->b.core, p->chain, p->diff_path, &p->b.e);
		if (rc < 0)
			core_free(&p->b.core);
	}
	(void)player_hits(p, -1);
	p->open = rc == 0;
	if (rc < 0)
		return player_judge(p, rc) || player_wrong(p, "%s", errmsg_text(&p->b.e, rc));
	for (unsigned i = 0; i < p->book->file_count; i++)
		p->book->files[i].failed = false;
	if (p->left)
		return player_adopt(p);
	learn_ids(p);
	return true;
}

void player_close(struct player *p)
{
	for (unsigned i = 0; i < PLAYER_HELD; i++) {
		if (p->held[i])
			overlay_unref(p->b.core.ov, p->held[i]);
		p->held[i] = NULL;
	}
	core_drain(&p->b.core);
	core_close(&p->b.core);
	core_free(&p->b.core);
	p->open = false;
	p->left = true;
}

/* As the daemon ends. */
static bool close_clean(struct player *p)
{
	bool good = player_sync_step(p, &(struct step){.op = "syncall"}, &(bool){false});

	for (unsigned i = 0; i < PLAYER_HELD; i++) {
		if (p->held[i])
			overlay_unref(p->b.core.ov, p->held[i]);
		p->held[i] = NULL;
	}
	core_drain(&p->b.core);
	(void)diff_checkpoint(p->b.core.diff);
	player_close(p);
	return good;
}

/* Nobody came to write that it ended well. */
static void leave_unclean(const char *diff_path)
{
	char path[300], text[64] = "", *at;
	int fd;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/lock", diff_path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	at = strstr(text, "clean");
	if (n < 0 || (at && pwrite(fd, "open ", 5, at - text) != 5))
		abort();
	(void)close(fd);
}

static bool kill_it(struct player *p)
{
	player_close(p);
	leave_unclean(p->diff_path);
	return true;
}

/* ---- steps ---- */

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*end == 'b') {
		n *= BOOK_BLOCK;
		end++;
	}
	return *end == '+' ? n + number(end + 1) : n;
}

static void parse(const char *text, struct step *s)
{
	unsigned words = 0, numbers = 0;
	char copy[120], *save = NULL;

	*s = (struct step){0};
	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *w = strtok_r(copy, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		if (words == 0) {
			s->async = *w == '&';
			(void)snprintf(s->op, sizeof(s->op), "%s", w + s->async);
			words++;
		} else if (isdigit((unsigned char)*w)) {
			if (numbers == ARRAY_SIZE(s->n))
				abort();
			s->n[numbers++] = number(w);
		} else {
			(void)snprintf(words++ == 1 ? s->a : s->b, sizeof(s->a), "%s", w);
		}
	}
}

/* What went wrong before it; while operations are in flight, or things go wrong for good: nothing. */
static unsigned step_begins(const struct player *p, const struct step *s)
{
	const struct inject_hit *hits;

	if (!p->armed || p->inject.sticky)
		return 0;
	return strcmp(s->op, "wait") == 0 ? p->hits_before : MIN(inject_hits(&hits), INJECT_HITS);
}

static bool run_step(struct player *p, const struct step *s)
{
	bool known = true, good;

	if (strcmp(s->op, "open") == 0)
		return p->open || player_open(p);
	if (!p->open)
		return true;
	if (strcmp(s->op, "close") == 0)
		return close_clean(p);
	if (strcmp(s->op, "kill") == 0)
		return kill_it(p);
	good = player_name_step(p, s, &known);
	if (!known)
		good = player_content_step(p, s, &known);
	if (!known)
		good = player_sync_step(p, s, &known);
	if (!known) {
		(void)fprintf(stderr, "fault: no such step: %s\n", s->op);
		abort();
	}
	return good;
}

bool player_play(struct player *p, const char *steps)
{
	bool good = true;

	while (steps && *steps && good) {
		size_t len = strcspn(steps, ";");
		struct step s;

		while (isspace((unsigned char)*steps)) {
			steps++;
			len--;
		}
		(void)snprintf(p->step, sizeof(p->step), "%.*s", (int)MIN(len, 110u), steps);
		parse(p->step, &s);
		p->hits_before = step_begins(p, &s);
		if (s.op[0])
			good = run_step(p, &s) && !p->why[0];
		steps += len + (steps[len] == ';');
	}
	return good;
}
