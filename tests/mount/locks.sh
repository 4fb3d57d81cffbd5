#!/bin/bash
# pg_probackup's shared locks while a chain is mounted: every member names the serving process, and nobody else; the line goes with
# the mount, lines of the living stay, and what a killed process has left is dropped by whoever comes next.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need locks zstd python3 setpriv || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/locks"
store=$TEST_WORK/locks/store
for n in 1 2; do own_dir "$TEST_WORK/locks-mnt$n"; done
mnt=$TEST_WORK/locks-mnt1 other=$TEST_WORK/locks-mnt2
instance=$(basename "$(find "$store/backups" -mindepth 1 -maxdepth 1 -type d)")
mapfile -t ids < <(find "$store/backups/$instance" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)

# mount_it MOUNTPOINT BACKUP: its facts
mount_it() { pgo mount "$store" "$1" --backup "$2" --read-only --format json; }
# readers ID: the lines of its lock, sorted, in one
readers() { sort -n "$store/backups/$instance/$1/backup_ro.pid" 2>/dev/null | tr '\n' ' '; }
# all_readers ID...: of each member
all_readers() { local id; for id in "$@"; do echo "$id: $(readers "$id")"; done; }
# wanted "PID..." ID...: the same, as it should be
wanted() {
	local pids id
	pids=$(tr ' ' '\n' <<<"$1" | grep . | sort -n | tr '\n' ' ')
	shift
	for id in "$@"; do echo "$id: $pids"; done
}
left_locks() { find "$store" -name 'backup.pid' -o -name 'backup_ro.pid*' -o -name '*.tmp'; }
serves() { tr '\0' ' ' <"/proc/$1/cmdline" | grep -c "serves $mnt"; }

newest=${ids[-1]} first=${ids[0]}
facts=$(mount_it "$mnt" "$newest")
pid=$(json pid <<<"$facts")
mapfile -t chain < <(python3 -c 'import json, sys; print(*json.load(sys.stdin)["chain"], sep="\n")' <<<"$facts")
equal "the chain has members" "$((${#chain[@]} > 2))" 1
equal "each member names the serving process" "$(all_readers "${chain[@]}")" "$(wanted "$pid" "${chain[@]}")"
equal "it is the one that serves" "$(serves "$pid")" 1
equal "no latch is left, and no draft" "$(find "$store" -name backup.pid -o -name 'backup_ro.pid?*')" ""
equal "the lock is the owner's" "$(stat -c '%U' "$store/backups/$instance/$newest/backup_ro.pid")" "$PG_USER"
check "the owner can ask whether it lives" as_owner sh -c "kill -0 $pid"

# Two mounts share members; each takes out its own line only.
facts=$(mount_it "$other" "$first")
second=$(json pid <<<"$facts")
equal "a member of two chains has two lines" "$(readers "$first")" "$(wanted "$pid $second" "$first" | cut -d ' ' -f 2-)"
check "unmount the first" pgo umount "$mnt"
equal "the line of the other mount stays" "$(readers "$first")" "$second "
equal "members of the first alone have no lock" "$(all_readers "${chain[@]:1}")" "$(wanted "" "${chain[@]:1}")"
check "unmount the other" pgo umount "$other"
equal "nothing is left" "$(left_locks)" ""

# kill -9: the helper takes the lines off.
pid=$(mount_it "$mnt" "$newest" | json pid)
kill -9 "$pid"
for _ in $(seq 1 100); do
	if ! is_mounted "$mnt" && [ -z "$(left_locks)" ]; then break; fi
	sleep 0.1
done
equal "kill -9: the helper takes the lines off" "$(left_locks)" ""

# The same of more members than descriptors go into one message.
long_chain() {
	local long=$TEST_WORK/locks-long/store pid
	own_dir "$TEST_WORK/locks-long"
	as_owner "$TEST_BUILD/tests/tools/mkstore" "$long" --files 2 --blocks 2 --increments 260 --plain 1 --seed 1 >/dev/null || return 1
	pid=$(pgo mount "$long" "$mnt" --read-only --format json | json pid) || return 1
	equal "each of 261 members names the process" \
		"$(find "$long" -name backup_ro.pid -exec grep -lx "$pid" {} + | wc -l)" 261
	kill -9 "$pid"
	for _ in $(seq 1 100); do
		[ -n "$(find "$long" -name 'backup*.pid*')" ] || return 0
		sleep 0.1
	done
	return 1
}
if [ -x "${TEST_BUILD:-}/tests/tools/mkstore" ]; then
	check "kill -9: the helper takes 261 lines off" long_chain
else
	skip locks.long "TEST_BUILD names no build"
fi

# kill -9 of the helper, too: the lines stay, of a process that is none; the next taker drops them.
pid=$(mount_it "$mnt" "$newest" | json pid)
helper=$(grep -lsz "^pgoverlay: unmounts $mnt" /proc/[0-9]*/cmdline | cut -d / -f 3)
equal "there is one helper" "$(wc -w <<<"$helper")" 1
kill -9 "$helper" "$pid"
for _ in $(seq 1 100); do
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.1
done
equal "kill -9 of both: the lines are still there" "$(all_readers "${chain[@]}")" "$(wanted "$pid" "${chain[@]}")"
# A latch of the dead, too, and the line of a living reader, as pg_probackup restore writes it.
echo "$pid" >"$store/backups/$instance/$newest/backup.pid"
setpriv --reuid "$PG_USER" --regid "$PG_USER" --init-groups sleep 300 &
living=$!
lock=$store/backups/$instance/$first/backup_ro.pid # a new file over the old one: ours are links of one file
{ cat "$lock" && echo "$living"; } >"$lock"tmp && chown "$PG_USER:" "$lock"tmp && mv "$lock"tmp "$lock"
chown "$PG_USER:" "$store/backups/$instance/$newest/backup.pid"
pid=$(mount_it "$mnt" "$newest" | json pid)
equal "the next taker drops the lines of the dead" "$(all_readers "${chain[@]:1}")" "$(wanted "$pid" "${chain[@]:1}")"
equal "the line of a living reader stays" "$(readers "$first")" "$(wanted "$pid $living" "$first" | cut -d ' ' -f 2-)"
equal "the latch of the dead is gone" "$(find "$store" -name backup.pid)" ""
check "unmount" pgo umount "$mnt"
equal "only the living reader is left" "$(readers "$first")" "$living "
kill "$living"
wait "$living" 2>/dev/null
rm -f "$store/backups/$instance/$first/backup_ro.pid"
equal "no other lock is left" "$(left_locks)" ""

# verify and restore hold the locks as long as they read, and drop what they find of the dead.
sh -c 'echo $$' >"$store/backups/$instance/$first/backup_ro.pid" # of a process that has ended
chown "$PG_USER:" "$store/backups/$instance/$first/backup_ro.pid"
check "verify beside a dead line" pgo verify "$store" --backup "$newest"
equal "verify leaves nothing" "$(left_locks)" ""
finish
