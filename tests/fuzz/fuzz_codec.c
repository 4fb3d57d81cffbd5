/*
 * The decoders. Byte 0 chooses the codec, bytes 1 and 2 the length of the output, the rest is the
 * input.
 */
#include "base/util.h"
#include "codec/codec.h"
#include "fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *a, *b, *src;
	enum codec codec;
	size_t dst_len;
	int rc;

	if (size < 3)
		return 0;
	codec = (enum codec)(data[0] % (CODEC_MAX_ + 1)); /* one that is none too */
	dst_len = get_le16(data + 1);
	size -= 3;
	/* Of the exact sizes, for the sanitizer; nothing of the first try may show in the second.
	 */
	src = malloc(MAX(size, (size_t)1));
	a = malloc(dst_len + 1);
	b = malloc(dst_len + 1);
	FUZZ_CHECK(src != NULL && a != NULL && b != NULL);
	memcpy(src, data + 3, size);
	memset(a, 0x55, dst_len + 1);
	memset(b, 0xaa, dst_len + 1);
	rc = codec_decode(codec, src, size, a, dst_len);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK(codec_decode(codec, src, size, b, dst_len) == rc);
	FUZZ_CHECK(a[dst_len] == 0x55 && b[dst_len] == 0xaa);
	if (rc == 0)
		FUZZ_CHECK(memcmp(a, b, dst_len) == 0);
	free(src);
	free(a);
	free(b);
	return 0;
}
