#!/bin/bash
# sweep.sh DIR: aborts mounts and ends processes below DIR; prints a line for each that it found. A process that is about to
# end, as one whose mount the test has aborted, has a moment for it.
set -u
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
trap - EXIT
awk -v d="$1/" 'index($5, d) == 1 { print "mount " $5 }' /proc/self/mountinfo
for _ in $(seq 50); do
	[ -n "$(processes_below "$1")" ] || break
	sleep 0.1
done
for pid in $(processes_below "$1"); do
	echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-100)"
done
unmount_below "$1" >/dev/null
kill_below "$1" >/dev/null
unmount_below "$1" >/dev/null
