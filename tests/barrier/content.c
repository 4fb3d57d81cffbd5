/*
 * tests/barrier/content.c: see content.h.
 */
#include "content.h"

#include "base/util.h"
#include "rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	uint64_t place; /* change << 32 | unit */
	uint64_t check;
};

static struct unit make_unit(const struct content *c, uint32_t value, uint32_t unit)
{
	uint64_t place = (uint64_t)value << 32 | unit;

	return (struct unit){.place = place, .check = rng_mix(place ^ c->salt)};
}

struct content *content_new(uint64_t salt, const uint8_t *base, uint32_t size)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c || size > UNITS_MAX)
		abort();
	c->salt = salt;
	c->size = size;
	if (!base)
		return c;
	c->base = calloc(UNITS_MAX, UNIT);
	if (!c->base)
		abort();
	memcpy(c->base, base, (size_t)size * UNIT);
	for (uint32_t i = 0; i < size; i++)
		c->units[i] = VALUE_BASE;
	return c;
}

void content_free(struct content *c)
{
	if (!c)
		return;
	free(c->base);
	free(c);
}

/* ---- changes ---- */

static void add(struct content *c, uint32_t value, uint32_t from, uint32_t to, uint32_t size)
{
	for (uint32_t i = from; i < to; i++)
		c->units[i] = value;
	c->size = size;
	c->log[c->changes++ % LOG_SIZE] =
		(struct change){.value = value, .from = from, .to = to, .size = size};
}

uint32_t content_write(struct content *c, uint32_t from, uint32_t count)
{
	uint32_t value = c->changes + VALUE_FIRST;

	add(c, value, from, from + count, MAX(c->size, from + count));
	return value;
}

void content_resize(struct content *c, uint32_t size)
{
	add(c, VALUE_ZERO, MIN(size, c->size), c->size, size);
}

void content_zero(struct content *c, uint32_t from, uint32_t count, bool keep_size)
{
	uint32_t end = MIN(from + count, c->size);

	add(c, VALUE_ZERO, MIN(from, end), end, keep_size ? c->size : MAX(c->size, from + count));
}

void content_allocate(struct content *c, uint32_t from, uint32_t count, bool keep_size)
{
	add(c, VALUE_ZERO, 0, 0, keep_size ? c->size : MAX(c->size, from + count));
}

void content_fill(const struct content *c, uint32_t value, uint32_t from, uint32_t count,
		  uint8_t *ret)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct unit u = make_unit(c, value, from + i);

		memcpy(ret + (size_t)i * UNIT, &u, UNIT);
	}
}

/* ---- views ---- */

struct view *content_view(const struct content *c, uint32_t from, uint32_t count)
{
	struct view *v = malloc(sizeof(*v) + count * sizeof(v->values[0]));

	if (!v)
		abort();
	*v = (struct view){.changes = c->changes, .size = c->size, .from = from, .count = count};
	for (uint32_t i = 0; i < count; i++)
		v->values[i] = from + i < UNITS_MAX ? c->units[from + i] : VALUE_ZERO;
	return v;
}

static bool is_value(const struct content *c, uint32_t value, uint32_t unit, const uint8_t *data)
{
	static const uint8_t zeros[UNIT];
	struct unit u;

	if (value == VALUE_ZERO)
		return memcmp(data, zeros, UNIT) == 0;
	if (value == VALUE_BASE)
		return memcmp(data, c->base + (size_t)unit * UNIT, UNIT) == 0;
	u = make_unit(c, value, unit);
	return memcmp(data, &u, UNIT) == 0;
}

static const struct change *change_at(const struct content *c, uint32_t number)
{
	if (c->changes - number > LOG_SIZE) {
		(void)fprintf(stderr, "barrier: a request has waited for %u changes\n", LOG_SIZE);
		abort();
	}
	return &c->log[number % LOG_SIZE];
}

static bool is_later(const struct content *c, const struct view *v, uint32_t unit,
		     const uint8_t *data)
{
	for (uint32_t n = v->changes; n < c->changes; n++) {
		const struct change *change = change_at(c, n);

		if (change->from <= unit && unit < change->to &&
		    is_value(c, change->value, unit, data))
			return true;
	}
	return false;
}

static void say_value(uint32_t value, char *ret, size_t size)
{
	if (value == VALUE_ZERO)
		(void)snprintf(ret, size, "zeros");
	else if (value == VALUE_BASE)
		(void)snprintf(ret, size, "what the chain has");
	else
		(void)snprintf(ret, size, "change %u", value - VALUE_FIRST + 1);
}

/* Where the bytes come from, by their own words. */
static void say_bytes(const struct content *c, uint32_t unit, const uint8_t *data, char *ret,
		      size_t size)
{
	struct unit u;

	memcpy(&u, data, UNIT);
	if (is_value(c, VALUE_ZERO, unit, data))
		say_value(VALUE_ZERO, ret, size);
	else if (c->base && is_value(c, VALUE_BASE, unit, data))
		say_value(VALUE_BASE, ret, size);
	else if (u.check == rng_mix(u.place ^ c->salt))
		(void)snprintf(ret, size, "change %u%s",
			       (uint32_t)(u.place >> 32) - VALUE_FIRST + 1,
			       (uint32_t)u.place == unit ? "" : " of another place");
	else
		(void)snprintf(ret, size, "bytes of another file");
}

static void bad_unit(const struct content *c, const struct view *v, uint32_t i, const uint8_t *data,
		     struct verdict *ret)
{
	char want[40], have[60];

	say_value(v->values[i], want, sizeof(want));
	say_bytes(c, v->from + i, data, have, sizeof(have));
	ret->good = false;
	(void)snprintf(ret->why, sizeof(ret->why),
		       "byte %u holds %s instead of %s; asked after change %u of %u",
		       (v->from + i) * UNIT, have, want, v->changes, c->changes);
}

void view_check_size(const struct content *c, const struct view *v, uint64_t bytes, bool exact,
		     struct verdict *ret)
{
	bool good = bytes == (uint64_t)v->size * UNIT;

	for (uint32_t n = v->changes; n < c->changes && !good && !exact; n++)
		good = bytes == (uint64_t)change_at(c, n)->size * UNIT;
	*ret = (struct verdict){.good = good};
	if (!good)
		(void)snprintf(ret->why, sizeof(ret->why),
			       "size %" PRIu64 " instead of %u; asked after change %u of %u", bytes,
			       v->size * UNIT, v->changes, c->changes);
}

/* How many units of the view a file of that size has. */
static uint32_t clip(const struct view *v, uint32_t size)
{
	return size <= v->from ? 0 : MIN(v->count, size - v->from);
}

static bool is_length(const struct content *c, const struct view *v, size_t len)
{
	bool good = len == (size_t)clip(v, v->size) * UNIT;

	for (uint32_t n = v->changes; n < c->changes && !good; n++)
		good = len == (size_t)clip(v, change_at(c, n)->size) * UNIT;
	return good;
}

void view_check(const struct content *c, const struct view *v, const uint8_t *data, size_t len,
		struct verdict *ret)
{
	*ret = (struct verdict){.good = is_length(c, v, len)};
	if (!ret->good) {
		(void)snprintf(ret->why, sizeof(ret->why),
			       "%zu bytes from %u of a file of %u; asked after change %u of %u",
			       len, v->from * UNIT, v->size * UNIT, v->changes, c->changes);
		return;
	}
	for (uint32_t i = 0; i < len / UNIT; i++) {
		const uint8_t *at = data + (size_t)i * UNIT;

		if (is_value(c, v->values[i], v->from + i, at))
			continue;
		if (!is_later(c, v, v->from + i, at)) {
			bad_unit(c, v, i, at, ret);
			return;
		}
		ret->later++;
	}
}
