#!/bin/bash
# PostgreSQL starts on 100,000 files without a request for each: after a backup, after kill -9 of the postmaster, and after that of a
# process of it in the same mount. Each of these recovers and so makes the data directory durable (SyncDataDirectory) and looks for
# unlogged relations in it; only names may be read, many with one request. That this can fail shows a start that fsyncs every file.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need many_files python3 zstd runuser || finish
TEST_BUILD=${TEST_BUILD:-$TEST_TOP/build}
if [ ! -x "$TEST_BUILD/tests/tools/mkstore" ]; then
	skip many_files "TEST_BUILD names no build"
	finish
fi
files=100000 few=3000 limit=5000
work=$TEST_WORK/many
out=$work/out
must own_dir "$work"
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work/shop"
must pgo restore "$work/shop/store" "$work/data" --no-sync >/dev/null

# make_store NAME FILES: a full backup of what the newest backup of shop restores to, with so many more relations of one block
make_store() {
	local conf=$work/$1/backups/main/pg_probackup.conf shop=$work/shop/store/backups/main/pg_probackup.conf
	"$TEST_BUILD/tests/tools/mkstore" "$work/$1" --from "$work/data" --increments 0 --more "$2" --blocks 1 --same &&
		sed -i "s/^system-identifier = .*/$(grep '^system-identifier = ' "$shop")/" "$conf" && chown -R "$PG_USER:" "$work/$1"
}

# up NAME OPTIONS...: sets mnt, host, port
up() {
	local name=$1
	shift
	pgo up "$work/$name" --diff "$work/diff-$name" --format json "$@" >"$out" || return 1
	host=$(json host <"$out") port=$(json port <"$out") mnt=$(json mountpoint <"$out")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}

# count: sets total, of all requests so far, and prints them by type
count() {
	read -r total kinds < <(pgo status "$mnt" --format json | python3 -c '
import json, sys
made = {k: v["count"] for k, v in json.load(sys.stdin)["requests"].items()}
print(sum(made.values()), made)')
	echo "    $total requests: $kinds"
}

# started NAME LINE: PostgreSQL answers, recovered as it should (its log has the line since the last time), with few requests
logged=0
started() {
	local log=$work/diff-many/postgres.log
	equal "$1: PostgreSQL answers" "$(sql "$host" "$port" postgres -c 'select 1')" 1
	check "$1: it recovered" grep -q "$2" <(tail -n "+$((logged + 1))" "$log")
	logged=$(wc -l <"$log")
	count
	if [ "$total" -gt 100 ] && [ "$total" -lt $limit ]; then ok "$1: no request per file"; else not_ok "$1: no request per file" "$total"; fi
}

# A process of the server dies, and all the others are started anew.
crash_inside() {
	local i pid
	pid=$(sql "$host" "$port" postgres -c "select pid from pg_stat_activity where backend_type = 'walwriter'")
	kill -9 "$pid" || return 1
	for i in $(seq 1 300); do
		sleep 0.2
		[ "$(sed "1,${logged}d" "$work/diff-many/postgres.log" | grep -c 'ready to accept connections')" = 0 ] || return 0
	done
	echo "not ready after $i tries"
	return 1
}

must make_store many $files >/dev/null
must up many
started "the first start" "starting backup recovery"
must kill -9 "$(json postmaster <"$out")"
check "down after kill -9 of the postmaster" pgo down "$mnt"
must up many
started "a start after kill -9 of the postmaster" "not properly shut down"
must pgo status "$mnt" --reset >/dev/null
check "kill -9 of its WAL writer: it is back" crash_inside
started "recovery after kill -9 of its WAL writer" "not properly shut down"
# shellcheck disable=SC2012 # the names are numbers
names=$(ls -f "$mnt/base/1" | wc -l)
if [ "$names" -gt $files ]; then ok "the files are there"; else not_ok "the files are there" "$names names"; fi
check "down" pgo down "$mnt" --discard

must make_store few $few >/dev/null
must up few --set recovery_init_sync_method=fsync
count
if [ "$total" -gt $((3 * few)) ]; then ok "with fsync it makes requests per file"; else not_ok "with fsync it makes requests per file" "$total"; fi
check "down of that" pgo down "$mnt" --discard
finish
