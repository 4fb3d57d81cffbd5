/*
 * tests/unit/layer_check.c: see layer_check.h.
 */
#include "layer_check.h"
#include "../model/naive.h"
#include "base/util.h"
#include "unit.h"

#include <string.h>

#define PAGE_SIZE 8192u

struct store *store;
struct layer_chain *chain;
struct errmsg message;

int check_open(const char *backup)
{
	int rc;

	message.text[0] = '\0';
	if (store == NULL)
		ck_assert_msg(store_open(unit_path, &message, &store) == 0, "%s", message.text);
	rc = store->driver->open_chain(store, NULL, backup, 0, &message, &chain);
	ck_assert(rc == 0 || message.text[0] != '\0');
	return rc;
}

void check_opens(const char *backup)
{
	int rc = check_open(backup);

	ck_assert_msg(rc == 0, "%d: %s", rc, message.text);
}

void check_close(void)
{
	if (store != NULL && chain != NULL)
		store->driver->close_chain(chain);
	store_close(store);
	chain = NULL;
	store = NULL;
}

void check_teardown(void)
{
	check_close();
	unit_teardown();
}

void check_refused(const char *backup, int rc, const char *text)
{
	int got = check_open(backup);

	ck_assert_msg(got == rc && strstr(message.text, text) != NULL, "%d: %s", got, message.text);
}

const char *blocks_of(const char *path)
{
	static char text[64];
	const struct layer_entry *entry = naive_find(chain, path);
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t len;

	ck_assert_ptr_nonnull(entry);
	ck_assert_int_eq(entry->kind, LAYER_BLOCKS);
	ck_assert_int_eq(naive_read(chain, entry, &data, &len), 0);
	ck_assert_uint_eq(len % PAGE_SIZE, 0);
	for (uint64_t i = 0; i < len / PAGE_SIZE; i++)
		text[i] = data[i * PAGE_SIZE] == 0 ? '0' : (char)data[i * PAGE_SIZE];
	text[len / PAGE_SIZE] = '\0';
	return text;
}

const char *text_of(const char *path)
{
	static char text[256];
	const struct layer_entry *entry = naive_find(chain, path);
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t len;

	ck_assert_ptr_nonnull(entry);
	ck_assert_int_eq(naive_read(chain, entry, &data, &len), 0);
	memcpy(text, data, len);
	text[len] = '\0';
	return text;
}

void make_rel(struct made_backup *b, const char *path, uint32_t n_blocks, const char *text)
{
	struct made_page pages[64];
	uint32_t count = 0;

	for (uint32_t i = 0; text[i] != '\0'; i++) {
		if (text[i] != '.')
			pages[count++] =
				(struct made_page){.block = i,
						   .fill = text[i] == '0' ? 0 : (uint8_t)text[i],
						   .raw = i % 3 == 2};
	}
	make_data(b, path, "zlib", n_blocks, pages, count);
}

void make_full(const char *rel)
{
	struct made_backup b;

	make_cluster(&b, FULL);
	make_rel(&b, REL, (uint32_t)strlen(rel), rel);
	make_end(&b, "FULL", NULL, "OK", NULL);
}
