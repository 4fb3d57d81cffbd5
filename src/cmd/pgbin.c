/*
 * cmd/pgbin.c: see pgbin.h.
 */
#include "cmd/pgbin.h"

#include "base/sys.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 20000

int pgbin_read_major(const char *data_dir, struct errmsg *e, unsigned *ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	size_t len;
	unsigned long major;
	int rc;

	if (asprintf(&path, "%s/PG_VERSION", data_dir) < 0) {
		path = NULL;
		return errmsg_set(e, -ENOMEM, "out of memory");
	}
	rc = sys_read_file(AT_FDCWD, path, 64, &data, &len);
	if (rc < 0)
		return errmsg_set(e, rc, "cannot read %s: %s", path, strerror(-rc));
	major = strtoul(data, NULL, 10);
	if (major < 7 || major > 99)
		return errmsg_set(e, -EUCLEAN, "%s does not hold a PostgreSQL version", path);
	*ret = (unsigned)major;
	return 0;
}

static char *join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static bool is_file(const char *path)
{
	struct stat st;

	return sys_fstatat(AT_FDCWD, path, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* The first line a program prints, or NULL. */
static char *ask(const struct owner *owner, const char *program, const char *option)
{
	const char *argv[] = {program, option, NULL};
	static const char *const env[] = {"LC_ALL=C", NULL};
	char *output = NULL;
	int status;

	if (process_run(owner, argv, env, ASK_TIMEOUT_MS, NULL, &output, &status) < 0)
		return NULL;
	if (status != 0) {
		free(output);
		return NULL;
	}
	output[strcspn(output, "\n")] = '\0';
	return output;
}

/* "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)" -> "15.20"; builds of others have another
 * word in brackets. */
static char *version_of(const char *line)
{
	const char *p = strchr(line, ')');
	size_t len;

	if (p == NULL)
		return NULL;
	p += 1 + strspn(p + 1, " ");
	len = strcspn(p, " ");
	return isdigit((unsigned char)*p) ? strndup(p, len) : NULL;
}

/* Debian and most others: <prefix>/lib/postgresql/15/{bin,lib}; a plain build: <prefix>/{bin,lib}.
 */
static char *library_dir(const struct owner *owner, const char *dir)
{
	static const char *const places[] = {"../lib/plpgsql.so", "../lib/postgresql/plpgsql.so",
					     "../lib64/postgresql/plpgsql.so"};
	_cleanup_free_ char *config = join(dir, "pg_config");
	char *found = NULL;

	if (config != NULL && access(config, X_OK) == 0)
		found = ask(owner, config, "--pkglibdir");
	for (size_t i = 0; found == NULL && i < ARRAY_SIZE(places); i++) {
		_cleanup_free_ char *probe = join(dir, places[i]);

		if (probe != NULL && is_file(probe)) {
			*strrchr(probe, '/') = '\0';
			found = TAKE_PTR(probe);
		}
	}
	return found;
}

/* 1: dir has the programs of that version; 0: it has not; or -errno. */
static int try_dir(const char *dir, unsigned major, const struct owner *owner, struct pgbin *ret)
{
	_cleanup_free_ char *postgres = join(dir, "postgres");
	_cleanup_free_ char *line = NULL;
	_cleanup_free_ char *version = NULL;
	struct pgbin bin = {.major = major};

	if (postgres == NULL)
		return -ENOMEM;
	if (access(postgres, X_OK) != 0)
		return 0;
	line = ask(owner, postgres, "--version");
	version = line == NULL ? NULL : version_of(line);
	if (version == NULL || strtoul(version, NULL, 10) != major)
		return 0;
	bin.dir = strdup(dir);
	if (bin.dir == NULL)
		return -ENOMEM;
	bin.psql = join(dir, "psql");
	if (bin.psql != NULL && access(bin.psql, X_OK) != 0) {
		free(bin.psql);
		bin.psql = access("/usr/bin/psql", X_OK) == 0 ? strdup("/usr/bin/psql") : NULL;
	}
	bin.lib_dir = library_dir(owner, dir);
	bin.postgres = TAKE_PTR(postgres);
	bin.version = TAKE_PTR(version);
	*ret = bin;
	return 1;
}

static int try_packages(unsigned major, const struct owner *owner, struct pgbin *ret)
{
	static const char *const patterns[] = {"/usr/lib/postgresql/%u/bin", "/usr/pgsql-%u/bin",
					       "/usr/lib/postgresql%u/bin",
					       "/usr/local/pgsql-%u/bin", "/usr/local/pgsql/bin"};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(patterns); i++) {
		const char *mark = strstr(patterns[i], "%u");
		char dir[128];

		if (mark == NULL)
			(void)snprintf(dir, sizeof(dir), "%s", patterns[i]);
		else
			(void)snprintf(dir, sizeof(dir), "%.*s%u%s", (int)(mark - patterns[i]),
				       patterns[i], major, mark + 2);
		rc = try_dir(dir, major, owner, ret);
	}
	return rc;
}

/* The directories of PATH: postgres itself there, or a pg_config that knows where it is. */
static int try_path(unsigned major, const struct owner *owner, struct pgbin *ret)
{
	const char *path = getenv("PATH");
	int rc = 0;

	while (rc == 0 && path != NULL && *path != '\0') {
		size_t len = strcspn(path, ":");
		_cleanup_free_ char *dir = strndup(path, len);
		_cleanup_free_ char *config = dir == NULL ? NULL : join(dir, "pg_config");
		_cleanup_free_ char *bindir = NULL;

		if (config == NULL)
			return -ENOMEM;
		path += len + (path[len] == ':');
		if (dir[0] != '/')
			continue;
		rc = try_dir(dir, major, owner, ret);
		if (rc == 0 && access(config, X_OK) == 0)
			bindir = ask(owner, config, "--bindir");
		if (bindir != NULL)
			rc = try_dir(bindir, major, owner, ret);
	}
	return rc;
}

int pgbin_find(unsigned major, const struct owner *owner, struct errmsg *e, struct pgbin *ret)
{
	const char *given = getenv("PGOVERLAY_PGBIN");
	int rc = 0;

	if (given != NULL && given[0] == '/')
		rc = try_dir(given, major, owner, ret);
	if (rc == 0)
		rc = try_packages(major, owner, ret);
	if (rc == 0)
		rc = try_path(major, owner, ret);
	if (rc < 0)
		return errmsg_set(e, rc, "cannot look for PostgreSQL's programs: %s",
				  strerror(-rc));
	if (rc == 0)
		return errmsg_set(e, -ENOENT,
				  "the backup needs PostgreSQL %u and it is not installed (looked "
				  "in /usr/lib/postgresql/%u/bin, "
				  "/usr/pgsql-%u/bin, /usr/local/pgsql/bin and PATH): apt install "
				  "postgresql-%u (other "
				  "versions than Debian's own come from apt.postgresql.org), or "
				  "set PGOVERLAY_PGBIN to its bin "
				  "directory",
				  major, major, major, major);
	return 0;
}

void pgbin_clear(struct pgbin *bin)
{
	free(bin->dir);
	free(bin->postgres);
	free(bin->psql);
	free(bin->version);
	free(bin->lib_dir);
	*bin = (struct pgbin){0};
}

/* dir/name or dir/name.so, with a leading $libdir replaced. */
static bool has_file(const struct pgbin *bin, const char *dir, size_t dir_len, const char *name)
{
	static const char macro[] = "$libdir";
	_cleanup_free_ char *path = NULL;
	size_t skip = sizeof(macro) - 1;
	bool relative = dir_len >= skip && strncmp(dir, macro, skip) == 0;

	if (!relative)
		skip = 0;
	if (asprintf(&path, "%s%.*s%s%s.so", relative ? bin->lib_dir : "", (int)(dir_len - skip),
		     dir + skip, dir_len > 0 ? "/" : "", name) < 0) {
		path = NULL;
		return true;
	}
	if (is_file(path))
		return true;
	path[strlen(path) - 3] = '\0';
	return is_file(path);
}

bool pgbin_has_library(const struct pgbin *bin, const char *name, const char *search, bool plugins)
{
	const char *slash = strrchr(name, '/');

	if (bin->lib_dir == NULL)
		return true;
	if (slash != NULL)
		return has_file(bin, name, (size_t)(slash - name), slash + 1);
	if (plugins)
		return has_file(bin, "$libdir/plugins", 15, name);
	if (search == NULL || *search == '\0')
		search = "$libdir";
	while (*search != '\0') {
		size_t len = strcspn(search, ":");

		if (len > 0 && has_file(bin, search, len, name))
			return true;
		search += len + (search[len] == ':');
	}
	return false;
}
