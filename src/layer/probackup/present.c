/*
 * layer/probackup/present.c: where the mount differs from the list, as restore does.
 *
 * tablespace_map must not be seen: the server would re-create the links it names, to the places of
 * the original. A tablespace must be a symbolic link, or the server panics at the consistency
 * point; so its content is shown below a hidden directory of the mount, and the link is relative.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "pg/control.h"
#include "pg/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define HIDDEN_DIR PROBACKUP_HIDDEN_DIR
#define TBLSPC_DIR "pg_tblspc"
#define SHOWN_DIR  HIDDEN_DIR "/tblspc"
#define OID_DIGITS 10u
#define SMALL_FILE (1u << 20) /* limit for files that are read here */

struct spaces {
	struct load *load;
	char (*oids)[OID_DIGITS + 1];
	size_t count, cap;
};

static const char *member_id(const struct load *load, unsigned member)
{
	return load->chain->members[member].base.id;
}

/* ---- stored files that are read at once ---- */

static int read_beneath(int dirfd, const char *name, void *buf, size_t len)
{
	_cleanup_close_ int fd = sys_open_beneath(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	int64_t n;

	if (fd < 0)
		return fd;
	n = sys_pread_full(fd, buf, len + 1, 0);
	if (n < 0)
		return (int)n;
	return (uint64_t)n == len ? 0 : -EUCLEAN;
}

/* By the instance's directory: that of an older member may not be open yet (chain_lock.c). */
static int read_of_member(const struct load *load, unsigned member, const char *name, void *buf,
			  size_t size)
{
	char path[PROBACKUP_ID_MAX + sizeof("/database/") + CONTENT_PATH_MAX];

	if (size == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", member_id(load, member), name);
	return read_beneath(load->chain->instance_dirfd, path, buf, size);
}

/* size and crc as the member's list has them. */
static int read_stored(const struct load *load, unsigned member, const char *name, uint64_t size,
		       const uint32_t *crc, char **ret)
{
	_cleanup_free_ char *data = NULL;
	int rc;

	if (size > SMALL_FILE)
		return errmsg_set(load->e, -EFBIG, "backup %s: %s: too large",
				  member_id(load, member), name);
	data = malloc(size + 1);
	if (data == NULL)
		return -ENOMEM;
	rc = read_of_member(load, member, name, data, size);
	if (rc == -EUCLEAN)
		return errmsg_set(load->e, rc, "backup %s: %s: not as long as its list says",
				  member_id(load, member), name);
	if (rc < 0)
		return errmsg_set(load->e, rc, "backup %s: %s: %s", member_id(load, member), name,
				  errmsg_text(NULL, rc));
	if (crc != NULL && size > 0 && crc32c(0, data, size) != *crc)
		return errmsg_set(load->e, -EBADMSG,
				  "backup %s: %s: does not match the crc of its list",
				  member_id(load, member), name);
	data[size] = '\0';
	*ret = TAKE_PTR(data);
	return 0;
}

/* ---- tablespaces ---- */

int present_parse_tablespace_map(const char *text, size_t len,
				 int (*fn)(void *ctx, const char *oid, size_t oid_len), void *ctx)
{
	const char *end = text + len;

	while (text < end) {
		const char *at = text;
		int rc;

		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == text || (size_t)(at - text) > OID_DIGITS || *text == '0' || at == end ||
		    (*at != ' ' && *at != '\t'))
			return -EUCLEAN;
		rc = fn(ctx, text, (size_t)(at - text));
		if (rc < 0)
			return rc;
		/* The server puts a backslash before a newline that belongs to the path. */
		while (at < end && *at != '\n')
			at += *at == '\\' && at + 1 < end ? 2 : 1;
		text = at + (at < end);
	}
	return 0;
}

static int take_oid(void *ctx, const char *oid, size_t oid_len)
{
	struct spaces *s = ctx;

	if (s->count == s->cap) {
		size_t cap = s->cap + 16;
		void *oids = reallocarray(s->oids, cap, sizeof(*s->oids));

		if (oids == NULL)
			return -ENOMEM;
		s->oids = oids;
		s->cap = cap;
	}
	memcpy(s->oids[s->count], oid, oid_len);
	s->oids[s->count][oid_len] = '\0';
	s->count++;
	return 0;
}

/* The tablespaces that the map names, if the target has one. */
static int read_spaces(struct spaces *s, const struct load_item *map)
{
	_cleanup_free_ char *text = NULL;
	const char *id = member_id(s->load, s->load->member);
	int rc;

	if (map->entry.kind != LAYER_PLAIN || map->entry.origin != LAYER_ORIGIN_NONE)
		return errmsg_set(s->load->e, -EUCLEAN,
				  "backup %s: tablespace_map is not stored in it", id);
	rc = read_stored(s->load, s->load->member, map->file.name, map->entry.size, &map->crc,
			 &text);
	if (rc == 0)
		rc = present_parse_tablespace_map(text, map->entry.size, take_oid, s);
	if (rc == -EUCLEAN)
		return errmsg_set(s->load->e, rc, "backup %s: tablespace_map is damaged", id);
	return rc;
}

/* path below pg_tblspc/: the rest behind the oid ("" or "/..."), if the map names it. */
static const char *behind_oid(const struct spaces *s, const char *path)
{
	size_t len;

	if (strncmp(path, TBLSPC_DIR "/", strlen(TBLSPC_DIR "/")) != 0)
		return NULL;
	path += strlen(TBLSPC_DIR "/");
	len = strcspn(path, "/");
	for (size_t i = 0; i < s->count; i++) {
		if (strncmp(s->oids[i], path, len) == 0 && s->oids[i][len] == '\0')
			return path + len;
	}
	return NULL;
}

static int set_path(struct load *load, const char **ret, const char *prefix, const char *rest)
{
	char path[CONTENT_PATH_MAX + 32];
	int len = snprintf(path, sizeof(path), "%s%s", prefix, rest);

	*ret = arena_strndup(load->chain->arena, path, (size_t)len);
	return *ret != NULL ? 0 : -ENOMEM;
}

static int add_dir(struct load *load, const char *path, uint32_t mode)
{
	struct load_item *item = load_add(load);

	if (item == NULL)
		return -ENOMEM;
	item->entry.kind = LAYER_DIR;
	item->entry.mode = mode;
	return set_path(load, &item->entry.path, path, "");
}

/* pg_tblspc/<oid> becomes a link, and what is below it goes where the link leads. */
static int move_item(const struct spaces *s, uint32_t i, uint32_t mode)
{
	struct load *load = s->load;
	struct load_item *item = &load->items[i];
	const char *path = item->entry.path;
	const char *rest = behind_oid(s, path);
	int rc;

	if (rest == NULL)
		return 0;
	if (*rest != '\0')
		return set_path(load, &item->entry.path, SHOWN_DIR, path + strlen(TBLSPC_DIR));
	if (item->entry.kind != LAYER_DIR)
		return errmsg_set(load->e, -EUCLEAN, "backup %s: '%s' is no directory",
				  member_id(load, load->member), path);
	item->entry.kind = LAYER_SYMLINK;
	item->entry.mode = S_IFLNK | 0777;
	rc = set_path(load, &item->entry.target, "../" SHOWN_DIR, path + strlen(TBLSPC_DIR));
	if (rc < 0)
		return rc;
	/* load_add moves the items: item is not used from here on. */
	return add_dir(load, item->entry.target + strlen("../"), mode);
}

static int move_spaces(const struct spaces *s)
{
	struct load *load = s->load;
	const struct load_item *root = load_find(load, TBLSPC_DIR);
	uint32_t mode = root != NULL ? root->entry.mode : S_IFDIR | 0700;
	uint32_t listed = load->count;
	int rc = 0;

	for (uint32_t i = 0; i < listed && rc == 0; i++)
		rc = move_item(s, i, mode);
	if (rc == 0 && load->count > listed) {
		rc = add_dir(load, HIDDEN_DIR, S_IFDIR | 0700);
		if (rc == 0)
			rc = add_dir(load, SHOWN_DIR, S_IFDIR | 0700);
	}
	return rc;
}

static int present_spaces(struct load *load, struct load_item *map)
{
	struct spaces s = {.load = load};
	int rc = read_spaces(&s, map);

	map->hidden = true;
	map->want = WANT_NOTHING;
	if (rc == 0 && s.count > 0)
		rc = move_spaces(&s);
	free(s.oids);
	return rc;
}

/* ---- postgresql.auto.conf ---- */

static bool is_dropped(const char *line, size_t len)
{
	if (memmem(line, len, "restore_command", strlen("restore_command")) != NULL ||
	    memmem(line, len, "recovery_target", strlen("recovery_target")) != NULL)
		return true;
	return memmem(line, len, "include", strlen("include")) != NULL &&
	       memmem(line, len, "probackup_recovery.conf", strlen("probackup_recovery.conf")) !=
		       NULL;
}

size_t present_filter_auto_conf(char *text, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		const char *newline = memchr(text + at, '\n', len - at);
		size_t line = newline != NULL ? (size_t)(newline - (text + at)) + 1 : len - at;

		if (!is_dropped(text + at, line)) {
			memmove(text + kept, text + at, line);
			kept += line;
		}
		at += line;
	}
	return kept;
}

int present_auto_conf(struct load *load, struct load_item *item, unsigned member, uint64_t size,
		      uint32_t crc)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int rc = read_stored(load, member, item->file.name, size, &crc, &text);

	if (rc < 0)
		return rc;
	len = present_filter_auto_conf(text, size);
	item->entry.data = arena_strndup(load->chain->arena, text, len);
	if (item->entry.data == NULL)
		return -ENOMEM;
	item->entry.kind = LAYER_INLINE;
	item->entry.mode = S_IFREG | 0600;
	item->entry.origin = LAYER_ORIGIN_NONE;
	item->entry.size = len;
	item->entry.file = LAYER_NO_FILE;
	return 0;
}

static int present_conf(struct load *load, struct load_item *item)
{
	if (item->entry.kind != LAYER_PLAIN)
		return 0;
	if (item->want == WANT_NOTHING)
		return present_auto_conf(load, item, load->member, item->entry.size, item->crc);
	item->entry.kind = LAYER_INLINE; /* made when its backup is found */
	item->entry.mode = S_IFREG | 0600;
	return 0;
}

/* ---- global/pg_control ---- */

/* Tells builds apart whose pages we could not serve; the list's crc of this file is another one. */
static int check_pg_control(const struct load *load, const struct load_item *item)
{
	_cleanup_free_ char *data = NULL;
	struct errmsg why = {""};
	struct pg_control control;
	int rc;

	rc = read_stored(load, load->member, item->file.name, item->entry.size, NULL, &data);
	if (rc < 0)
		return rc;
	if (item->entry.size != PG_CONTROL_FILE_SIZE)
		rc = errmsg_set(&why, -ENOTSUP,
				"it has %llu bytes, not those of a community PostgreSQL",
				(unsigned long long)item->entry.size);
	if (rc == 0)
		rc = pg_control_parse(data, item->entry.size, &control, &why);
	if (rc == 0 && (control.blcksz != PG_BLCKSZ || control.segment_blocks != PG_SEGMENT_BLOCKS))
		rc = errmsg_set(&why, -ENOTSUP,
				"blocks of %u bytes in segments of %u: only %u and %u are known",
				control.blcksz, control.segment_blocks, PG_BLCKSZ,
				PG_SEGMENT_BLOCKS);
	if (rc < 0)
		return errmsg_set(load->e, rc, "backup %s: global/pg_control: %s",
				  member_id(load, load->member), errmsg_text(&why, rc));
	return 0;
}

static int present_pg_control(struct load *load)
{
	struct load_item *item = load_find(load, "global/pg_control");

	if (item == NULL || item->entry.kind != LAYER_PLAIN)
		return errmsg_set(load->e, -EUCLEAN,
				  "backup %s: global/pg_control is not in its list",
				  member_id(load, load->member));
	item->entry.mode = S_IFREG | 0600;
	return item->want == WANT_NOTHING ? check_pg_control(load, item) : 0;
}

int present_items(struct load *load)
{
	struct load_item *item = load_find(load, "database_map");
	int rc = present_pg_control(load);

	if (item != NULL) {
		item->hidden = true;
		item->want = WANT_NOTHING;
	}
	item = load_find(load, "postgresql.auto.conf");
	if (rc == 0 && item != NULL)
		rc = present_conf(load, item);
	item = load_find(load, "tablespace_map");
	if (rc == 0 && item != NULL)
		rc = present_spaces(load, item);
	return rc;
}
