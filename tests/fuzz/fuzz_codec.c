/*
 * The decoders. Byte 0 chooses the codec, bytes 1 and 2 the length of the output, the rest is the
 * input. From 0xf0 on the codec is used by a thread of its own, which has no decoder yet, gets no
 * memory for one, and then does.
 */
#include "base/util.h"
#include "codec/codec.h"
#include "fuzz_dir.h"

#include <errno.h>
#include <pthread.h>

struct job {
	enum codec codec;
	const uint8_t *src;
	size_t src_len, dst_len;
	uint8_t fill;
	uint8_t *dst; /* one byte more than dst_len */
	int rc;
};

static void decode(struct job *job)
{
	job->dst = malloc(job->dst_len + 1);
	FUZZ_CHECK(job->dst != NULL);
	memset(job->dst, job->fill, job->dst_len + 1);
	job->rc = codec_decode(job->codec, job->src, job->src_len, job->dst, job->dst_len);
	FUZZ_CHECK(job->dst[job->dst_len] == job->fill);
}

static void *decode_anew(void *arg)
{
	struct job *job = arg;
	uint8_t *dst = malloc(job->dst_len + 1);

	FUZZ_CHECK(dst != NULL);
	memory_fail(1);
	job->rc = codec_decode(job->codec, job->src, job->src_len, dst, job->dst_len);
	memory_fail(0);
	FUZZ_CHECK(job->rc == 0 || job->rc == -EUCLEAN || job->rc == -ENOMEM);
	free(dst);
	decode(job);
	return NULL;
}

static void check_names(enum codec codec, const uint8_t *data, size_t size)
{
	char *name = malloc(size + 1);

	FUZZ_CHECK(name != NULL);
	memcpy(name, data, size);
	name[size] = '\0';
	FUZZ_CHECK(codec_from_name(codec_name(codec)) ==
		   (codec < CODEC_MAX_ ? (int)codec : -ENOTSUP));
	if (codec_from_name(name) >= 0)
		FUZZ_CHECK(strcmp(codec_name((enum codec)codec_from_name(name)), name) == 0);
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct job a = {.fill = 0x55}, b;
	pthread_t thread;
	uint8_t *src;

	if (size < 3)
		return 0;
	a.codec = (enum codec)((data[0] & 0x0fu) % (CODEC_MAX_ + 1)); /* one that is none too */
	a.dst_len = get_le16(data + 1);
	a.src_len = size - 3;
	/* Of the exact size, for the sanitizer. */
	src = malloc(MAX(a.src_len, (size_t)1));
	FUZZ_CHECK(src != NULL);
	memcpy(src, data + 3, a.src_len);
	a.src = src;
	b = a;
	b.fill = 0xaa; /* nothing of the first try may show in the second */
	decode(&a);
	FUZZ_CHECK(a.rc == 0 || a.rc == -EUCLEAN);
	if (data[0] >= 0xf0) {
		FUZZ_CHECK(pthread_create(&thread, NULL, decode_anew, &b) == 0);
		FUZZ_CHECK(pthread_join(thread, NULL) == 0);
	} else {
		decode(&b);
	}
	FUZZ_CHECK(b.rc == a.rc);
	if (a.rc == 0)
		FUZZ_CHECK(memcmp(a.dst, b.dst, a.dst_len) == 0);
	check_names(a.codec, src, a.src_len);
	free(src);
	free(a.dst);
	free(b.dst);
	return 0;
}
