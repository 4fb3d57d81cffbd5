#!/bin/bash
# PostgreSQL on a clone whose disk loses its power, or whose serving process is killed: TPC-B, DDL, checkpoints and a ledger
# of commits at once; afterwards it comes up at once, every acknowledged commit is there, and pg_amcheck has nothing to say.
#
#   POWER_RUNS      HOW,FS,WAL...: cut|kill, ext4|xfs (or - for kill), native|fuse: where pg_wal is; native: on the same disk
#   POWER_CYCLES    of each; every 12 the clone is a new one
#   POWER_DEFECT    of the program (tests/tools/doomed.c): must make it fail
#   TEST_SEED       of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_pg.sh
. "$TEST_TOOLS/power_pg.sh"

cycles=${POWER_CYCLES:-1}
need powercut python3 zstd runuser losetup mkfs.ext4 || finish
use_tools

one_cut() {
	local size
	size=$(stat -c %s "$book" 2>/dev/null || echo 0)
	start_load || return 1
	first_commits "$size"
	between 1 999
	between 1 999
	"$power/tools/powercut" "$disk" || return 1
	[ $((RANDOM % 2)) = 0 ] || between 1 300 # the machine may see a little of it
	kill -9 "$pid"
	kill_server
	end_load || return 1
	disk_off && power_on || return 1
	bring_up || { echo "it does not come up after the power cut"; return 1; }
	all_there
}

# The server of before goes with its mount; up ends it by itself if it has not gone.
one_kill() {
	local fate=request:$((1500 + RANDOM % 6000)) i
	[ $((RANDOM % 5)) != 0 ] || fate=request:$((1 + RANDOM % 1500)) # while the server starts
	if [ "$wal" = native ]; then timeout 150 "$PGOVERLAY" down "$mnt"; else pg_stop "$mnt" fast && timeout 60 "$PGOVERLAY" umount "$mnt"; fi ||
		{ echo "it does not go down"; return 1; }
	program=$doomed
	acknowledged=0 processed=0
	if bring_up "DOOM=$fate"; then
		if start_load; then
			for ((i = 0; i < 40; i++)); do
				kill -0 "$pid" 2>/dev/null || break
				sleep 0.1
			done
			kill -9 "$pid" 2>/dev/null
			end_load || return 1
		fi
	else # killed while the server started
		for ((i = 0; i < 200; i++)); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
		! kill -0 "$pid" 2>/dev/null || { echo "it does not come up, and the program lives"; return 1; }
	fi
	program=$PGOVERLAY
	if [ "$wal" = fuse ]; then kill_server; fi
	bring_up || { echo "it does not come up after the kill"; return 1; }
	[ "$(grep -c " $mnt " /proc/self/mountinfo)" = 1 ] || { echo "more than one mount"; return 1; }
	all_there
}

run() { # HOW FS WAL
	local i name="$1, WAL $3" begun=$SECONDS history=0 processed=0
	wal=$3
	[ "$2" = - ] || name="$1 on $2, WAL $3"
	[ "$wal" = native ] && name="$name on it" || name="$name through the mount"
	if [ "$1" = cut ]; then
		mkfs_of "$2" || return 0
		must power_make "$2" 1200
	fi
	for ((i = 1; i <= cycles; i++)); do
		if [ $((i % 12)) = 1 ]; then
			[ $i = 1 ] || take_down
			must new_cluster
			[ -z "${POWER_DEFECT:-}" ] || { take_down && program=$doomed && must bring_up "DEFECT=$POWER_DEFECT"; }
		fi
		if "one_$1" >"$power/out" 2>&1; then
			ok "$name, $i: $acknowledged acknowledged"
		else
			tail -n 20 "$power/out" | sed 's/^/    /'
			not_ok "$name, $i" "seed $seed: $(grep -m 1 -E 'LOST|missing' "$power/out" || tail -n 1 "$power/out")"
			return 0
		fi
	done
	take_down
	[ "$1" = kill ] || must disk_off
	echo "# $name: $cycles, $((SECONDS - begun)) s"
}

echo "# seed $seed, image $image"
for what in ${POWER_RUNS:-cut,ext4,native kill,-,fuse}; do
	IFS=, read -r how fs wal <<<"$what"
	[ "$how" = cut ] || own_dir "$disk"
	run "$how" "$fs" "$wal"
done
finish
