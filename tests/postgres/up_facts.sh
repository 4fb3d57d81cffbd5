#!/bin/bash
# `up` and `down` of every STREAM backup of every undamaged store: the facts recorded at the moment of the backup hold, pg_amcheck
# finds nothing, and the store is what it was; while the clone runs it differs by the lock files of pg_probackup alone.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need up python3 zstd runuser || finish
[ -n "$TEST_SHARED" ] || skip "up of the shared stores" "no shared directory beside the clone; the repository's own stores are started"

sums() { (cd "$1" && find . -type f -exec sha256sum {} + | LC_ALL=C sort); }

# The store differs from its sums by shared locks alone, which name the serving process.
# shellcheck disable=SC2317 # called through check
only_locks() { # STORE PID
	local extra
	sums "$1" >"$where/sums.now"
	extra=$(LC_ALL=C comm -13 "$where/sums" "$where/sums.now" | awk '{ print $2 }')
	[ -z "$(LC_ALL=C comm -23 "$where/sums" "$where/sums.now")" ] || { echo "changed or gone: $(LC_ALL=C comm -23 "$where/sums" "$where/sums.now")"; return 1; }
	[ -n "$extra" ] || { echo "no lock files"; return 1; }
	for f in $extra; do
		case $f in
		*/backup_ro.pid) kill -0 "$(cat "$1/$f")" || { echo "$f names $(cat "$1/$f")"; return 1; } ;;
		*) echo "new file $f"; return 1 ;;
		esac
	done
}

one() { # FIXTURE-NAME FACTS STORE INSTANCE ID
	local name=$1/$4/$5 out="$where/up.json" host port user mnt
	if ! pgo up "$3" --instance "$4" --backup "$5" --format json >"$out" 2>"$where/up.err"; then
		sed 's/^/    /' "$where/up.err"
		not_ok "up $name"
		return
	fi
	host=$(json host <"$out") port=$(json port <"$out") user=$(json user <"$out") mnt=$(json mountpoint <"$out")
	TEST_SOCKETS="$TEST_SOCKETS $host"
	check "facts $name" timeout -k 5 120 python3 "$TEST_TOOLS/check_facts.py" "$2" "$4" "$5" --host "$host" --port "$port" --user "$user"
	check "locks alone $name" only_locks "$3"
	check "amcheck $name" as_owner timeout -k 5 300 "$PG_BIN/pg_amcheck" --all --install-missing --heapallindexed -h "$host" \
		-p "$port" -U "$user"
	check "a commit $name" sql "$host" "$port" postgres -U "$user" -c "create table t as select 1 as a" -c checkpoint
	check "down $name" pgo down "$mnt"
	if is_mounted "$mnt" || [ -e "$mnt" ]; then not_ok "unmounted $name"; fi
}

count=0
for fixture in $(fixtures); do
	where=$TEST_WORK/up-facts
	rm -rf "$where"
	must unpack "$fixture/store.tar.zst" "$where"
	sums "$where/store" >"$where/sums"
	for control in "$where"/store/backups/*/*/backup.control; do
		grep -q '^stream = true' "$control" || continue
		dir=${control%/backup.control}
		id=${dir##*/}
		instance=${dir%/*}
		one "${fixture##*/}" "$fixture/facts.tsv" "$where/store" "${instance##*/}" "$id"
		count=$((count + 1))
	done
	sums "$where/store" >"$where/sums.now"
	check "the bytes of store ${fixture##*/} are those before" cmp "$where/sums" "$where/sums.now"
done
equal "nothing is left of the clones" "$(find "$PGOVERLAY_HOME" -mindepth 2 2>/dev/null)" ""
echo "    $count backups"
finish
