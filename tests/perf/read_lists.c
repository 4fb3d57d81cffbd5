/*
 * What a mount cannot do without: reads and parses the lists of all backups of a store, and does
 * nothing with them. scripts/bench measures a mount beside it.
 *
 *	read_lists STORE
 */
#include "layer/probackup/content.h"

#include <err.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

static int take_line(void *ctx, const struct content_line *line, struct errmsg *e)
{
	uint64_t *bytes = ctx;

	*bytes += line->path_len;
	return 0;
}

int main(int argc, char **argv)
{
	struct content_sums sums;
	struct errmsg e = {""};
	uint64_t lines = 0, bytes = 0;
	char pattern[4096];
	glob_t found;

	if (argc != 2)
		errx(2, "give the directory of a store");
	(void)snprintf(pattern, sizeof(pattern), "%s/backups/*/*/", argv[1]);
	if (glob(pattern, GLOB_ONLYDIR, NULL, &found) != 0)
		errx(1, "%s: no backups", argv[1]);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		int fd = open(found.gl_pathv[i], O_RDONLY | O_DIRECTORY);

		if (fd < 0 || content_read(fd, found.gl_pathv[i], take_line, &bytes, &sums, &e) < 0)
			errx(1, "%s: %s", found.gl_pathv[i], e.text);
		lines += sums.lines;
	}
	globfree(&found);
	(void)printf("%llu lines, %llu bytes of paths\n", (unsigned long long)lines,
		     (unsigned long long)bytes);
	return 0;
}
