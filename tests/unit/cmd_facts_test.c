/*
 * The facts of a mount as JSON: they come back, and what no mount writes is refused.
 */
#include "base/util.h"
#include "cmd/facts.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

START_TEST(facts_come_back)
{
	static char place[] = "/m \"\n", store[] = "/s", id[] = "TA0001";
	char *chain[] = {id, id};
	const struct mount_result r = {.mountpoint = place,
				       .store = store,
				       .pid = 77,
				       .uid = UINT32_MAX - 1,
				       .temporary = true,
				       .chain = chain,
				       .chain_count = 2};
	_cleanup_free_ char *text = facts_text(&r);
	struct mount_result back;
	struct clone clone;

	ck_assert_int_eq(facts_parse_result(text, &back), 0);
	ck_assert_str_eq(back.mountpoint, place);
	ck_assert_ptr_null(back.diff);
	ck_assert_uint_eq(back.uid, UINT32_MAX - 1);
	ck_assert(back.temporary && !back.read_only);
	ck_assert_uint_eq(back.chain_count, 2);
	ck_assert_str_eq(back.chain[1], id);
	mount_result_free(&back);
	ck_assert_int_eq(facts_parse_clone(text, &clone), 0);
	ck_assert_str_eq(clone.store, store);
	ck_assert_int_eq(clone.pid, 77);
	registry_clone_free(&clone);
}
END_TEST

START_TEST(others_are_refused)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{\"store\":\"/s\"}",
		"{\"mountpoint\":\"/m\",\"uid\":-1}",
		"{\"mountpoint\":\"/m\",\"gid\":1e300}",
		"{\"mountpoint\":\"/m\",\"pid\":4294967296}",
	};
	struct mount_result result;
	struct clone clone;

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_msg(facts_parse_result(texts[i], &result) == -EUCLEAN, "%s", texts[i]);
		ck_assert_msg(facts_parse_clone(texts[i], &clone) == -EUCLEAN, "%s", texts[i]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_facts");
	TCase *t = tcase_create("facts");

	tcase_add_test(t, facts_come_back);
	tcase_add_test(t, others_are_refused);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
