/*
 * What a recovery is told. Byte 0 chooses: the record in a diff; the options of a target (a name
 * and a value, each ended by a newline) and what is made of them; the name of a table; the options
 * of `restore`.
 *
 * What is written is read again as the same, by us and as PostgreSQL reads its settings.
 */
#include "base/util.h"
#include "cmd/extract_name.h"
#include "cmd/pgconf.h"
#include "cmd/recovery.h"
#include "cmd/restore_conf.h"
#include "fuzz_dir.h"

#include <errno.h>

/* text sets `name` to `wanted` and has no line that is none. */
static void check_setting(const char *text, const char *name, const char *wanted)
{
	char *key = malloc(strlen(text) + 1), *value = malloc(strlen(text) + 1);
	unsigned found = 0;

	FUZZ_CHECK(key != NULL && value != NULL);
	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		enum pgconf_line kind = pgconf_parse_line(line, len, key, value);

		FUZZ_CHECK(kind != PGCONF_SYNTAX);
		if (kind == PGCONF_SETTING && strcmp(key, name) == 0) {
			FUZZ_CHECK(strcmp(value, wanted) == 0);
			found++;
		}
		line += len + (line[len] == '\n');
	}
	FUZZ_CHECK(found == 1);
	free(key);
	free(value);
}

static void check_record(const struct recovery *r)
{
	_cleanup_free_ char *text = recovery_format(r);
	_cleanup_free_ char *conf = recovery_conf_text(r);
	struct recovery again = {0};

	FUZZ_CHECK(text != NULL && conf != NULL);
	FUZZ_CHECK(recovery_parse(text, strlen(text), NULL, &again) == 0);
	FUZZ_CHECK(again.kind == r->kind && again.action == r->action &&
		   again.exclusive == r->exclusive && again.timeline == r->timeline &&
		   again.segment_size == r->segment_size && again.start_lsn == r->start_lsn &&
		   again.end_lsn == r->end_lsn);
	FUZZ_CHECK(strcmp(again.value, r->value) == 0 && strcmp(again.command, r->command) == 0);
	recovery_clear(&again);
	check_setting(conf, "restore_command", r->command);
}

static void check_parse(const char *text, size_t size)
{
	struct recovery r = {0};
	struct errmsg e = {""};
	int rc = recovery_parse(text, size, &e, &r);

	fuzz_put("recovery", text, size);
	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN || rc == -EINVAL);
	if (rc == 0)
		check_record(&r);
	recovery_clear(&r);
	e.text[0] = '\0';
	FUZZ_CHECK(recovery_read_path(fuzz_dir_path(), &e, &r) == rc);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	recovery_clear(&r);
}

/* ---- options ---- */

/* The next line of the input, its newline replaced by a NUL; "" at the end. */
static char *next_line(char **text)
{
	char *line = *text;
	size_t len = strcspn(line, "\n");

	*text = line + len + (line[len] == '\n');
	line[len] = '\0';
	return line;
}

static void check_made(const struct target *t, const char *store)
{
	const struct target_choice choice = {
		.timeline = 1, .start_lsn = 5, .end_lsn = UINT64_MAX, .has_archive = store[0] != 0};
	struct recovery r = {0};
	char text[TARGET_TEXT_SIZE];
	int rc = recovery_make(t, &choice, "/usr/bin/pgoverlay", store, "main", &r);

	FUZZ_CHECK(strlen(target_text(t, text)) > 0);
	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	if (rc == 0) {
		check_record(&r);
		FUZZ_CHECK(recovery_compare(&r, t, NULL) == 0);
		r.exclusive = !r.exclusive;
		FUZZ_CHECK(recovery_compare(&r, t, NULL) == -EINVAL);
		FUZZ_CHECK(recovery_record(fuzz_dir(), &r, NULL) == 0);
	}
	recovery_clear(&r);
}

static void check_time(int64_t time)
{
	const struct target t = {.kind = TARGET_TIME, .time = time};
	char value[TARGET_VALUE_SIZE];
	int64_t again;

	FUZZ_CHECK(target_time_parse(target_value(&t, value), &again) == 0);
	FUZZ_CHECK(again == time);
}

static void check_options(char *text)
{
	struct target t = {0};
	struct errmsg e = {""};
	const char *store = next_line(&text);
	int rc = 0;

	while (rc == 0 && *text != '\0') {
		const char *name = next_line(&text), *value = next_line(&text);

		rc = target_option(&t, name, value, &e);
	}
	if (rc == 0)
		rc = target_check(&t, &e);
	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc == 0 && t.kind == TARGET_TIME)
		check_time(t.time);
	if (rc == 0 && t.kind >= TARGET_IMMEDIATE)
		check_made(&t, store);
}

static void check_restore(char *text)
{
	const struct restore_conf conf = {
		.backup = "TA0001", .local_time = "now", .primary_conninfo = "",
		.needs_archive = true, .pg_version = 15};
	struct restore_recovery r = {0};
	const char **const fields[] = {&r.time,	     &r.xid,	  &r.lsn,    &r.name,
				       &r.stop,	     &r.timeline, &r.action, &r.inclusive,
				       &r.slot,	     &r.primary_conninfo};
	char *command = restore_conf_command("/usr/bin/pgoverlay", text, "main");
	struct restore_conf_files files = {0};
	struct restore_conf with = conf;

	FUZZ_CHECK(command != NULL);
	with.restore_command = command;
	for (unsigned i = 0; i < ARRAY_SIZE(fields) && *text != '\0'; i++) {
		const char *value = next_line(&text);

		*fields[i] = value[0] != '\0' ? value : NULL;
	}
	r.as_replica = *text == 'r';
	if (restore_recovery_check(&r, NULL) == 0) {
		FUZZ_CHECK(restore_conf_make(&r, &with, &files) == 0);
		check_setting(files.auto_conf, "restore_command", command);
		restore_conf_free(&files);
	}
	free(command);
}

static int check_table(const char *text)
{
	char *dbname = NULL, *pattern = NULL;
	struct errmsg e = {""};
	int rc = extract_table(text, &dbname, &pattern, &e);

	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc == 0) {
		FUZZ_CHECK(strlen(dbname) > strlen("dbname=''"));
		FUZZ_CHECK(pattern[0] == '"' && pattern[strlen(pattern) - 1] == '"');
	}
	free(dbname);
	free(pattern);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0 || size > 4096)
		return 0;
	text = malloc(size);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] % 4 == 0)
		check_parse(text, size - 1);
	else if (data[0] % 4 == 1)
		check_options(text);
	else if (data[0] % 4 == 2)
		FUZZ_WITH_FAILING_MEMORY(size, 4u, 3, check_table(text));
	else
		check_restore(text);
	free(text);
	return 0;
}
