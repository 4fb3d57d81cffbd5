/*
 * The kernel shows the memory the arguments lie in; it is written over.
 */
#include "cmd/title.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static char *title_at;
static size_t title_room;

void title_init(int argc, char **argv)
{
	if (argc < 1)
		return;
	title_at = argv[0];
	title_room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
}

void title_set(const char *fmt, ...)
{
	char text[512];
	va_list args;
	size_t len;

	if (title_at == NULL)
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	len = strlen(text);
	if (len > title_room)
		len = title_room;
	memset(title_at, 0, title_room);
	memcpy(title_at, text, len);
}
