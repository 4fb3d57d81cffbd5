/*
 * base/sys_internal.h: what the sys*.c files share. The hook costs the wrappers one predictable
 * branch.
 */
#ifndef BASE_SYS_INTERNAL_H
#define BASE_SYS_INTERNAL_H

#include "base/sys.h"

#include <stdatomic.h>

extern const struct sys_hook *sys_hook_current; /* set before threads exist */
extern _Atomic uint64_t sys_call_counts[SYS_CALL_MAX_];

static inline int hook_before(const struct sys_event *event)
{
	const struct sys_hook *hook = sys_hook_current;

	/* Relaxed: the counts order nothing. */
	atomic_fetch_add_explicit(&sys_call_counts[event->call], 1, memory_order_relaxed);
	if (__builtin_expect(hook == NULL, 1))
		return 0;
	return hook->before != NULL ? hook->before(hook->ctx, event) : 0;
}

static inline void hook_after(const struct sys_event *event, int64_t result)
{
	const struct sys_hook *hook = sys_hook_current;

	if (__builtin_expect(hook != NULL, 0) && hook->after != NULL)
		hook->after(hook->ctx, event, result);
}

#endif
