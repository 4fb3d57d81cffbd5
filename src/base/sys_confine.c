/*
 * base/sys_confine.c: Landlock and seccomp by their system calls. The C library has no wrappers for
 * them, and the kernel's header of Debian 12 lacks half of the names: they stand here, as the
 * kernel's documentation has them.
 */
#include "base/sys_confine.h"

#include "base/util.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- files ---- */

#define NR_CREATE_RULESET 444
#define NR_ADD_RULE	  445
#define NR_RESTRICT_SELF  446

#define RULESET_VERSION	  1u
#define RULE_PATH_BENEATH 1

struct ruleset_attr {
	uint64_t fs;	 /* what is denied where no rule allows it */
	uint64_t net;	 /* since version 4 */
	uint64_t scoped; /* since version 6 */
};

struct path_beneath_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

enum fs_access {
	FS_WRITE_FILE = 1u << 1,
	FS_READ_FILE = 1u << 2,
	FS_READ_DIR = 1u << 3,
	FS_REMOVE_FILE = 1u << 5,
	FS_MAKE_REG = 1u << 8,
	FS_MAKE_SOCK = 1u << 9,
	FS_TRUNCATE = 1u << 14,
};

/* Every kind of access that a version knows: bits 0 to 12, and what came later. */
static uint64_t known_fs(long version)
{
	uint64_t known = (1u << 13) - 1;

	if (version >= 2)
		known |= 1u << 13; /* linking and renaming to another directory */
	if (version >= 3)
		known |= FS_TRUNCATE;
	if (version >= 5)
		known |= 1u << 15; /* ioctl on devices */
	return known;
}

static int add_place(int ruleset, const struct sys_place *place, uint64_t known)
{
	struct path_beneath_attr rule = {.allowed = FS_READ_FILE | FS_READ_DIR,
					 .parent_fd = place->dirfd};

	if (place->changes)
		rule.allowed |= FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_REMOVE_FILE;
	if (place->changes && place->sockets)
		rule.allowed |= FS_MAKE_SOCK;
	rule.allowed &= known;
	return syscall(NR_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int sys_confine_files(const struct sys_place *places, unsigned count)
{
	long version = syscall(NR_CREATE_RULESET, NULL, 0, RULESET_VERSION);
	struct ruleset_attr attr = {.fs = known_fs(version)};
	_cleanup_close_ int ruleset = -1;
	size_t size = sizeof(attr.fs);
	int rc = 0;

	if (version < 1)
		return -ENOSYS;
	if (version >= 4) {
		attr.net = 3; /* TCP: bind, connect */
		size = offsetof(struct ruleset_attr, scoped);
	}
	if (version >= 6) {
		attr.scoped = 3; /* abstract sockets, signals */
		size = sizeof(attr);
	}
	ruleset = (int)syscall(NR_CREATE_RULESET, &attr, size, 0);
	if (ruleset < 0)
		return -errno;
	for (unsigned i = 0; i < count && rc == 0; i++)
		rc = add_place(ruleset, &places[i], attr.fs);
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (rc == 0 && syscall(NR_RESTRICT_SELF, ruleset, 0) < 0)
		rc = -errno;
	return rc;
}

/* ---- calls ---- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

#if defined(OUR_ARCH) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* The numbers from 424 on are the same on every machine. */
static const unsigned denied[] = {
	SYS_execve,
	SYS_execveat,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_socket,
	SYS_socketpair,
	SYS_bind,
	SYS_connect,
	SYS_listen,
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_setns,
	SYS_unshare,
	428 /* open_tree */,
	429 /* move_mount */,
	430 /* fsopen */,
	431 /* fsconfig */,
	432 /* fsmount */,
	433 /* fspick */,
	442 /* mount_setattr */,
	425 /* io_uring_setup */,
	427 /* io_uring_register */,
	438 /* pidfd_getfd */,
	SYS_mknodat,
	SYS_open_by_handle_at,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_keyctl,
	SYS_add_key,
	SYS_request_key,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_swapon,
	SYS_swapoff,
	SYS_reboot,
	SYS_acct,
	SYS_quotactl,
	SYS_personality,
#ifdef SYS_mknod
	SYS_mknod,
#endif
};

#define DENY	       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW	       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(field)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define HEAD	       5
#define X32_FIRST_CALL 0x40000000u

int sys_confine_calls(void)
{
	struct sock_filter code[HEAD + 2 * ARRAY_SIZE(denied) + 1] = {
		LOAD(arch),
		/* Calls of another architecture have other numbers: all of them are denied. */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0), DENY, LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_FIRST_CALL, 1,
			 0), /* to the first DENY below */
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
	const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	struct sock_filter *at = code + HEAD;

	for (unsigned i = 0; i < ARRAY_SIZE(denied); i++) {
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i], 0, 1);
		*at++ = (struct sock_filter)DENY;
	}
	*at = (struct sock_filter)ALLOW;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) != 0)
		return errno == EINVAL ? -ENOSYS : -errno;
	return 0;
}

#else

int sys_confine_calls(void)
{
	return -ENOSYS;
}

#endif
