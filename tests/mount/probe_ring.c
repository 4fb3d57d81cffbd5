/*
 * tests/mount/probe_ring.c: operations that the engine's ring must refuse, and one that it does.
 */
#include "probe.h"

#include "io/engine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

static int run(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_submit_and_wait(ring, 1);

	if (rc < 0)
		return rc;
	rc = io_uring_wait_cqe(ring, &cqe);
	if (rc < 0)
		return rc;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

void probe_ring(FILE *out, struct io_engine *io, const char *outside)
{
	static struct statx stx;
	static char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct open_how how = {.flags = O_RDONLY};
	struct io_uring *ring = engine_uring_ring(io);
	struct io_uring_sqe *sqe;
	char there[4096], new[4096];
	int fd;

	(void)snprintf(there, sizeof(there), "%s/there", outside);
	(void)snprintf(new, sizeof(new), "%s/ring", outside);
	if (ring == NULL) {
		(void)fprintf(out, "ring none ok\n");
		return;
	}
	io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, there, O_RDONLY, 0);
	probe_say(out, "ring", "open", run(ring));
	io_uring_prep_openat2(io_uring_get_sqe(ring), AT_FDCWD, there, &how);
	probe_say(out, "ring", "openat2", run(ring));
	io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, new, O_WRONLY | O_CREAT, 0600);
	probe_say(out, "ring", "create", run(ring));
	io_uring_prep_unlinkat(io_uring_get_sqe(ring), AT_FDCWD, there, 0);
	probe_say(out, "ring", "unlink", run(ring));
	io_uring_prep_renameat(io_uring_get_sqe(ring), AT_FDCWD, there, AT_FDCWD, new, 0);
	probe_say(out, "ring", "rename", run(ring));
	io_uring_prep_mkdirat(io_uring_get_sqe(ring), AT_FDCWD, new, 0700);
	probe_say(out, "ring", "mkdir", run(ring));
	io_uring_prep_statx(io_uring_get_sqe(ring), AT_FDCWD, there, 0, STATX_SIZE, &stx);
	probe_say(out, "ring", "statx", run(ring));
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_nop(sqe);
	sqe->opcode = IORING_OP_SOCKET;
	probe_say(out, "ring", "socket", run(ring));
	io_uring_prep_close(io_uring_get_sqe(ring), 0);
	probe_say(out, "ring", "close", run(ring));
	fd = memfd_create("probe", MFD_CLOEXEC);
	io_uring_prep_readv(io_uring_get_sqe(ring), fd, &iov, 1, 0);
	probe_say(out, "ring", "may-read", run(ring));
	(void)close(fd);
}
