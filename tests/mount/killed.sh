#!/bin/bash
# kill -9 of the serving process at a request, at a call that it makes, while it mounts, or at any moment, by a test or by the OOM killer: the next mount
# works at once and by itself, and everything that was acknowledged is there.
#
#   KILLED_CYCLES   kills
#   TEST_SEED       of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"

cycles=${KILLED_CYCLES:-10}
need killed zstd || finish
use_tools
doomed=$power/tools/pgoverlay_doomed
own_dir "$disk" # no file system of its own: the machine goes on

entries() { grep -c " $mnt " /proc/self/mountinfo; }
helper="^pgoverlay: unmounts $mnt\$"

# What kills it, and when; -: from outside.
choose() {
	case $((RANDOM % 6)) in
	0 | 1) fate=request:$((1 + RANDOM % 1500)) ;;
	2) fate=before:$((1 + RANDOM % 400)) ;;
	3) fate=after:$((1 + RANDOM % 400)) ;;
	4) fate=mount:$((1 + RANDOM % 60)) ;;
	*) fate=- ;;
	esac
}

# one_kill [VARIABLE=VALUE]...: the clone is not mounted before, and is afterwards, by a sound program
one_kill() {
	program=$doomed
	if mount_clone "DOOM=$fate" "$@"; then
		start_writer "$RANDOM$RANDOM"
		case $fate in
		- | mount:*)
			between 1 400
			kill -9 "$pid"
			;;
		esac
		# EIO is what the kernel says where it cannot read the page that a write changes in part.
		end_writer 0 ENOTCONN ECONNABORTED EIO || return 1
		if [ $((RANDOM % 4)) = 0 ]; then pkill -9 -f "$helper"; fi
	elif [ "${fate%:*}" = mount ]; then
		acknowledged=0
	else
		echo "it does not mount: $(cat "$power/facts")"
		return 1
	fi >"$power/mounting" 2>&1
	program=$PGOVERLAY
	mount_clone || { echo "it does not mount after the kill"; return 1; }
	[ "$(entries)" = 1 ] || { echo "$(entries) mounts"; return 1; }
	check_ledger
}

# end_mount: unmounted, or killed so that the next mount has something to recover
end_mount() {
	is_mounted "$mnt" || return 0
	if [ $((RANDOM % 2)) = 0 ]; then kill -9 "$pid"; else "$program" umount "$mnt"; fi
}

kills() {
	local i begun=$SECONDS
	for ((i = 1; i <= cycles; i++)); do
		must end_mount
		[ $((i % 50)) != 1 ] || must new_clone
		choose
		if one_kill >"$power/out" 2>&1; then
			ok "kill $i, $fate: $acknowledged acknowledged; $said"
		else
			sed 's/^/    /' "$power/out" "$power/mounting"
			not_ok "kill $i, $fate" "seed $seed: $(cat "$power/out" "$power/mounting" | grep -m 1 LOST || cat "$power/mounting" "$power/out" | tail -n 1)"
			return 0
		fi
	done
	must "$program" umount "$mnt"
	equal "no mount is left" "$(entries)" 0
	echo "# $cycles kills, $((SECONDS - begun)) s"
}

# A program whose fsync does nothing must be found out.
defect_is_found() {
	local i
	must new_clone
	for ((i = 1; i <= 20; i++)); do
		fate=request:$((300 + RANDOM % 500))
		if ! one_kill DEFECT=no_sync >"$power/out" 2>&1; then
			if grep -q LOST "$power/out"; then ok "an fsync that does nothing is found"; else not_ok "an fsync that does nothing is found" "$(tail -n 3 "$power/out")"; fi
			is_mounted "$mnt" && must "$program" umount "$mnt"
			return 0
		fi
		must "$program" umount "$mnt"
	done
	not_ok "an fsync that does nothing is found" "not in 20 kills; seed $seed"
}

# On a busy machine a killed process is not gone at once: the next mount waits for it.
still_dying() {
	must new_clone
	program=$PGOVERLAY
	must mount_clone
	"$power/tools/slow_death" "$pid" 3500 >"$power/dying" &
	for _ in $(seq 100); do [ ! -s "$power/dying" ] || break; sleep 0.02; done
	equal "a killed process that has not gone yet" "$(cat "$power/dying")" dying
	check "it is waited for" mount_clone
	wait $!
	equal "one mount" "$(entries)" 1
	must "$program" umount "$mnt"
}

# The kernel's own kill -9: at a request the program takes more memory than its control group may have.
oom_kill() {
	local group=/sys/fs/cgroup/memory/pgoverlay-test.$$
	if ! mkdir "$group" 2>/dev/null || ! echo 64M >"$group/memory.limit_in_bytes"; then
		skip "the OOM killer" "no memory control group (v1) can be made"
		return 0
	fi
	must new_clone
	program=$doomed
	must mount_clone "DOOM=memory:$((200 + RANDOM % 800))"
	echo "$pid" >"$group/cgroup.procs"
	start_writer "$RANDOM"
	check "the program ends" end_writer 0 ENOTCONN ECONNABORTED EIO
	equal "the OOM killer has ended it" "$(sed -n 's/^oom_kill //p' "$group/memory.oom_control")" 1
	program=$PGOVERLAY
	check "it mounts at once" mount_clone
	check "what was acknowledged is there" check_ledger
	equal "one mount" "$(entries)" 1
	must "$program" umount "$mnt"
	rmdir "$group"
}

echo "# seed $seed"
[ -n "${KILLED_CYCLES:-}" ] || { still_dying && oom_kill; }
kills
[ -n "${KILLED_CYCLES:-}" ] || defect_is_found
finish
