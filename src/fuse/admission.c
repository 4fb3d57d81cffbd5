/*
 * Admission, with write-back: while the host's disk is nearly full the kernel accepts no more
 * writes.
 *
 * A write that the kernel has accepted comes to us later, when nobody is left to be told that there
 * is no room. So who writes has to be told before, as on any file system. The kernel has no request
 * for that, but one that does: before it accepts a write it looks at the file's attributes, and
 * where it has been told that what it knows of them is void, it asks. What we answer to that GETATTR is
 * what the write returns: ENOSPC.
 *
 * While it is tight (diff_is_tight) the attributes of every file that is open for writing are
 * therefore void. Whatever tells the kernel attributes of such a file makes them good again, so
 * they are taken back right after. That is a job: the kernel may wait for an inode in it. What is
 * accepted meanwhile, and what had been accepted before, has room: the distance that diff_is_tight
 * keeps, and then the ballast.
 *
 * Between the telling and the taking back some writes slip through, each time: of a file that is
 * created, truncated, looked at again and again without end. When they have taken half of the
 * distance (diff_is_tightest), attributes are told for no time at all, which leaves no such gap; the
 * kernel then asks before a seek to the end, too. And who creates or truncates a file may take what
 * it was told for good after it was taken back (the kernel compares no versions there, or has not made
 * the inode yet): they are taken back again when a WRITE arrives, and now and then.
 *
 * The control file is exempt: it takes one block in its life, and PostgreSQL panics where it cannot be
 * written, at each checkpoint and in recovery.
 *
 * A GETATTR that comes from a descriptor is one of these while it is tight: stat and fstat ask
 * without, lseek goes by the kernel's own size. (Before Linux 5.16 lseek asks, too, and fails.)
 */
#include "fuse/fuse_internal.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define FIRST_WRITES 8 /* of a file that is new, while there is little room */

/* ---- who may write ---- */

static bool is_for_writing(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static struct writer *find(struct session *s, const struct file *file)
{
	struct writer *w;

	HASH_FIND_PTR(s->admission.writers, &file, w);
	return w;
}

void admission_opened(struct session *s, struct file *file, int flags)
{
	struct writer *w;

	if (!s->write_back || !is_for_writing(flags) || overlay_is_control(s->ov, file))
		return;
	w = find(s, file);
	if (w == NULL) {
		w = calloc(1, sizeof(*w));
		if (w == NULL)
			return; /* as if it were not tight; the ballast is there for it, too */
		w->file = file;
		w->ino = overlay_file_id(file);
		HASH_ADD_PTR(s->admission.writers, file, w);
		if (w->hh.tbl == NULL) {
			free(w);
			return;
		}
	}
	w->handles++;
}

void admission_released(struct session *s, const struct file *file, int flags)
{
	struct writer *w = s->write_back && is_for_writing(flags) ? find(s, file) : NULL;

	if (w == NULL || --w->handles > 0)
		return;
	HASH_DEL(s->admission.writers, w);
	free(w);
}

/* ---- taking attributes back ---- */

static void start_job(struct session *s);

static int64_t revoke_job(struct io_op *op)
{
	struct session *s = CONTAINER_OF(op, struct session, admission.op);

	/* A file that the kernel has forgotten meanwhile is ENOENT, and as good. */
	for (size_t i = 0; i < s->admission.count; i++)
		(void)fuse_lowlevel_notify_inval_inode(s->fuse, s->admission.inos[i], -1, 0);
	return 0;
}

static void answer(struct session *s, struct request *first)
{
	while (first != NULL) {
		struct request *req = first;

		first = req->next_open;
		open_answer(req);
	}
}

static void revoked(struct io_op *op)
{
	struct session *s = CONTAINER_OF(op, struct session, admission.op);
	struct admission *a = &s->admission;

	a->running = false;
	answer(s, TAKE_PTR(a->answering));
	start_job(s);
}

static int collect(struct admission *a)
{
	unsigned writers = HASH_COUNT(a->writers);
	struct writer *w, *next;

	a->count = 0;
	if (writers > a->cap) {
		fuse_ino_t *inos = reallocarray(a->inos, writers, sizeof(*inos));

		if (inos == NULL)
			return -ENOMEM;
		a->inos = inos;
		a->cap = writers;
	}
	HASH_ITER(hh, a->writers, w, next)
	{
		if (w->revoke)
			a->inos[a->count++] = w->ino;
		w->revoke = false;
	}
	return 0;
}

static void start_job(struct session *s)
{
	struct admission *a = &s->admission;

	if (a->running || !a->wanted || !s->mounted)
		return;
	a->wanted = false;
	if (collect(a) != 0) {
		answer(s, TAKE_PTR(a->opening));
		return;
	}
	a->answering = TAKE_PTR(a->opening);
	a->running = true;
	a->op = (struct io_op){.code = IO_JOB, .job = revoke_job, .done = revoked};
	io_submit(s->parts.io, &a->op);
}

static void revoke(struct session *s, struct writer *w)
{
	w->revoke = true;
	s->admission.wanted = true;
}

static void revoke_all(struct session *s)
{
	struct writer *w, *next;

	HASH_ITER(hh, s->admission.writers, w, next)
	revoke(s, w);
	start_job(s);
}

/* ---- tight or not ---- */

static void set_tight(struct session *s, bool tight)
{
	struct admission *a = &s->admission;

	if (tight == a->tight)
		return;
	a->tight = tight;
	if (!tight) {
		log_notice("there is room on the disk again");
		return;
	}
	log_warning("the disk is nearly full: writes are refused until there is room");
	revoke_all(s);
}

static void check(struct session *s)
{
	struct diff *diff = s->write_back ? overlay_diff(s->ov) : NULL;

	if (diff == NULL)
		return;
	diff_expect_files(diff, HASH_COUNT(s->admission.writers));
	set_tight(s, diff_is_tight(diff));
	if (!s->admission.tight)
		return;
	diff_ballast_restore(diff);
	start_job(s);
}

void admission_tick(struct session *s)
{
	check(s);
	if (s->admission.tight)
		revoke_all(s);
}

double admission_mark(struct session *s, const struct file *file)
{
	struct writer *w = s->admission.tight ? find(s, file) : NULL;

	if (w == NULL)
		return CACHE_SECONDS;
	revoke(s, w);
	return diff_is_tightest(overlay_diff(s->ov)) ? 0 : CACHE_SECONDS;
}

void admission_told(struct session *s)
{
	start_job(s);
}

void admission_written(struct session *s, const struct file *file)
{
	check(s);
	(void)admission_mark(s, file);
	start_job(s);
}

/* A small new file, which a checkpoint cannot do without: a few writes, until its size is known. */
static bool is_little(struct session *s, struct writer *w)
{
	struct stat st;

	overlay_getattr(s->ov, w->file, &st);
	return st.st_size == 0 && w->first_writes < FIRST_WRITES &&
	       diff_has_little_room(overlay_diff(s->ov));
}

bool admission_refuses(struct session *s, const struct file *file)
{
	struct admission *a = &s->admission;
	struct writer *w = a->tight ? find(s, file) : NULL;

	if (w == NULL)
		return false;
	check(s);
	if (a->tight && is_little(s, w)) {
		w->first_writes++;
		return false;
	}
	a->refused += a->tight;
	return a->tight;
}

bool admission_delays(struct request *req)
{
	struct session *s = req->session;
	struct admission *a = &s->admission;
	struct writer *w;

	if (!s->write_back || !is_for_writing(req->fi.flags))
		return false;
	check(s);
	w = a->tight && s->mounted ? find(s, req->file) : NULL;
	if (w == NULL)
		return false;
	req->next_open = a->opening;
	a->opening = req;
	revoke(s, w);
	start_job(s);
	return true;
}

void admission_free(struct session *s)
{
	struct writer *w, *next;

	HASH_ITER(hh, s->admission.writers, w, next)
	{
		HASH_DEL(s->admission.writers, w);
		free(w);
	}
	free(s->admission.inos);
}
