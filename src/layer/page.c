/*
 * layer/page.c: one page out of a stored record: decoded and checked.
 */
#include "layer/layer.h"
#include "pg/page.h"

#include <errno.h>

static int bad(const char **ret_reason, int rc, const char *reason)
{
	*ret_reason = reason;
	return rc;
}

static int check_page(const struct layer *layer, uint32_t blkno, uint32_t sum, const void *page,
		      const char **ret_reason)
{
	bool zero;
	uint16_t checksum;

	if (sum == LAYER_NO_SUM && !layer->page_checksums)
		return 0;
	/* Zeros have no checksum: the server has not yet written to the page. */
	zero = pg_page_is_zero(page);
	checksum = zero ? 0 : pg_page_compute_checksum(page, blkno);
	if (layer->page_checksums && !zero && checksum != pg_page_checksum(page))
		return bad(ret_reason, -EBADMSG, "its page checksum does not match");
	if (sum != LAYER_NO_SUM && sum != layer_page_sum(pg_page_lsn(page), checksum))
		return bad(ret_reason, -EBADMSG,
			   "its LSN or checksum is not the one that the header map has for it");
	return 0;
}

int layer_take_page(const struct layer *layer, uint32_t file, uint32_t block, uint32_t blkno,
		    const struct layer_extent *x, const void *record, bool verify, void *ret_page,
		    const char **ret_reason)
{
	int rc = layer->ops->decode(layer, file, block, record, x->len, ret_page);

	if (rc == -ENOMEM)
		return bad(ret_reason, rc, "out of memory");
	if (rc == -ESTALE)
		return bad(ret_reason, -EUCLEAN,
			   "its record is not the one that the header map has for it");
	if (rc < 0)
		return bad(ret_reason, -EUCLEAN, "it cannot be decoded");
	return verify ? check_page(layer, blkno, x->sum, ret_page, ret_reason) : 0;
}
