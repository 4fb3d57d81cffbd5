/*
 * Reading and writing the facts of a mount.
 */
#include "cmd/facts.h"

#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>

/* One table for both directions: the keys are a contract. */
struct field {
	const char *key;
	size_t result, clone; /* offsets; NONE: not there */
};

#define NONE SIZE_MAX
#define BOTH(name)                                                                                 \
	{                                                                                          \
#name, offsetof(struct mount_result, name), offsetof(struct clone, name)           \
	}
#define RESULT(name)                                                                               \
	{                                                                                          \
#name, offsetof(struct mount_result, name), NONE                                   \
	}

static const struct field strings[] = {
	BOTH(mountpoint), BOTH(store),	  BOTH(instance), BOTH(backup),
	BOTH(diff),	  BOTH(wal_dir),  BOTH(run_dir),  RESULT(warnings),
	RESULT(note),	  RESULT(engine), BOTH(folder),
};

static const struct field flags[] = {
	BOTH(temporary),
	BOTH(read_only),
	RESULT(needs_archive),
	RESULT(own_mountpoint),
};

static const struct field numbers[] = {
	BOTH(pid),
	BOTH(uid),
	BOTH(gid),
	RESULT(pg_version),
};

/* All of them are 32-bit integers. */
_Static_assert(sizeof(pid_t) == 4 && sizeof(uid_t) == 4 && sizeof(gid_t) == 4,
	       "numbers are read as uint32_t");

static const void *at(const void *base, size_t offset)
{
	return (const char *)base + offset;
}

static void *field_at(void *base, size_t offset)
{
	return (char *)base + offset;
}

static char *const *string_of(const void *base, size_t offset)
{
	return at(base, offset);
}

char *facts_text(const struct mount_result *r)
{
	cJSON *o = cJSON_CreateObject();
	cJSON *chain;
	char *text;

	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		const char *value = *string_of(r, strings[i].result);

		if (value != NULL)
			(void)cJSON_AddStringToObject(o, strings[i].key, value);
		else
			(void)cJSON_AddNullToObject(o, strings[i].key);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		(void)cJSON_AddNumberToObject(o, numbers[i].key,
					      *(const uint32_t *)at(r, numbers[i].result));
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		(void)cJSON_AddBoolToObject(o, flags[i].key, *(const bool *)at(r, flags[i].result));
	chain = cJSON_AddArrayToObject(o, "chain");
	for (unsigned i = 0; i < r->chain_count; i++)
		(void)cJSON_AddItemToArray(chain, cJSON_CreateString(r->chain[i]));
	text = cJSON_PrintUnformatted(o);
	cJSON_Delete(o);
	return text;
}

static int get_string(const cJSON *o, const char *key, char **ret)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(o, key);

	*ret = NULL;
	if (!cJSON_IsString(value))
		return 0;
	*ret = strdup(value->valuestring);
	return *ret != NULL ? 0 : -ENOMEM;
}

static int get_number(const cJSON *value, uint32_t *ret)
{
	double number = value->valuedouble;

	if (!(number >= 0 && number <= UINT32_MAX))
		return -EUCLEAN;
	*ret = (uint32_t)number;
	return 0;
}

static int get_fields(const cJSON *o, void *to, bool clone)
{
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		size_t offset = clone ? strings[i].clone : strings[i].result;
		int rc = offset != NONE ? get_string(o, strings[i].key, field_at(to, offset)) : 0;

		if (rc != 0)
			return rc;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		size_t offset = clone ? numbers[i].clone : numbers[i].result;
		const cJSON *value = cJSON_GetObjectItemCaseSensitive(o, numbers[i].key);

		if (offset != NONE && cJSON_IsNumber(value) &&
		    get_number(value, field_at(to, offset)) < 0)
			return -EUCLEAN;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		size_t offset = clone ? flags[i].clone : flags[i].result;

		if (offset != NONE)
			*(bool *)field_at(to, offset) =
				cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, flags[i].key));
	}
	return 0;
}

static int get_chain(const cJSON *o, struct mount_result *ret)
{
	const cJSON *chain = cJSON_GetObjectItemCaseSensitive(o, "chain");
	const cJSON *id;

	ret->chain = calloc((size_t)cJSON_GetArraySize(chain) + 1, sizeof(*ret->chain));
	if (ret->chain == NULL)
		return -ENOMEM;
	cJSON_ArrayForEach(id, chain)
	{
		if (!cJSON_IsString(id))
			return -EUCLEAN;
		ret->chain[ret->chain_count] = strdup(id->valuestring);
		if (ret->chain[ret->chain_count] == NULL)
			return -ENOMEM;
		ret->chain_count++;
	}
	return 0;
}

int facts_parse_result(const char *text, struct mount_result *ret)
{
	cJSON *o = cJSON_Parse(text);
	struct mount_result result = {0};
	int rc;

	if (!cJSON_IsObject(o)) {
		cJSON_Delete(o);
		return -EUCLEAN;
	}
	rc = get_fields(o, &result, false);
	if (rc == 0)
		rc = get_chain(o, &result);
	if (rc == 0 && result.mountpoint == NULL)
		rc = -EUCLEAN;
	cJSON_Delete(o);
	if (rc == 0)
		*ret = result;
	else
		mount_result_free(&result);
	return rc;
}

int facts_parse_clone(const char *text, struct clone *ret)
{
	cJSON *o = cJSON_Parse(text);
	struct clone clone = {0};
	int rc;

	if (!cJSON_IsObject(o)) {
		cJSON_Delete(o);
		return -EUCLEAN;
	}
	rc = get_fields(o, &clone, true);
	if (rc == 0 && clone.mountpoint == NULL)
		rc = -EUCLEAN;
	cJSON_Delete(o);
	if (rc == 0)
		*ret = clone;
	else
		registry_clone_free(&clone);
	return rc;
}

void mount_result_free(struct mount_result *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++)
		free(*string_of(r, strings[i].result));
	for (unsigned i = 0; i < r->chain_count; i++)
		free(r->chain[i]);
	free(r->chain);
	*r = (struct mount_result){0};
}

void registry_clone_free(struct clone *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		if (strings[i].clone != NONE)
			free(*string_of(c, strings[i].clone));
	}
	*c = (struct clone){0};
}

void mount_result_warn(const struct mount_result *r)
{
	const char *line = r->warnings != NULL ? r->warnings : "";

	while (*line != 0) {
		size_t len = strcspn(line, "\n");

		(void)fprintf(stderr, "pgoverlay: warning: %.*s\n", (int)len, line);
		line += len + (line[len] == '\n' ? 1 : 0);
	}
}

void mount_result_print(const struct mount_result *r, bool json)
{
	mount_result_warn(r);
	if (json) {
		_cleanup_free_ char *text = facts_text(r);

		(void)puts(text != NULL ? text : "{}");
		return;
	}
	(void)printf("mounted backup %s", r->backup);
	if (r->instance != NULL && r->instance[0] != 0)
		(void)printf(" of instance %s", r->instance);
	(void)printf(" on %s (pid %d)\n", r->mountpoint, (int)r->pid);
	if (r->diff != NULL)
		(void)printf("diff: %s%s\n", r->diff,
			     r->temporary ? " (temporary: gone on umount)" : "");
	if (r->wal_dir != NULL)
		(void)printf("pg_wal: %s\n", r->wal_dir);
	if (r->note != NULL && r->note[0] != 0)
		(void)printf("%s\n", r->note);
}
