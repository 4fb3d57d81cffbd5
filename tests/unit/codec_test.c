/*
 * Tests of src/codec: every codec decodes what its encoder wrote and nothing else. Buffers are
 * allocated at their exact size, so that a sanitizer sees each byte too far.
 */
#include "base/util.h"
#include "codec/codec.h"
#include "codec/pglz.h"
#include "unit.h"

#include <errno.h>
#include <libdeflate.h>
#include <lz4.h>
#include <pthread.h>
#include <zstd.h>

#define PAGE 8192u

struct bytes {
	uint8_t *data;
	size_t len;
};

static struct bytes bytes_new(size_t len)
{
	struct bytes b = {malloc(len > 0 ? len : 1), len};

	ck_assert_ptr_nonnull(b.data);
	return b;
}

static struct bytes bytes_copy(const void *data, size_t len)
{
	struct bytes b = bytes_new(len);

	memcpy(b.data, data, len);
	return b;
}

/* ---- encoders ---- */

static size_t find_match(const uint8_t *in, size_t pos, size_t len, size_t *ret_offset)
{
	size_t best = 0;

	for (size_t offset = 1; offset <= 4095 && offset <= pos; offset++) {
		size_t n = 0;

		while (n < 273 && pos + n < len && in[pos + n] == in[pos + n - offset])
			n++;
		if (n > best) {
			best = n;
			*ret_offset = offset;
		}
	}
	return best;
}

/* Greedy and slow; enough to make streams with all kinds of items. */
static struct bytes pglz_encode(const uint8_t *in, size_t len)
{
	struct bytes out = bytes_new(len + len / 8 + 16);
	size_t control = 0, pos = 0, n = 0;

	for (unsigned item = 0; pos < len; item++) {
		size_t offset = 0, match;

		if (item % 8 == 0) {
			control = n++;
			out.data[control] = 0;
		}
		match = find_match(in, pos, len, &offset);
		if (match < 3) {
			out.data[n++] = in[pos++];
			continue;
		}
		out.data[control] |= (uint8_t)(1u << item % 8);
		out.data[n++] = (uint8_t)((offset >> 4 & 0xf0) | (MIN(match, (size_t)18) - 3));
		out.data[n++] = (uint8_t)offset;
		if (match >= 18)
			out.data[n++] = (uint8_t)(match - 18);
		pos += match;
	}
	out.len = n;
	return out;
}

static struct bytes encode(enum codec codec, struct bytes in)
{
	struct bytes out = bytes_new(in.len + in.len / 8 + 1024);
	struct libdeflate_compressor *deflate;
	struct bytes exact;

	switch (codec) {
	case CODEC_ZLIB:
		deflate = libdeflate_alloc_compressor(1);
		out.len = libdeflate_zlib_compress(deflate, in.data, in.len, out.data, out.len);
		libdeflate_free_compressor(deflate);
		break;
	case CODEC_LZ4:
		out.len = (size_t)LZ4_compress_default((char *)in.data, (char *)out.data,
						       (int)in.len, (int)out.len);
		break;
	case CODEC_ZSTD:
		out.len = ZSTD_compress(out.data, out.len, in.data, in.len, 1);
		ck_assert(!ZSTD_isError(out.len));
		break;
	case CODEC_PGLZ:
		free(out.data);
		out = pglz_encode(in.data, in.len);
		break;
	case CODEC_NONE:
	case CODEC_MAX_:
		memcpy(out.data, in.data, in.len);
		out.len = in.len;
		break;
	}
	exact = bytes_copy(out.data, out.len);
	free(out.data);
	return exact;
}

/* ---- content ---- */

enum content { ZEROS, RANDOM, WORDS, SPARSE, CONTENT_MAX };

static struct bytes make_content(enum content content, size_t len)
{
	static const char *const words[] = {"tuple ", "index ", "block ", "a", "of ", "relation "};
	unsigned long long state = content * 77 + len;
	struct bytes b = bytes_new(len);

	memset(b.data, 0, len);
	for (size_t i = 0; i < len && content != ZEROS;) {
		unsigned r = unit_random(&state);
		const char *word = words[r % ARRAY_SIZE(words)];
		size_t n = content == WORDS ? MIN(strlen(word), len - i) : 1;

		if (content == RANDOM || (content == SPARSE && r % 50 == 0))
			b.data[i] = (uint8_t)(r >> 8);
		else if (content == WORDS)
			memcpy(b.data + i, word, n);
		i += n;
	}
	return b;
}

/* Decodes with buffers of the exact sizes; compares if it says it is good. */
static int decode(enum codec codec, const uint8_t *src, size_t src_len, size_t dst_len,
		  const uint8_t *want)
{
	struct bytes in = bytes_copy(src, src_len), out = bytes_new(dst_len);
	int rc = codec_decode(codec, in.data, in.len, out.data, out.len);

	ck_assert(rc == 0 || rc == -EUCLEAN);
	if (rc == 0 && want != NULL)
		ck_assert_mem_eq(out.data, want, dst_len);
	free(in.data);
	free(out.data);
	return rc;
}

START_TEST(names)
{
	static const char *const all[] = {"none", "zlib", "pglz", "lz4", "zstd"};

	for (int i = 0; i < CODEC_MAX_; i++) {
		ck_assert_int_eq(codec_from_name(all[i]), i);
		ck_assert_str_eq(codec_name((enum codec)i), all[i]);
	}
	ck_assert_int_eq(codec_from_name("ZLIB"), -ENOTSUP);
	ck_assert_int_eq(codec_from_name(""), -ENOTSUP);
	ck_assert_int_eq(codec_from_name("bzip2"), -ENOTSUP);
	ck_assert_str_eq(codec_name(CODEC_MAX_), "?");
	ck_assert_int_eq(codec_decode(CODEC_MAX_, "", 0, NULL, 0), -EUCLEAN);
}
END_TEST

START_TEST(every_codec_decodes_all_content)
{
	static const size_t sizes[] = {1, 2, 3, 17, 255, 8191, 8192, 8193, 20000};
	enum codec codec = (enum codec)_i;

	for (int content = 0; content < CONTENT_MAX; content++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct bytes plain = make_content((enum content)content, sizes[i]);
			struct bytes packed = encode(codec, plain);

			ck_assert_int_eq(
				decode(codec, packed.data, packed.len, plain.len, plain.data), 0);
			/* One byte more or less of output is not what was asked for. */
			ck_assert_int_eq(
				decode(codec, packed.data, packed.len, plain.len + 1, NULL),
				-EUCLEAN);
			/* A pglz stream does not say where its last copy ends. */
			if (codec != CODEC_PGLZ)
				ck_assert_int_eq(
					decode(codec, packed.data, packed.len, plain.len - 1, NULL),
					-EUCLEAN);
			free(plain.data);
			free(packed.data);
		}
	}
}
END_TEST

START_TEST(truncated_or_longer_input_is_damage)
{
	enum codec codec = (enum codec)_i;

	for (int content = 0; content < CONTENT_MAX; content++) {
		struct bytes plain = make_content((enum content)content, PAGE);
		struct bytes packed = encode(codec, plain);
		struct bytes longer = bytes_new(packed.len + 1);

		for (size_t len = 0; len < packed.len; len += content == RANDOM ? 7 : 1)
			ck_assert_int_eq(decode(codec, packed.data, len, PAGE, NULL), -EUCLEAN);
		memcpy(longer.data, packed.data, packed.len);
		for (unsigned last = 0; last < 256; last++) {
			longer.data[packed.len] = (uint8_t)last;
			ck_assert_int_eq(decode(codec, longer.data, longer.len, PAGE, NULL),
					 -EUCLEAN);
		}
		free(plain.data);
		free(packed.data);
		free(longer.data);
	}
}
END_TEST

/* One to three bits; each of the first ones in turn, then anywhere. */
START_TEST(flipped_bits_never_crash)
{
	enum codec codec = (enum codec)_i;
	unsigned long long state = 1;

	for (int content = WORDS; content < CONTENT_MAX; content++) {
		struct bytes plain = make_content((enum content)content, PAGE);
		struct bytes packed = encode(codec, plain);
		struct bytes damaged = bytes_new(packed.len);

		for (unsigned n = 0; n < 4000; n++) {
			size_t bit = n < 1000 ? n : unit_random(&state);

			memcpy(damaged.data, packed.data, packed.len);
			for (unsigned more = n % 3 + 1; more > 0; more--) {
				bit %= packed.len * 8;
				damaged.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
				bit = unit_random(&state);
			}
			(void)decode(codec, damaged.data, damaged.len, PAGE, NULL);
		}
		free(plain.data);
		free(packed.data);
		free(damaged.data);
	}
}
END_TEST

START_TEST(empty_input)
{
	uint8_t out[1];

	ck_assert_int_eq(codec_decode(CODEC_NONE, NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(codec_decode(CODEC_PGLZ, NULL, 0, NULL, 0), 0);
	for (int i = 0; i < CODEC_MAX_; i++)
		ck_assert_int_eq(codec_decode((enum codec)i, NULL, 0, out, 1), -EUCLEAN);
}
END_TEST

/* The page header map of a full segment: 3 MiB in one stream. */
START_TEST(zlib_decodes_whole_maps)
{
	struct bytes plain = make_content(SPARSE, 24 * (131072 + 1));
	struct bytes packed = encode(CODEC_ZLIB, plain);

	ck_assert_int_eq(decode(CODEC_ZLIB, packed.data, packed.len, plain.len, plain.data), 0);
	packed.data[packed.len / 2] ^= 0x10;
	ck_assert_int_eq(decode(CODEC_ZLIB, packed.data, packed.len, plain.len, NULL), -EUCLEAN);
	free(plain.data);
	free(packed.data);
}
END_TEST

START_TEST(zstd_takes_one_frame)
{
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
	struct bytes plain = make_content(WORDS, PAGE), packed = encode(CODEC_ZSTD, plain);
	struct bytes two = bytes_new(packed.len * 2),
		     mixed = bytes_new(packed.len + sizeof(skippable));

	memcpy(two.data, packed.data, packed.len);
	memcpy(two.data + packed.len, packed.data, packed.len);
	ck_assert_int_eq(decode(CODEC_ZSTD, two.data, two.len, (size_t)PAGE * 2, NULL), -EUCLEAN);
	memcpy(mixed.data, skippable, sizeof(skippable));
	memcpy(mixed.data + sizeof(skippable), packed.data, packed.len);
	ck_assert_int_eq(decode(CODEC_ZSTD, mixed.data, mixed.len, PAGE, NULL), -EUCLEAN);
	ck_assert_int_eq(decode(CODEC_ZSTD, skippable, sizeof(skippable), PAGE, NULL), -EUCLEAN);
	ck_assert_int_eq(decode(CODEC_ZSTD, skippable, sizeof(skippable), 0, NULL), -EUCLEAN);
	free(plain.data);
	free(packed.data);
	free(two.data);
	free(mixed.data);
}
END_TEST

/* ---- pglz by hand ---- */

static const struct {
	const char *what;
	uint8_t in[16];
	size_t in_len;
	const char *out; /* NULL: damage */
	size_t out_len;
} pglz_cases[] = {
	{"literals", {0x00, 'a', 'b', 'c'}, 4, "abc", 3},
	{"eight literals", {0x00, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}, 9, "abcdefgh", 8},
	{"a run", {0x02, 'a', 0x02, 0x01}, 4, "aaaaaa", 6},
	{"overlapping by two", {0x04, 'a', 'b', 0x02, 0x02}, 5, "abababa", 7},
	{"not overlapping", {0x08, 'a', 'b', 'c', 0x00, 0x03}, 6, "abcabc", 6},
	{"shortest long copy", {0x02, 'x', 0x0f, 0x01, 0x00}, 5, "xxxxxxxxxxxxxxxxxxx", 19},
	{"long copy", {0x02, 'x', 0x0f, 0x01, 0x02}, 5, "xxxxxxxxxxxxxxxxxxxxx", 21},
	{"clamped last copy", {0x02, 'a', 0x0f, 0x01, 0xff}, 5, "aaaa", 4},
	{"literal after a copy", {0x02, 'a', 0x00, 0x01, 'b'}, 5, "aaaab", 5},
	{"offset 0", {0x02, 'a', 0x00, 0x00}, 4, NULL, 4},
	{"offset before the start", {0x02, 'a', 0x00, 0x02}, 4, NULL, 4},
	{"offset with high bits before the start", {0x02, 'a', 0x10, 0x01}, 4, NULL, 4},
	{"copy first", {0x01, 0x00, 0x01}, 3, NULL, 3},
	{"copy cut after one byte", {0x02, 'a', 0x00}, 3, NULL, 4},
	{"long copy without its third byte", {0x02, 'a', 0x0f, 0x01}, 4, NULL, 19},
	{"input ends early", {0x00, 'a', 'b'}, 3, NULL, 3},
	{"input left over", {0x00, 'a', 'b', 'c'}, 4, NULL, 2},
	{"a group left over", {0x00, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 0x00}, 10, NULL, 8},
	{"only a control byte", {0x00}, 1, NULL, 1},
	{"no output wanted", {0x00}, 1, NULL, 0},
};

START_TEST(pglz_by_hand)
{
	for (size_t i = 0; i < ARRAY_SIZE(pglz_cases); i++) {
		const uint8_t *want = (const uint8_t *)pglz_cases[i].out;
		int rc = decode(CODEC_PGLZ, pglz_cases[i].in, pglz_cases[i].in_len,
				pglz_cases[i].out_len, want);

		ck_assert_msg(rc == (want != NULL ? 0 : -EUCLEAN), "%s: %d", pglz_cases[i].what,
			      rc);
	}
}
END_TEST

/* A random valid stream against a decoder that copies byte by byte. */
static void check_random_stream(unsigned long long state)
{
	struct bytes in = bytes_new(6000), out = bytes_new(PAGE);
	size_t n = 0, pos = 0, control = 0;

	for (unsigned item = 0; pos < PAGE && n < in.len - 4; item++) {
		unsigned r = unit_random(&state);
		size_t len, offset;

		if (item % 8 == 0) {
			control = n++;
			in.data[control] = 0;
		}
		if (pos == 0 || r % 4 < 2) {
			out.data[pos++] = in.data[n++] = (uint8_t)(r >> 3);
			continue;
		}
		len = r % 8 == 2 ? 18 + (r >> 4) % 256 : 3 + (r >> 4) % 15;
		offset = 1 + unit_random(&state) % MIN(pos, (size_t)(r % 16 == 3 ? 24 : 4095));
		in.data[control] |= (uint8_t)(1u << item % 8);
		in.data[n++] = (uint8_t)((offset >> 4 & 0xf0) | (MIN(len, (size_t)18) - 3));
		in.data[n++] = (uint8_t)offset;
		if (len >= 18)
			in.data[n++] = (uint8_t)(len - 18);
		for (; len > 0 && pos < PAGE; len--, pos++)
			out.data[pos] = out.data[pos - offset];
	}
	ck_assert_int_eq(decode(CODEC_PGLZ, in.data, n, pos, out.data), 0);
	free(in.data);
	free(out.data);
}

START_TEST(pglz_random_streams)
{
	for (unsigned long long seed = 0; seed < 400; seed++)
		check_random_stream(seed);
}
END_TEST

/* ---- threads ---- */

static void *decode_in_thread(void *arg)
{
	struct bytes *packed = arg;
	uint8_t *out = malloc(PAGE);
	uintptr_t bad = 0;

	for (unsigned i = 0; i < 200; i++)
		bad += codec_decode(CODEC_ZLIB, packed[0].data, packed[0].len, out, PAGE) != 0 ||
		       codec_decode(CODEC_ZSTD, packed[1].data, packed[1].len, out, PAGE) != 0;
	free(out);
	return (void *)bad;
}

/* Leaks of what a thread had are the sanitizer's to find. */
START_TEST(threads_have_their_own_decoders)
{
	struct bytes plain = make_content(WORDS, PAGE);
	struct bytes packed[2] = {encode(CODEC_ZLIB, plain), encode(CODEC_ZSTD, plain)};
	pthread_t threads[8];
	void *bad;

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
			ck_assert_int_eq(
				pthread_create(&threads[i], NULL, decode_in_thread, packed), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
			ck_assert_int_eq(pthread_join(threads[i], &bad), 0);
			ck_assert_ptr_null(bad);
		}
	}
	free(plain.data);
	free(packed[0].data);
	free(packed[1].data);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("codec");
	TCase *t = tcase_create("codec");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, names);
	tcase_add_loop_test(t, every_codec_decodes_all_content, 0, CODEC_MAX_);
	tcase_add_loop_test(t, truncated_or_longer_input_is_damage, 0, CODEC_MAX_);
	tcase_add_loop_test(t, flipped_bits_never_crash, 0, CODEC_MAX_);
	tcase_add_test(t, empty_input);
	tcase_add_test(t, zlib_decodes_whole_maps);
	tcase_add_test(t, zstd_takes_one_frame);
	tcase_add_test(t, pglz_by_hand);
	tcase_add_test(t, pglz_random_streams);
	tcase_add_test(t, threads_have_their_own_decoders);
	suite_add_tcase(s, t);
	return unit_run(s);
}
