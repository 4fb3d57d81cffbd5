/*
 * layer/probackup/content.c: see content.h.
 *
 *	{"path":"base/5/1259", "size":"24741", "mode":"33152", ..., "n_headers":"14"}
 *
 * Every value is a quoted string. A path may contain quotes and commas as they are, so its end is
 * found from the right: it is the last place where `", "size":"` stands, which no later value can
 * contain.
 */
#include "layer/probackup/content.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <xxhash.h>

#define PIECE 65536u /* bytes read at once; more than the longest line */

/* In the order in which pg_probackup writes them. */
enum field {
	FIELD_SIZE,
	FIELD_MODE,
	FIELD_IS_DATAFILE,
	FIELD_IS_CFS,
	FIELD_CRC,
	FIELD_COMPRESS_ALG,
	FIELD_EXTERNAL_DIR_NUM,
	FIELD_DB_OID,
	FIELD_FULL_SIZE,
	FIELD_SEGNO,
	FIELD_LINKED,
	FIELD_N_BLOCKS,
	FIELD_N_HEADERS,
	FIELD_HDR_CRC,
	FIELD_HDR_OFF,
	FIELD_HDR_SIZE,
	FIELD_MAX_
};

#define FIELD(name, missing)                                                                       \
	{                                                                                          \
		name, sizeof(name) - 1, missing                                                    \
	}

static const struct {
	const char *name;
	size_t len;
	const char *missing; /* what to say when it is not there; NULL: it may be left out */
} fields[FIELD_MAX_] = {
	[FIELD_SIZE] = FIELD("size", "no size"),
	[FIELD_MODE] = FIELD("mode", "no mode"),
	[FIELD_IS_DATAFILE] = FIELD("is_datafile", "no is_datafile"),
	[FIELD_IS_CFS] = FIELD("is_cfs", NULL),
	[FIELD_CRC] = FIELD("crc", "no crc"),
	[FIELD_COMPRESS_ALG] = FIELD("compress_alg", "no compress_alg"),
	[FIELD_EXTERNAL_DIR_NUM] = FIELD("external_dir_num", NULL),
	[FIELD_DB_OID] = FIELD("dbOid", NULL),
	[FIELD_FULL_SIZE] = FIELD("full_size", NULL),
	[FIELD_SEGNO] = FIELD("segno", NULL),
	[FIELD_LINKED] = FIELD("linked", NULL),
	[FIELD_N_BLOCKS] = FIELD("n_blocks", NULL),
	[FIELD_N_HEADERS] = FIELD("n_headers", NULL),
	[FIELD_HDR_CRC] = FIELD("hdr_crc", NULL),
	[FIELD_HDR_OFF] = FIELD("hdr_off", NULL),
	[FIELD_HDR_SIZE] = FIELD("hdr_size", NULL),
};

struct scanner {
	const char *at, *end;
	struct content_line *line;
	unsigned next; /* the field that is expected */
	unsigned seen; /* bit for each field */
};

static int parse_u32(const char *value, size_t len, uint32_t *ret)
{
	uint64_t v = 0;
	int rc = probackup_parse_decimal(value, len, UINT32_MAX, &v);

	*ret = (uint32_t)v;
	return rc;
}

static int parse_flag(const char *value, size_t len, bool *ret)
{
	if (len != 1 || (value[0] != '0' && value[0] != '1'))
		return -EINVAL;
	*ret = value[0] == '1';
	return 0;
}

/* -1 is "unchanged"; files that vanished (-2) are never listed. */
static int parse_size(const char *value, size_t len, int64_t *ret)
{
	uint64_t v = 0;
	int rc;

	if (len == 2 && memcmp(value, "-1", 2) == 0) {
		*ret = -1;
		return 0;
	}
	rc = probackup_parse_decimal(value, len, INT64_MAX, &v);
	*ret = (int64_t)v;
	return rc;
}

static int parse_mode(const char *value, size_t len, uint32_t *ret)
{
	int rc = parse_u32(value, len, ret);

	if (rc < 0)
		return rc;
	if ((*ret & ~(uint32_t)(S_IFMT | 07777)) != 0 || (!S_ISREG(*ret) && !S_ISDIR(*ret)))
		return -EINVAL;
	return 0;
}

static int parse_word(const char *value, size_t len, char *ret, size_t size)
{
	if (len == 0 || len >= size)
		return -EINVAL;
	memcpy(ret, value, len);
	ret[len] = '\0';
	return 0;
}

static int take_value(struct content_line *line, enum field field, const char *value, size_t len)
{
	switch (field) {
	case FIELD_SIZE:
		return parse_size(value, len, &line->size);
	case FIELD_MODE:
		return parse_mode(value, len, &line->mode);
	case FIELD_IS_DATAFILE:
		return parse_flag(value, len, &line->is_datafile);
	case FIELD_IS_CFS:
		return parse_flag(value, len, &line->is_cfs);
	case FIELD_CRC:
		return parse_u32(value, len, &line->crc);
	case FIELD_COMPRESS_ALG:
		return parse_word(value, len, line->compress_alg, sizeof(line->compress_alg));
	case FIELD_EXTERNAL_DIR_NUM:
		return parse_u32(value, len, &line->external_dir_num);
	case FIELD_FULL_SIZE:
		line->has_full_size = true;
		return probackup_parse_decimal(value, len, INT64_MAX, &line->full_size);
	case FIELD_SEGNO:
		return parse_u32(value, len, &line->segno);
	case FIELD_N_BLOCKS:
		return parse_u32(value, len, &line->n_blocks);
	case FIELD_N_HEADERS:
		return parse_u32(value, len, &line->n_headers);
	case FIELD_HDR_CRC:
		return parse_u32(value, len, &line->hdr_crc);
	case FIELD_HDR_OFF:
		return probackup_parse_decimal(value, len, INT64_MAX, &line->hdr_off);
	case FIELD_HDR_SIZE:
		return parse_u32(value, len, &line->hdr_size);
	case FIELD_DB_OID: /* for partial restores */
	case FIELD_LINKED: /* of lists older than those we read */
	case FIELD_MAX_:
		break;
	}
	return 0;
}

/* Begins with the expected one: lists in the writer's order cost one comparison a key. */
static enum field find_field(const char *key, size_t len, unsigned expected)
{
	for (unsigned i = 0; i < FIELD_MAX_; i++) {
		unsigned field = (expected + i) % FIELD_MAX_;

		if (fields[field].len == len && memcmp(fields[field].name, key, len) == 0)
			return (enum field)field;
	}
	return FIELD_MAX_;
}

static bool skip_char(struct scanner *s, char c)
{
	if (s->at >= s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static void skip_blanks(struct scanner *s)
{
	while (s->at < s->end && *s->at == ' ')
		s->at++;
}

/* Takes "text" off the line. */
static bool take_quoted(struct scanner *s, const char **ret, size_t *ret_len)
{
	const char *quote;

	if (!skip_char(s, '"'))
		return false;
	quote = memchr(s->at, '"', (size_t)(s->end - s->at));
	if (quote == NULL)
		return false;
	*ret = s->at;
	*ret_len = (size_t)(quote - s->at);
	s->at = quote + 1;
	return true;
}

static const char *take_pair(struct scanner *s)
{
	const char *key, *value;
	size_t key_len, value_len;
	enum field field;

	skip_blanks(s);
	if (!take_quoted(s, &key, &key_len))
		return "a key in quotes is expected";
	skip_blanks(s);
	if (!skip_char(s, ':'))
		return "no colon behind a key";
	skip_blanks(s);
	if (!take_quoted(s, &value, &value_len))
		return "a value in quotes is expected";
	field = find_field(key, key_len, s->next);
	if (field == FIELD_MAX_) {
		if (s->line->unknown_key[0] == '\0')
			(void)snprintf(s->line->unknown_key, sizeof(s->line->unknown_key), "%.*s",
				       (int)key_len, key);
		return NULL;
	}
	if ((s->seen & 1u << field) != 0)
		return "a key is there twice";
	s->seen |= 1u << field;
	s->next = (unsigned)field + 1;
	return take_value(s->line, field, value, value_len) < 0 ? "a value is not valid" : NULL;
}

static bool names_fit(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (len > CONTENT_NAME_MAX)
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

/* Where `", "size":"` begins: the first place (or the last one), NULL if there is none. */
static const char *find_path_end(const char *start, const char *end, bool last)
{
	static const char behind[] = "\", \"size\":\"";
	const char *found = NULL, *quote = start;

	while ((quote = memchr(quote, '"', (size_t)(end - quote))) != NULL) {
		if ((size_t)(end - quote) >= strlen(behind) &&
		    memcmp(quote, behind, strlen(behind)) == 0) {
			found = quote;
			if (!last)
				break;
		}
		quote++;
	}
	return found;
}

static const char *take_path(struct scanner *s, const char *path, size_t len)
{
	if (len > CONTENT_PATH_MAX)
		return "the path is too long";
	memcpy(s->line->path, path, len);
	s->line->path[len] = '\0';
	s->line->path_len = (uint32_t)len;
	if (!path_is_safe(s->line->path))
		return "the path leads out of the data directory";
	if (!names_fit(s->line->path))
		return "a name in the path is too long";
	return NULL;
}

static const char *check_line(const struct content_line *line, unsigned seen)
{
	for (unsigned i = 0; i < FIELD_MAX_; i++) {
		if (fields[i].missing != NULL && (seen & 1u << i) == 0)
			return fields[i].missing;
	}
	if (S_ISDIR(line->mode) && (line->size != 0 || line->is_datafile))
		return "a directory with content";
	return NULL;
}

/* The whole line, if the path ends there. */
static const char *scan_line(struct scanner *s, const char *path, const char *path_end)
{
	const char *problem = take_path(s, path, (size_t)(path_end - path));

	s->at = path_end + strlen("\", ");
	s->seen = s->next = 0;
	memset((char *)s->line + offsetof(struct content_line, size), 0,
	       sizeof(*s->line) - offsetof(struct content_line, size));
	while (problem == NULL) {
		problem = take_pair(s);
		if (problem != NULL)
			return problem;
		skip_blanks(s);
		if (skip_char(s, '}'))
			break;
		if (!skip_char(s, ','))
			return "the line has no end";
	}
	if (problem == NULL && s->at != s->end)
		return "something follows the closing brace";
	return problem != NULL ? problem : check_line(s->line, s->seen);
}

/*
 * Nearly always the first place is the end of the path, and the only one. If the rest makes no
 * sense from there, the path contains it, and the last place is the end: no value behind the path
 * can contain a quote.
 */
static const char *parse_line(struct scanner *s)
{
	static const char before[] = "{\"path\":\"";
	const char *path = s->at + strlen(before);
	const char *first, *last, *problem;

	if (memchr(s->at, '\0', (size_t)(s->end - s->at)) != NULL)
		return "a NUL byte";
	if ((size_t)(s->end - s->at) < strlen(before) || memcmp(s->at, before, strlen(before)) != 0)
		return "a path is expected";
	first = find_path_end(path, s->end, false);
	if (first == NULL)
		return fields[FIELD_SIZE].missing;
	problem = scan_line(s, path, first);
	if (problem == NULL)
		return NULL;
	last = find_path_end(path, s->end, true);
	return last != first ? scan_line(s, path, last) : problem;
}

int content_parse_line(const char *line, size_t len, struct content_line *ret,
		       const char **ret_problem)
{
	struct scanner s = {.at = line, .end = line + len, .line = ret};

	*ret_problem = parse_line(&s);
	return *ret_problem != NULL ? -EUCLEAN : 0;
}

/* The list while it is read: the bytes at buf[start .. len-1] are not parsed yet. */
struct reader {
	int fd;
	const char *id;
	int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e);
	void *ctx;
	char *buf;
	size_t start, len;
	uint64_t off; /* of the next byte to read */
	XXH3_state_t *hash;
	struct content_sums sums;
};

static int read_piece(struct reader *r)
{
	int64_t n;

	memmove(r->buf, r->buf + r->start, r->len - r->start);
	r->len -= r->start;
	r->start = 0;
	n = sys_pread_full(r->fd, r->buf + r->len, PIECE - r->len, r->off);
	if (n < 0)
		return (int)n;
	r->sums.crc = crc32c(r->sums.crc, r->buf + r->len, (size_t)n);
	if (XXH3_128bits_update(r->hash, r->buf + r->len, (size_t)n) != XXH_OK)
		return -EIO;
	r->len += (size_t)n;
	r->off += (uint64_t)n;
	return n > 0;
}

static int take_line(struct reader *r, const char *text, size_t len, struct errmsg *e)
{
	struct content_line line;
	const char *problem;
	int rc;

	rc = content_parse_line(text, len, &line, &problem);
	if (rc < 0)
		return errmsg_set(e, rc, "%s", problem);
	return r->fn(r->ctx, &line, e);
}

/* Parses the whole lines of the buffer. e without the line's number. */
static int take_lines(struct reader *r, struct errmsg *e)
{
	for (;;) {
		const char *text = r->buf + r->start;
		const char *newline = memchr(text, '\n', r->len - r->start);
		size_t len = newline != NULL ? (size_t)(newline - text) : r->len - r->start;
		int rc;

		if (newline == NULL && len <= CONTENT_LINE_MAX)
			return 0;
		r->sums.lines++;
		if (len > CONTENT_LINE_MAX)
			return errmsg_set(e, -EUCLEAN, "longer than %u bytes", CONTENT_LINE_MAX);
		rc = take_line(r, text, len, e);
		if (rc < 0)
			return rc;
		r->start += len + 1;
	}
}

int content_line_error(const char *id, uint64_t line, int rc, const struct errmsg *why,
		       struct errmsg *e)
{
	return errmsg_set(e, rc, "backup %s: backup_content.control, line %llu: %s", id,
			  (unsigned long long)line, errmsg_text(why, rc));
}

static int read_lines(struct reader *r, struct errmsg *e)
{
	struct errmsg why = {""};
	bool more;
	int rc;

	do {
		rc = read_piece(r);
		if (rc < 0)
			return errmsg_set(e, rc,
					  "backup %s: cannot read backup_content.control: %s",
					  r->id, errmsg_text(NULL, rc));
		more = rc > 0;
		rc = more ? take_lines(r, &why) : 0;
	} while (more && rc == 0);
	if (rc == 0 && r->start < r->len) {
		r->sums.lines++;
		rc = errmsg_set(&why, -EUCLEAN, "it has no end, the file was cut off");
	}
	if (rc < 0)
		return content_line_error(r->id, r->sums.lines, rc, &why, e);
	return 0;
}

int content_read(int dirfd, const char *id,
		 int (*fn)(void *ctx, const struct content_line *line, struct errmsg *e), void *ctx,
		 struct content_sums *ret, struct errmsg *e)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct reader r = {.id = id, .fn = fn, .ctx = ctx};
	XXH128_canonical_t digest;
	int rc;

	fd = sys_open_beneath(dirfd, "backup_content.control", O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errmsg_set(e, fd, "backup %s: cannot open backup_content.control: %s", id,
				  probackup_open_text(fd));
	buf = malloc(PIECE);
	r.hash = XXH3_createState();
	r.fd = fd;
	r.buf = buf;
	rc = -ENOMEM;
	if (buf != NULL && r.hash != NULL && XXH3_128bits_reset(r.hash) == XXH_OK)
		rc = read_lines(&r, e);
	if (rc == 0) {
		XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(r.hash));
		memcpy(r.sums.digest, digest.digest, sizeof(r.sums.digest));
		*ret = r.sums;
	}
	(void)XXH3_freeState(r.hash);
	return rc;
}
