/*
 * layer/probackup/control.c: see control.h. A table of keys, each with a function that takes its
 * value; keys that nobody here needs are in the table too, so that a really unknown one can be told
 * apart (a newer writer).
 */
#include "layer/probackup/control.h"
#include "base/ini.h"
#include "base/sys.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

struct parse {
	struct probackup_control control;
	struct errmsg *e;
	bool has_mode, has_status;
	unsigned next; /* key behind the last one: they mostly come in the table's order */
};

static const char *const mode_names[PROBACKUP_MODE_MAX_] = {"FULL", "PAGE", "PTRACK", "DELTA"};

static const char *const status_names[PROBACKUP_STATUS_MAX_] = {
	"OK",	   "DONE",   "ORPHAN",	 "CORRUPT", "RUNNING", "ERROR",
	"MERGING", "MERGED", "DELETING", "DELETED", "UNKNOWN"};

static const char *const status_refusals[PROBACKUP_STATUS_MAX_] = {
	[PROBACKUP_STATUS_ORPHAN] =
		"a backup it was made on was bad or missing; run pg_probackup validate, "
		"or name it with --backup and --force",
	[PROBACKUP_STATUS_CORRUPT] =
		"pg_probackup found it damaged when it validated it; to look at what is left, "
		"name the backup with --backup and --force",
	[PROBACKUP_STATUS_RUNNING] = "the backup is still running, or it was interrupted",
	[PROBACKUP_STATUS_ERROR] = "the backup was aborted",
	[PROBACKUP_STATUS_MERGING] =
		"a merge is under way or was interrupted, its files may be mixed; "
		"run pg_probackup merge again",
	[PROBACKUP_STATUS_MERGED] =
		"a merge is under way or was interrupted; run pg_probackup merge again",
	[PROBACKUP_STATUS_DELETING] = "it is being deleted",
	[PROBACKUP_STATUS_DELETED] = "it is being deleted",
	[PROBACKUP_STATUS_UNKNOWN] = "this status is not known",
};

const char *probackup_mode_name(enum probackup_mode mode)
{
	return mode_names[mode];
}

const char *probackup_status_name(enum probackup_status status)
{
	return status_names[status];
}

const char *probackup_status_refusal(enum probackup_status status)
{
	return status_refusals[status];
}

bool probackup_status_is_suspect(enum probackup_status status)
{
	return status == PROBACKUP_STATUS_ORPHAN || status == PROBACKUP_STATUS_CORRUPT;
}

const char *probackup_open_text(int rc)
{
	if (rc == -ELOOP || rc == -EXDEV)
		return "a symbolic link: nothing is opened outside of the store";
	return errmsg_text(NULL, rc);
}

int probackup_id_parse(const char *id, uint64_t *ret)
{
	size_t len = strlen(id);
	uint64_t value = 0;

	if (len == 0 || len > PROBACKUP_ID_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		uint64_t digit;

		if (id[i] >= '0' && id[i] <= '9')
			digit = (uint64_t)(id[i] - '0');
		else if (id[i] >= 'A' && id[i] <= 'Z')
			digit = (uint64_t)(id[i] - 'A') + 10;
		else
			return -EINVAL;
		if (__builtin_mul_overflow(value, (uint64_t)36, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return -EINVAL;
	}
	*ret = value;
	return 0;
}

int probackup_parse_decimal(const char *text, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (len == 0 || len > 20)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return -EINVAL;
	}
	if (value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int parse_u32(const char *value, uint32_t *ret)
{
	uint64_t v = 0;
	int rc = probackup_parse_decimal(value, strlen(value), UINT32_MAX, &v);

	if (rc == 0)
		*ret = (uint32_t)v;
	return rc;
}

static int parse_bool(const char *value, bool *ret)
{
	static const char *const words[] = {"false", "true", "off", "on", "no", "yes", "0", "1"};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(value, words[i]) == 0) {
			*ret = i % 2 != 0;
			return 0;
		}
	}
	return -EINVAL;
}

/* Up to 8 hexadecimal digits; returns how many. */
static unsigned parse_hex(const char *s, uint64_t *ret)
{
	unsigned n = 0;

	*ret = 0;
	for (; n < 8 && isxdigit((unsigned char)s[n]); n++) {
		unsigned char c = (unsigned char)s[n];

		*ret = *ret << 4 | (uint64_t)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
	}
	return n;
}

static int parse_lsn(const char *value, uint64_t *ret)
{
	uint64_t hi, lo;
	unsigned n = parse_hex(value, &hi);

	if (n == 0 || value[n] != '/')
		return -EINVAL;
	value += n + 1;
	n = parse_hex(value, &lo);
	if (n == 0 || value[n] != '\0')
		return -EINVAL;
	*ret = hi << 32 | lo;
	return 0;
}

/* Up to max digits; NULL if there is none. What follows must be next, unless that is 0. */
static const char *take_digits(const char *s, unsigned max, char next, int *ret)
{
	unsigned n = 0;

	*ret = 0;
	for (; n < max && s[n] >= '0' && s[n] <= '9'; n++)
		*ret = *ret * 10 + (s[n] - '0');
	if (n == 0 || (next != '\0' && s[n] != next))
		return NULL;
	return s + n + (next != '\0');
}

/* "+00", "-04:30", or nothing: seconds. NULL: it is something else. */
static const char *take_offset(const char *s, int *ret)
{
	char sign = *s;
	int hours, minutes = 0;

	*ret = 0;
	if (sign == '\0')
		return s;
	if (sign != '+' && sign != '-')
		return NULL;
	s = take_digits(s + 1, 2, '\0', &hours);
	if (s != NULL && *s == ':')
		s = take_digits(s + 1, 2, '\0', &minutes);
	*ret = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return s;
}

/* "2026-11-20 10:38:24+00"; before 2.4.6 the offset was that of the local time. */
static int64_t parse_time(const char *s)
{
	struct tm tm = {0};
	struct {
		int *to;
		unsigned digits;
		char next;
	} const parts[] = {{&tm.tm_year, 4, '-'}, {&tm.tm_mon, 2, '-'}, {&tm.tm_mday, 2, ' '},
			   {&tm.tm_hour, 2, ':'}, {&tm.tm_min, 2, ':'}, {&tm.tm_sec, 2, '\0'}};
	int offset = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(parts) && s != NULL; i++)
		s = take_digits(s, parts[i].digits, parts[i].next, parts[i].to);
	if (s == NULL || take_offset(s, &offset) == NULL)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (int64_t)timegm(&tm) - offset;
}

static int take_mode(struct parse *p, const char *value)
{
	/* pg_probackup itself reads any case and abbreviations, first match wins. */
	for (unsigned i = 0; i < PROBACKUP_MODE_MAX_; i++) {
		if (value[0] != '\0' && strncasecmp(mode_names[i], value, strlen(value)) == 0) {
			p->control.mode = (enum probackup_mode)i;
			p->has_mode = true;
			return 0;
		}
	}
	return -EINVAL;
}

static int take_status(struct parse *p, const char *value)
{
	unsigned i = 0;

	while (i < PROBACKUP_STATUS_UNKNOWN && strcmp(status_names[i], value) != 0)
		i++;
	p->control.status = (enum probackup_status)i;
	p->has_status = true;
	return 0;
}

static int take_stream(struct parse *p, const char *value)
{
	return parse_bool(value, &p->control.stream);
}

static int take_block_size(struct parse *p, const char *value)
{
	return parse_u32(value, &p->control.block_size);
}

static int take_xlog_block_size(struct parse *p, const char *value)
{
	return parse_u32(value, &p->control.xlog_block_size);
}

static int take_checksum_version(struct parse *p, const char *value)
{
	return parse_u32(value, &p->control.checksum_version);
}

/* The number s begins with, up to 999, and what follows it; NULL if there is none. */
static const char *parse_number(const char *s, unsigned *ret)
{
	size_t digits = strspn(s, "0123456789");

	if (digits == 0 || digits > 3)
		return NULL;
	*ret = 0;
	for (size_t i = 0; i < digits; i++)
		*ret = *ret * 10 + (unsigned)(s[i] - '0');
	return s + digits;
}

/* "2.5.16" */
static int take_program_version(struct parse *p, const char *value)
{
	const char *s = value;
	unsigned part[3];

	for (unsigned i = 0; i < 3; i++) {
		s = parse_number(s, &part[i]);
		if (s == NULL || *s != (i < 2 ? '.' : '\0') || (i > 0 && part[i] > 99))
			return -EINVAL;
		s++;
	}
	p->control.program_version = part[0] * 10000 + part[1] * 100 + part[2];
	(void)snprintf(p->control.program_text, sizeof(p->control.program_text), "%s", value);
	return 0;
}

static int take_server_version(struct parse *p, const char *value)
{
	/* "15", or "9.6" */
	return parse_number(value, &p->control.pg_version) != NULL ? 0 : -EINVAL;
}

static int take_timeline(struct parse *p, const char *value)
{
	return parse_u32(value, &p->control.timeline);
}

static int take_start_lsn(struct parse *p, const char *value)
{
	return parse_lsn(value, &p->control.start_lsn);
}

static int take_stop_lsn(struct parse *p, const char *value)
{
	return parse_lsn(value, &p->control.stop_lsn);
}

static int take_start_time(struct parse *p, const char *value)
{
	p->control.start_time = parse_time(value);
	return 0;
}

static int take_recovery_time(struct parse *p, const char *value)
{
	p->control.recovery_time = parse_time(value);
	return 0;
}

static int take_recovery_xid(struct parse *p, const char *value)
{
	return probackup_parse_decimal(value, strlen(value), UINT64_MAX, &p->control.recovery_xid);
}

static int take_bytes(const char *value, int64_t *ret)
{
	uint64_t v = 0;

	if (probackup_parse_decimal(value, strlen(value), INT64_MAX, &v) == 0)
		*ret = (int64_t)v;
	return 0; /* informative, and -1 is written for "unknown" */
}

static int take_data_bytes(struct parse *p, const char *value)
{
	return take_bytes(value, &p->control.data_bytes);
}

static int take_wal_bytes(struct parse *p, const char *value)
{
	return take_bytes(value, &p->control.wal_bytes);
}

static int take_parent(struct parse *p, const char *value)
{
	uint64_t number;
	int rc = probackup_id_parse(value, &number); /* it becomes a directory's name */

	if (rc == 0)
		(void)snprintf(p->control.parent, sizeof(p->control.parent), "%s", value);
	return rc;
}

static int take_external_dirs(struct parse *p, const char *value)
{
	p->control.has_external = value[0] != '\0';
	(void)snprintf(p->control.external_dirs, sizeof(p->control.external_dirs), "%s", value);
	return 0;
}

/* Of the run; each file has its own in the list. */
static int take_compress_alg(struct parse *p, const char *value)
{
	(void)snprintf(p->control.compress_alg, sizeof(p->control.compress_alg), "%s", value);
	return 0;
}

static int take_content_crc(struct parse *p, const char *value)
{
	p->control.has_crc = true;
	return parse_u32(value, &p->control.content_crc);
}

static const struct {
	const char *key;
	int (*take)(struct parse *p, const char *value); /* NULL: known and not needed */
} keys[] = {
	{"backup-mode", take_mode},
	{"stream", take_stream},
	{"compress-alg", take_compress_alg},
	{"compress-level", NULL},
	{"from-replica", NULL},
	{"block-size", take_block_size},
	{"xlog-block-size", take_xlog_block_size},
	{"checksum-version", take_checksum_version},
	{"program-version", take_program_version},
	{"server-version", take_server_version},
	{"timelineid", take_timeline},
	{"start-lsn", take_start_lsn},
	{"stop-lsn", take_stop_lsn},
	{"start-time", take_start_time},
	{"merge-time", NULL},
	{"merge-dest-id", NULL},
	{"end-time", NULL},
	{"recovery-xid", take_recovery_xid},
	{"recovery-time", take_recovery_time},
	{"expire-time", NULL},
	{"data-bytes", take_data_bytes},
	{"wal-bytes", take_wal_bytes},
	{"uncompressed-bytes", NULL},
	{"pgdata-bytes", NULL},
	{"status", take_status},
	{"parent-backup-id", take_parent},
	{"primary-conninfo", NULL},
	{"external-dirs", take_external_dirs},
	{"note", NULL},
	{"content-crc", take_content_crc},
};

/* Where the key is in the table, or its end. */
static unsigned find_key(const struct parse *p, const char *key)
{
	unsigned n = 0, i = p->next;

	for (; n < ARRAY_SIZE(keys); n++, i++) {
		if (strcmp(keys[i % ARRAY_SIZE(keys)].key, key) == 0)
			return i % ARRAY_SIZE(keys);
	}
	return ARRAY_SIZE(keys);
}

static int take_pair(void *ctx, const char *key, const char *value)
{
	struct parse *p = ctx;
	unsigned i = find_key(p, key);

	if (i == ARRAY_SIZE(keys)) {
		if (p->control.unknown_key[0] == '\0')
			(void)snprintf(p->control.unknown_key, sizeof(p->control.unknown_key), "%s",
				       key);
		return 0;
	}
	p->next = i + 1;
	if (keys[i].take != NULL && keys[i].take(p, value) < 0)
		return errmsg_set(p->e, -EUCLEAN, "the value of %s is not valid", key);
	return 0;
}

int probackup_control_parse(const char *data, size_t len, struct probackup_control *ret,
			    struct errmsg *e)
{
	struct parse p = {.control = {.data_bytes = -1, .wal_bytes = -1}, .e = e};
	int rc;

	rc = ini_parse(data, len, take_pair, &p, e);
	if (rc < 0)
		return rc;
	if (len == 0)
		return errmsg_set(e, -EUCLEAN, "the file is empty");
	if (!p.has_mode)
		return errmsg_set(e, -EUCLEAN, "no backup-mode");
	if (!p.has_status)
		return errmsg_set(e, -EUCLEAN, "no status");
	*ret = p.control;
	return 0;
}

int probackup_control_read(int dirfd, const char *name, const char *id,
			   struct probackup_control *ret, struct errmsg *e)
{
	_cleanup_free_ char *data = NULL;
	struct errmsg why = {""};
	XXH128_hash_t digest;
	struct stat st;
	size_t len;
	int rc;

	if (ret->has_stamp && stamp_same(dirfd, name, &ret->stamp))
		return 0;
	rc = sys_read_beneath(dirfd, name, PROBACKUP_CONTROL_MAX, &st, &data, &len);
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: backup.control: %s", id,
				  probackup_open_text(rc));
	digest = XXH3_128bits(data, len);
	if (!XXH128_isEqual(digest, ret->digest))
		rc = probackup_control_parse(data, len, ret, &why);
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: backup.control: %s", id,
				  errmsg_text(&why, rc));
	ret->digest = digest;
	ret->has_stamp = stamp_make(&st, &ret->stamp);
	return 0;
}
