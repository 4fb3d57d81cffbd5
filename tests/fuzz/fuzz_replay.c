/*
 * The driver without libFuzzer: calls the fuzzer for each file of the directories and files given,
 * then for copies of it that are cut, changed and doubled. The same in each run; FUZZ_ROUNDS sets
 * how many copies in all.
 */
#include "fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES (1 << 20)

static unsigned rounds = 20000;
static unsigned files, found;
static unsigned long long random_state;

static unsigned next_random(void)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(random_state >> 33);
}

/* Changes the copy; returns its new length, at most twice the old one and 16. */
static size_t damage(uint8_t *copy, size_t len)
{
	unsigned changes = next_random() % 4;

	if (len == 0 || next_random() % 4 == 0) {
		size_t more = 1 + next_random() % (len + 15);

		for (size_t i = 0; i < more; i++)
			copy[len + i] = i < len ? copy[i] : (uint8_t)next_random();
		len += more;
	} else if (next_random() % 4 == 0) {
		len = next_random() % len;
	}
	for (; changes > 0 && len > 0; changes--) {
		uint8_t *p = &copy[next_random() % len];

		switch (next_random() % 3) {
		case 0:
			*p ^= (uint8_t)(1u << next_random() % 8);
			break;
		case 1:
			*p = (uint8_t)next_random();
			break;
		default:
			*p = copy[next_random() % len];
			break;
		}
	}
	return len;
}

static int count(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	found += flag == FTW_F;
	return 0;
}

static int replay(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	uint8_t *data, *copy;
	size_t len;
	FILE *f;

	if (flag != FTW_F)
		return 0;
	data = malloc(MAX_BYTES);
	copy = malloc(MAX_BYTES * 2 + 16);
	f = fopen(path, "rb");
	if (data == NULL || copy == NULL || f == NULL) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	len = fread(data, 1, MAX_BYTES, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
	random_state = len;
	for (unsigned i = 0; i < rounds / found; i++) {
		memcpy(copy, data, len);
		LLVMFuzzerTestOneInput(copy, damage(copy, len));
	}
	free(data);
	free(copy);
	files++;
	return 0;
}

int main(int argc, char **argv)
{
	const char *env = getenv("FUZZ_ROUNDS");

	if (env != NULL)
		rounds = (unsigned)strtoul(env, NULL, 10);
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		(void)nftw(argv[i], count, 16, FTW_PHYS);
	for (int i = 1; i < argc; i++) {
		if (nftw(argv[i], replay, 16, FTW_PHYS) != 0) {
			perror(argv[i]);
			return EXIT_FAILURE;
		}
	}
	printf("%u files, %u damaged copies\n", files, files > 0 ? rounds / files * files : 0);
	return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
