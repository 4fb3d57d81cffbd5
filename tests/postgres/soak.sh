#!/bin/bash
# pgbench with 16 clients, dropped caches, mounts and umounts beside it: memory and descriptors of the serving process stay
# what they were, and every acknowledged transaction is there.
#
#   SOAK_SECONDS  how long; the first quarter warms up
#   SOAK_PERCENT  by how much the medians of the second and of the last quarter may differ; resident memory also by 1 MiB,
#                 which is pages of the allocator and of stacks that were touched later
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

seconds=${SOAK_SECONDS:-24}
percent=${SOAK_PERCENT:-25} # in seconds there are few samples, and it still fills its pools
need soak python3 zstd runuser || finish
base=$TEST_WORK/soak
samples=$base/samples
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$base"
store=$base/store

must pgo up "$store" --diff "$base/diff" --port 5477 --set max_connections=40 --format json >"$base/facts"
fact() { json "$1" <"$base/facts"; }
mnt=$(fact mountpoint) host=$(fact host) pid=$(fact pid)
TEST_SOCKETS="$TEST_SOCKETS $host"
q() { sql "$host" 5477 "$@"; }
must q postgres -c "create database bench"
must as_owner "$PG_BIN/pgbench" -q -i -s 5 -h "$host" -p 5477 bench >/dev/null 2>&1
must q bench -c checkpoint

# sample: allocated bytes, resident KiB, descriptors
sample() {
	local bytes
	bytes=$(timeout 30 "$PGOVERLAY" status "$mnt" --format json | json allocated_bytes) &&
		echo "$bytes $(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") $(find "/proc/$pid/fd" -mindepth 1 | wc -l)"
}

# others: other clones of the same backup come and go, until the file is gone
others() {
	local other=$base/other n=0
	own_dir "$other"
	while [ -e "$base/running" ]; do
		"$PGOVERLAY" mount "$store" "$other" >/dev/null && head -c 100 "$other/PG_VERSION" >/dev/null && "$PGOVERLAY" umount "$other" || return 1
		n=$((n + 1))
		[ ! -w /proc/sys/vm/drop_caches ] || echo $((1 + n % 3)) >/proc/sys/vm/drop_caches
	done
	echo "$n" >"$base/others"
}

: >"$base/running"
others >"$base/others.log" 2>&1 &
beside=$!
as_owner timeout $((seconds + 120)) "$PG_BIN/pgbench" -n -c 16 -j 2 -T "$seconds" -h "$host" -p 5477 bench >"$base/bench" 2>&1 &
load=$!
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
	sample >>"$samples"
	sleep "$(awk -v s="$seconds" 'BEGIN { print s / 120 }')"
done
wait $load
equal "pgbench ends well" $? 0
rm "$base/running"
wait $beside
equal "other clones come and go" $? 0
processed=$(sed -n 's/.*actually processed: \([0-9]*\).*/\1/p' "$base/bench")

# flat NAME COLUMN [SLACK]
flat() {
	local line rc
	line=$(python3 - "$samples" "$2" "$percent" "${3:-0}" <<'END'
import statistics, sys
rows = [float(line.split()[int(sys.argv[2])]) for line in open(sys.argv[1])]
quarter = len(rows) // 4
first, last = statistics.median(rows[quarter:2 * quarter]), statistics.median(rows[-quarter:])
growth = 100 * (last - first) / first
print(f"{first:.0f} -> {last:.0f}, {growth:+.2f} % in {len(rows)} samples")
sys.exit(growth > float(sys.argv[3]) and last - first > float(sys.argv[4]))
END
	)
	rc=$?
	if [ $rc = 0 ]; then ok "$1: $line"; else not_ok "$1" "$line"; fi
}
# The pools of buffers are made as they are needed, and most of a buffer is never touched: where a run needs one more only late,
# that is no growth. A leak that is smaller shows in what is resident.
flat "allocated bytes" 0 $((128 << 20))
flat "resident KiB" 1 1024
flat "descriptors" 2
echo "# $processed transactions, $(cat "$base/others") other mounts"
equal "every transaction is there" "$(q bench -c "select count(*) from pgbench_history")" "$processed"
equal "and none more" "$(q bench -c "select (select sum(abalance) from pgbench_accounts) = sum(delta) from pgbench_history")" t
check "it ends" pgo down "$mnt"
finish
