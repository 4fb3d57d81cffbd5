/*
 * What a mount tells of itself: to the command that made it, to its status, to the registry.
 */
#include "cmd/daemon_internal.h"

#include "base/util.h"
#include "cmd/facts.h"
#include "cmd/registry.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int daemon_copy_string(const char *from, char **to)
{
	if (from == NULL)
		return 0;
	*to = strdup(from);
	return *to != NULL ? 0 : -ENOMEM;
}

static int make_note(const struct daemon *d, char **ret)
{
	const struct recovery *r = &d->recovery;
	bool recovers = r->kind != TARGET_NONE;
	const char *parts[] = {
		d->plan->note,
		d->diff != NULL ? diff_recovery_note(d->diff) : NULL,
		recovers ? "prepared for recovery to " : NULL,
	};
	size_t len;
	FILE *out = open_memstream(ret, &len);

	if (out == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i] != NULL && parts[i][0] != 0)
			(void)fprintf(out, "%s%s", ftell(out) > 0 ? "; " : "", parts[i]);
	}
	if (recovers)
		(void)fprintf(out, "%s%s%s, then %s", target_kind_name(r->kind),
			      r->value[0] != 0 ? " " : "", r->value, target_action_name(r->action));
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int fill_chain(struct daemon *d)
{
	struct mount_result *r = &d->result;

	r->chain = calloc(d->chain->count, sizeof(*r->chain));
	if (r->chain == NULL)
		return -ENOMEM;
	for (; r->chain_count < d->chain->count; r->chain_count++) {
		int rc = daemon_copy_string(d->chain->layers[r->chain_count]->id,
					    &r->chain[r->chain_count]);

		if (rc != 0)
			return rc;
	}
	return 0;
}

int daemon_fill_result(struct daemon *d)
{
	const struct mount_plan *p = d->plan;
	struct mount_result *r = &d->result;
	const struct {
		const char *from;
		char **to;
	} copies[] = {
		{p->mountpoint, &r->mountpoint},
		{p->store, &r->store},
		{d->chain->instance, &r->instance},
		{d->chain->layers[d->chain->count - 1]->id, &r->backup},
		{p->diff, &r->diff},
		{d->wal_dir, &r->wal_dir},
		{p->folder, &r->folder},
		{p->run_dir, &r->run_dir},
	};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ARRAY_SIZE(copies); i++)
		rc = daemon_copy_string(copies[i].from, copies[i].to);
	if (rc == 0 && asprintf(&r->warnings, "%s%s", d->chain->warnings,
				d->warnings != NULL ? d->warnings : "") < 0)
		rc = -ENOMEM;
	if (rc == 0)
		rc = make_note(d, &r->note);
	if (rc == 0)
		rc = fill_chain(d);
	r->pid = getpid();
	r->uid = p->owner.uid;
	r->gid = p->owner.gid;
	r->pg_version = d->chain->pg_version;
	r->needs_archive = d->chain->needs_archive;
	r->read_only = p->diff == NULL;
	r->temporary = p->temporary;
	r->own_mountpoint = p->own_mountpoint;
	return rc;
}

void daemon_remember(const struct daemon *d)
{
	_cleanup_free_ char *facts = facts_text(&d->result);

	if (facts != NULL && d->plan->diff != NULL && !d->plan->temporary)
		registry_remember(d->plan->home, d->plan->diff, facts);
}
