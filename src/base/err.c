/*
 * base/err.c: see err.h.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int errmsg_set(struct errmsg *e, int rc, const char *fmt, ...)
{
	va_list args;

	/* The innermost function knows most: whoever comes later does not overwrite it. */
	if (e == NULL || e->text[0] != '\0')
		return rc;

	va_start(args, fmt);
	if (vsnprintf(e->text, sizeof(e->text), fmt, args) < 0)
		e->text[0] = '\0';
	va_end(args);
	return rc;
}

const char *errmsg_text(const struct errmsg *e, int rc)
{
	const char *text;

	if (e != NULL && e->text[0] != '\0')
		return e->text;

	/* The system's words for these two would mislead ("Structure needs cleaning"). */
	switch (-rc) {
	case EUCLEAN:
		return "damaged content";
	case EBADMSG:
		return "checksum does not match";
	default:
		text = strerrordesc_np(-rc);
		return text != NULL ? text : "unknown error";
	}
}
