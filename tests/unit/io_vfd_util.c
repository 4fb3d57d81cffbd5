/*
 * tests/unit/io_vfd_util.c: see io_vfd_util.h.
 */
#include "io_vfd_util.h"

#include <errno.h>
#include <string.h>

struct io_engine *engine;
struct vfd_cache *cache;
struct probe probe;
struct vfd *to_free;

struct vfd *file(const char *name, int flags)
{
	struct vfd *vfd;

	ck_assert_int_eq(vfd_new(cache, unit_dir, name, flags, 0600, &vfd), 0);
	return vfd;
}

bool start(int which, unsigned slots)
{
	engine = engine_start_with(which, &(struct io_engine_options){.threads = 4});
	if (!engine)
		return false;
	probe_install(&probe);
	ck_assert_int_eq(vfd_cache_new(engine, slots, &cache), 0);
	return true;
}

void stop(void)
{
	vfd_cache_free(cache);
	ck_assert_int_eq(atomic_load(&probe.open_now), 0);
	probe_remove();
	io_engine_free(engine);
}

struct vfd_stats stats(void)
{
	struct vfd_stats s;

	vfd_cache_stats(cache, &s);
	return s;
}

long calls(enum sys_call call)
{
	return atomic_load(&probe.before[call]);
}

void finished(struct vfd_op *op)
{
	op->vfd = NULL;
}

int64_t run(struct vfd_op *op)
{
	op->done = finished;
	vfd_submit(op);
	ck_assert_ptr_nonnull(op->vfd);
	while (op->vfd)
		ck_assert(io_wait(engine, -1) > 0);
	return op->io.result;
}

int64_t do_sync(struct vfd *vfd)
{
	struct vfd_op op = {.io.code = IO_FDATASYNC, .vfd = vfd};

	return run(&op);
}

int64_t do_write(struct vfd *vfd, const char *text)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct vfd_op op = {.io = {.code = IO_WRITE, .iov = &iov, .iovcnt = 1}, .vfd = vfd};

	return run(&op);
}

int64_t do_read(struct vfd *vfd, char *buf, size_t len)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct vfd_op op = {.io = {.code = IO_READ, .iov = &iov, .iovcnt = 1}, .vfd = vfd};

	return run(&op);
}

void expect_text(struct vfd *vfd, const char *text)
{
	char buf[64] = "";

	ck_assert_int_eq(do_read(vfd, buf, sizeof(buf) - 1), (int64_t)strlen(text));
	ck_assert_str_eq(buf, text);
}

void make(const char *name)
{
	int fd = openat(unit_dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, name, strlen(name)), (ssize_t)strlen(name));
	close(fd);
}

void crowd(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vfd *vfd;
		char name[16];

		snprintf(name, sizeof(name), "crowd%u", i);
		make(name);
		vfd = file(name, O_RDONLY);
		expect_text(vfd, name);
		expect_text(vfd, name);
		vfd_free(vfd);
	}
}

int64_t job_nothing(struct io_op *op)
{
	return op->fd >= 0 ? 1 : -EBADF;
}

void push_out(unsigned n)
{
	struct vfd_op ops[64];
	struct vfd *vfds[64];
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "push%u", i);
		make(name);
		vfds[i] = file(name, O_RDONLY);
		ops[i] = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
					 .vfd = vfds[i],
					 .done = finished};
		vfd_submit(&ops[i]);
	}
	engine_drain(engine);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(ops[i].io.result, 1);
		vfd_free(vfds[i]);
	}
	engine_drain(engine);
}

void done_frees(struct vfd_op *op)
{
	vfd_free(to_free);
	op->vfd = NULL;
}
