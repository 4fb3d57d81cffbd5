/*
 * The files of a mount's backing device, /sys/class/bdi/<major>:<minor>/ (Linux:
 * Documentation/ABI/testing/sysfs-class-bdi): max_ratio is in percent, max_ratio_fine in parts of a
 * million, of the threshold that vm.dirty_ratio or vm.dirty_bytes set for all (Linux:
 * Documentation/admin-guide/sysctl/vm.rst). The threshold is a part of the memory that is available
 * at the moment; here of all there is, so that the bound holds at any time.
 */
#include "fuse/dirty_limit.h"

#include "base/sys.h"
#include "base/util.h"
#include "fuse/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MILLION	  UINT64_C(1000000)
#define OVERSHOOT (2u << 20) /* pages that are dirtied before their writer is stopped */

static int read_number(const char *path, uint64_t *ret)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	char text[32], *end;
	int64_t n;

	if (fd < 0)
		return fd;
	n = sys_pread_full(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno != 0 || end == text ? -EINVAL : 0;
}

static void write_number(const char *path, uint64_t number)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, path, O_WRONLY, 0);
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64, number);

	if (fd >= 0)
		(void)sys_pwrite_full(fd, text, (size_t)len, 0);
}

/* Bytes of dirty pages that the kernel lets be in all memory together, at most. */
static int threshold_of_all(uint64_t *ret)
{
	uint64_t ratio;
	int rc = read_number("/proc/sys/vm/dirty_bytes", ret);

	if (rc != 0 || *ret != 0)
		return rc;
	rc = read_number("/proc/sys/vm/dirty_ratio", &ratio);
	if (rc == 0)
		*ret = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 100 *
		       ratio;
	return rc == 0 && *ret == 0 ? -ERANGE : rc;
}

uint64_t dirty_limit_part(uint64_t bytes, uint64_t threshold)
{
	uint64_t part = bytes >= threshold ? MILLION : bytes * MILLION / threshold;

	return MAX(part, 1);
}

/* What the kernel has set, in parts of a million. */
static int read_part(const char *dir, uint64_t *ret)
{
	char path[128];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/max_ratio_fine", dir);
	rc = read_number(path, ret);
	if (rc != -ENOENT)
		return rc;
	(void)snprintf(path, sizeof(path), "%s/max_ratio", dir);
	rc = read_number(path, ret);
	*ret *= MILLION / 100;
	return rc;
}

/*
 * The bound of a mount holds only where it is strict; else it begins when all dirty memory together
 * has become much. FUSE mounts are strict; that can be seen, and switched, since Linux 6.2.
 */
static int make_strict(const char *dir)
{
	uint64_t strict = 0;
	char path[128];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/strict_limit", dir);
	rc = read_number(path, &strict);
	if (rc == 0 && strict == 0) {
		write_number(path, 1);
		rc = read_number(path, &strict);
	}
	if (rc == -ENOENT)
		return 0;
	return rc == 0 && strict == 0 ? -ERANGE : rc;
}

int dirty_limit_set(const char *mountpoint, uint64_t bytes, uint64_t *ret_held)
{
	struct mountinfo info;
	uint64_t threshold = 0, part = 0;
	char dir[64], path[128];
	int rc = mountinfo_find(mountpoint, &info);

	if (rc == 0)
		rc = threshold_of_all(&threshold);
	if (rc != 0)
		return rc;
	(void)snprintf(dir, sizeof(dir), "/sys/class/bdi/%u:%u", info.major, info.minor);
	rc = make_strict(dir);
	if (rc == 0)
		rc = read_part(dir, &part);
	if (rc != 0)
		return rc;
	if (part > dirty_limit_part(bytes, threshold)) {
		(void)snprintf(path, sizeof(path), "%s/max_ratio_fine", dir);
		write_number(path, dirty_limit_part(bytes, threshold));
		rc = read_part(dir, &part);
	}
	*ret_held = threshold / MILLION * part + OVERSHOOT;
	return rc;
}
