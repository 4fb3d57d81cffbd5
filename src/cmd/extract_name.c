/*
 * cmd/extract_name.c: see extract_name.h.
 */
#include "cmd/extract_name.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>

#define PARTS 3

/* One part from *text on, malloc'ed; *text moves behind it. NULL: there is none. */
static char *take_part(const char **text)
{
	const char *s = *text;
	bool quoted = *s == '"';
	char *part = malloc(strlen(s) + 1);
	size_t n = 0;

	if (part == NULL)
		return NULL;
	for (s += quoted; *s != '\0'; s++) {
		if (quoted && *s == '"' && *++s != '"')
			break;
		if (!quoted && (*s == '.' || *s == '"'))
			break;
		part[n++] = !quoted && *s >= 'A' && *s <= 'Z' ? (char)(*s | 0x20) : *s;
	}
	part[n] = '\0';
	/* A quote that does not end, or ends where there was none to begin it. */
	if (n == 0 || (quoted ? s[-1] != '"' || s - *text < 3 : *s == '"')) {
		free(part);
		return NULL;
	}
	*text = s;
	return part;
}

int extract_database(const char *name, char **ret_dbname)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return -ENOMEM;
	(void)fputs("dbname='", out);
	for (; *name != '\0'; name++) {
		if (*name == '\'' || *name == '\\')
			(void)putc('\\', out);
		(void)putc(*name, out);
	}
	(void)putc('\'', out);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret_dbname = text;
	return 0;
}

/* In quotes a pattern's special characters are plain ones. */
static int make_pattern(const char *schema, const char *table, char **ret)
{
	const char *parts[] = {schema, table};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		(void)fputs(i == 0 ? "\"" : ".\"", out);
		for (const char *c = parts[i]; *c != '\0'; c++) {
			if (*c == '"')
				(void)putc('"', out);
			(void)putc(*c, out);
		}
		(void)putc('"', out);
	}
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}

int extract_table(const char *text, char **ret_dbname, char **ret_pattern, struct errmsg *e)
{
	char *parts[PARTS] = {NULL};
	const char *at = text;
	unsigned count = 0;
	int rc = 0;

	while (rc == 0 && count < PARTS) {
		parts[count] = take_part(&at);
		if (parts[count] == NULL || *at != (++count < PARTS ? '.' : '\0'))
			rc = errmsg_set(e, -EINVAL,
					"--table takes DB.SCHEMA.TABLE, quoted as in SQL, not '%s'",
					text);
		else if (*at == '.')
			at++;
	}
	if (rc == 0)
		rc = make_pattern(parts[1], parts[2], ret_pattern);
	if (rc == 0)
		rc = extract_database(parts[0], ret_dbname);
	for (unsigned i = 0; i < PARTS; i++)
		free(parts[i]);
	return rc;
}
