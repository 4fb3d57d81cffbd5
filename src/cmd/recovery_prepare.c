/*
 * cmd/recovery_prepare.c: the files of a recovery, written into the diff before anything is served;
 * see recovery.h.
 */
#include "cmd/offline.h"
#include "cmd/recovery.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define AUTO_CONF "postgresql.auto.conf"
#define CONF_MAX  (1u << 20) /* bytes, and the most one read or write takes */

struct prepare {
	struct offline o;
	uid_t uid;
	gid_t gid;
	bool done;
	int rc;
	struct overlay_read read;
	struct overlay_write write;
	struct overlay_resize resize;
	struct overlay_sync sync;
	struct diff_room_wait room;
	char *data; /* what was read */
};

/* ---- one operation at a time ---- */

static void has_read(struct overlay_read *op)
{
	struct prepare *p = CONTAINER_OF(op, struct prepare, read);

	p->done = true;
	p->rc = (int)MIN(op->result, 0);
	if (p->rc < 0)
		return;
	p->data = malloc((size_t)op->result + 1);
	if (p->data == NULL) {
		p->rc = -ENOMEM;
		return;
	}
	memcpy(p->data, op->data, (size_t)op->result);
	p->data[op->result] = '\0';
}

static void has_written(struct overlay_write *op)
{
	struct prepare *p = CONTAINER_OF(op, struct prepare, write);

	p->done = true;
	p->rc = op->result;
}

static void has_resized(struct overlay_resize *op)
{
	struct prepare *p = CONTAINER_OF(op, struct prepare, resize);

	p->done = true;
	p->rc = op->result;
}

static void has_synced(struct overlay_sync *op)
{
	struct prepare *p = CONTAINER_OF(op, struct prepare, sync);

	p->done = true;
	p->rc = op->result;
}

static void has_room(struct diff_room_wait *wait)
{
	CONTAINER_OF(wait, struct prepare, room)->done = true;
}

static int wait_done(struct prepare *p)
{
	offline_wait(&p->o, &p->done);
	return p->rc;
}

/* The content of a file in the root, at most CONF_MAX bytes; "" if it is not there. */
static int read_file(struct prepare *p, const char *name)
{
	struct file *file;
	int rc = overlay_lookup(p->o.ov, overlay_root(p->o.ov), name, &file);

	if (rc == -ENOENT) {
		p->data = strdup("");
		return p->data != NULL ? 0 : -ENOMEM;
	}
	if (rc < 0)
		return rc;
	p->done = false;
	p->read = (struct overlay_read){.file = file, .len = CONF_MAX, .done = has_read};
	overlay_read(p->o.ov, &p->read);
	return wait_done(p);
}

static int open_file(struct prepare *p, const char *name, struct file **ret)
{
	const struct overlay_create what = {.mode = S_IFREG | 0600, .uid = p->uid, .gid = p->gid};
	struct file *root = overlay_root(p->o.ov);
	int rc = overlay_lookup(p->o.ov, root, name, ret);

	while (rc == -ENOENT || rc == -EAGAIN) {
		rc = overlay_create(p->o.ov, root, name, &what, ret);
		if (rc != -EAGAIN)
			break;
		p->done = false;
		p->room = (struct diff_room_wait){.ready = has_room};
		overlay_wait_room(p->o.ov, &p->room);
		(void)wait_done(p);
	}
	return rc;
}

static int put_file(struct prepare *p, const char *name, const char *text)
{
	struct file *file;
	int rc = open_file(p, name, &file);

	if (rc < 0)
		return rc;
	p->done = false;
	p->resize = (struct overlay_resize){.file = file, .done = has_resized};
	overlay_resize(p->o.ov, &p->resize);
	rc = wait_done(p);
	if (rc < 0 || text[0] == '\0')
		return rc;
	p->done = false;
	p->write = (struct overlay_write){
		.file = file, .len = (uint32_t)strlen(text), .data = text, .done = has_written};
	overlay_write(p->o.ov, &p->write);
	return wait_done(p);
}

static int sync_all(struct prepare *p)
{
	p->done = false;
	p->sync = (struct overlay_sync){.all = true, .done = has_synced};
	overlay_sync(p->o.ov, &p->sync);
	return wait_done(p);
}

/* ---- the files ---- */

const char *recovery_signal_name(unsigned major)
{
	return major >= 12 ? "recovery.signal" : "recovery.conf";
}

/* Version 12 brought the settings of recovery.conf to where the others are. */
static int put_files(struct prepare *p, const struct recovery *recovery, unsigned major)
{
	_cleanup_free_ char *settings = recovery_conf_text(recovery);
	_cleanup_free_ char *all = NULL;
	bool own_file = major < 12;
	int rc;

	if (settings == NULL)
		return -ENOMEM;
	rc = read_file(p, AUTO_CONF);
	if (rc == 0 && strlen(p->data) + strlen(settings) >= CONF_MAX)
		rc = -EFBIG;
	if (rc == 0 &&
	    asprintf(&all, "%s%s" RECOVERY_NO_ARCHIVE, p->data, own_file ? "\n" : settings) < 0) {
		all = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0)
		rc = put_file(p, AUTO_CONF, all);
	return rc == 0 ? put_file(p, recovery_signal_name(major), own_file ? settings : "") : rc;
}

int recovery_prepare(struct overlay *ov, const struct recovery *recovery, unsigned major, uid_t uid,
		     gid_t gid, struct errmsg *e)
{
	struct prepare p = {.uid = uid, .gid = gid};
	int rc = offline_start(ov, e, &p.o);

	if (rc == 0)
		rc = put_files(&p, recovery, major);
	if (rc == 0)
		rc = sync_all(&p);
	/* Else the mount that follows would find something to recover. */
	if (rc == 0)
		rc = diff_checkpoint(overlay_diff(ov));
	offline_end(&p.o);
	free(p.data);
	return rc < 0 ? errmsg_set(e, rc, "cannot prepare the clone for its recovery: %s",
				   errmsg_text(NULL, rc))
		      : 0;
}

int recovery_program(struct errmsg *e, char **ret)
{
	static const char deleted[] = " (deleted)";
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t len, end = strlen(deleted);

	if (n < 0)
		return errmsg_set(e, -errno, "cannot find the path of this program: %s",
				  strerror(errno));
	path[n] = '\0';
	len = (size_t)n;
	/* Replaced by a newer one meanwhile: that one is right, too. */
	if (len > end && strcmp(path + len - end, deleted) == 0)
		path[len - end] = '\0';
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return errmsg_set(e, -errno,
				  "recovery runs %s as the owner of the clone, who cannot: %s",
				  path, strerror(errno));
	*ret = strdup(path);
	return *ret != NULL ? 0 : -ENOMEM;
}
