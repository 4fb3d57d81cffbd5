/*
 * tests/unit/layer_lock_util.c: see layer_lock_util.h.
 */
#include "layer_lock_util.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t child;

void lock_setup(void)
{
	unit_setup();
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
}

void lock_teardown(void)
{
	sys_set_hook(NULL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	check_teardown();
}

pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

const char *content(const char *name)
{
	static char text[256];
	_cleanup_free_ char *data = NULL;
	size_t len;

	if (sys_read_file(unit_dir, name, sizeof(text) - 1, &data, &len) < 0)
		return "(none)";
	snprintf(text, sizeof(text), "%s", data);
	return text;
}

const char *lines(const pid_t *pids, unsigned count)
{
	static char text[256];
	size_t len = 0;

	for (unsigned i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%d\n", (int)pids[i]);
	return text;
}
