/*
 * Write-back or write-through.
 *
 * With write-back the kernel accepts writes before there is room for them in the diff. That is safe
 * on a full disk as long as what it may hold at once is bounded and set aside (diff_ballast_open,
 * fuse/admission.c). It is the default where both can be had.
 */
#include "base/log.h"
#include "base/util.h"
#include "cmd/daemon_internal.h"
#include "cmd/mount.h"
#include "cmd/plan.h"
#include "diff/diff.h"
#include "fuse/dirty_limit.h"

#include <string.h>

/* A page that the kernel holds may become a block of two in the diff. */
#define BALLAST(held) (2 * (held))
#define MORE	      (UINT64_C(4) << 20) /* than what was asked for: worth a word */

/* As much as is kept free for ourselves: less makes whoever writes much wait for the disk. */
static uint64_t wanted_held(const struct daemon *d)
{
	uint64_t reserve = d->plan->request->reserve;

	return reserve != 0 ? reserve : MOUNT_RESERVE;
}

void writes_bound(struct daemon *d)
{
	int rc;

	if (d->diff == NULL || d->plan->request->writes == WRITE_THROUGH)
		return;
	rc = dirty_limit_set(d->plan->mountpoint, wanted_held(d), &d->held);
	if (rc == 0 && d->held > wanted_held(d) + MORE)
		log_notice("the kernel may keep %llu MiB of writes: its bound could not be lowered",
			   (unsigned long long)(d->held >> 20));
	if (rc != 0) {
		d->held = 0;
		log_notice("how much the kernel keeps of writes cannot be told: %s", strerror(-rc));
	}
}

/* There is room for all that is kept free, and as much again for the clone. */
static bool is_room(const struct daemon *d)
{
	uint64_t kept = d->plan->request->reserve + 2 * BALLAST(d->held);

	return diff_host_free(d->diff) / 2 >= kept;
}

/* NULL: what the kernel accepts is safe here. */
static const char *why_through(const struct daemon *d)
{
	if (d->held == 0)
		return "what the kernel keeps is not bounded";
	if (!diff_ballast_is_sure(d->diff))
		return "host space that is set aside is not sure to be there on this file system";
	return is_room(d) ? NULL : "there is little room on the disk";
}

int writes_choose(struct daemon *d, struct errmsg *e)
{
	enum write_mode mode = d->plan->request->writes;
	const char *why = NULL;
	uint64_t ballast;
	int rc;

	if (d->diff == NULL)
		return 0;
	if (mode == WRITE_AUTO)
		why = why_through(d);
	d->write_back = mode != WRITE_THROUGH && why == NULL;
	ballast = !d->write_back ? 0 : BALLAST(d->held != 0 ? d->held : wanted_held(d));
	rc = diff_ballast_open(d->diff, ballast);
	/* A quota that statvfs does not show, no fallocate; or hardly any file can be made. */
	if (rc == 0 && mode == WRITE_AUTO && d->write_back && diff_is_tight(d->diff))
		why = "there is little room on the disk";
	if (rc == 0 && mode == WRITE_AUTO && d->write_back && !diff_ballast_is_there(d->diff))
		why = "host space cannot be set aside";
	if (rc == 0 && d->write_back && why != NULL) {
		d->write_back = false;
		rc = diff_ballast_open(d->diff, 0);
	}
	if (why != NULL)
		log_notice("write-through: %s", why);
	if (rc != 0)
		return errmsg_set(e, rc, "diff '%s': cannot set host space aside: %s",
				  d->plan->diff, strerror(-rc));
	return 0;
}
