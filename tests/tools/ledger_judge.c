/*
 * tests/tools/ledger_judge.c: the files of a thread as they were found, against its ledger.
 */
#include "ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool ledger_read(const char *path, uint64_t until, struct owner *owners, unsigned *ret_threads)
{
	FILE *f = fopen(path, "re");
	struct entry e;
	bool good = f != NULL;
	unsigned threads = 0;

	while (good && fread(&e, sizeof(e), 1, f) == 1) {
		good = e.thread < THREADS_MAX;
		while (good && threads <= e.thread)
			owner_init(&owners[threads], threads), threads++;
		good = good && (e.when >= until || owner_apply(&owners[e.thread], &e));
	}
	if (f != NULL)
		(void)fclose(f);
	if (!good)
		(void)fprintf(stderr, "ledger: %s makes no sense\n", path);
	*ret_threads = threads;
	return good;
}

/* ---- what was found, as the beginning of a ledger ---- */

static void put_entry(FILE *out, struct entry e)
{
	(void)fwrite(&e, sizeof(e), 1, out);
}

void ledger_put_object(FILE *out, const struct object *ob, unsigned name, uint64_t size,
		       const uint32_t *versions)
{
	uint32_t count;

	put_entry(out, (struct entry){.kind = ENTRY_FOUND_NAME,
				      .thread = ob->thread,
				      .name = (uint8_t)name,
				      .object = ob->id,
				      .size = size});
	for (uint32_t s = 0; s < SECTORS_MAX; s += count) {
		for (count = 1; s + count < SECTORS_MAX && versions[s + count] == versions[s];)
			count++;
		put_entry(out, (struct entry){.kind = ENTRY_FOUND_RUN,
					      .thread = ob->thread,
					      .object = ob->id,
					      .first = s,
					      .count = count,
					      .version = versions[s]});
	}
}

void ledger_put_thread(FILE *out, const struct owner *o)
{
	put_entry(out, (struct entry){.kind = ENTRY_FOUND_THREAD,
				      .thread = o->index,
				      .object = o->next_object,
				      .version = o->next_version});
}

/* ---- the check ---- */

struct found {
	int fd; /* -1: not there */
	uint64_t size;
	uint32_t object; /* what its sectors say; 0: nothing */
	uint32_t versions[SECTORS_MAX];
};

static int find(int dirfd, unsigned n, struct found *f)
{
	uint8_t buf[SECTOR];
	struct stat st;
	uint32_t version;

	f->object = 0;
	f->fd = openat(dirfd, ledger_names[n], O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	for (uint64_t off = 0; n != NAME_STREAM && off < f->size && f->object == 0; off += SECTOR)
		if (pread(f->fd, buf, SECTOR, (off_t)off) != SECTOR ||
		    !sector_parse(buf, &f->object, &version))
			f->object = 0;
	return 0;
}

/* NULL, or what does not fit if the names are those after so many changes. */
static const char *fits(const struct owner *o, uint32_t changes, struct found *found,
			unsigned *ret_name)
{
	uint32_t ids[NAMES];
	const char *what;

	owner_names_after(o, changes, ids);
	for (unsigned n = 0; n < NAMES; n++) {
		*ret_name = n;
		if ((ids[n] != 0) != (found[n].fd >= 0))
			return ids[n] != 0 ? "it is not there" : "it is there";
		if (ids[n] != 0 && found[n].object != 0 && found[n].object != ids[n])
			return "it is another file";
	}
	for (unsigned n = 0; n < NAMES; n++) {
		*ret_name = n;
		if (ids[n] == 0)
			continue;
		what = object_check(owner_object(o, ids[n]), found[n].fd, found[n].size,
				    found[n].versions);
		if (what != NULL)
			return what;
	}
	return NULL;
}

static unsigned count_entries(int dirfd)
{
	DIR *d = fdopendir(dup(dirfd));
	unsigned count = 0;

	if (d == NULL)
		return 0;
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		count += e->d_name[0] != '.';
	(void)closedir(d);
	return count;
}

static bool judge(const struct owner *o, struct found *found, unsigned entries, FILE *out)
{
	uint32_t changes = o->count + 1, ids[NAMES];
	unsigned name = 0, there = 0;
	const char *what = NULL;

	do {
		what = fits(o, --changes, found, &name);
	} while (what != NULL && changes > o->durable);
	for (unsigned n = 0; n < NAMES; n++)
		there += found[n].fd >= 0;
	if (what == NULL && there != entries)
		what = "the directory shows something else";
	if (what != NULL) {
		(void)printf("LOST: thread %u, %s: %s (%u to %u changes of names)\n", o->index,
			     ledger_names[name], what, o->durable, o->count);
		for (changes = o->durable; changes <= o->count; changes++) {
			what = fits(o, changes, found, &name);
			(void)printf("  after %u changes, %s: %s\n", changes, ledger_names[name],
				     what != NULL ? what : "-");
		}
		return false;
	}
	ledger_put_thread(out, o);
	owner_names_after(o, changes, ids);
	for (unsigned n = 0; n < NAMES; n++)
		if (ids[n] != 0)
			ledger_put_object(out, owner_object(o, ids[n]), n, found[n].size,
					  found[n].versions);
	return true;
}

bool ledger_check(struct owner *o, const char *dir, FILE *out)
{
	static struct found found[NAMES];
	char path[4096];
	bool good = true;
	int dirfd, rc;

	(void)snprintf(path, sizeof(path), "%s/t%u", dir, o->index);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		(void)printf("LOST: %s: %s\n", path, strerror(errno));
		return false;
	}
	for (unsigned n = 0; n < NAMES; n++) {
		rc = find(dirfd, n, &found[n]);
		if (rc < 0)
			(void)printf("LOST: thread %u, %s: %s\n", o->index, ledger_names[n],
				     strerror(-rc));
		good &= rc == 0;
	}
	good = good && judge(o, found, count_entries(dirfd), out);
	for (unsigned n = 0; n < NAMES; n++)
		if (found[n].fd >= 0)
			(void)close(found[n].fd);
	(void)close(dirfd);
	return good;
}
