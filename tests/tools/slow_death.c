/*
 * tests/tools/slow_death.c: kill -9 of a process that takes its time to go, as on a busy machine.
 *
 *	slow_death PID MILLISECONDS
 *
 * Prints `dying` when the signal has arrived; the process keeps what it has, descriptors and locks, for so long.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	pid_t pid = argc == 3 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	int status;

	if (pid <= 0) {
		(void)fprintf(stderr, "usage: slow_death PID MILLISECONDS\n");
		return 2;
	}
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT) < 0 || kill(pid, SIGKILL) < 0 ||
	    waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) {
		(void)fprintf(stderr, "slow_death: %d: %s\n", (int)pid, strerror(errno));
		return 1;
	}
	(void)puts("dying");
	(void)fflush(stdout);
	(void)usleep((useconds_t)strtoul(argv[2], NULL, 10) * 1000);
	return 0;
}
