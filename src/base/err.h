/*
 * base/err.h: how functions fail.
 *
 * Every function that can fail returns 0 (or a count) on success and -errno on failure. Some codes have
 * one meaning everywhere:
 *
 *	-EUCLEAN   store or diff content is damaged
 *	-EBADMSG   a checksum does not match
 *	-ENOTSUP   valid, but not something this program handles
 *	-EAGAIN    cannot be answered without waiting (the caller parks the request)
 *
 * Functions that open or check things on behalf of a user also take a `struct errmsg *`, which may be NULL:
 * there the innermost function that knows the reason writes one line "what: why; what to do", once. Rooms
 * below cmd/ never print it.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

/* Start with {0}. */
struct errmsg {
	char text[1024];
};

/* Formats the message (printf rules) unless one is set already; returns rc unchanged. e may be NULL. */
int errmsg_set(struct errmsg *e, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The message, or the text of -rc where none was set. The result lives as long as e. */
const char *errmsg_text(const struct errmsg *e, int rc);

#endif
