/*
 * pg/wal.c: see wal.h.
 */
#include "pg/wal.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>

/* ---- names ---- */

bool pg_wal_segment_size_is_valid(uint64_t bytes)
{
	return bytes >= PG_WAL_SEGMENT_MIN && bytes <= PG_WAL_SEGMENT_MAX &&
	       (bytes & (bytes - 1)) == 0;
}

static uint64_t segments_per_id(uint32_t segment_size)
{
	return (UINT64_C(1) << 32) / segment_size;
}

/* Eight digits as the server writes them: upper case. */
static bool take_hex(const char **s, uint32_t *ret)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 8; i++) {
		char c = (*s)[i];

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint32_t)(c - '0');
		else if (c >= 'A' && c <= 'F')
			value = value << 4 | (uint32_t)(c - 'A' + 10);
		else
			return false;
	}
	*s += 8;
	*ret = value;
	return true;
}

bool pg_wal_name_parse(const char *name, uint32_t segment_size, struct pg_wal_name *ret)
{
	struct pg_wal_name parsed = {.kind = PG_WAL_SEGMENT};
	uint32_t high, low, offset;
	const char *s = name;

	if (!take_hex(&s, &parsed.timeline) || parsed.timeline == 0)
		return false;
	if (strcmp(s, ".history") == 0) {
		parsed.kind = PG_WAL_HISTORY;
		*ret = parsed;
		return true;
	}
	if (!take_hex(&s, &high) || !take_hex(&s, &low) || low >= segments_per_id(segment_size))
		return false;
	parsed.segment = high * segments_per_id(segment_size) + low;
	if (*s != '\0') {
		parsed.kind = PG_WAL_BACKUP;
		if (*s++ != '.' || !take_hex(&s, &offset) || strcmp(s, ".backup") != 0)
			return false;
	}
	*ret = parsed;
	return true;
}

void pg_wal_segment_name(uint32_t timeline, uint64_t segment, uint32_t segment_size,
			 char ret[PG_WAL_NAME_SIZE])
{
	uint64_t per_id = segments_per_id(segment_size);

	(void)snprintf(ret, PG_WAL_NAME_SIZE, "%08X%08X%08X", timeline,
		       (uint32_t)(segment / per_id), (uint32_t)(segment % per_id));
}

/* ---- the first page ---- */

#define LONG_HEADER 0x0002u

/* XLogLongPageHeaderData */
#define OFF_MAGIC    0
#define OFF_INFO     2
#define OFF_TIMELINE 4
#define OFF_ADDRESS  8
#define OFF_SYSTEM   24
#define OFF_SEGMENT  32
#define OFF_BLOCK    36

int pg_wal_check_first_page(const void *page, const struct pg_wal_expect *x, struct errmsg *e)
{
	const uint8_t *p = page;
	uint64_t address = get_le64(p + OFF_ADDRESS);
	uint64_t wanted = x->segment * x->segment_size;
	uint32_t timeline = get_le32(p + OFF_TIMELINE);
	char text[PG_LSN_TEXT_SIZE], text2[PG_LSN_TEXT_SIZE];

	if ((get_le16(p + OFF_MAGIC) & 0xfe00u) != 0xd000u ||
	    (get_le16(p + OFF_INFO) & LONG_HEADER) == 0)
		return errmsg_set(e, -EUCLEAN, "it does not begin as WAL does");
	if (get_le32(p + OFF_SEGMENT) != x->segment_size || get_le32(p + OFF_BLOCK) != PG_WAL_PAGE)
		return errmsg_set(
			e, -EUCLEAN,
			"it is of a cluster with WAL segments of %u bytes in blocks of %u, not %u "
			"in %u",
			get_le32(p + OFF_SEGMENT), get_le32(p + OFF_BLOCK), x->segment_size,
			PG_WAL_PAGE);
	if (x->system_identifier != 0 && get_le64(p + OFF_SYSTEM) != x->system_identifier)
		return errmsg_set(e, -EUCLEAN,
				  "it is of another cluster (system identifier %llu, not %llu)",
				  (unsigned long long)get_le64(p + OFF_SYSTEM),
				  (unsigned long long)x->system_identifier);
	if (address != wanted)
		return errmsg_set(e, -EUCLEAN, "it holds WAL from %s on, not from %s",
				  pg_lsn_text(address, text), pg_lsn_text(wanted, text2));
	if (timeline == 0 || timeline > x->timeline)
		return errmsg_set(e, -EUCLEAN, "it holds WAL of timeline %u", timeline);
	return 0;
}

/* ---- histories ---- */

/* "<timeline>\t<LSN>\t<reason>"; 0: nothing in the line. */
static int parse_switch(char *line, struct pg_wal_switch *ret)
{
	char *rest = NULL, *end;
	const char *id, *lsn;
	unsigned long value;

	line += strspn(line, " \t");
	if (*line == '\0' || *line == '#' || *line == '\r')
		return 0;
	id = strtok_r(line, " \t", &rest);
	lsn = strtok_r(NULL, " \t\r", &rest);
	value = strtoul(id, &end, 10);
	if (*id < '0' || *id > '9' || *end != '\0' || value == 0 || value > UINT32_MAX ||
	    lsn == NULL || !pg_lsn_parse(lsn, &ret->lsn))
		return -EUCLEAN;
	ret->timeline = (uint32_t)value;
	return 1;
}

/* Timelines and switches rise, as the server demands too. */
static bool follows(const struct pg_wal_switch *list, size_t count, const struct pg_wal_switch *at,
		    uint32_t timeline)
{
	return at->timeline < timeline && (count == 0 || (list[count - 1].timeline < at->timeline &&
							  list[count - 1].lsn <= at->lsn));
}

int pg_wal_history_parse(const char *text, size_t len, uint32_t timeline,
			 struct pg_wal_switch **ret, size_t *ret_count, struct errmsg *e)
{
	_cleanup_free_ struct pg_wal_switch *list = NULL;
	_cleanup_free_ char *copy = strndup(text, len);
	size_t count = 0;
	unsigned number = 0;

	if (copy == NULL)
		return -ENOMEM;
	for (char *next, *line = copy; *line != '\0'; line = next) {
		struct pg_wal_switch at, *bigger;
		size_t line_len = strcspn(line, "\n");
		int rc;

		next = line + line_len + (line[line_len] == '\n');
		line[line_len] = '\0';
		number++;
		rc = parse_switch(line, &at);
		if (rc == 0)
			continue;
		if (rc < 0 || !follows(list, count, &at, timeline))
			return errmsg_set(e, -EUCLEAN, "line %u is not one of a history", number);
		bigger = reallocarray(list, count + 1, sizeof(*list));
		if (bigger == NULL)
			return -ENOMEM;
		list = bigger;
		list[count++] = at;
	}
	if (count == 0)
		return errmsg_set(e, -EUCLEAN, "it names no timeline");
	*ret = TAKE_PTR(list);
	*ret_count = count;
	return 0;
}

/* ---- LSNs ---- */

static bool take_number(const char **s, uint64_t *ret)
{
	unsigned digits = 0;

	*ret = 0;
	for (; digits <= 8; digits++, (*s)++) {
		char c = **s;

		if (c >= '0' && c <= '9')
			*ret = *ret << 4 | (uint64_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*ret = *ret << 4 | (uint64_t)((c | 0x20) - 'a' + 10);
		else
			break;
	}
	return digits > 0 && digits <= 8;
}

bool pg_lsn_parse(const char *text, uint64_t *ret)
{
	uint64_t high, low;

	if (!take_number(&text, &high) || *text++ != '/' || !take_number(&text, &low) ||
	    *text != '\0')
		return false;
	*ret = high << 32 | low;
	return true;
}

const char *pg_lsn_text(uint64_t lsn, char ret[PG_LSN_TEXT_SIZE])
{
	(void)snprintf(ret, PG_LSN_TEXT_SIZE, "%X/%X", (uint32_t)(lsn >> 32), (uint32_t)lsn);
	return ret;
}
