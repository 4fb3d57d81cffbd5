#!/bin/bash
# A cluster on a mount through all that a cluster goes through: DDL of every kind, load, restart, immediate shutdown,
# kill -9 of the server of the mount under load, remounts; with each I/O engine (or those named as arguments).
# What must have survived is recorded outside of the mount: facts (a sum of every table) and a ledger of commits.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
HERE=$TEST_TOP/tests/postgres

need ddl python3 zstd runuser || finish
seconds=8
[ "$TEST_LONG" = 0 ] || seconds=60

# Without the lock files: the number of a killed server stays in them until the next lock is taken, or longer where another
# process has got that number.
sums_of_store() { (cd "$store" && find . -type f -not -name backup_ro.pid -exec sha256sum {} + | sort); }

# shellcheck disable=SC2317 # called through must
mount_it() {
	pgo mount "$store" "$mnt" --diff "$diff" --io-engine "$engine" --format json >"$base/mount.json" 2>"$base/mount.err" && return
	cat "$base/mount.err"
	return 1
}

start() { # NAME: what follows needs the server
	check "$engine: $1" pg_start "$mnt" "$sock" "$port"
	[ -S "$sock/.s.PGSQL.$port" ] || finish
}

# Facts of all databases of the test, for comparison as text.
facts() { # FILE
	local db
	for db in d1 made_wal made_copy; do
		echo "database $db"
		sql "$sock" "$port" $db -f "$HERE/facts.sql" 2>&1 || return 1
	done >"$1"
}

same_facts() { # WHEN
	local out
	if ! facts "$base/facts.now"; then
		not_ok "$engine: facts after $1" "$(tail -n 1 "$base/facts.now")"
	elif out=$(diff "$base/facts" "$base/facts.now"); then
		ok "$engine: facts after $1 ($(wc -l <"$base/facts") lines)"
	else
		printf '%s\n' "$out" | head -n 10 | sed 's/^/    /'
		not_ok "$engine: facts after $1" "differ"
	fi
	equal "$engine: indexes after $1" "$(sql "$sock" "$port" d1 -f "$HERE/indexes.sql" 2>&1)" ""
	gone_files "$1"
}

# Files of dropped and truncated relations: removed by the last checkpoint, and never back.
gone_files() {
	local f back=
	while read -r f; do
		if [ -e "$mnt/$f" ]; then back="$back $f"; fi
	done <"$base/gone"
	equal "$engine: removed files after $1 ($(wc -l <"$base/gone"))" "$back" ""
}

ledger() { python3 "$TEST_TOOLS/ledger.py" "$@" --host "$sock" --port "$port" --file "$base/ledger"; }

bench_sums() { # WHEN
	local q="select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
		and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
		and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)"
	equal "$engine: TPC-B sums after $1" "$(sql "$sock" "$port" bench -c "$q" 2>&1)" t
}

after_crash() { # WHEN
	same_facts "$1"
	bench_sums "$1"
	check "$engine: ledger after $1" ledger verify
	equal "$engine: unlogged tables after $1" "$(sql "$sock" "$port" d1 -c 'select count(*) from unlogged_one' 2>&1)" 0
	check "$engine: unlogged tables work after $1" sql "$sock" "$port" d1 -c "insert into unlogged_one values (1, 'x')"
}

# Commits, TPC-B and DDL at once, in the background; their ends are the server's.
start_load() {
	ledger run --clients 4 --seconds 60 >"$base/load.ledger" 2>&1 &
	as_owner timeout -k 5 90 "$PG_BIN/pgbench" -n -c 4 -j 2 -T 60 -h "$sock" -p "$port" bench >"$base/load.bench" 2>&1 &
	as_owner timeout -k 5 90 "$PG_BIN/pgbench" -n -c 2 -j 1 -T 60 -f "$HERE/churn.sql" -h "$sock" -p "$port" bench \
		>"$base/load.churn" 2>&1 &
	sleep "$1"
}

end_load() {
	wait
	echo "    under load: $(cat "$base/load.ledger"), $(grep 'actually processed' "$base/load.bench" "$base/load.churn" |
		sed 's/.*load\.\([a-z]*\):.*processed: \([0-9]*\).*/\1 \2 transactions/' | tr '\n' ' ')"
}

# paths TABLE...: files of relations in d1, relative to the data directory
paths() {
	local t
	for t; do sql "$sock" "$port" d1 -c "select pg_relation_filepath('$t')"; done
}

check_status() {
	local out
	out=$(pgo status "$mnt" --format json 2>&1)
	equal "$engine: status shows the engine" "$(json engine <<<"$out")" "$engine"
	echo "    submissions: $(json submissions <<<"$out")"
	check "$engine: and its submissions" python3 -c '
import json, sys
s = json.loads(sys.argv[1])["submissions"]
assert min(s["read"], s["write"], s["fdatasync"]) > 0, s' "$out"
}

work_phase() {
	must sql "$sock" "$port" postgres -c "create database bench"
	paths in_two in_one >"$base/gone" # the backup's own, dropped and truncated below
	sql "$sock" "$port" d1 -c "create table doomed as select g id, repeat('x', 500) pad from generate_series(1, 3000) g" \
		-c "create table emptied as select * from doomed" -c checkpoint >/dev/null
	paths doomed emptied >>"$base/gone"
	must sql "$sock" "$port" d1 -c "drop table doomed" -c "truncate emptied" >/dev/null
	check "$engine: DDL of every kind" sql "$sock" "$port" d1 -v "ts_new=$base/ts_new" -f "$HERE/ddl.sql"
	must facts "$base/facts"
	same_facts "DDL"
	check "$engine: ledger" ledger create
	check "$engine: pgbench -i" as_owner timeout 120 "$PG_BIN/pgbench" -q -i -s 4 -h "$sock" -p "$port" bench
	check "$engine: TPC-B, 8 clients, $seconds s" as_owner timeout $((seconds + 60)) "$PG_BIN/pgbench" -n -c 8 -j 2 \
		-T $seconds -h "$sock" -p "$port" bench
	bench_sums "TPC-B"
	check "$engine: ledger, 8 clients" ledger run --clients 8 --seconds 3 --must-last
	check "$engine: ledger verified" ledger verify
}

restart_phase() {
	check "$engine: stop, fast" pg_stop "$mnt" fast
	start "start"
	equal "$engine: unlogged rows after a restart" "$(sql "$sock" "$port" d1 -c 'select count(*) from unlogged_one' 2>&1)" 2000
	same_facts "restart"
	check "$engine: ledger after restart" ledger verify

	start_load 4
	check "$engine: stop, immediate" pg_stop "$mnt" immediate
	end_load
	start "start and recovery"
	after_crash "immediate shutdown"
}

kill_phase() { # ROUND
	local pid postmaster
	pid=$(json pid <"$base/mount.json")
	postmaster=$(head -n 1 "$mnt/postmaster.pid")
	start_load $((2 + $1))
	kill -9 "$pid"
	sleep 1
	kill_below "$mnt"
	# Dead by itself it shows no directory any more, but until it is reaped a new server takes its pid file for a living one's.
	for _ in $(seq 1 300); do
		kill -0 "$postmaster" 2>/dev/null || break
		sleep 0.1
	done
	end_load
	check "$engine: umount after kill -9" pgo umount "$mnt"
	if is_mounted "$mnt"; then
		not_ok "$engine: unmounted after kill -9"
		unmount_below "$base"
	fi
	must mount_it
	start "start after kill -9, round $1"
	after_crash "kill -9, round $1"
}

last_phase() {
	check "$engine: pg_amcheck" as_owner timeout -k 5 300 "$PG_BIN/pg_amcheck" --all --install-missing --heapallindexed \
		--parent-check -h "$sock" -p "$port"
	check_status
	check "$engine: clean stop" pg_stop "$mnt" fast
	check "$engine: pg_checksums --check" as_owner timeout -k 5 120 "$PG_BIN/pg_checksums" --check -D "$mnt"
	(cd "$mnt" && timeout 60 find . -type f -not -path './pg_wal/*' -exec sha256sum {} + | sort) >"$base/sums"
	check "$engine: umount" pgo umount "$mnt"
	must mount_it
	(cd "$mnt" && timeout 60 find . -type f -not -path './pg_wal/*' -exec sha256sum {} + | sort) >"$base/sums.now"
	check "$engine: every file as before ($(wc -l <"$base/sums"))" cmp "$base/sums" "$base/sums.now"
	start "start after the remount"
	same_facts "remount"
	check "$engine: ledger after remount" ledger verify
	check "$engine: last stop" pg_stop "$mnt" fast
	check "$engine: last umount" pgo umount "$mnt"
	sums_of_store >"$base/store.now"
	check "$engine: the store is as before" diff "$base/store.sums" "$base/store.now"
}

run_engine() { # ENGINE PORT
	engine=$1
	port=$2
	base=$TEST_WORK/ddl-$engine
	mnt=$base/mnt
	sock=$base/s
	diff=$base/diff
	must unpack "$TEST_TOP/tests/fixtures/tablespace/store.tar.zst" "$base"
	chmod 0755 "$base"
	store=$base/store
	own_dir "$mnt"
	own_dir "$base/ts_new"
	sums_of_store >"$base/store.sums"
	must mount_it
	must pg_start "$mnt" "$sock" "$port"
	work_phase
	restart_phase
	kill_phase 1
	kill_phase 2
	last_phase
	finish
}

[ $# -gt 0 ] || set -- uring threads
port=6101
for engine; do
	# A server that does not start ends this engine's round, not the other's.
	(run_engine "$engine" "$port") || TEST_FAILED=$((TEST_FAILED + 1))
	port=$((port + 1))
done
finish
