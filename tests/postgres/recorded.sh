#!/bin/bash
# PostgreSQL on a clone whose disk keeps a log of what it is told to write and to flush: TPC-B, DDL, checkpoints and a ledger
# of commits at once. Afterwards states that a power cut may have left are made: up to a flush, with any part of what was on
# its way to the next one. On each the server comes up, has every commit that was acknowledged by then, and pg_amcheck has
# nothing to say. The first state cannot have what was acknowledged later, and must be found to lack it.
#
#   RECORDED_STATES    how many
#   RECORDED_SECONDS   of load
#   RECORDED_WAL       native|fuse: where pg_wal is; native: on the same disk
#   RECORDED_DEFECT    of the program (tests/tools/doomed.c): must make it fail
#   TEST_SEED          of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_pg.sh
. "$TEST_TOOLS/power_pg.sh"

wal=${RECORDED_WAL:-native}
mib=400
same_writes=1 # what is recorded is the same for all states
need recorded python3 zstd runuser losetup mkfs.ext4 fusermount3 || finish
use_tools
use_recorder

record() { # leaves a log and its ledger
	recorder_on $mib && chmod 0755 "$disk" || return 1
	if [ -n "${RECORDED_DEFECT:-}" ]; then
		export DEFECT=$RECORDED_DEFECT
		program=$doomed
	fi
	new_cluster && start_load || return 1
	first_commits 0
	sleep "${RECORDED_SECONDS:-3}"
	kill -9 "$pid"
	kill_server
	end_load || return 1
	unset DEFECT
	program=$PGOVERLAY
	recorder_off
}

check_state() { # UNTIL
	bring_up || { echo "LOST: it does not come up"; return 1; }
	nothing_lost --until "$1" || return 1
	[ -n "$looked" ] || ! book verify || { echo "the first state has everything, or it is not seen what is missing"; return 1; }
	nothing_damaged && take_down
}

keep() { # what shows it again
	mkdir -p "$power/lost" && cp "$disk_log" "$book" "$power/out" "$power/replayed" "$power/lost"
	kill -9 "$pid"
	kill_server
	umount -l "$mnt"
} 2>/dev/null

# check_states COUNT: replay makes one after the other and asks
check_states() {
	local what until answer=good begins rows
	begins=$(awk 'NR == 1 { print $4 }' "$book")
	mkfifo "$power/asked" "$power/answers" || return 1
	"$power/tools/replay" "$disk_log" $mib "${image_dir:-$power}/state" "$disk" "$1" "$seed" ask "$begins" \
		<"$power/answers" >"$power/asked" 2>"$power/replayed" &
	exec 4>"$power/answers" 3<"$power/asked"
	while read -r what until <&3; do
		if [ "$what" != check ]; then
			echo "$what $until" >>"$power/replayed"
			continue
		fi
		check_state "$until" >"$power/out" 2>&1 || { answer=lost && keep; }
		rows=$(sed -n '/ rows recorded, /{ s/ .*//p; q; }' "$power/out")
		looked=$((looked + ${rows:-0}))
		echo "$answer" >&4
	done
	wait $!
}

echo "# seed $seed"
looked=
must record
if check_states "${RECORDED_STATES:-3}"; then
	ok "recorded, WAL $wal: $acknowledged acknowledged, $(tail -n 1 "$power/replayed")"
	echo "# WAL $wal: $committed rows in the ledger, $looked looked for; $(tail -n 1 "$power/replayed"); $SECONDS s"
else
	tail -n 20 "$power/out" | sed 's/^/    /'
	tail -n 3 "$power/replayed" | sed 's/^/    /'
	not_ok "recorded, WAL $wal" "seed $seed: $(grep -m 1 -E 'LOST|missing' "$power/out" || tail -n 1 "$power/out")"
fi
finish
