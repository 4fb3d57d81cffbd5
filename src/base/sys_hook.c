/*
 * base/sys_hook.c: the hook that sees every call, and the counters.
 */
#include "base/sys_internal.h"
#include "base/util.h"

const struct sys_hook *sys_hook_current;
_Atomic uint64_t sys_call_counts[SYS_CALL_MAX_];

static const char *const call_names[SYS_CALL_MAX_] = {
	[SYS_CALL_OPEN] = "open",	    [SYS_CALL_CLOSE] = "close",
	[SYS_CALL_READ] = "read",	    [SYS_CALL_WRITE] = "write",
	[SYS_CALL_FSYNC] = "fsync",	    [SYS_CALL_FDATASYNC] = "fdatasync",
	[SYS_CALL_FALLOCATE] = "fallocate", [SYS_CALL_TRUNCATE] = "truncate",
	[SYS_CALL_LINK] = "link",
	[SYS_CALL_RENAME] = "rename",	    [SYS_CALL_UNLINK] = "unlink",
	[SYS_CALL_MKDIR] = "mkdir",	    [SYS_CALL_STAT] = "stat",
	[SYS_CALL_READDIR] = "readdir",	    [SYS_CALL_LOCK] = "lock",
	[SYS_CALL_STATVFS] = "statvfs",
};

void sys_set_hook(const struct sys_hook *hook)
{
	sys_hook_current = hook;
}

int sys_hook_before(const struct sys_event *event)
{
	return hook_before(event);
}

void sys_hook_after(const struct sys_event *event, int64_t result)
{
	hook_after(event, result);
}

const char *sys_call_name(enum sys_call call)
{
	return (unsigned)call < SYS_CALL_MAX_ ? call_names[call] : "?";
}

uint64_t sys_call_count(enum sys_call call)
{
	if ((unsigned)call >= SYS_CALL_MAX_)
		return 0;
	return atomic_load_explicit(&sys_call_counts[call], memory_order_relaxed);
}
