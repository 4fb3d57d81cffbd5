/*
 * What all commands share: messages, standard answers, values of options.
 */
#include "cmd/cmd.h"

#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cmd_usage(const char *command, const char *fmt, ...)
{
	va_list args;

	(void)fputs("pgoverlay: ", stderr);
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fprintf(stderr, "; see 'pgoverlay%s%s --help'\n", command[0] != 0 ? " " : "",
		      command);
	return CMD_USAGE;
}

int cmd_failed(const struct errmsg *e, int rc)
{
	(void)fprintf(stderr, "pgoverlay: %s\n", errmsg_text(e, rc));
	return CMD_FAILED;
}

int cmd_print_help(const char *text)
{
	(void)fputs(text, stdout);
	return CMD_GOOD;
}

int cmd_print_version(void)
{
	(void)puts("pgoverlay " PGOVERLAY_VERSION);
	return CMD_GOOD;
}

int cmd_parse_format(const char *text, bool prometheus, enum cmd_format *ret)
{
	if (strcmp(text, "text") == 0)
		*ret = CMD_FORMAT_TEXT;
	else if (strcmp(text, "json") == 0)
		*ret = CMD_FORMAT_JSON;
	else if (prometheus && strcmp(text, "prometheus") == 0)
		*ret = CMD_FORMAT_PROMETHEUS;
	else
		return -EINVAL;
	return 0;
}

int cmd_parse_bytes(const char *text, uint64_t *ret)
{
	static const char units[] = "kMGT";
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return -ERANGE;
	if (*end != 0) {
		const char *unit = strchr(units, *end == 'K' ? 'k' : *end);

		if (unit == NULL ||
		    (end[1] != 0 && strcmp(end + 1, "B") != 0 && strcmp(end + 1, "iB") != 0))
			return -EINVAL;
		shift = 10 * ((unsigned)(unit - units) + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = (uint64_t)n << shift;
	return 0;
}

int cmd_read_all(int fd, size_t max, char **ret)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		ssize_t n;

		if (len + 1 >= cap) {
			char *bigger = realloc(text, cap + 8192);

			if (bigger == NULL)
				return -ENOMEM;
			text = bigger;
			cap += 8192;
		}
		n = read(fd, text + len, cap - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	}
	text[len] = 0;
	*ret = TAKE_PTR(text);
	return 0;
}
