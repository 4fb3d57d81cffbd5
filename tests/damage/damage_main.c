/*
 * damage [-s SEED] [-n DAMAGES] [-v]: random damages, one at a time, to every file of small stores:
 * flipped bits, changed and swapped bytes, cuts, growth, zeroed pieces, missing files, files in the
 * place of others. Whatever is damaged: no crash, and no wrong byte where the header map, a page or
 * a list has a sum of it. Prints a table of what the readers made of it; exit status 1 if any byte
 * was wrong.
 */
#include "base/log.h"
#include "base/util.h"
#include "damage.h"
#include "unit.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE 4096u /* what a lost sector of a disk takes */

static const struct damage_reader readers[] = {
	{"mount", damage_read_mount},
	{"verify", damage_read_verify},
};

static const char *const result_names[DAMAGE_RESULT_MAX_] = {
	[DAMAGE_REFUSED] = "refused", [DAMAGE_FOUND] = "found",	 [DAMAGE_UNSEEN] = "no effect",
	[DAMAGE_OTHER] = "other chain", [DAMAGE_BEYOND] = "beyond sums", [DAMAGE_WRONG] = "WRONG",
};
static const char *const kind_names[DAMAGE_KIND_MAX_] = {
	[DAMAGE_CONTROL] = "backup.control",
	[DAMAGE_LIST] = "backup_content.control",
	[DAMAGE_MAP] = "page_header_map",
	[DAMAGE_PAGES] = "data files",
	[DAMAGE_PLAIN] = "plain files",
};

static unsigned long long random_state;
static unsigned long tally[ARRAY_SIZE(readers)][DAMAGE_KIND_MAX_][DAMAGE_RESULT_MAX_];

static size_t random_below(size_t n)
{
	return n > 0 ? unit_random(&random_state) % n : 0;
}

/* The damaged copy of a file; bytes NULL: it is gone. */
struct damaged {
	uint8_t *bytes;
	size_t len;
	char what[128];
};

static void say(struct damaged *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct damaged *d, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(d->what, sizeof(d->what), fmt, args);
	va_end(args);
}

static void change_bytes(struct damaged *d)
{
	size_t at = random_below(d->len), other = random_below(d->len);
	uint8_t byte = d->bytes[at];

	switch (random_below(3)) {
	case 0:
		d->bytes[at] ^= (uint8_t)(1u << random_below(8));
		say(d, "byte %zu from %02x to %02x", at, byte, d->bytes[at]);
		break;
	case 1:
		d->bytes[at] = (uint8_t)random_below(256);
		say(d, "byte %zu from %02x to %02x", at, byte, d->bytes[at]);
		break;
	default:
		d->bytes[at] = d->bytes[other];
		d->bytes[other] = byte;
		say(d, "bytes %zu and %zu swapped", at, other);
		break;
	}
}

static void change_pieces(struct damaged *d)
{
	size_t at = random_below(d->len / PIECE + 1) * PIECE;
	size_t from = random_below(d->len / PIECE + 1) * PIECE;
	size_t len = MIN(d->len - at, (size_t)PIECE);

	if (random_below(2) == 0) {
		memset(d->bytes + at, 0, len);
		say(d, "%zu bytes at %zu zeroed", len, at);
	} else {
		len = MIN(len, d->len - from);
		memmove(d->bytes + at, d->bytes + from, len);
		say(d, "%zu bytes at %zu from %zu", len, at, from);
	}
}

static void replace_file(struct damaged *d, const struct damage_file *other)
{
	d->bytes = realloc(d->bytes, other->len + 1);
	memcpy(d->bytes, other->bytes, other->len);
	d->len = other->len;
	say(d, "has become a copy of %s", other->path);
}

static void damage(struct damaged *d, const struct damage_store *s, const struct damage_file *file)
{
	d->bytes = malloc(file->len + 64);
	memcpy(d->bytes, file->bytes, file->len);
	d->len = file->len;
	switch (file->len > 0 ? random_below(12) : 9 + random_below(3)) {
	case 6:
	case 7:
		change_pieces(d);
		break;
	case 8:
		d->len = random_below(d->len);
		say(d, "cut to %zu bytes", d->len);
		break;
	case 9:
		memset(d->bytes + d->len, (int)random_below(256), 63);
		d->len += 1 + random_below(63);
		say(d, "grown to %zu bytes", d->len);
		break;
	case 10:
		free(d->bytes);
		d->bytes = NULL;
		say(d, "removed");
		break;
	case 11:
		replace_file(d, &s->files[random_below(s->count)]);
		break;
	default:
		change_bytes(d);
		break;
	}
}

static void write_file(const struct damage_store *s, const struct damage_file *file,
		       const uint8_t *bytes, size_t len)
{
	char path[1024];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", s->path, file->path);
	if (bytes == NULL) {
		ck_assert_int_eq(unlink(path), 0);
		return;
	}
	f = fopen(path, "wb");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* The next damage; false if a reader got it wrong. */
static bool step(const struct damage_store *s, unsigned long number, bool talk)
{
	/* By kind first: there are few lists and many files. */
	enum damage_kind kind = (enum damage_kind)random_below(DAMAGE_KIND_MAX_);
	const struct damage_file *file;
	struct damaged d = {0};
	struct damage_case c = {.store = s};
	bool good = true;

	do
		file = &s->files[random_below(s->count)];
	while (file->kind != kind);
	damage(&d, s, file);
	c.file = file;
	c.what = d.what;
	c.backup = &s->backups[random_below(DAMAGE_BACKUPS)];
	write_file(s, file, d.bytes, d.len);
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++) {
		char why[512] = "";
		enum damage_result result = readers[i].read(&c, why);

		tally[i][kind][result]++;
		if (result == DAMAGE_WRONG || talk)
			printf("%s: damage %lu: %s: %s of %s, %s: %s %s\n", readers[i].name, number,
			       s->name, file->path, c.backup->id, d.what, result_names[result],
			       why);
		good = good && result != DAMAGE_WRONG;
	}
	write_file(s, file, file->bytes, file->len);
	free(d.bytes);
	return good;
}

static void print_tally(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++) {
		printf("%-24s", readers[i].name);
		for (unsigned r = 0; r < DAMAGE_RESULT_MAX_; r++)
			printf(" %12s", result_names[r]);
		printf("\n");
		for (unsigned k = 0; k < DAMAGE_KIND_MAX_; k++) {
			printf("  %-22s", kind_names[k]);
			for (unsigned r = 0; r < DAMAGE_RESULT_MAX_; r++)
				printf(" %12lu", tally[i][k][r]);
			printf("\n");
		}
	}
}

/* Undamaged, everything is right: the harness itself could be wrong. */
static bool check_pristine(const struct damage_store *s)
{
	struct damage_case c = {.store = s, .file = &s->files[0], .what = "nothing"};
	char why[512] = "";
	bool good = true;

	for (unsigned i = 0; i < DAMAGE_BACKUPS * ARRAY_SIZE(readers); i++) {
		c.backup = &s->backups[i % DAMAGE_BACKUPS];
		if (readers[i / DAMAGE_BACKUPS].read(&c, why) != DAMAGE_UNSEEN) {
			printf("%s: undamaged, %s: %s\n", s->name, c.backup->id, why);
			good = false;
		}
	}
	return good;
}

static bool run_store(unsigned kind, unsigned long first, unsigned long damages, bool talk)
{
	struct damage_store *s;
	bool good;

	unit_setup();
	s = damage_store_new(kind, unit_path, first);
	/* What readers log of damage is not of interest here. */
	(void)log_open(unit_dir, "log");
	good = check_pristine(s);
	random_state = first * 1000003 + kind;
	for (unsigned long i = 0; i < damages; i++)
		good = step(s, i, talk) && good;
	damage_store_free(s);
	unit_teardown();
	return good;
}

static unsigned long seed = 1, count = 400;
static bool verbose, all_good = true;

/* In a Check test, because what makes the stores asserts with Check. */
START_TEST(run_stores)
{
	for (unsigned kind = 0; kind < damage_store_kinds(); kind++)
		all_good = run_store(kind, seed, count / damage_store_kinds(), verbose) && all_good;
}
END_TEST

static int run_all(void)
{
	Suite *suite = suite_create("damage");
	TCase *tc = tcase_create("stores");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 0);
	tcase_add_test(tc, run_stores);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	if (failed > 0)
		srunner_print(runner, CK_NORMAL);
	srunner_free(runner);
	return failed;
}

int main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "s:n:v")) != -1) {
		if (option == 's')
			seed = strtoul(optarg, NULL, 10);
		else if (option == 'n')
			count = strtoul(optarg, NULL, 10);
		else if (option == 'v')
			verbose = true;
		else
			return 2;
	}
	all_good = run_all() == 0 && all_good;
	print_tally();
	if (all_good)
		printf("ok damage: %lu damages from seed %lu\n", count, seed);
	else
		printf("not ok damage: again with damage -s %lu -n %lu\n", seed, count);
	return all_good ? 0 : 1;
}
