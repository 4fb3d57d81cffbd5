/*
 * base/util.c: see util.h.
 */
#include "base/util.h"
#include "base/sys.h"

#include <errno.h>
#include <isa-l/crc.h>

void util_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)sys_close(*fd);
	errno = saved;
}

static bool component_is_safe(const char *s, size_t len)
{
	if (len == 0)
		return false;
	if (len == 1 && s[0] == '.')
		return false;
	return !(len == 2 && s[0] == '.' && s[1] == '.');
}

bool path_is_safe(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!component_is_safe(path, len))
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	/* ISA-L takes an int length and a pointer without const, though it only reads. */
	const size_t piece_max = (size_t)1 << 30;
	unsigned char *p = (unsigned char *)(uintptr_t)buf;

	crc = ~crc;
	while (len > 0) {
		size_t piece = MIN(len, piece_max);

		crc = crc32_iscsi(p, (int)piece, crc);
		p += piece;
		len -= piece;
	}
	return ~crc;
}

/* Polynomials over GF(2) modulo CRC-32C's, x^0 in the highest bit. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
		if ((a & bit) != 0)
			product ^= b;
		b = (b & 1) != 0 ? b >> 1 ^ UINT32_C(0x82F63B78) : b >> 1;
	}
	return product;
}

uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t len)
{
	uint32_t power = UINT32_C(1) << 31; /* 1 */
	uint32_t square = UINT32_C(1) << 23; /* x^8: one byte */

	for (; len > 0; len >>= 1) {
		if ((len & 1) != 0)
			power = multiply(square, power);
		square = multiply(square, square);
	}
	return multiply(power, first) ^ second;
}
