/*
 * What `verify` finds: whatever changes a byte that a restore writes. These stores have no real control file and
 * no WAL, so only what it finds in stored files counts.
 */
#include "cmd/verify.h"
#include "damage.h"

#include <stdio.h>

enum damage_result damage_read_verify(const struct damage_case *c, char *why)
{
	struct verify v = {.request = {.store = c->store->path,
				       .backup = c->backup->id,
				       .jobs = 1,
				       .quiet = true}};
	enum damage_result result, served;
	struct errmsg e = {""};

	if (verify_run(&v, &e) < 0)
		result = DAMAGE_REFUSED;
	else
		result = v.counters.in_files > 0 ? DAMAGE_FOUND : DAMAGE_UNSEEN;
	verify_free(&v);
	if (result != DAMAGE_UNSEEN)
		return result;
	/* Nothing found: then all must be right. */
	served = damage_read_mount(c, why);
	if (served == DAMAGE_UNSEEN || served == DAMAGE_OTHER)
		return served;
	if (why[0] == '\0')
		(void)snprintf(why, 512, "nothing was found, but the mount reports damage");
	return DAMAGE_WRONG;
}
