/*
 * overlay/table.h: uthash as this room uses it: XXH3 as the hash, large tables in huge pages, and no exit when memory is
 * out.
 */
#ifndef OVERLAY_TABLE_H
#define OVERLAY_TABLE_H

#include "base/big.h"

#include <stdlib.h>
#include <xxhash.h>

#define HASH_NONFATAL_OOM		     1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = (unsigned)XXH3_64bits((keyptr), (keylen)))
/* The macro leaves the element out of the table; callers notice by hh.tbl being NULL. */
#define uthash_nonfatal_oom(element) ((element)->hh.tbl = NULL)
#define uthash_malloc(size)	    big_calloc(1, size)
#define uthash_free(p, size)	    free(p)
#include <uthash.h>

#endif
