/*
 * tests/model/memfs_content.c: bytes of the model's files; see memfs.h.
 */
#include "memfs.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static uint8_t *page_of(struct mnode *n, uint64_t at)
{
	size_t i = at / MEMFS_PAGE;

	if (i >= n->page_count) {
		size_t count = MAX(i + 1, n->page_count * 2);

		n->pages = need(reallocarray(n->pages, count, sizeof(*n->pages)));
		memset(n->pages + n->page_count, 0, (count - n->page_count) * sizeof(*n->pages));
		n->page_count = count;
	}
	if (!n->pages[i])
		n->pages[i] = need(calloc(1, MEMFS_PAGE));
	return n->pages[i];
}

int memfs_load(struct memfs *fs, struct mnode *n)
{
	uint8_t *data = NULL;
	uint64_t len = 0;
	int rc;

	n->touched = true;
	if (!n->origin || n->loaded)
		return 0;
	rc = fs->load(fs->ctx, n->origin, &data, &len);
	if (rc < 0)
		return rc;
	/* the manifest and the content must agree on the size */
	rc = len == n->size ? 0 : -EUCLEAN;
	n->loaded = true;
	if (rc == 0)
		memfs_write(n, 0, len, data);
	free(data);
	return rc;
}

size_t memfs_read(struct mnode *n, uint64_t off, size_t len, void *buf)
{
	uint8_t *out = buf;

	if (off >= n->size)
		return 0;
	len = MIN(len, n->size - off);
	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		size_t in = at % MEMFS_PAGE, part = MIN(len - done, MEMFS_PAGE - in);
		size_t i = at / MEMFS_PAGE;

		if (i < n->page_count && n->pages[i])
			memcpy(out + done, n->pages[i] + in, part);
		else
			memset(out + done, 0, part);
		done += part;
	}
	return len;
}

void memfs_write(struct mnode *n, uint64_t off, size_t len, const void *buf)
{
	const uint8_t *in_buf = buf;

	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		size_t in = at % MEMFS_PAGE, part = MIN(len - done, MEMFS_PAGE - in);

		memcpy(page_of(n, at) + in, in_buf + done, part);
		done += part;
	}
	if (len > 0)
		n->size = MAX(n->size, off + len);
	n->times_known = false;
}

void memfs_zero(struct mnode *n, uint64_t off, uint64_t len)
{
	uint64_t end = MIN(off + len, (uint64_t)n->page_count * MEMFS_PAGE);

	n->times_known = false;
	while (off < end) {
		size_t i = off / MEMFS_PAGE, in = off % MEMFS_PAGE;
		size_t part = MIN(end - off, MEMFS_PAGE - in);

		if (n->pages[i] && part == MEMFS_PAGE) {
			free(n->pages[i]);
			n->pages[i] = NULL;
		} else if (n->pages[i]) {
			memset(n->pages[i] + in, 0, part);
		}
		off += part;
	}
}

void memfs_resize(struct mnode *n, uint64_t size)
{
	if (size < n->size)
		memfs_zero(n, size, n->size - size);
	n->size = size;
	n->times_known = false;
}
