/*
 * tests/tools/powercut.c: what a power cut does to a file system: nothing reaches its device any more.
 *
 *	powercut DIR
 *
 * The ext4, xfs or f2fs that DIR lies on is shut down at once, its journal not flushed. What was
 * written and not yet synced is lost, every later call that needs the device fails with EIO. To go
 * on, unmount it (umount -l where something still holds it; wait until that has let go) and mount it
 * again: its journal is replayed as after a real power cut. Only ever give it a file system made for
 * the test.
 *
 * A block that the file system has handed to the device counts as written, flushed or not: that part
 * of a power cut is what tests/crash looks into.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number is the same for all of them; ext4's header does not give it to programs. */
#define IOC_SHUTDOWN	    _IOR('X', 125, uint32_t)
#define SHUTDOWN_NOLOGFLUSH 2u

int main(int argc, char **argv)
{
	uint32_t how = SHUTDOWN_NOLOGFLUSH;
	struct stat root, st;
	int fd;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: powercut DIR\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || stat("/", &root) < 0) {
		(void)fprintf(stderr, "powercut: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	if (st.st_dev == root.st_dev) {
		(void)fprintf(stderr, "powercut: %s lies on the root file system\n", argv[1]);
		return 1;
	}
	if (ioctl(fd, IOC_SHUTDOWN, &how) < 0) {
		(void)fprintf(stderr, "powercut: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	(void)close(fd);
	return 0;
}
