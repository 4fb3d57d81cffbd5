#!/bin/bash
# Recovery from archives of other segment sizes than 16 MB: a real cluster, copied by pg_basebackup into a store as a FULL of ARCHIVE
# mode, its WAL copied by archive_command; mounted and recovered to a restore point and to the end, which is in a partial segment.
# TEST_LONG=1: more sizes, 1 GB among them.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need wal_sizes python3 runuser gzip || finish
TEST_BUILD=${TEST_BUILD:-$TEST_TOP/build}
if [ ! -x "$TEST_BUILD/tests/tools/mkstore" ]; then
	skip wal_sizes "TEST_BUILD names no build"
	finish
fi
work=$TEST_WORK/walsizes
must own_dir "$work"
must install -m 0755 "$TEST_BUILD/tests/tools/mkstore" "$work/mkstore"
sizes="1 64"
[ "$TEST_LONG" != 1 ] || sizes="1 4 16 64 256 1024"

value() { "$PG_BIN/pg_controldata" "$1" | sed -n "s/^$2: *//p"; }
run() { sql "$work/sock" 6544 postgres -c "$1"; }

# What pg_probackup would have noted of the backup, from the files that PostgreSQL made for it.
finish_control() { # CONTROL LABEL HISTORY
	local start stop
	start=$(sed -n 's/^START WAL LOCATION: \([^ ]*\) .*/\1/p' "$2")
	stop=$(sed -n 's/^STOP WAL LOCATION: \([^ ]*\) .*/\1/p' "$3")
	sed -i -e "s/^stream = .*/stream = false/; s|^start-lsn = .*|start-lsn = $start|; s|^stop-lsn = .*|stop-lsn = $stop|" \
		-e "s/^\(start\|end\|recovery\)-time = .*/\1-time = '$(date -u '+%F %T+00')'/" "$1"
}

make_store() { # MB: a store in $work/store; the restore point is `point`
	local base=$work/base data=$work/data archive label segment
	rm -rf "$work"/{data,base,store,sock}
	store=$work/store archive=$work/store/wal/main
	as_owner "$PG_BIN/initdb" -k -N --no-locale -E UTF8 -A trust --wal-segsize="$1" -D "$data" >"$work/log" 2>&1 || return 1
	as_owner mkdir -p "$archive"
	cat >>"$data/postgresql.conf" <<-END
		archive_mode = on
		archive_command = 'cp --sparse=always %p $archive/%f.part && mv $archive/%f.part $archive/%f'
		autovacuum = off
		max_wal_senders = 3
	END
	pg_start "$data" "$work/sock" 6544 -c archive_mode=on -c fsync=off || return 1
	run "create table t as select g as i, repeat('x', 200) as pad from generate_series(1, 5000) g" &&
		as_owner "$PG_BIN/pg_basebackup" -h "$work/sock" -p 6544 -X none -c fast -D "$base" >>"$work/log" 2>&1 &&
		run "insert into t select g, 'y' from generate_series(5001, 8000) g" >/dev/null &&
		run "select pg_create_restore_point('point')" >/dev/null &&
		run "insert into t select g, 'z' from generate_series(8001, 9000) g; select pg_switch_wal()" >/dev/null &&
		run "insert into t select g, 'end' from generate_series(9001, 9500) g" >/dev/null || return 1
	segment=$(run "select pg_walfile_name(pg_current_wal_lsn())")
	pg_stop "$data" immediate || return 1
	# As pg_receivewal leaves the last one.
	cp --sparse=always "$data/pg_wal/$segment" "$archive/$segment.partial"
	if [ "$1" = 1 ]; then
		gzip "$archive/$segment.partial" && mv "$archive/$segment.partial.gz" "$archive/$segment.gz.partial"
		gzip -1 "$archive"/000000010000000?????????
	fi
	as_owner "$work/mkstore" "$store" --from "$base" --increments 0 >>"$work/log" || return 1
	sed -i "s/^system-identifier = .*/system-identifier = $(value "$data" "Database system identifier")/
		s/^xlog-seg-size = .*/xlog-seg-size = $(($1 << 20))/" "$store/backups/main/pg_probackup.conf"
	label=$base/backup_label
	finish_control "$(echo "$store"/backups/main/*/backup.control)" "$label" "$(echo "$archive"/*.backup)"
	chown -R "$PG_USER:" "$store"
}

# recovers NAME ROWS OPTIONS...
recovers() {
	local name=$1 rows=$2 mnt=$work/mnt
	shift 2
	mkdir -p "$mnt"
	rm -rf "$work/diff" "$work/sock"
	check "$name: mount" pgo mount "$store" "$mnt" --diff "$work/diff" "$@"
	if pg_start "$mnt" "$work/sock" 6544; then
		for _ in $(seq 1 300); do
			[ "$(run 'select pg_is_in_recovery()' 2>/dev/null)" != f ] || break
			sleep 0.2
		done
		equal "$name: rows" "$(run 'select count(*), max(i), pg_is_in_recovery() from t')" "$rows|$rows|f"
		equal "$name: segment size" "$(run 'show wal_segment_size')" "$shown"
		pg_stop "$mnt" immediate
	else
		not_ok "$name: start"
	fi
	pgo umount "$mnt" >/dev/null || not_ok "$name: umount"
}

for size in $sizes; do
	shown=${size}MB
	[ "$size" != 1024 ] || shown=1GB
	if ! make_store "$size"; then
		tail -n 5 "$work/log"
		not_ok "a store with segments of $size MB"
		continue
	fi
	recovers "$size MB, to a restore point" 8000 --target-name point
	recovers "$size MB, to the end" 9500 --target latest
done
finish
