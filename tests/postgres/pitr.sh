#!/bin/bash
# Recovery from a store's WAL archive: every kind of target, through `up` and through `mount` and pg_ctl, gives the facts of clusters
# that pg_probackup restored to it; what cannot be reached is refused, and damage is never taken for the end of the archive.
# TEST_LONG=1: every target of every store, both ways, from the FULL and from the increment.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need pitr python3 zstd gzip runuser || finish
if [ ! -f "$TEST_SHARED/archive/store.tar.zst" ]; then
	skip pitr "no shared stores with a WAL archive beside the clone"
	finish
fi
work=$TEST_WORK/pitr
mkdir -p "$work"

# ---- tools ----

# The facts of a point, without sequences: PostgreSQL logs those in advance.
facts_of() { awk -F '\t' '$6 != "sequence"' "$@"; }

use() { # FIXTURE: its store is $store
	rm -rf "$work/store" "$work/facts"
	must unpack "$TEST_SHARED/$1/store.tar.zst" "$work/store"
	store=$work/store/store wal=$store/wal/main
	facts_of "$TEST_SHARED/$1/facts.tsv" >"$work/facts"
	[ ! -f "$TEST_SHARED/$1/pitr_facts.tsv" ] || facts_of "$TEST_SHARED/$1/pitr_facts.tsv" >>"$work/facts"
	targets=$TEST_SHARED/$1/pitr_targets.tsv
	export store PGOVERLAY
	fixture=$1
}

# target KIND POINT: the option and its value, one a line
target() {
	case $1 in
	name) printf -- '--target-name\n%s\n' "$2" ;;
	time) printf -- '--target-time\n'; awk -F '\t' -v p="$2" '$1 == p { print $3 }' "$targets" ;;
	xid) printf -- '--target-xid\n'; awk -F '\t' -v p="$2" '$1 == p { print $4 }' "$targets" ;;
	lsn) printf -- '--target-lsn\n'; awk -F '\t' -v p="$2" '$1 == p { print $5 }' "$targets" ;;
	*) printf -- '--target\n%s\n' "$1" ;;
	esac
}

newest() { find "$store/backups/main" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | tail -n 1; }
oldest() { find "$store/backups/main" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | head -n 1; }

check_facts() { # POINT HOST PORT USER
	timeout -k 5 120 python3 "$TEST_TOOLS/check_facts.py" "$work/facts" main "$1" --host "$2" --port "$3" --user "$4"
}

# start OPTIONS...: up; its answer is in $work/up.json, its messages in $work/up.err
start() {
	timeout -k 5 150 "$PGOVERLAY" up "$store" "$@" --format json >"$work/up.json" 2>"$work/up.err" || { cat "$work/up.err"; return 1; }
	host=$(json host <"$work/up.json") port=$(json port <"$work/up.json") user=$(json user <"$work/up.json")
	mnt=$(json mountpoint <"$work/up.json")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}

down() { pgo down "$mnt" >/dev/null; }

by_up() { # NAME POINT OPTIONS...
	local name=$1 point=$2
	shift 2
	if ! start "$@" >"$work/out"; then
		sed 's/^/    /' "$work/out" | tail -n 8
		not_ok "$name"
		return
	fi
	check "$name" check_facts "$point" "$host" "$port" "$user"
	check "$name: it can be written" sql "$host" "$port" postgres -U "$user" -c "create table t as select 1 as a"
	down || not_ok "$name: down"
}

# The directory alone must be enough: a plain start, and a second one after the recovery.
by_mount() { # NAME POINT OPTIONS...
	local name=$1 point=$2 sock=$work/sock
	shift 2
	mnt=$work/mnt
	mkdir -p "$mnt"
	rm -rf "$work/diff"
	if ! pgo mount "$store" "$mnt" --diff "$work/diff" "$@" >"$work/out" 2>&1; then
		cat "$work/out"
		not_ok "$name"
		return
	fi
	if pg_start "$mnt" "$sock" 6543 && wait_open "$sock"; then
		check "$name" check_facts "$point" "$sock" 6543 postgres
		check "$name: it can be written" sql "$sock" 6543 postgres -c "create table t as select 1 as a"
		check "$name: stop" pg_stop "$mnt" fast
		check "$name: unmount" pgo umount "$mnt"
		# The same line again, as fstab has it: the diff goes on, and recovers no more.
		check "$name: the same mount again" pgo mount "$store" "$mnt" --diff "$work/diff" "$@"
		check "$name: a second start" pg_start "$mnt" "$sock" 6543
		equal "$name: what was written" "$(sql "$sock" 6543 postgres -c "select a from t")" 1
		equal "$name: on the timeline of its own" "$(sql "$sock" 6543 postgres -c "select timeline_id from pg_control_checkpoint()")" 2
		pg_stop "$mnt" immediate
	else
		not_ok "$name: start"
	fi
	pgo umount "$mnt" >/dev/null
}

wait_open() { # SOCKET: pg_ctl is content with hot standby
	local i
	for i in $(seq 1 300); do
		[ "$(sql "$1" 6543 postgres -c 'select pg_is_in_recovery()' 2>/dev/null)" != f ] || return 0
		sleep 0.2
	done
	echo "    still in recovery after $i looks"
	return 1
}

# refused NAME PATTERN COMMAND...: exit status 1 and a message, and nothing is left
refused() {
	local name=$1 pattern=$2 rc
	shift 2
	timeout -k 5 150 "$@" >"$work/out" 2>&1 && rc=0 || rc=$?
	if [ $rc != 1 ]; then
		tail -n 5 "$work/out" | sed 's/^/    /'
		not_ok "$name" "exit status $rc"
	elif ! grep -qE -- "$pattern" "$work/out"; then
		tail -n 5 "$work/out" | sed 's/^/    /'
		not_ok "$name" "no '$pattern' in the message"
	else
		ok "$name"
	fi
}

up() { "$PGOVERLAY" up "$store" "$@"; }
export -f up

# ---- targets ----

every_target() {
	local kind point backup options
	for point in point_one point_two point_three; do
		for kind in time name xid lsn; do
			mapfile -t options < <(target $kind $point)
			for backup in "$(oldest)" "$(newest)"; do
				by_up "$fixture: up $kind $point from $backup" $point "${options[@]}" --backup "$backup"
			done
			by_mount "$fixture: mount $kind $point" $point "${options[@]}"
		done
	done
	by_mount "$fixture: mount latest" end_of_archive --target latest
	by_up "$fixture: up latest" end_of_archive --target latest
	by_up "$fixture: up immediate" "$(newest)" --target immediate
	by_up "$fixture: up of the FULL" "$(oldest)" --backup "$(oldest)"
}

for f in archive archive-gz; do
	use "$f"
	if [ "$TEST_LONG" = 1 ]; then
		every_target
	elif [ "$f" = archive ]; then
		mapfile -t options < <(target time point_one)
		by_up "$f: up time point_one" point_one "${options[@]}"
		mapfile -t options < <(target xid point_two)
		by_mount "$f: mount xid point_two" point_two "${options[@]}"
		by_up "$f: up, no target" "$(newest)"
	else
		mapfile -t options < <(target name point_three)
		by_up "$f: up name point_three from the FULL" point_three "${options[@]}" --backup "$(oldest)"
		by_mount "$f: mount latest" end_of_archive --target latest
	fi
done

# ---- without the target itself ----

use archive
# The first transaction after the increment: without it the facts are those of the backup.
first=$(sed -n 's/^recovery-xid = //p' "$store/backups/main/$(newest)/backup.control")
by_up "exclusive: up xid" "$(newest)" --target-xid "$first" --target-inclusive off
by_mount "exclusive: mount xid" "$(newest)" --target-xid "$first" --target-inclusive off
mapfile -t options < <(target xid point_one)
by_up "inclusive: up xid" point_one "${options[@]}" --target-inclusive on

# ---- actions ----

use archive-gz
mapfile -t lsn < <(target lsn point_two)
# The record behind an LSN may be the lock of a transaction that never ends then: a name stops before it.
if start --target-name point_two --target-action pause >"$work/out"; then
	equal "pause: state" "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["recovery"]["state"])' <"$work/up.json")" paused
	check "pause: facts" check_facts point_two "$host" "$port" "$user"
	equal "pause: in recovery" "$(sql "$host" "$port" postgres -U "$user" -c 'select pg_is_in_recovery()')" t
	sql "$host" "$port" postgres -U "$user" -c 'select pg_wal_replay_resume()' >/dev/null
	for _ in $(seq 1 100); do
		[ "$(sql "$host" "$port" postgres -U "$user" -c 'select pg_is_in_recovery()')" != f ] || break
		sleep 0.2
	done
	check "pause: resumed" sql "$host" "$port" postgres -U "$user" -c 'create table t()'
	down
else
	cat "$work/out"
	not_ok "pause"
fi
if start "${lsn[@]}" --target-action shutdown --diff "$work/diff-shutdown" >"$work/out"; then
	equal "shutdown: state" "$("$PG_BIN/pg_controldata" "$mnt" | sed -n 's/^Database cluster state: *//p')" "shut down in recovery"
	down
	check "shutdown: goes on, --set has the last word" start --diff "$work/diff-shutdown" --set recovery_target_action=promote
	equal "shutdown: open" "$(sql "$host" "$port" postgres -U "$user" -c 'select pg_is_in_recovery()')" f
	down
	refused "another target for the same diff" "made for recovery to lsn" bash -c 'up "$@"' - --diff "$work/diff-shutdown" --target latest
else
	cat "$work/out"
	not_ok "shutdown"
fi

# ---- what is refused before anything is started ----

early=$(sed -n "s/^recovery-time = '\(.*\)'/\1/p" "$store/backups/main/$(oldest)/backup.control")
refused "a time before the backup" "before the end of backup $(newest): .*use --backup $(oldest)" \
	bash -c 'up "$@"' - --backup "$(newest)" --target-time "$(date -u -d "$early + 1 second" '+%F %T+00')"
refused "an LSN before every backup" "no backup can be recovered to lsn 0/100" bash -c 'up "$@"' - --target-lsn 0/100
refused "an LSN behind the archive" "not in the archive, which ends at" bash -c 'up "$@"' - --target-lsn 1/0
refused "a name that is nowhere" "no backup can be recovered to name nowhere" bash -c 'up "$@"' - --target-name nowhere
refused "a time that does not come" "recovery did not come to time 2036" bash -c 'up "$@"' - --target-time '2036-01-01 00:00:00+00'
refused "a timeline that is not there" "no history" bash -c 'up "$@"' - --backup "$(newest)" --target latest --target-timeline 7
check "the right backup is chosen for an early time" bash -c "up --target-time '$(sed -n "s/^recovery-time = '\(.*\)'/\1/p" "$store/backups/main/$(newest)/backup.control")' \
	--format json 2>&1 >'$work/up.json' | grep -v prepared; [ \$(python3 -c 'import json; print(json.load(open(\"$work/up.json\"))[\"backup\"])') = $(oldest) ]"
mnt=$(json mountpoint <"$work/up.json") && down

# ---- damage ----

damage() { # NAME PATTERN OPTIONS...: refused; the archive is as it was again
	local name=$1 pattern=$2
	shift 2
	refused "$name" "$pattern" bash -c 'up "$@"' - "$@"
	rm -rf "$wal"
	cp -a "$work/wal.good" "$wal"
}
cp -a "$wal" "$work/wal.good"
start_seg=$(find "$wal" -name '*.backup' -printf '%f\n' | sort | tail -n 1 | cut -c 1-24)
late=0000000100000000000000$(printf %02X $((0x${start_seg: -2} + 4)))
rm "$wal/$start_seg.gz"
damage "a gap where the backup needs it" "archive lacks $start_seg"
rm "$wal/$late.gz"
damage "a gap before the end" "archive lacks $late" --target latest
rm "$wal/$late.gz"
damage "a gap before an LSN" "archive lacks $late" "${lsn[@]}"
printf '\377' | dd of="$wal/$late.gz" bs=1 seek=$(($(stat -c %s "$wal/$late.gz") - 6)) conv=notrunc status=none
damage "a flipped gzip CRC" "PostgreSQL ended while it was starting" --target latest
grep -q "$late.gz: its gzip checksum does not match" "$work/out" && ok "a flipped CRC is named" || not_ok "a flipped CRC is named"
truncate -s -100 "$wal/$late.gz"
damage "a cut gzip file" "gzip data is cut off" --target latest
gzip -dc "$wal/$late.gz" | head -c 500000 >"$wal/$late" && rm "$wal/$late.gz"
damage "a cut segment" "is cut off: 500000 bytes" --target latest
cp "$wal/$start_seg.gz" "$wal/$late.gz"
damage "a segment of another place" "it holds WAL from" --target latest

# ---- partial segments ----

last=$(find "$wal" -regextype posix-extended -regex '.*/[0-9A-F]{24}\.gz' -printf '%f\n' | sort | tail -n 1)
last=${last%.gz}
gzip -dc "$wal/$last.gz" | head -c 300000 | sed '$s/\x00*$//' >"$wal/$last.partial" && rm "$wal/$last.gz"
by_up "the last segment is partial" end_of_archive --target latest
gzip -1 <"$wal/$last.partial" >"$wal/$last.gz.partial" && rm "$wal/$last.partial"
by_up "the last segment is partial and compressed" end_of_archive --target latest

# ---- timelines, backups with their WAL inside ----

use branches
two=$(grep -l '^timelineid = 2' "$store"/backups/main/*/backup.control | sort | tail -n 1)
two=$(basename "$(dirname "$two")")
one=$(grep -l '^timelineid = 1' "$store"/backups/main/*/backup.control | sort | tail -n 1)
one=$(basename "$(dirname "$one")")
full=$(oldest)
by_up "branches: timeline 2 from its backup" "$two" --instance main --target immediate
refused "branches: timeline 2 does not pass the other branch" "does not come by the end of backup $one" \
	bash -c 'up "$@"' - --instance main --backup "$one" --target latest
by_up "branches: the other branch stays on its timeline" "$one" --instance main --backup "$one" --target latest --target-timeline current
if start --instance main --backup "$full" --target latest >"$work/out"; then
	equal "branches: from the FULL through the switch" "$(sql "$host" "$port" postgres -U "$user" -c 'select timeline_id from pg_control_checkpoint()')" 3
	down
else
	tail -n 5 "$work/out"
	not_ok "branches: from the FULL through the switch"
fi
equal "nothing is left of the clones" "$(find "$PGOVERLAY_HOME/clones" "$PGOVERLAY_HOME/run" -mindepth 1 2>/dev/null)" ""
finish
