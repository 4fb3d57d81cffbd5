/*
 * tests/barrier/content.h: what a file holds, request by request.
 *
 * A file is made of units of 16 bytes. What a write puts into a unit names the file, the change and
 * the unit, so that bytes read anywhere tell where they come from. The model applies each change
 * when its request is handed over; a view is what the file held at such a moment. A view is
 * answered right if each unit holds what it held then, or what a change that was handed over later,
 * and before the answer, made of it: requests that are under way at the same time have no order.
 */
#ifndef BARRIER_CONTENT_H
#define BARRIER_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT	    16u
#define BLOCK_UNITS (8192u / UNIT)
#define UNITS_MAX   (48u * BLOCK_UNITS)
#define LOG_SIZE    8192u

/* Else the number of the change that wrote the unit. */
enum { VALUE_ZERO, VALUE_BASE, VALUE_FIRST };

struct change {
	uint32_t value;	   /* what the units from .. to-1 have become */
	uint32_t from, to; /* equal: none */
	uint32_t size;	   /* of the file, afterwards */
};

/* Sizes and places count units. */
struct content {
	uint64_t salt; /* differs from file to file */
	uint32_t size;
	uint32_t units[UNITS_MAX]; /* from size on VALUE_ZERO */
	uint8_t *base;		   /* UNITS_MAX units; NULL: a new file */
	uint32_t changes;	   /* so far */
	struct change log[LOG_SIZE];
};

struct view {
	uint32_t changes; /* the moment */
	uint32_t size;	  /* of the file */
	uint32_t from, count;
	uint32_t values[];
};

/* base (or NULL) is copied. Aborts when out of memory, as tests do. */
struct content *content_new(uint64_t salt, const uint8_t *base, uint32_t size);
void content_free(struct content *c); /* NULL is fine */

/* Changes. The number of a write goes into its bytes. */
uint32_t content_write(struct content *c, uint32_t from, uint32_t count);
void content_resize(struct content *c, uint32_t size);
void content_zero(struct content *c, uint32_t from, uint32_t count, bool keep_size);
void content_allocate(struct content *c, uint32_t from, uint32_t count, bool keep_size);
/* The bytes of write number value. */
void content_fill(const struct content *c, uint32_t value, uint32_t from, uint32_t count,
		  uint8_t *ret);

/* A view of units from .. from+count-1 now; free() it. */
struct view *content_view(const struct content *c, uint32_t from, uint32_t count);

struct verdict {
	bool good;
	uint32_t later; /* units that show a later change */
	char why[200];
};
/* Is size right for what was asked at the view's moment? exact: no later one will do. */
void view_check_size(const struct content *c, const struct view *v, uint64_t bytes, bool exact,
		     struct verdict *ret);
/* Are these the bytes of the view, up to the end of the file? */
void view_check(const struct content *c, const struct view *v, const uint8_t *data, size_t len,
		struct verdict *ret);

#endif
