/*
 * backup.control: what is accepted is in bounds, and the parent is a name that may become a path.
 * The file says the same as the bytes.
 */
#include "base/util.h"
#include "fuzz_dir.h"
#include "layer/probackup/control.h"

#include <errno.h>

#define NAME "backup.control"

static void check_control(const struct probackup_control *control)
{
	uint64_t number;

	FUZZ_CHECK(control->mode < PROBACKUP_MODE_MAX_);
	FUZZ_CHECK(control->status < PROBACKUP_STATUS_MAX_);
	FUZZ_CHECK(strlen(probackup_mode_name(control->mode)) > 0);
	FUZZ_CHECK(strlen(probackup_status_name(control->status)) > 0);
	/* What may be opened by force is refused without. */
	FUZZ_CHECK(!probackup_status_is_suspect(control->status) ||
		   probackup_status_refusal(control->status) != NULL);
	FUZZ_CHECK(strlen(control->unknown_key) < sizeof(control->unknown_key));
	FUZZ_CHECK(strlen(control->program_text) < sizeof(control->program_text));
	FUZZ_CHECK(control->program_version <= 9999999);
	FUZZ_CHECK(control->data_bytes >= -1 && control->wal_bytes >= -1);
	if (control->parent[0] != '\0')
		FUZZ_CHECK(probackup_id_parse(control->parent, &number) == 0 &&
			   path_is_safe(control->parent) && strchr(control->parent, '/') == NULL);
}

static void check_file(const uint8_t *data, size_t size, int rc)
{
	struct probackup_control control = {0};
	struct errmsg e = {""};

	fuzz_put(NAME, data, size);
	FUZZ_CHECK(probackup_control_read(fuzz_dir(), "backup.control", "ID", &control, &e) == rc);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc == 0) {
		const struct probackup_control before = control;

		FUZZ_CHECK(probackup_control_read(fuzz_dir(), "backup.control", "ID", &control,
						  &e) == 0);
		FUZZ_CHECK(memcmp(&control, &before, sizeof(control)) == 0);
	}
	fuzz_remove(NAME);
	FUZZ_CHECK(probackup_control_read(fuzz_dir(), "backup.control", "ID", &control, &e) ==
		   -ENOENT);
	FUZZ_CHECK(strlen(probackup_open_text(-ELOOP)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct probackup_control control;
	struct errmsg e = {""};
	int rc = probackup_control_parse((const char *)data, size, &control, &e);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc == 0)
		check_control(&control);
	if (size % 8 == 0 && size <= PROBACKUP_CONTROL_MAX)
		check_file(data, size, rc);
	return 0;
}
