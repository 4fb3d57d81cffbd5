/*
 * PostgreSQL's configuration files. Each line of the input is parsed as one; then its parts
 * (divided by 0x01) become postgresql.conf, postgresql.auto.conf, a.conf and conf.d/b.conf, which
 * may include each other. What is written of them is read again as the same settings.
 */
#include "base/util.h"
#include "cmd/pgconf.h"
#include "fuzz_dir.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static enum pgconf_line parse(const char *line, size_t len, char *name, char *value)
{
	char *copy = malloc(MAX(len, (size_t)1));
	enum pgconf_line kind;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, line, len);
	memset(name, 0x55, len + 2);
	memset(value, 0x55, len + 2);
	kind = pgconf_parse_line(copy, len, name, value);
	FUZZ_CHECK(name[len + 1] == 0x55 && value[len + 1] == 0x55);
	free(copy);
	return kind;
}

static void check_lines(const char *text, size_t size)
{
	char *name = malloc(size + 2), *value = malloc(size + 2);

	FUZZ_CHECK(name != NULL && value != NULL);
	while (size > 0) {
		const char *newline = memchr(text, '\n', size);
		size_t len = newline != NULL ? (size_t)(newline - text) : size;

		if (parse(text, len, name, value) == PGCONF_SETTING) {
			FUZZ_CHECK(strlen(name) > 0 && strlen(name) <= len);
			FUZZ_CHECK(strlen(value) <= len);
			FUZZ_CHECK(pgconf_bool(value) <= 1);
			FUZZ_CHECK(pgconf_kilobytes(value, 8) >= -EINVAL);
		}
		len += newline != NULL;
		text += len;
		size -= len;
	}
	free(name);
	free(value);
}

static int add_length(void *ctx, const char *name)
{
	size_t *bytes = ctx;

	FUZZ_CHECK(name[0] != '\0');
	*bytes += strlen(name);
	return 0;
}

/* ---- files ---- */

static size_t problems(const struct pgconf *conf)
{
	size_t bytes = 0;

	for (size_t i = 0; i < conf->problem_count; i++)
		bytes += strlen(conf->problems[i].text) + strlen(conf->problems[i].file);
	return bytes;
}

/* The next setting of one of the two files, from *at on; NULL at the end. */
static const struct pgconf_item *next_item(const struct pgconf *conf, size_t *at, bool from_auto)
{
	while (*at < conf->count) {
		const struct pgconf_item *item = &conf->items[(*at)++];

		if (item->from_auto == from_auto && !item->dropped)
			return item;
	}
	return NULL;
}

static void check_written(const struct pgconf *conf, bool from_auto)
{
	char *text = NULL, *name, *value;
	size_t at = 0;

	FUZZ_CHECK(pgconf_format(conf, from_auto, "# heading\n", &text) == 0);
	name = malloc(strlen(text) + 2);
	value = malloc(strlen(text) + 2);
	FUZZ_CHECK(name != NULL && value != NULL);
	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		const struct pgconf_item *item;

		if (parse(line, len, name, value) != PGCONF_EMPTY) {
			item = next_item(conf, &at, from_auto);
			FUZZ_CHECK(item != NULL && strcmp(item->name, name) == 0);
			FUZZ_CHECK(strcmp(item->value, value) == 0);
			FUZZ_CHECK(parse(line, len, name, value) == PGCONF_SETTING);
		}
		line += len + (line[len] == '\n');
	}
	FUZZ_CHECK(next_item(conf, &at, from_auto) == NULL);
	free(name);
	free(value);
	free(text);
}

static int read_all(void)
{
	struct pgconf conf;
	struct errmsg e = {""};
	struct pgconf_dropped dropped;
	int rc = pgconf_read(fuzz_dir_path(), &e, &conf);

	FUZZ_CHECK(rc == 0 || (rc == -ENOMEM && memory_fail_hit()));
	if (rc < 0)
		return rc;
	memory_fail(0);
	(void)problems(&conf);
	check_written(&conf, false);
	check_written(&conf, true);
	if (conf.count > 0) {
		const char *name = conf.items[0].name;

		FUZZ_CHECK(pgconf_get(&conf, name) != NULL);
		if (conf.count > 1) {
			dropped = pgconf_drop_at(&conf, conf.items[1].file, conf.items[1].line);
			FUZZ_CHECK(dropped.from_main + dropped.from_auto > 0);
		}
		(void)pgconf_drop(&conf, name);
		FUZZ_CHECK(pgconf_get(&conf, name) == NULL);
	}
	pgconf_free(&conf);
	return 0;
}

/* Without slashes nothing outside of the directory is named. */
static void put_files(const char *text, size_t size)
{
	static const char *const names[] = {"postgresql.conf", "postgresql.auto.conf", "a.conf",
					    "conf.d/b.conf"};
	char *copy = malloc(MAX(size, (size_t)1));
	static bool made;
	char path[300];
	size_t at = 0;

	FUZZ_CHECK(copy != NULL);
	(void)snprintf(path, sizeof(path), "%s/conf.d", fuzz_dir_path());
	FUZZ_CHECK(made || mkdir(path, 0700) == 0);
	made = true;
	for (size_t i = 0; i < size; i++)
		copy[i] = text[i] == '/' ? '_' : text[i];
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *end = memchr(copy + at, 1, size - at);
		size_t len = end != NULL ? (size_t)(end - (copy + at)) : size - at;

		fuzz_put(names[i], copy + at, len);
		at += len + (end != NULL);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	size_t bytes = 0;

	FUZZ_CHECK(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	check_lines(text, size);
	FUZZ_CHECK(pgconf_split(text, add_length, &bytes) == 0 && bytes <= size);
	put_files(text, size);
	FUZZ_WITH_FAILING_MEMORY(size, 16u, 24, read_all());
	free(text);
	return 0;
}
