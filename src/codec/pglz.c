/*
 * codec/pglz.c: the stream is groups of one control byte and up to 8 items, least significant bit
 * first. Bit 0 is one literal byte, bit 1 a copy `b0 b1 [b2]`:
 *
 *	offset = (b0 & 0xf0) << 4 | b1     1..4095, back from where the output stands
 *	length = (b0 & 0x0f) + 3           18: plus b2
 *
 * A copy may overlap what it writes (offset 1 is a run); the last one is clamped to the output. The
 * stream does not say how long its output is.
 */
#include "codec/pglz.h"
#include "base/util.h"

#include <errno.h>

#define COPY_MAX 273u /* longest copy */
#define STEP	 16u

struct cursor {
	const uint8_t *in, *in_end;
	uint8_t *out, *out_start, *out_end;
};

/* len bytes from offset bytes back, which may be less than len. */
static void copy_back(uint8_t *out, size_t offset, size_t len)
{
	/* What is written doubles the distance that can be copied at once. */
	while (len > offset) {
		memcpy(out, out - offset, offset);
		out += offset;
		len -= offset;
		offset += offset;
	}
	memcpy(out, out - offset, len);
}

static int decode_copy(struct cursor *c)
{
	size_t len, offset, room;

	if (c->in_end - c->in < 2)
		return -EUCLEAN;
	len = (c->in[0] & 0x0fu) + 3;
	offset = (size_t)(c->in[0] & 0xf0u) << 4 | c->in[1];
	c->in += 2;
	if (len == 18) {
		if (c->in == c->in_end)
			return -EUCLEAN;
		len += *c->in++;
	}
	if (offset == 0 || offset > (size_t)(c->out - c->out_start))
		return -EUCLEAN;

	room = (size_t)(c->out_end - c->out);
	if (offset >= STEP && room >= COPY_MAX + STEP) {
		/* Whole steps: what they write too much is overwritten by what comes next. */
		for (size_t i = 0; i < len; i += STEP)
			memcpy(c->out + i, c->out + i - offset, STEP);
	} else {
		len = MIN(len, room);
		copy_back(c->out, offset, len);
	}
	c->out += len;
	return 0;
}

static int decode_group(struct cursor *c)
{
	unsigned control = *c->in++;

	if (control == 0 && c->in_end - c->in >= 8 && c->out_end - c->out >= 8) {
		memcpy(c->out, c->in, 8);
		c->in += 8;
		c->out += 8;
		return 0;
	}
	for (int i = 0; i < 8 && c->in < c->in_end && c->out < c->out_end; i++, control >>= 1) {
		if ((control & 1) == 0) {
			*c->out++ = *c->in++;
		} else {
			int rc = decode_copy(c);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int pglz_decode(const void *src, size_t src_len, void *dst, size_t dst_len)
{
	struct cursor c = {.in = src, .out = dst, .out_start = dst};

	/* No pointer arithmetic on the NULL of an empty buffer. */
	if (src_len == 0 || dst_len == 0)
		return src_len == dst_len ? 0 : -EUCLEAN;
	c.in_end = c.in + src_len;
	c.out_end = c.out + dst_len;
	while (c.in < c.in_end && c.out < c.out_end) {
		int rc = decode_group(&c);

		if (rc < 0)
			return rc;
	}
	return c.in == c.in_end && c.out == c.out_end ? 0 : -EUCLEAN;
}
