# shellcheck shell=bash
# Sourced by the shell tests under tests/mount and tests/postgres.
#
# Every case prints one line: `ok NAME`, `not ok NAME: why` or `skip: NAME: reason`; finish sets the exit status.
# scripts/test sets these; each has a default, so that a test also runs alone:
#   PGOVERLAY     the program
#   TEST_WORK     scratch directory that user postgres can reach; removed at the end if it was made here
#   TEST_SHARED   directory of more pg_probackup stores (one folder each, with store.tar.zst), or empty
#   TEST_LONG     1: the long form of a test
#   PG_BIN        PostgreSQL's programs
# Nothing here waits without a limit: a server that hangs costs a case, never the run.

TEST_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # used by the tests that source this file
TEST_TOOLS=$TEST_TOP/tests/tools
PGOVERLAY=$(realpath -q "${PGOVERLAY:-$(command -v pgoverlay)}")
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
PG_USER=${PG_USER:-postgres}
TEST_LONG=${TEST_LONG:-0}
TEST_OWN_WORK=
if [ -z "${TEST_WORK:-}" ]; then
	TEST_WORK=$(mktemp -d /tmp/pgoverlay-test.XXXXXX)
	TEST_OWN_WORK=1
fi
TEST_WORK=$(realpath "$TEST_WORK")
chmod 0755 "$TEST_WORK"
cd / || exit 1 # the caller's directory may be closed to the owner, of which psql would complain
if [ -z "${TEST_SHARED+set}" ]; then
	TEST_SHARED=$(dirname "$TEST_TOP")/shared/fixtures/pg_probackup
	[ -d "$TEST_SHARED" ] || TEST_SHARED=
fi
# Clones without a diff of their own must not land among the user's.
export PGOVERLAY_HOME=$TEST_WORK/home
TEST_FAILED=0
TEST_SOCKETS=

# What must not come from a backup's configuration: the clusters of the sample stores were made with fsync off.
PG_SAFE="-c fsync=on -c full_page_writes=on -c synchronous_commit=on -c archive_mode=off -c listen_addresses='' -c shared_buffers=32MB -c logging_collector=off"

ok() { echo "ok $1"; }

not_ok() {
	TEST_FAILED=$((TEST_FAILED + 1))
	echo "not ok $1${2:+: $2}"
}

skip() { echo "skip: $1: $2"; }

# check NAME COMMAND...: one case; what the command printed is shown when it fails
check() {
	local name=$1 out rc
	shift
	out=$("$@" 2>&1) && rc=0 || rc=$?
	if [ $rc = 0 ]; then
		ok "$name"
	else
		[ -z "$out" ] || printf '%s\n' "$out" | tail -n 20 | sed 's/^/    /'
		not_ok "$name" "exit status $rc"
	fi
	return 0
}

# equal NAME GOT WANTED
equal() {
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got '$2', wanted '$3'"; fi
}

# must COMMAND...: what the rest of the test stands on; ends the test when it fails
must() {
	local rc
	"$@" && return 0 || rc=$?
	not_ok "${0##*/}" "'$*' failed with status $rc"
	finish
}

# need NAME PROGRAM...: true if all are there; else one skip line
need() {
	local name=$1 p
	shift
	for p in "$@"; do
		command -v "$p" >/dev/null 2>&1 || { skip "$name" "$p is not installed"; return 1; }
	done
}

as_owner() { runuser -u "$PG_USER" -- "$@"; }

# own_dir DIR: a fresh 0700 directory that belongs to the owner
own_dir() { install -d -o "$PG_USER" -g "$PG_USER" -m 0700 "$1"; }

# unpack STORE_ARCHIVE DIR: the archive's content below DIR, readable by the owner only
unpack() {
	own_dir "$2"
	zstd -dc "$1" | tar -C "$2" -x --no-same-owner && chown -R "$PG_USER:" "$2"
}

# fixtures: the folders of all undamaged stores, the repository's own first
fixtures() {
	local d
	for d in "$TEST_TOP"/tests/fixtures/*/ ${TEST_SHARED:+"$TEST_SHARED"/*/}; do
		d=${d%/}
		if [ -f "$d/store.tar.zst" ] && [ "${d##*/}" != corrupt ]; then echo "$d"; fi
	done
}

pgo() { timeout -k 5 60 "$PGOVERLAY" "$@"; }

# json KEY: the value of a key of the JSON object on stdin
json() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# serving_pid MOUNTPOINT
serving_pid() { pgo status "$1" --format json | json pid; }

is_mounted() { awk -v m="$1" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo; }

# pg_start DATADIR SOCKETDIR PORT [OPTIONS]: through pg_ctl, with a limit
pg_start() {
	local data=$1 sock=$2 port=$3
	shift 3
	TEST_SOCKETS="$TEST_SOCKETS $sock"
	[ -d "$sock" ] || own_dir "$sock"
	as_owner timeout -k 5 150 "$PG_BIN/pg_ctl" start -w -t 120 -s -D "$data" -l "$sock/log" \
		-o "$PG_SAFE -c unix_socket_directories=$sock -c port=$port $*" >/dev/null 2>&1 && return 0
	grep -E 'FATAL|PANIC|ERROR' "$sock/log" | tail -n 6 | cut -c1-200
	return 1
}

# pg_stop DATADIR MODE
pg_stop() { as_owner timeout -k 5 150 "$PG_BIN/pg_ctl" stop -w -t 120 -s -D "$1" -m "$2"; }

# sql SOCKETDIR PORT DATABASE [psql arguments]: unaligned tuples on stdout
sql() {
	local sock=$1 port=$2 db=$3
	shift 3
	as_owner env PGCONNECT_TIMEOUT=20 timeout -k 5 "${SQL_LIMIT:-120}" "$PG_BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$sock" -p "$port" \
		-d "$db" "$@"
}

# processes_below DIR: those that work below DIR or were started from there. Reads only links of /proc, which a dead mount
# cannot block; in one process, because a fork for each of hundreds costs minutes on a busy machine.
processes_below() {
	find /proc/[0-9]*/cwd /proc/[0-9]*/exe -maxdepth 0 \( -lname "$1" -o -lname "$1/*" \) 2>/dev/null |
		cut -d / -f 3 | sort -u | grep -vx $$ || true
}

# kill_below DIR: ends them, and returns when they are gone and reaped: a pid file of the dead must not name a living pid
kill_below() {
	local i pid pids left
	pids=$(processes_below "$1")
	# shellcheck disable=SC2086 # one word each
	[ -z "$pids" ] || kill -9 $pids 2>/dev/null
	for i in $(seq 1 100); do
		left=$(for pid in $pids; do if kill -0 "$pid" 2>/dev/null; then echo "$pid"; fi; done)
		[ -n "$left" ] || return 0
		sleep 0.1
	done
	echo "    processes below $1 do not end after $i tries: $(echo "$left" | tr '\n' ' ')"
}

# unmount_below DIR: aborts and detaches every FUSE mount there; a request that hangs gets an error
unmount_below() {
	local m
	awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r m; do
		umount -f "$m" 2>/dev/null || umount -l "$m" 2>/dev/null || fusermount3 -uz "$m" 2>/dev/null || true
	done
}

clean_up() {
	local sock pid
	for sock in $TEST_SOCKETS; do
		pid=$(cat "$sock"/.s.PGSQL.*.lock 2>/dev/null | head -n 1)
		[ -z "$pid" ] || kill -QUIT "$pid" 2>/dev/null || true
	done
	unmount_below "$TEST_WORK"
	kill_below "$TEST_WORK"
	unmount_below "$TEST_WORK"
	[ -z "$TEST_OWN_WORK" ] || rm -rf --one-file-system "$TEST_WORK"
}
trap clean_up EXIT

finish() { exit $((TEST_FAILED > 0)); }

if [ -z "$PGOVERLAY" ] || [ ! -x "$PGOVERLAY" ]; then
	not_ok "${0##*/}" "no pgoverlay: set PGOVERLAY or install it"
	exit 1
fi
PATH=$(dirname "$PGOVERLAY"):$PATH
