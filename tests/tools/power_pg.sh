# shellcheck shell=bash
# Sourced behind power_lib.sh by the tests that run PostgreSQL on a clone whose disk fails it: the server, its load, and what
# must be there afterwards.
#
#   wal         native: pg_wal in a folder on the same disk, by `up`; fuse: through the mount
# shellcheck disable=SC2154 # what lib.sh, power_lib.sh and the test set
# shellcheck disable=SC2034 # for the test

doomed=$power/tools/pgoverlay_doomed
port=5499
sock=$power/sock
book=$books/commits
# Little WAL: it is used again soon, and the disk stays small.
settings="max_wal_size=64MB min_wal_size=32MB checkpoint_timeout=30s shared_buffers=16MB max_connections=30"
load_seconds=100

# shellcheck disable=SC2120 # the test does
# bring_up [VARIABLE=VALUE]... : the clone with its server; sets host, pid, postmaster, mnt
bring_up() {
	local options s given=''
	if [ "$wal" = native ]; then
		some_options
		for s in $settings; do options+=(--set "$s"); done
		env "$@" timeout -k 5 150 "$program" up "$store" --diff "$disk/diff" --reserve 8M --port $port "${options[@]}" --format json \
			>"$power/facts" 2>"$power/said" || { tail -n 15 "$power/said"; return 1; }
		host=$(fact host) mnt=$(fact mountpoint) pid=$(fact pid) postmaster=$(fact postmaster)
		TEST_SOCKETS="$TEST_SOCKETS $host"
		return 0
	fi
	for s in $settings; do given="$given -c $s"; done
	mnt=$power/mnt host=$sock
	mount_clone "$@" || return 1
	# A postmaster.pid whose number is now another process's is the one thing that `mount` leaves to whoever starts the server.
	PG_SAFE="-c fsync=on -c full_page_writes=on -c archive_mode=off -c listen_addresses='' -c logging_collector=off" \
		pg_start "$mnt" "$sock" $port "$given" || return 1
	postmaster=$(head -n 1 "$mnt/postmaster.pid")
}

fact() { # of up's
	local text
	text=$(<"$power/facts")
	text=${text#*\""$1"\":}
	text=${text%%[,\}]*}
	echo "${text//[[:space:]\"]/}"
}

q() { sql "$host" $port "$@"; }
book() { python3 "$TEST_TOOLS/ledger.py" "$@" --host "$host" --port $port --file "$book"; }

new_cluster() {
	rm -rf "$disk/diff"
	: >"$book"
	bring_up || return 1
	q postgres -c "create database bench" && book create && as_owner "$PG_BIN/pgbench" -q -i -s 1 -h "$host" -p $port bench >/dev/null 2>&1 &&
		q bench -c "create extension amcheck" -c checkpoint && q postgres -c "create extension amcheck"
}

# start_load: until the server goes away, or load_seconds are over
start_load() {
	local load name options
	history=$(q bench -c "select count(*) from pgbench_history") || return 1
	printf 'checkpoint;\n\\sleep %d ms\n' $((100 + RANDOM % 900)) >"$power/checkpoint.sql"
	book run --clients 3 --seconds $load_seconds >"$power/load.ledger" 2>&1 &
	loads=$!
	for load in "bench -c 2 -b tpcb-like" "churn -c 1 -f $TEST_TOP/tests/postgres/churn.sql" "checkpoint -c 1 -f $power/checkpoint.sql"; do
		read -r name options <<<"$load"
		# shellcheck disable=SC2086 # one word each
		as_owner timeout -k 5 120 "$PG_BIN/pgbench" -n -T $load_seconds $options -h "$host" -p $port bench >"$power/load.$name" 2>&1 &
		loads="$loads $!"
	done
}

kill_server() { # at once, with all of its processes; returns when its number is free
	local i
	# shellcheck disable=SC2046 # one word each
	kill -9 "$postmaster" $(pgrep -P "$postmaster") 2>/dev/null
	for ((i = 0; i < 200; i++)); do
		kill -0 "$postmaster" 2>/dev/null || return 0
		sleep 0.05
	done
}

first_commits() { # of a load that was started when the ledger had so many bytes: only then it counts
	local i
	for ((i = 0; i < 150; i++)); do
		[ "$(stat -c %s "$book")" = "$1" ] || break
		sleep 0.1
	done
}

end_load() { # everybody notices that the server is gone
	local i
	for i in $loads; do wait "$i" 2>/dev/null; done
	processed=$(sed -n 's/.*actually processed: \([0-9]*\).*/\1/p' "$power/load.bench")
	committed=$(sed -n 's/^\([0-9]*\) rows recorded$/\1/p' "$power/load.ledger")
	[ -n "$committed" ] || { cat "$power/load.ledger"; return 1; }
	acknowledged=$((committed + ${processed:-0}))
}

# shellcheck disable=SC2120 # a test does
# nothing_lost [--until NS]: of what the ledger knows to be acknowledged, until then; and a transaction is there as a whole
nothing_lost() {
	local sums
	book verify "$@" || return 1
	sums=$(q bench -c "select (select sum(abalance) from pgbench_accounts) = coalesce(sum(delta), 0)
		and (select sum(tbalance) from pgbench_tellers) = coalesce(sum(delta), 0)
		and (select sum(bbalance) from pgbench_branches) = coalesce(sum(delta), 0) from pgbench_history") || return 1
	[ "$sums" = t ] || { echo "LOST: TPC-B sums differ"; return 1; }
}

nothing_damaged() { as_owner timeout -k 5 300 "$PG_BIN/pg_amcheck" -h "$host" -p $port --heapallindexed --parent-check -d bench -d postgres; }

# all_there [quick]: what was acknowledged, and nothing is damaged (quick: without a look at all pages)
all_there() {
	nothing_lost || return 1
	[ "$(q bench -c "select count(*) from pgbench_history")" -ge $((history + ${processed:-0})) ] ||
		{ echo "LOST: fewer transactions than pgbench was told of"; return 1; }
	[ "${1:-}" = quick ] || nothing_damaged
}

take_down() {
	if [ "$wal" = native ]; then must timeout 150 "$program" down "$mnt"; else must pg_stop "$mnt" fast && must timeout 60 "$program" umount "$mnt"; fi >/dev/null
}
