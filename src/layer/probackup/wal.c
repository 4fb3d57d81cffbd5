/*
 * layer/probackup/wal.c: delivering one file of the archive; see wal.h.
 *
 * What PostgreSQL gets decides where its recovery ends, so "there is none" is said only when the
 * archive was looked into, and everything else is an error of its own.
 */
#include "layer/probackup/wal.h"
#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"
#include "codec/gzip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define CONF_MAX  (64u << 10)
#define IN_BYTES  (256u << 10)
#define OUT_BYTES (1u << 20)

/* ---- the archive ---- */

int wal_read_small(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = sys_open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK);
	_cleanup_free_ char *data = NULL;
	struct stat st;
	int64_t n;
	int rc;

	if (fd < 0)
		return fd;
	rc = sys_fstat(fd, &st);
	if (rc < 0)
		return rc;
	if (!S_ISREG(st.st_mode))
		return -EUCLEAN;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	data = malloc((size_t)st.st_size + 1);
	if (data == NULL)
		return -ENOMEM;
	n = sys_pread_full(fd, data, (size_t)st.st_size, 0);
	if (n < 0)
		return (int)n;
	data[n] = '\0';
	*ret = TAKE_PTR(data);
	*ret_len = (size_t)n;
	return 0;
}

static int take_conf(void *ctx, const char *key, const char *value)
{
	struct wal_archive *a = ctx;
	char *end;
	unsigned long long number = strtoull(value, &end, 10);

	if (*value < '0' || *value > '9' || *end != '\0')
		return 0;
	if (strcmp(key, "system-identifier") == 0)
		a->system_identifier = number;
	else if (strcmp(key, "xlog-seg-size") == 0 && pg_wal_segment_size_is_valid(number))
		a->segment_size = (uint32_t)number;
	return 0;
}

static int read_conf(struct wal_archive *a, struct errmsg *e)
{
	_cleanup_free_ char *data = NULL;
	char path[8 + 256 + 32];
	struct errmsg why = {""};
	size_t len;
	int rc;

	(void)snprintf(path, sizeof(path), "backups/%s/pg_probackup.conf", a->instance);
	rc = wal_read_small(a->store->dirfd, path, CONF_MAX, &data, &len);
	if (rc == 0)
		rc = ini_parse(data, len, take_conf, a, &why);
	if (rc == 0 && a->segment_size == 0)
		rc = errmsg_set(&why, -EUCLEAN, "no valid xlog-seg-size");
	/* -ENOENT would be taken for the end of the archive. */
	return rc < 0 ? errmsg_set(e, rc == -ENOENT ? -EUCLEAN : rc, "%s/%s: %s", a->store->path,
				   path, errmsg_text(&why, rc))
		      : 0;
}

static int open_directory(struct wal_archive *a, struct errmsg *e)
{
	char path[8 + 256];
	int fd;

	(void)snprintf(path, sizeof(path), "wal/%s", a->instance);
	fd = probackup_open_dir(a->store, path, e);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return errmsg_set(e, -ENOTDIR, "%s has no WAL archive of instance %s (%s)",
				  a->store->path, a->instance, path);
	if (fd < 0)
		return fd;
	a->dirfd = fd;
	return 0;
}

int wal_archive_open(const struct store *store, const char *instance, struct errmsg *e,
		     struct wal_archive *ret)
{
	struct wal_archive a = {.store = store, .dirfd = -1};
	int rc = 0;

	if (instance == NULL)
		rc = probackup_only_instance(store, e, &a.instance);
	else if (!path_is_safe(instance) || strchr(instance, '/') != NULL || strlen(instance) > 255)
		rc = errmsg_set(e, -EINVAL, "'%s' is not the name of an instance", instance);
	else
		a.instance = strdup(instance);
	if (rc < 0)
		return rc == -ENOENT ? -ENOTDIR : rc;
	if (a.instance == NULL)
		return errmsg_set(e, -ENOMEM, "out of memory");
	rc = read_conf(&a, e);
	if (rc == 0)
		rc = open_directory(&a, e);
	if (rc < 0)
		wal_archive_close(&a);
	else
		*ret = a;
	return rc;
}

void wal_archive_close(struct wal_archive *archive)
{
	util_closep(&archive->dirfd);
	free(archive->instance);
	*archive = (struct wal_archive){.dirfd = -1};
}

/* ---- one segment ---- */

static const struct form {
	const char *suffix;
	bool gzip, partial;
} forms[] = {
	{".gz", true, false},
	{"", false, false},
	{".gz.partial", true, true},
	{".partial", false, true},
};

struct reading {
	const struct wal_archive *archive;
	const struct form *form;
	struct pg_wal_name name;
	const struct wal_sink *sink;
	struct errmsg *e;
	int fd;
	uint64_t size;	   /* bytes of the file */
	uint64_t made;	   /* bytes of WAL so far */
	uint8_t *in, *out; /* IN_BYTES, OUT_BYTES */
};

static bool is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int check_first_page(const struct reading *r, const uint8_t *page, size_t len)
{
	const struct pg_wal_expect expect = {
		.timeline = r->name.timeline,
		.segment = r->name.segment,
		.segment_size = r->archive->segment_size,
		.system_identifier = r->archive->system_identifier,
	};

	/* A partial one may have been made in advance, and nothing written yet. */
	if (r->form->partial && is_zero(page, len))
		return 0;
	if (len < PG_WAL_HEADER_BYTES)
		return errmsg_set(r->e, -EUCLEAN, "it has only %zu bytes", len);
	return pg_wal_check_first_page(page, &expect, r->e);
}

static int deliver(struct reading *r, const uint8_t *data, size_t len)
{
	int rc = 0;

	if (r->made + len > r->archive->segment_size)
		return errmsg_set(r->e, -EUCLEAN, "it is longer than a segment of %u bytes",
				  r->archive->segment_size);
	if (r->made == 0)
		rc = check_first_page(r, data, MIN(len, (size_t)PG_WAL_PAGE));
	if (rc == 0)
		rc = r->sink->write(r->sink->ctx, data, len);
	r->made += len;
	return rc;
}

static int read_plain(struct reading *r)
{
	if (r->size > r->archive->segment_size)
		return errmsg_set(r->e, -EUCLEAN, "it has %llu bytes, more than a segment's %u",
				  (unsigned long long)r->size, r->archive->segment_size);
	for (uint64_t off = 0; off < r->size;) {
		int64_t n = sys_pread_full(r->fd, r->out, OUT_BYTES, off);
		int rc = n < 0 ? (int)n : 0;

		if (n == 0)
			break;
		if (rc == 0)
			rc = deliver(r, r->out, (size_t)n);
		if (rc != 0)
			return rc;
		off += (uint64_t)n;
	}
	return 0;
}

/* All that can be decoded of what was fed. */
static int drain(struct reading *r, struct gzip_stream *stream)
{
	for (;;) {
		int64_t n = gzip_stream_read(stream, r->out, OUT_BYTES);
		int rc;

		if (n == -EBADMSG)
			return errmsg_set(r->e, -EBADMSG, "its gzip checksum does not match");
		if (n < 0)
			return errmsg_set(r->e, (int)n, "its gzip data is damaged");
		if (n == 0)
			return 0;
		rc = deliver(r, r->out, (size_t)n);
		if (rc != 0)
			return rc;
	}
}

static int read_gzip(struct reading *r)
{
	_cleanup_(gzip_stream_freep) struct gzip_stream *stream = NULL;
	uint64_t off = 0;
	int rc = gzip_stream_new(&stream);

	while (rc == 0) {
		int64_t n = sys_pread_full(r->fd, r->in, IN_BYTES, off);

		if (n <= 0) {
			rc = (int)n;
			break;
		}
		gzip_stream_feed(stream, r->in, (uint32_t)n);
		rc = drain(r, stream);
		off += (uint64_t)n;
	}
	if (rc == 0 && !gzip_stream_is_whole(stream) && !r->form->partial)
		return errmsg_set(r->e, -EUCLEAN, "its gzip data is cut off");
	return rc;
}

/* What is behind the end of a partial one. */
static int fill_up(struct reading *r)
{
	uint64_t left = r->archive->segment_size - r->made;
	int rc = 0;

	if (left > 0 && !r->form->partial)
		return errmsg_set(r->e, -EUCLEAN, "it is cut off: %llu bytes of %u",
				  (unsigned long long)r->made, r->archive->segment_size);
	memset(r->out, 0, OUT_BYTES);
	while (rc == 0 && left > 0) {
		size_t part = (size_t)MIN(left, (uint64_t)OUT_BYTES);

		rc = r->sink->write(r->sink->ctx, r->out, part);
		left -= part;
	}
	return rc;
}

static int read_form(struct reading *r)
{
	_cleanup_free_ uint8_t *in = malloc(IN_BYTES);
	_cleanup_free_ uint8_t *out = malloc(OUT_BYTES);
	struct stat st;
	int rc;

	if (in == NULL || out == NULL)
		return -ENOMEM;
	rc = sys_fstat(r->fd, &st);
	if (rc < 0)
		return rc;
	if (!S_ISREG(st.st_mode))
		return errmsg_set(r->e, -EUCLEAN, "it is no regular file");
	r->size = (uint64_t)st.st_size;
	r->in = in;
	r->out = out;
	rc = r->form->gzip ? read_gzip(r) : read_plain(r);
	return rc == 0 ? fill_up(r) : rc;
}

static int read_segment(const struct wal_archive *a, const char *name,
			const struct pg_wal_name *parsed, const struct wal_sink *sink,
			struct errmsg *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		struct errmsg why = {""};
		struct reading r = {.archive = a,
				    .form = &forms[i],
				    .name = *parsed,
				    .sink = sink,
				    .e = &why,
				    .fd = -1};
		char path[64];
		int rc;

		(void)snprintf(path, sizeof(path), "%s%s", name, forms[i].suffix);
		r.fd = sys_open_beneath(a->dirfd, path, O_RDONLY | O_NONBLOCK);
		if (r.fd == -ENOENT)
			continue;
		rc = r.fd < 0 ? r.fd : read_form(&r);
		util_closep(&r.fd);
		if (rc == -ENOENT)
			rc = -EIO;
		return rc < 0 ? errmsg_set(e, rc, "%s/wal/%s/%s: %s", a->store->path, a->instance,
					   path, errmsg_text(&why, rc))
			      : 0;
	}
	return -ENOENT;
}

/* ---- other files ---- */

static int read_other(const struct wal_archive *a, const char *name,
		      const struct pg_wal_name *parsed, const struct wal_sink *sink,
		      struct errmsg *e)
{
	_cleanup_free_ struct pg_wal_switch *list = NULL;
	_cleanup_free_ char *data = NULL;
	struct errmsg why = {""};
	size_t len, count;
	int rc = wal_read_small(a->dirfd, name, WAL_SMALL_MAX, &data, &len);

	if (rc == -ENOENT)
		return rc;
	/* Damage would lead recovery to another timeline. */
	if (rc == 0 && parsed->kind == PG_WAL_HISTORY)
		rc = pg_wal_history_parse(data, len, parsed->timeline, &list, &count, &why);
	if (rc == 0)
		rc = sink->write(sink->ctx, data, len);
	return rc < 0 ? errmsg_set(e, rc, "%s/wal/%s/%s: %s", a->store->path, a->instance, name,
				   errmsg_text(&why, rc))
		      : 0;
}

int probackup_wal_read(struct store *store, const char *instance, const char *name,
		       const struct wal_sink *sink, struct errmsg *e)
{
	struct pg_wal_name parsed;
	struct wal_archive archive;
	int rc = wal_archive_open(store, instance, e, &archive);

	if (rc < 0)
		return rc;
	if (!pg_wal_name_parse(name, archive.segment_size, &parsed))
		rc = errmsg_set(e, -EINVAL, "'%.64s' is not the name of a file of a WAL archive",
				name);
	else if (parsed.kind == PG_WAL_SEGMENT)
		rc = read_segment(&archive, name, &parsed, sink, e);
	else
		rc = read_other(&archive, name, &parsed, sink, e);
	if (rc == -ENOENT)
		(void)errmsg_set(e, rc, "%s/wal/%s has no %s", store->path, archive.instance, name);
	wal_archive_close(&archive);
	return rc;
}
