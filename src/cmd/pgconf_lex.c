/*
 * cmd/pgconf_lex.c: one line of a configuration file, and the values in it. See pgconf.h.
 *
 * A line is `name [=] value` with an optional comment. A value is a quoted string or one token;
 * what the server's own lexer would take apart into two tokens ("1.5MB", "a.b") is a syntax error
 * here too.
 */
#include "cmd/pgconf.h"

#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <strings.h>

struct cursor {
	const char *p, *end;
};

/* Bytes from 0x80 on are letters to the server. */
static bool is_letter(char c)
{
	return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_letter_or_digit(char c)
{
	return is_letter(c) || isdigit((unsigned char)c) || c == '$';
}

static void skip_blanks(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r'))
		c->p++;
}

static bool at_end(const struct cursor *c)
{
	return c->p >= c->end || *c->p == '#';
}

static bool take_name(struct cursor *c, char *name)
{
	if (at_end(c) || !is_letter(*c->p))
		return false;
	while (c->p < c->end) {
		bool dot = *c->p == '.' && c->p + 1 < c->end && is_letter(c->p[1]);

		if (!is_letter_or_digit(*c->p) && !dot)
			break;
		*name++ = *c->p++;
	}
	*name = '\0';
	return true;
}

static char unescape(struct cursor *c)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *known;
	unsigned code = 0;

	if (*c->p >= '0' && *c->p <= '7') {
		for (int i = 0; i < 3 && c->p < c->end && *c->p >= '0' && *c->p <= '7'; i++)
			code = code * 8 + (unsigned)(*c->p++ - '0');
		return (char)code;
	}
	known = strchr(from, *c->p);
	if (known == NULL || *c->p == '\0')
		return *c->p++;
	c->p++;
	return to[known - from];
}

/* The server takes the longest match, so '' is a quote inside the string. */
static bool take_string(struct cursor *c, char *value)
{
	c->p++;
	while (c->p < c->end) {
		char ch = *c->p++;

		if (ch == '\'') {
			if (c->p >= c->end || *c->p != '\'') {
				*value = '\0';
				return true;
			}
			c->p++;
		} else if (ch == '\\') {
			if (c->p >= c->end)
				return false;
			ch = unescape(c);
		}
		*value++ = ch;
	}
	return false;
}

/* [+-]digits or 0x..., with a unit glued on; or a number with a point or an exponent, without one.
 */
static size_t number_length(const char *p, const char *end)
{
	const char *s = p;
	bool real = false;

	if (s < end && (*s == '+' || *s == '-'))
		s++;
	if (end - s > 2 && s[0] == '0' && s[1] == 'x' && isxdigit((unsigned char)s[2])) {
		for (s += 2; s < end && isxdigit((unsigned char)*s); s++)
			;
	} else {
		const char *digits = s;

		while (s < end && isdigit((unsigned char)*s))
			s++;
		if (s < end && *s == '.') {
			real = true;
			for (s++; s < end && isdigit((unsigned char)*s); s++)
				;
		}
		if (s == digits)
			return 0;
		if (real && s < end && (*s == 'e' || *s == 'E')) {
			const char *x = s + 1;

			if (x < end && (*x == '+' || *x == '-'))
				x++;
			if (x < end && isdigit((unsigned char)*x)) {
				while (x < end && isdigit((unsigned char)*x))
					x++;
				s = x;
			}
		}
	}
	while (!real && s < end && isalpha((unsigned char)*s))
		s++;
	return (size_t)(s - p);
}

/* name.name is a token of its own that is no value; any other mix of letters and -._:/ is one. */
static size_t word_length(const char *p, const char *end)
{
	const char *s = p;
	bool qualified = false, other = false;

	if (s >= end || !is_letter(*s))
		return 0;
	for (s++; s < end && (is_letter_or_digit(*s) || memchr("-._:/", *s, 5) != NULL); s++) {
		if (*s == '.' && s + 1 < end && is_letter(s[1]))
			qualified = true;
		else if (!is_letter_or_digit(*s))
			other = true;
	}
	return qualified && !other ? 0 : (size_t)(s - p);
}

static bool take_value(struct cursor *c, char *value)
{
	size_t len;

	if (at_end(c))
		return false;
	if (*c->p == '\'')
		return take_string(c, value);
	len = is_letter(*c->p) ? word_length(c->p, c->end) : number_length(c->p, c->end);
	if (len == 0)
		return false;
	memcpy(value, c->p, len);
	value[len] = '\0';
	c->p += len;
	return true;
}

enum pgconf_line pgconf_parse_line(const char *line, size_t len, char *name, char *value)
{
	struct cursor c = {line, line + len};

	skip_blanks(&c);
	if (at_end(&c))
		return PGCONF_EMPTY;
	if (!take_name(&c, name))
		return PGCONF_SYNTAX;
	skip_blanks(&c);
	if (c.p < c.end && *c.p == '=') {
		c.p++;
		skip_blanks(&c);
	}
	if (!take_value(&c, value))
		return PGCONF_SYNTAX;
	skip_blanks(&c);
	return at_end(&c) ? PGCONF_SETTING : PGCONF_SYNTAX;
}

bool pgconf_name_equal(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0;
}

int pgconf_split(const char *list, int (*fn)(void *ctx, const char *name), void *ctx)
{
	_cleanup_free_ char *name = malloc(strlen(list) + 1);
	const char *p = list;
	int rc;

	if (name == NULL)
		return -ENOMEM;
	for (;;) {
		size_t n = 0;

		p += strspn(p, " \t\r\n");
		if (*p == '"') {
			for (p++; *p != '\0' && (*p != '"' || *++p == '"'); p++)
				name[n++] = *p;
		} else {
			while (*p != '\0' && *p != ',')
				name[n++] = *p++;
			while (n > 0 && isspace((unsigned char)name[n - 1]))
				n--;
		}
		name[n] = '\0';
		rc = n > 0 ? fn(ctx, name) : 0;
		if (rc != 0)
			return rc;
		p += strcspn(p, ",");
		if (*p == '\0')
			return 0;
		p++;
	}
}

int pgconf_bool(const char *value)
{
	static const struct {
		const char *text;
		size_t least;
		int result;
	} words[] = {{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0},
		     {"on", 2, 1},   {"off", 2, 0},   {"1", 1, 1},   {"0", 1, 0}};
	size_t len = strlen(value);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (len >= words[i].least && len <= strlen(words[i].text) &&
		    strncasecmp(value, words[i].text, len) == 0)
			return words[i].result;
	return -1;
}

long long pgconf_kilobytes(const char *value, unsigned unit_kb)
{
	static const struct {
		const char *name;
		double kb;
	} units[] = {{"B", 1.0 / 1024}, {"kB", 1}, {"MB", 1024}, {"GB", 1 << 20}, {"TB", 1 << 30}};
	double kb = unit_kb, number;
	char *end;

	errno = 0;
	number = strtod(value, &end);
	if (end == value || errno != 0 || !isfinite(number) || number < 0)
		return -EINVAL;
	end += strspn(end, " \t");
	if (*end != '\0') {
		size_t i = 0, len = strcspn(end, " \t");

		while (i < ARRAY_SIZE(units) &&
		       (strlen(units[i].name) != len || strncmp(units[i].name, end, len) != 0))
			i++;
		if (i == ARRAY_SIZE(units) || end[len + strspn(end + len, " \t")] != '\0')
			return -EINVAL;
		kb = units[i].kb;
	}
	number *= kb;
	return number < 1e15 ? (long long)number : -EINVAL;
}
