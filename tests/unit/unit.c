/*
 * tests/unit/unit.c: see unit.h.
 */
#include "unit.h"

#include <string.h>

int unit_dir = -1;
char unit_path[256];

void unit_setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(unit_path, sizeof(unit_path), "%s/pgoverlay-unit-XXXXXX",
		 tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(unit_path));
	unit_dir = open(unit_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(unit_dir, 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void unit_teardown(void)
{
	close(unit_dir);
	unit_dir = -1;
	ck_assert_int_eq(nftw(unit_path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

unsigned char *unit_data(const char *name, size_t *ret_len)
{
	char path[512];
	unsigned char *data;
	long len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", UNIT_DATA_DIR, name);
	f = fopen(path, "rb");
	ck_assert_msg(f != NULL, "cannot open '%s'", path);
	ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
	len = ftell(f);
	ck_assert_int_ge(len, 0);
	rewind(f);
	data = malloc((size_t)len + 1);
	ck_assert_ptr_nonnull(data);
	ck_assert_uint_eq(fread(data, 1, (size_t)len, f), (size_t)len);
	fclose(f);
	*ret_len = (size_t)len;
	return data;
}

void unit_put_file(const char *name, const char *text)
{
	int fd = openat(unit_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(close(fd), 0);
}

void unit_assert_file(const char *name, const char *text)
{
	char data[4096];
	int fd = openat(unit_dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	ck_assert_int_ge(fd, 0);
	len = read(fd, data, sizeof(data) - 1);
	ck_assert_int_ge(len, 0);
	data[len] = '\0';
	ck_assert_str_eq(data, text);
	ck_assert_int_eq(close(fd), 0);
}

unsigned unit_random(unsigned long long *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*state >> 33);
}

int unit_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
