/*
 * layer/probackup/chain_lock.c: the locks of a chain.
 *
 * They are taken the FULL's first, one after the other, as pg_probackup does itself: whoever holds one
 * and waits for another must not be waited for by somebody who has that one. From then on it does not
 * change the files. A thread does it for a long chain: what is read of the lists meanwhile is right if
 * its content-crc is that of a backup.control that has not changed when its lock is there. That thread also
 * looks for what is kept of the older lists, first of all.
 */
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sys/stat.h>

#define APART_LEAST 16u /* members: below, a thread does not pay */

struct chain_locking {
	struct probackup_chain *chain;
	unsigned at; /* the member being locked */
	int line_fd; /* see lock.h */
	pthread_t thread;
	bool apart; /* the thread has not been joined */
	const char *cache;	  /* where to look; NULL: nowhere, or what was found is taken */
	struct lists_found found; /* the thread's until it has posted */
	sem_t looked;
	bool looks_apart;
	int rc;
	struct errmsg e;
};

/* Of what was read of a backup before its lock was there: does it still hold? */
static bool is_same_backup(const struct probackup_control *a, const struct probackup_control *b)
{
	return a->mode == b->mode && strcmp(a->parent, b->parent) == 0 &&
	       a->start_lsn == b->start_lsn && a->program_version == b->program_version &&
	       a->has_crc == b->has_crc && a->content_crc == b->content_crc;
}

/* Under the latch: is the backup still what the catalog said? A merge may have begun meanwhile. */
static int check_again(void *ctx, struct errmsg *e)
{
	const struct chain_locking *l = ctx;
	const struct probackup_chain *chain = l->chain;
	const struct probackup_layer *member = &chain->members[l->at];
	const char *id = member->base.id, *target = chain->members[chain->base.count - 1].base.id;
	struct probackup_control now = member->control;
	int rc;

	rc = probackup_control_read(member->base.dirfd, "backup.control", id, &now, e);
	if (rc == 0)
		rc = catalog_check_member(id, &now, target, chain->force, e);
	if (rc == 0 && !is_same_backup(&now, &member->control))
		rc = errmsg_set(e, -ESTALE, "backup %s was changed meanwhile; try again", id);
	return rc;
}

static int lock_member(struct chain_locking *l)
{
	struct probackup_layer *member = &l->chain->members[l->at];
	struct lock_request request = {
		.pid = l->chain->lock_pid,
		.held_ms = LOCK_HELD_MS,
		.empty_ms = LOCK_EMPTY_MS,
		.line_fd = &l->line_fd,
	};
	int rc;

	if (request.pid == 0)
		return check_again(l, &l->e);
	rc = lock_share(member->base.dirfd, member->base.id, &request, check_again, l,
			&member->lock_problem, &l->e);
	if (rc < 0)
		return rc;
	member->locked = rc > 0;
	return 0;
}

static int open_map(struct probackup_layer *member, struct errmsg *e)
{
	struct stat st;
	int fd, rc;

	fd = sys_open_beneath(member->base.dirfd, "page_header_map", O_RDONLY | O_NONBLOCK);
	if (fd == -ENOENT)
		return 0; /* the data files will be scanned, or there are none */
	rc = fd < 0 ? fd : sys_fstat(fd, &st);
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc < 0) {
		util_closep(&fd);
		return errmsg_set(e, rc, "backup %s: page_header_map: %s", member->base.id,
				  probackup_open_text(rc));
	}
	member->map_fd = fd;
	member->map_size = (uint64_t)st.st_size;
	return 0;
}

static int open_dir(const struct probackup_chain *chain, unsigned i, struct errmsg *e)
{
	struct layer *layer = &chain->members[i].base;

	if (layer->dirfd >= 0)
		return 0; /* the target's, which somebody reads meanwhile */
	layer->dirfd = sys_open_beneath(chain->instance_dirfd, layer->id, O_RDONLY | O_DIRECTORY);
	if (layer->dirfd < 0)
		return errmsg_set(e, layer->dirfd, "backup %s: %s", layer->id,
				  probackup_open_text(layer->dirfd));
	return 0;
}

static int lock_all(struct chain_locking *l)
{
	int rc = 0;

	for (l->at = 0; l->at < l->chain->base.count && rc == 0; l->at++) {
		rc = open_dir(l->chain, l->at, &l->e);
		if (rc == 0)
			rc = lock_member(l);
		if (rc == 0)
			rc = open_map(&l->chain->members[l->at], &l->e);
	}
	util_closep(&l->line_fd);
	return rc;
}

static void *lock_apart(void *arg)
{
	struct chain_locking *l = arg;

	if (l->cache != NULL)
		lists_look(l->chain, l->cache, &l->found);
	(void)sem_post(&l->looked);
	l->rc = lock_all(l);
	return NULL;
}

/* Long lists have threads of their own, and take so long that the locks do not count. */
static bool pays_apart(const struct probackup_chain *chain)
{
	bool has_crcs = true;

	for (unsigned i = 0; i < chain->base.count; i++)
		has_crcs = has_crcs && chain->members[i].control.has_crc;
	return has_crcs && chain->base.count >= APART_LEAST &&
	       !load_is_long(&chain->members[chain->base.count - 1]);
}

int chain_lock_begin(struct probackup_chain *chain, const char *cache, struct errmsg *e)
{
	struct chain_locking *l = calloc(1, sizeof(*l));
	int rc;

	if (l == NULL || sem_init(&l->looked, 0, 0) < 0) {
		free(l);
		return -ENOMEM;
	}
	chain->locking = l;
	l->chain = chain;
	l->line_fd = -1;
	l->cache = cache;
	rc = open_dir(chain, chain->base.count - 1, e);
	if (rc < 0)
		return rc;
	l->apart = pays_apart(chain) && thread_start(&l->thread, lock_apart, l) == 0;
	l->looks_apart = l->apart;
	if (l->apart)
		return 0;
	l->rc = lock_all(l);
	return chain_lock_end(chain, e);
}

void chain_lock_found(struct probackup_chain *chain, struct lists_found *ret)
{
	struct chain_locking *l = chain->locking;

	*ret = (struct lists_found){0};
	if (l->cache == NULL)
		return;
	while (l->looks_apart && sem_wait(&l->looked) < 0 && errno == EINTR)
		;
	if (!l->looks_apart)
		lists_look(chain, l->cache, &l->found);
	*ret = l->found;
	l->found = (struct lists_found){0};
	l->cache = NULL;
}

int chain_lock_end(struct probackup_chain *chain, struct errmsg *e)
{
	struct chain_locking *l = chain->locking;

	if (l->apart)
		(void)pthread_join(l->thread, NULL);
	l->apart = false;
	if (l->rc == 0)
		return 0;
	if (e != NULL)
		e->text[0] = '\0'; /* what a list said: whoever is removing the backup may be why */
	return errmsg_set(e, l->rc, "%s", errmsg_text(&l->e, l->rc));
}

static void unlock_member(const struct probackup_chain *chain, struct probackup_layer *member)
{
	struct lock_request request = {
		.pid = chain->lock_pid, .held_ms = LOCK_RELEASE_MS, .empty_ms = LOCK_RELEASE_MS};

	if (member->locked)
		lock_unshare(member->base.dirfd, &request);
	member->locked = false;
}

void chain_lock_free(struct probackup_chain *chain)
{
	struct chain_locking *l = TAKE_PTR(chain->locking);

	if (l == NULL)
		return;
	if (l->apart)
		(void)pthread_join(l->thread, NULL);
	for (unsigned i = 0; i < chain->base.count; i++)
		unlock_member(chain, &chain->members[i]);
	lists_found_free(&l->found);
	(void)sem_destroy(&l->looked);
	free(l);
}

void chain_unlock(int layer_dirfd, pid_t lock_pid)
{
	const struct lock_request request = {
		.pid = lock_pid, .held_ms = LOCK_RELEASE_MS, .empty_ms = LOCK_RELEASE_MS};

	lock_release(layer_dirfd, &request);
}
