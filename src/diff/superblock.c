/*
 * The superblock, format 1: lines "key = value", in this order,
 *
 *	format = 1
 *	uuid = 32 hex digits; the checksums of state and journal are salted with it
 *	generation = gen/1, the directory of the open generation
 *	kind, store, instance = what it was made on; the store's path is for the reader, it may move
 *	backup = an id of the chain, one line each, oldest first
 *	content = 32 hex digits, the hash of the chain's content
 *	crc32c = 8 hex digits, of all bytes before this line
 *
 * A control character or '%' in a value is written as %xx. The number of the format is looked at
 * before anything else, so that a newer format is refused by its number even if all the rest has
 * changed. A key that format 1 does not have is damage.
 */
#include "diff/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define NAME	 "superblock"
#define MAX_SIZE (16u << 20)
#define CRC_LINE "crc32c = "

static void streamp(FILE **stream)
{
	if (*stream)
		(void)fclose(*stream);
}

static void put_value(FILE *out, const char *key, const char *value)
{
	(void)fprintf(out, "%s = ", key);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p < 0x20 || *p == 0x7f || *p == '%')
			(void)fprintf(out, "%%%02x", *p);
		else
			(void)fputc(*p, out);
	}
	(void)fputc('\n', out);
}

static void put_hex(FILE *out, const char *key, const uint8_t *bytes, size_t len)
{
	(void)fprintf(out, "%s = ", key);
	for (size_t i = 0; i < len; i++)
		(void)fprintf(out, "%02x", bytes[i]);
	(void)fputc('\n', out);
}

static void put_binding(FILE *out, const struct diff_binding *binding)
{
	put_value(out, "kind", binding->kind);
	put_value(out, "store", binding->store);
	put_value(out, "instance", binding->instance);
	for (unsigned i = 0; i < binding->backup_count; i++)
		put_value(out, "backup", binding->backups[i]);
	put_hex(out, "content", binding->content_hash, sizeof(binding->content_hash));
}

int superblock_write(int dirfd, const struct superblock *sb, const struct diff_binding *binding)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(streamp) FILE *out = NULL; /* closed first: closing it still moves text */
	size_t len;

	out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	(void)fprintf(out, "format = %d\n", DIFF_FORMAT);
	put_hex(out, "uuid", sb->uuid, sizeof(sb->uuid));
	put_value(out, "generation", sb->generation);
	put_binding(out, binding);
	if (fflush(out) != 0)
		return -ENOMEM;
	(void)fprintf(out, CRC_LINE "%08x\n", crc32c(0, text, len));
	if (fflush(out) != 0 || ferror(out))
		return -ENOMEM;
	return sys_replace_file(dirfd, NAME, text, len, 0600);
}

/* Checks format and checksum of the text and cuts off the checksum's line. */
static int verify(char *text, size_t len, const char *path, struct errmsg *e)
{
	char line[sizeof(CRC_LINE) + 16], *crc;
	unsigned long format;

	if (sscanf(text, "format = %lu\n", &format) != 1)
		return errmsg_set(
			e, -EUCLEAN,
			"'%s/" NAME "' is damaged: it does not begin with a format number", path);
	if (format > DIFF_FORMAT)
		return errmsg_set(e, -ENOTSUP,
				  "diff '%s' has format %lu: this version of pgoverlay knows "
				  "formats up to %d; use a newer one",
				  path, format, DIFF_FORMAT);
	if (format == 0 || strlen(text) != len)
		return errmsg_set(e, -EUCLEAN, "'%s/" NAME "' is damaged", path);
	crc = strstr(text, "\n" CRC_LINE);
	if (!crc)
		return errmsg_set(e, -EUCLEAN, "'%s/" NAME "' is damaged: its checksum is missing",
				  path);
	crc++;
	(void)snprintf(line, sizeof(line), CRC_LINE "%08x\n",
		       crc32c(0, text, (size_t)(crc - text)));
	if (strcmp(crc, line) != 0)
		return errmsg_set(e, -EUCLEAN,
				  "'%s/" NAME "' is damaged: its checksum does not match", path);
	*crc = '\0';
	return 0;
}

static int load_text(int dirfd, const char *path, struct errmsg *e, char **ret)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int rc = sys_read_file(dirfd, NAME, MAX_SIZE, &text, &len);

	if (rc == -ENOENT)
		return rc;
	if (rc < 0)
		return errmsg_set(e, rc, "'%s/" NAME "': %s", path, strerror(-rc));
	rc = verify(text, len, path, e);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(text);
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two hex digits as they are written here. */
static bool get_byte(const char *text, uint8_t *ret)
{
	int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);

	if (low < 0)
		return false;
	*ret = (uint8_t)(high << 4 | low);
	return true;
}

/*
 * The next line's key and its value, decoded in place. False at the end, where the line has no " = "
 * or an escape that is none.
 */
static bool next_line(char **pos, char **ret_key, char **ret_value)
{
	char *line = *pos, *end = strchr(line, '\n'), *eq, *out;
	uint8_t byte;

	if (!end)
		return false;
	*end = '\0';
	*pos = end + 1;
	eq = strstr(line, " = ");
	if (!eq)
		return false;
	*eq = '\0';
	*ret_key = line;
	*ret_value = out = eq + 3;
	for (const char *in = out; *in; in++) {
		if (*in != '%') {
			*out++ = *in;
			continue;
		}
		if (!get_byte(in + 1, &byte))
			return false;
		*out++ = (char)byte;
		in += 2;
	}
	*out = '\0';
	return true;
}

static bool get_hex(const char *value, uint8_t *ret, size_t len)
{
	if (strlen(value) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!get_byte(value + 2 * i, &ret[i]))
			return false;
	return true;
}

struct reader {
	const char *path;
	const struct diff_binding *binding;
	struct errmsg *e;
	struct superblock sb;
	unsigned backups;
	bool has_uuid, has_content;
};

static int differs(struct reader *r, const char *what, const char *is, const char *wanted)
{
	return errmsg_set(r->e, -EINVAL,
			  "diff '%s' belongs to another chain: its %s is '%s', not '%s'; use the "
			  "chain it was made on, or another diff",
			  r->path, what, is, wanted);
}

static int read_backup(struct reader *r, const char *value)
{
	unsigned i = r->backups++;

	if (i >= r->binding->backup_count)
		return differs(r, "chain longer and the next backup", value, "none");
	if (strcmp(value, r->binding->backups[i]) != 0)
		return differs(r, "backup", value, r->binding->backups[i]);
	return 0;
}

static int read_content(struct reader *r, const char *value)
{
	uint8_t hash[sizeof(r->binding->content_hash)];

	if (!get_hex(value, hash, sizeof(hash)))
		return -EUCLEAN;
	r->has_content = true;
	if (r->backups < r->binding->backup_count)
		return differs(r, "chain shorter and the next backup", "none",
			       r->binding->backups[r->backups]);
	if (memcmp(hash, r->binding->content_hash, sizeof(hash)) != 0)
		return errmsg_set(r->e, -EINVAL,
				  "diff '%s' was made on other content: a backup of its chain was "
				  "changed, merged or validated anew since; "
				  "the diff cannot be used with it",
				  r->path);
	return 0;
}

static int read_line(struct reader *r, const char *key, const char *value)
{
	if (strcmp(key, "format") == 0 || strcmp(key, "store") == 0)
		return 0;
	if (strcmp(key, "uuid") == 0) {
		r->has_uuid = get_hex(value, r->sb.uuid, sizeof(r->sb.uuid));
		return r->has_uuid ? 0 : -EUCLEAN;
	}
	if (strcmp(key, "generation") == 0) {
		if (r->sb.generation || !path_is_safe(value))
			return -EUCLEAN;
		r->sb.generation = strdup(value);
		return r->sb.generation ? 0 : -ENOMEM;
	}
	if (strcmp(key, "kind") == 0)
		return strcmp(value, r->binding->kind) == 0
			       ? 0
			       : differs(r, key, value, r->binding->kind);
	if (strcmp(key, "instance") == 0)
		return strcmp(value, r->binding->instance) == 0
			       ? 0
			       : differs(r, key, value, r->binding->instance);
	if (strcmp(key, "backup") == 0)
		return read_backup(r, value);
	if (strcmp(key, "content") == 0)
		return read_content(r, value);
	return -EUCLEAN;
}

int superblock_load(int dirfd, const char *path, const struct diff_binding *binding,
		    struct errmsg *e, struct superblock *ret)
{
	struct reader r = {.path = path, .binding = binding, .e = e};
	_cleanup_free_ char *text = NULL;
	char *pos, *key, *value;
	int rc = load_text(dirfd, path, e, &text);

	if (rc < 0)
		return rc;
	pos = text;
	while (rc == 0 && *pos)
		rc = next_line(&pos, &key, &value) ? read_line(&r, key, value) : -EUCLEAN;
	if (rc == 0 && !(r.has_uuid && r.has_content && r.sb.generation))
		rc = -EUCLEAN;
	if (rc < 0) {
		free(r.sb.generation);
		return errmsg_set(e, rc, "'%s/" NAME "': %s", path,
				  rc == -EUCLEAN ? "it is damaged" : strerror(-rc));
	}
	*ret = r.sb;
	return 0;
}

int diff_describe(const char *path, struct errmsg *e, char **ret_text)
{
	int dirfd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0), rc;

	if (dirfd < 0)
		return errmsg_set(e, dirfd, "'%s': %s", path, strerror(-dirfd));
	rc = load_text(dirfd, path, e, ret_text);
	if (rc == -ENOENT)
		(void)errmsg_set(e, rc, "'%s' is no diff: it has no superblock", path);
	(void)sys_close(dirfd);
	return rc;
}
