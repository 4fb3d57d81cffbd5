/*
 * base/ini.c: see ini.h. Each line is copied to a buffer of bounded size and cut there.
 */
#include "base/ini.h"
#include "base/util.h"

#include <errno.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static char *skip_blanks(char *s)
{
	while (is_blank(*s))
		s++;
	return s;
}

static void trim_end(char *s)
{
	size_t len = strlen(s);

	while (len > 0 && is_blank(s[len - 1]))
		s[--len] = '\0';
}

static void normalise_key(char *key)
{
	for (; *key != '\0'; key++) {
		if (*key >= 'A' && *key <= 'Z')
			*key = (char)(*key - 'A' + 'a');
		else if (*key == '_' || is_blank(*key))
			*key = '-';
	}
}

/*
 * s begins with a quote. Finds the closing one of a well-formed value ('' stands for a quote, only
 * blanks or a comment follow it), or NULL.
 */
static char *find_closing_quote(char *s)
{
	char *end = s + 1;

	for (;;) {
		end = strchr(end, '\'');
		if (end == NULL)
			return NULL;
		if (end[1] != '\'')
			break;
		end += 2;
	}
	s = skip_blanks(end + 1);
	return *s == '\0' || *s == '#' ? end : NULL;
}

/* Replaces each '' by ' in place. */
static void undouble_quotes(char *s)
{
	char *to = s;

	while (*s != '\0') {
		if (s[0] == '\'' && s[1] == '\'')
			s++;
		*to++ = *s++;
	}
	*to = '\0';
}

/* Cuts the value out of what follows the '='; NULL if its quote has no end. */
static char *cut_value(char *s)
{
	char *end;

	s = skip_blanks(s);
	if (*s != '\'') {
		s[strcspn(s, "#")] = '\0';
		trim_end(s);
		return s;
	}

	end = find_closing_quote(s);
	if (end != NULL) {
		*end = '\0';
		undouble_quotes(s + 1);
		return s + 1;
	}
	end = strrchr(s, '\'');
	if (end == s)
		return NULL;
	*end = '\0';
	return s + 1;
}

static int parse_line(char *line, int (*fn)(void *ctx, const char *key, const char *value),
		      void *ctx, const char **ret_problem)
{
	char *key = skip_blanks(line);
	char *value;

	if (*key == '\0' || *key == '#')
		return 0;
	value = key + strcspn(key, "=#'");
	if (*value != '=') {
		*ret_problem = "no \"key = value\"";
		return -EUCLEAN;
	}
	*value++ = '\0';
	trim_end(key);
	if (*key == '\0') {
		*ret_problem = "no key before '='";
		return -EUCLEAN;
	}
	normalise_key(key);
	value = cut_value(value);
	if (value == NULL) {
		*ret_problem = "a quote without end";
		return -EUCLEAN;
	}
	return fn(ctx, key, value);
}

int ini_parse(const char *data, size_t len,
	      int (*fn)(void *ctx, const char *key, const char *value), void *ctx, struct errmsg *e)
{
	char line[INI_LINE_MAX + 1];
	unsigned number = 0;

	while (len > 0) {
		const char *newline = memchr(data, '\n', len);
		size_t line_len = newline != NULL ? (size_t)(newline - data) : len;
		const char *problem = NULL;
		int rc = -EUCLEAN;

		number++;
		if (line_len > INI_LINE_MAX) {
			problem = "too long";
		} else if (memchr(data, '\0', line_len) != NULL) {
			problem = "contains a NUL byte";
		} else {
			memcpy(line, data, line_len);
			line[line_len] = '\0';
			rc = parse_line(line, fn, ctx, &problem);
		}
		if (problem != NULL)
			return errmsg_set(e, rc, "line %u: %s", number, problem);
		if (rc != 0)
			return rc;
		line_len += newline != NULL;
		data += line_len;
		len -= line_len;
	}
	return 0;
}
