/*
 * backup.control: what is accepted is in bounds, and the parent is a name that may become a path.
 */
#include "base/util.h"
#include "fuzz.h"
#include "layer/probackup/control.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct probackup_control control;
	struct errmsg e = {""};
	uint64_t number;
	int rc = probackup_control_parse((const char *)data, size, &control, &e);

	FUZZ_CHECK(rc == 0 || rc == -EUCLEAN);
	FUZZ_CHECK((rc == 0) == (e.text[0] == '\0'));
	if (rc < 0)
		return 0;
	FUZZ_CHECK(control.mode < PROBACKUP_MODE_MAX_ && control.status < PROBACKUP_STATUS_MAX_);
	FUZZ_CHECK(strlen(control.unknown_key) < sizeof(control.unknown_key));
	FUZZ_CHECK(strlen(control.program_text) < sizeof(control.program_text));
	FUZZ_CHECK(control.program_version <= 9999999);
	FUZZ_CHECK(control.data_bytes >= -1 && control.wal_bytes >= -1);
	if (control.parent[0] != '\0')
		FUZZ_CHECK(probackup_id_parse(control.parent, &number) == 0 &&
			   path_is_safe(control.parent) && strchr(control.parent, '/') == NULL);
	return 0;
}
