#!/bin/bash
# `restore` of ARCHIVE backups, and a plain server on what it wrote: every kind of target, by wal-get from the store's archive, gives the
# facts of clusters that pg_probackup restored to it. TEST_LONG=1: every target of every store, from the FULL and from the increment.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/restore_lib.sh
. "$TEST_TOOLS/restore_lib.sh"

need restore-archive python3 zstd gzip runuser || finish
if [ ! -f "$TEST_SHARED/archive/store.tar.zst" ]; then
	skip restore-archive "no shared stores with a WAL archive beside the clone"
	finish
fi
work=$TEST_WORK/restore-archive out=$TEST_WORK/restore-archive-out sock=$TEST_WORK/restore-archive-sock

use() { # FIXTURE
	fixture=$1
	rm -rf "$work"
	must unpack "$TEST_SHARED/$1/store.tar.zst" "$work"
	store=$work/store
	targets=$TEST_SHARED/$1/pitr_targets.tsv
	# Without sequences: PostgreSQL logs those in advance.
	cat "$TEST_SHARED/$1/facts.tsv" "$TEST_SHARED/$1/pitr_facts.tsv" | awk -F '\t' '$6 != "sequence"' >"$work/facts"
	mapfile -t ids < <(find "$store/backups/main" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
}
value() { awk -F '\t' -v p="$1" -v n="$2" '$1 == p { print $n }' "$targets"; }

wait_open() {
	for _ in $(seq 1 600); do
		[ "$(sql "$sock" 6544 postgres -c 'select pg_is_in_recovery()' 2>/dev/null)" != f ] || return 0
		sleep 0.1
	done
	return 1
}

# recovers NAME POINT BACKUP OPTION...: restored, started, and the facts are those of the point
recovers() {
	local name="$fixture: $1" point=$2 id=$3 said
	shift 3
	if ! said=$(restore_to "$out" "$store" main "$id" "$@" --target-action promote 2>&1); then
		printf '%s\n' "$said" | sed 's/^/    /'
		not_ok "$name: restore"
		return
	fi
	rm -rf "$sock"
	if pg_start "$out/data" "$sock" 6544 && wait_open; then
		check "$name" timeout -k 5 120 python3 "$TEST_TOOLS/check_facts.py" "$work/facts" main "$point" --host "$sock" --port 6544 --user postgres
		equal "$name: on a timeline of its own" "$(sql "$sock" 6544 postgres -c "checkpoint; select timeline_id from pg_control_checkpoint()")" 2
		check "$name: it can be written" sql "$sock" 6544 postgres -c 'create table t as select 1 as a'
	else
		not_ok "$name: start"
	fi
	pg_stop "$out/data" immediate
	equal "$name: recovery is over" "$(find "$out/data" -maxdepth 1 -name recovery.signal)" ""
}

every_target() {
	local point id
	for point in point_one point_two point_three; do
		for id in "${ids[@]}"; do
			recovers "time $point from $id" $point "$id" --target-time "$(value $point 3)"
			recovers "xid $point from $id" $point "$id" --target-xid "$(value $point 4)"
			recovers "lsn $point from $id" $point "$id" --target-lsn "$(value $point 5)"
			recovers "name $point from $id" $point "$id" --target-name $point
		done
	done
}

for f in archive archive-gz; do
	use $f
	if [ "$TEST_LONG" = 1 ]; then
		every_target
	elif [ $f = archive ]; then
		recovers "a time" point_one "${ids[-1]}" --target-time "$(value point_one 3)"
		recovers "a transaction" point_two "${ids[0]}" --recovery-target-xid "$(value point_two 4)"
		recovers "the state of the backup" "${ids[-1]}" "${ids[-1]}" --target immediate
	else
		recovers "an LSN" point_three "${ids[0]}" --target-lsn "$(value point_three 5)"
		recovers "a restore point" point_two "${ids[-1]}" --target-name point_two
		recovers "all there is" end_of_archive "${ids[-1]}" --target latest
	fi
	[ "$TEST_LONG" != 1 ] || recovers "the end" end_of_archive "${ids[0]}" --target latest
done

# A damaged segment must not be taken for the end of the archive.
wal=$store/wal/main
late=$(find "$wal" -name '0000*.gz' -printf '%f\n' | sort | tail -n 2 | head -n 1)
printf '\377' | dd of="$wal/$late" bs=1 seek=$(($(stat -c %s "$wal/$late") - 6)) conv=notrunc status=none
must restore_to "$out" "$store" main "${ids[-1]}" --target latest >/dev/null
rm -rf "$sock"
if pg_start "$out/data" "$sock" 6544 >/dev/null && wait_open; then
	not_ok "a damaged segment stops recovery" "the server is open"
	pg_stop "$out/data" immediate
else
	check "a damaged segment stops recovery, and is named" grep -q "$late: its gzip checksum does not match" "$sock/log"
fi
finish
