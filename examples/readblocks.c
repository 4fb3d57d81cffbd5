/*
 * readblocks: what libpgoverlay is for, in one page.
 *
 *	readblocks STORE                    the backups
 *	readblocks STORE BACKUP             files of the data directory, with their sizes
 *	readblocks STORE BACKUP FILE        block numbers and LSNs of a relation's segment, such as
 * base/5/1259
 *
 *	cc readblocks.c $(pkg-config --cflags --libs pgoverlay) -o readblocks
 */
#include <pgoverlay/pgoverlay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE 128u /* blocks read at once */

static int print_backups(struct pgoverlay_store *store, struct pgoverlay_error *e)
{
	struct pgoverlay_list *list;
	int rc = pgoverlay_list(store, NULL, e, &list);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < pgoverlay_list_count(list); i++) {
		const struct pgoverlay_backup *b = pgoverlay_list_get(list, i);

		printf("%s %s %s %s%s%s\n", b->instance, b->id, b->mode,
		       b->mountable ? "yes" : "no", b->reason[0] != '\0' ? ": " : "", b->reason);
	}
	pgoverlay_list_free(list);
	return 0;
}

static int print_file(void *ctx, const char *path, const struct pgoverlay_stat *st)
{
	(void)ctx;
	if (S_ISREG(st->mode))
		printf("%12llu %s\n", (unsigned long long)st->size, path);
	return 0;
}

/* pd_lsn is the first thing on a page. */
static void print_page(unsigned block, const unsigned char *page)
{
	uint32_t hi, lo;

	memcpy(&hi, page, sizeof(hi));
	memcpy(&lo, page + sizeof(hi), sizeof(lo));
	printf("%u %X/%X\n", block, hi, lo);
}

static int print_blocks(struct pgoverlay_chain *chain, const char *path, struct pgoverlay_error *e)
{
	static unsigned char buf[PIECE * PGOVERLAY_BLOCK_SIZE];
	struct pgoverlay_file *file;
	unsigned first = 0;
	int64_t n = pgoverlay_open(chain, path, &file);

	if (n == 0) {
		while ((n = pgoverlay_read_blocks(file, first, PIECE, buf)) > 0) {
			for (unsigned i = 0; i < (unsigned)n; i++)
				print_page(first + i, buf + (size_t)i * PGOVERLAY_BLOCK_SIZE);
			first += (unsigned)n;
		}
		pgoverlay_close(file);
	}
	if (n < 0)
		snprintf(e->text, sizeof(e->text), "%s: %s", path, strerror((int)-n));
	return (int)n;
}

static int print_chain(struct pgoverlay_store *store, const char *backup, const char *path,
		       struct pgoverlay_error *e)
{
	struct pgoverlay_options options = {.size = sizeof(options), .backup = backup};
	struct pgoverlay_chain *chain;
	int rc = pgoverlay_chain_open(store, &options, e, &chain);

	if (rc < 0)
		return rc;
	fputs(pgoverlay_chain_warnings(chain), stderr);
	if (path != NULL)
		rc = print_blocks(chain, path, e);
	else
		rc = pgoverlay_walk(chain, print_file, NULL);
	pgoverlay_chain_close(chain);
	return rc;
}

int main(int argc, char **argv)
{
	struct pgoverlay_error e = PGOVERLAY_ERROR_INIT;
	struct pgoverlay_store *store = NULL;
	int rc;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: readblocks STORE [BACKUP [FILE]]\n");
		return 2;
	}
	rc = pgoverlay_store_open(argv[1], &e, &store);
	if (rc == 0 && argc == 2)
		rc = print_backups(store, &e);
	else if (rc == 0)
		rc = print_chain(store, argv[2], argc == 4 ? argv[3] : NULL, &e);
	pgoverlay_store_close(store);
	if (rc < 0)
		fprintf(stderr, "readblocks: %s\n", e.text);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
