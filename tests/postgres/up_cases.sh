#!/bin/bash
# What `up` and `down` meet: configuration outside of the backup, restarts, dead servers and dead mounts, backups that cannot be
# started, starts that fail; and that nothing is left then.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need "cases of up" python3 zstd runuser || finish
where=$TEST_WORK/cases
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$where"
chmod 0755 "$where"
store=$where/store
id=$(find "$store"/backups/main -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
id=${id##*/}
out=$where/out err=$where/err
diff=$where/diff

# fresh NAME: the store again, in a directory of its own, to be changed
fresh() {
	rm -rf "${where:?}/$1"
	cp -a "$store" "$where/$1"
	changed=$where/$1
}
edit() { must python3 "$TEST_TOOLS/edit_store.py" "$changed" main "$id" "$@"; }

# shellcheck disable=SC2317 # called through must
# up ARGUMENTS...: sets host, port, mnt, pid
up() {
	if ! pgo up "$@" --format json >"$out" 2>"$err"; then
		sed 's/^/    /' "$err"
		return 1
	fi
	host=$(json host <"$out") port=$(json port <"$out") mnt=$(json mountpoint <"$out") pid=$(json pid <"$out")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}
must_up() { must up "$@"; }
check_up() { # NAME ARGUMENTS...; not in a subshell, as check would be
	local name=$1
	shift
	if up "$@"; then ok "$name"; else not_ok "$name"; fi
}
q() { sql "$host" "$port" postgres -c "$1" 2>&1; }

# refused NAME STATUS WORDS ARGUMENTS...: ends with that status, says so, and nothing is left
refused() {
	local name=$1 status=$2 words=$3 rc
	shift 3
	pgo up "$@" >"$out" 2>"$err" && rc=0 || rc=$?
	if [ $rc != "$status" ] || ! grep -q -- "$words" "$err"; then
		sed 's/^/    /' "$err"
		not_ok "$name" "exit status $rc"
	else
		ok "$name"
	fi
	nothing_left "$name"
}

# Lines of dead processes in the store's locks are the next reader's to drop, as pg_probackup has it.
live_locks() {
	local f p
	find "$store" -name '*.pid' | while read -r f; do
		while read -r p; do
			if ps -o stat= -p "$p" | grep -qv Z; then echo "$f names $p"; fi
		done <"$f"
	done
}

nothing_left() {
	local left
	left=$(awk -v d="$TEST_WORK/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo
		find "$PGOVERLAY_HOME"/clones "$PGOVERLAY_HOME"/run -mindepth 1 2>/dev/null | head -n 5
		live_locks)
	[ -z "$left" ] || not_ok "$1: nothing is left" "$left"
}

outside_configuration() {
	fresh debian
	for f in postgresql.conf pg_hba.conf pg_ident.conf; do edit remove $f; done
	must_up "$changed"
	equal "configuration outside of the backup: as pg_control asks" "$(q 'show max_prepared_transactions')" 5
	check "configuration outside of the backup: it is said" grep -q "postgresql.conf is not in the backup" "$out"
	check "configuration outside of the backup: it commits" q "create table a (b int)"
	check "configuration outside of the backup: down" pgo down "$mnt"
	refused "--keep-hba without one" 1 "has no pg_hba.conf" "$changed" --keep-hba
}

options() {
	refused "no store" 2 "which STORE"
	refused "an unknown option" 2 "no option --nonsense" "$store" --nonsense
	refused "--set without a value" 2 "NAME=VALUE" "$store" --set work_mem
	refused "--set of what the clone stands on" 2 "cannot change" "$store" --set data_directory=/x
	refused "--port out of range" 2 "1 to 65535" "$store" --port 70000
	refused "--set of an unknown setting" 1 "unrecognized configuration parameter" "$store" --set no_such_thing=1
	refused "--set of a bad value" 1 "invalid value for parameter" "$store" --set work_mem=much
	refused "a backup that is not there" 1 "TOSXXX" "$store" --backup TOSXXX

	must_up "$store" --keep-hba --port 5999 --set work_mem=9MB --set fsync=off --set archive_mode=on --io-engine threads
	equal "--port" "$port" 5999
	equal "--set" "$(q 'show work_mem') $(q 'show fsync') $(q 'show archive_mode')" "9MB off on"
	equal "--keep-hba" "$(q 'show hba_file')" "$mnt/pg_hba.conf"
	check "keys of the JSON" python3 -c '
import json, sys
up = json.load(open(sys.argv[1]))
for key in "mountpoint diff pid instance backup chain host port user changed".split():
    assert key in up, key
assert up["chain"][-1] == up["backup"] and isinstance(up["pid"], int) and isinstance(up["port"], int)
assert {c["name"]: c for c in up["changed"]}["archive_mode"]["reason"] == "--set"' "$out"
	check "options: down" pgo down "$mnt"

	must_up "$store" --listen 127.0.0.1 --port 5998
	equal "--listen: the socket needs no password" "$(q 'select 1')" 1
	check "--listen: TCP does" sh -c "'$PG_BIN/psql' -w -h 127.0.0.1 -p 5998 -U postgres postgres -c 'select 1' 2>&1 | grep -q 'password'"
	check "--listen: down" pgo down "$mnt"
	nothing_left "options"
}

restarts() {
	must_up "$store" --diff "$diff"
	must q "create table kept as select generate_series(1, 100) a" >/dev/null
	must q "create collation of_icu (provider = icu, locale = 'de')" >/dev/null
	must q "update pg_collation set collversion = '1.2.3' where collname = 'of_icu'" >/dev/null
	pgo up "$store" --diff "$diff" >"$where/second" 2>&1 && not_ok "a second up of a running clone is refused"
	check "a second up of a running clone is refused" grep -qE "in use|already|$pid" "$where/second"
	equal "the first one goes on" "$(q 'select count(*) from kept')" 100
	check "down by the mount point" pgo down "$mnt"
	check "down again says that it is not mounted" sh -c "! '$PGOVERLAY' down '$mnt'"

	must_up "$store" --diff "$diff"
	equal "after down and up: rows" "$(q 'select count(*) from kept')" 100
	check "a collation of another version is listed" grep -q "of_icu" "$out"
	check "the log of all starts is beside the diff" grep -q "database system is shut down" "$diff/postgres.log"
	must q "insert into kept values (101)" >/dev/null
	kill -9 "$(json postmaster <"$out")"
	check "down after a killed server" pgo down "$diff"

	must_up "$store" --diff "$diff"
	equal "after kill -9 of the server: rows" "$(q 'select count(*) from kept')" 101
	must q "insert into kept values (102)" >/dev/null
	kill -9 "$pid"
	check "down after kill -9 of pgoverlay" pgo down "$mnt"
	nothing_left "down after kill -9 of pgoverlay"

	must_up "$store" --diff "$diff"
	equal "after kill -9 of pgoverlay and down: rows" "$(q 'select count(*) from kept')" 102
	must q "insert into kept values (103)" >/dev/null
	kill -9 "$pid"
	sleep 0.5
	check_up "up at once after kill -9 of pgoverlay" "$store" --diff "$diff"
	equal "up at once after kill -9 of pgoverlay: rows" "$(q 'select count(*) from kept')" 103
	check "down --discard" pgo down "$mnt" --discard
	[ ! -e "$diff" ] || not_ok "down --discard removes the diff"
	nothing_left "restarts"
}

# A backend outlives its server and its mount, with WAL of the clone open.
left_backend() {
	local backend
	must_up "$store" --diff "$diff"
	must q "create table kept as select generate_series(1, 100) a" >/dev/null
	as_owner "$PG_BIN/psql" -X -q -h "$host" -p "$port" postgres -c "insert into kept values (101)" -c "select pg_sleep(600)" \
		>/dev/null 2>&1 &
	for _ in $(seq 1 100); do
		backend=$(q "select pid from pg_stat_activity where query like 'select pg_sleep%'")
		if [ -n "$backend" ]; then break; fi
		sleep 0.1
	done
	kill -STOP "$backend"
	kill -9 "$(json postmaster <"$out")" "$pid"
	sleep 1
	pgo up "$store" --diff "$diff" >"$out" 2>"$err" && not_ok "up beside a backend that can still write WAL"
	check "up beside a backend that can still write WAL is refused" grep -q "process $backend.*still has WAL" "$err"
	kill -9 "$backend"
	check_up "up when it is gone" "$store" --diff "$diff"
	equal "up when it is gone: rows" "$(q 'select count(*) from kept')" 101
	check "up when it is gone: down" pgo down "$mnt" --discard
	nothing_left "left backend"
	wait
}

# The number in a left postmaster.pid is another process's.
foreign_pid() {
	local sleeper
	own_dir "$where/mnt"
	must pgo mount "$store" "$where/mnt" --diff "$diff" >/dev/null
	as_owner sleep 300 &
	sleep 0.3
	sleeper=$(pgrep -u "$PG_USER" -n sleep)
	printf '%s\n%s\n' "$sleeper" "$where/mnt" | as_owner tee "$where/mnt/postmaster.pid" >/dev/null
	must pgo umount "$where/mnt"
	check_up "a postmaster.pid with a living number" "$store" --diff "$diff"
	check "a postmaster.pid with a living number is explained" grep -q "postmaster.pid" "$out"
	check "a postmaster.pid with a living number: down" pgo down "$mnt" --discard
	{ kill "$sleeper" && wait; } 2>/dev/null
	nothing_left "foreign pid"
}

cannot_start() {
	fresh archive
	sed -i 's/^stream = true/stream = false/' "$changed/backups/main/$id/backup.control"
	rm -rf "$changed/wal/main"
	refused "an ARCHIVE backup without the archive" 1 "the store has no WAL archive" "$changed" --backup "$id" --diff "$where/none"
	mkdir -p "$changed/wal/main" && chown "$PG_USER:" "$changed/wal/main"
	refused "an ARCHIVE backup and an empty archive" 1 "the archive lacks" "$changed" --backup "$id" --diff "$where/none"
	[ ! -e "$where/none" ] || not_ok "an ARCHIVE backup leaves no diff"

	fresh version
	printf '99\n' >"$where/99"
	edit put PG_VERSION "$where/99"
	refused "no such PostgreSQL" 1 "apt install postgresql-99" "$changed"

	refused "a server that ends at once" 1 "last lines of its log" "$store" --listen 203.0.113.77
	check "a server that ends at once: its log is shown" grep -q "203.0.113.77" "$err"
	pgo up "$store" --listen 203.0.113.77 --diff "$diff" >"$out" 2>&1 && not_ok "a server that ends at once, with a diff"
	check "the diff of a failed start is kept" test -e "$diff/superblock"
	must_up "$store" --diff "$diff"
	check "and starts with other options" pgo down "$mnt" --discard
	nothing_left "cannot start"
}

interrupted() {
	local up_pid rc
	own_dir "$where/bin"
	printf '#!/bin/sh\ncase "$*" in *" -C "*|*--version*) exec %s/postgres "$@";; esac\nexec sleep 300\n' "$PG_BIN" >"$where/bin/postgres"
	chmod 0755 "$where/bin/postgres"
	PGOVERLAY_PGBIN=$where/bin timeout -k 5 60 "$PGOVERLAY" up "$store" >"$out" 2>"$err" &
	up_pid=$!
	for _ in $(seq 1 100); do
		if pgrep -u "$PG_USER" -f "sleep 300" >/dev/null; then break; fi
		sleep 0.1
	done
	pkill -INT -P $up_pid
	wait $up_pid && rc=0 || rc=$?
	equal "an interrupted up fails" $rc 1
	check "an interrupted up says so" grep -q interrupted "$err"
	nothing_left "interrupted"
}

long_home() {
	local PGOVERLAY_HOME=$TEST_WORK/home-of-a-name-that-is-much-too-long-for-the-path-of-a-unix-socket-of-postgresql-inside-of-it
	check_up "a socket with a long home" "$store"
	check "its directory is short" test ${#host} -lt 40
	equal "and private" "$(stat -c '%a %U' "$host")" "700 $PG_USER"
	equal "and works" "$(q 'select 1')" 1
	check "a long home: down" pgo down "$mnt"
	[ ! -e "$host" ] || not_ok "the socket's directory goes too"
}

ordinary_user() {
	if ! as_owner test -w /dev/fuse; then
		skip "up as an ordinary user" "/dev/fuse is root's alone here"
		return
	fi
	own_dir "$where/own-home"
	check "up as an ordinary user" as_owner env PGOVERLAY_HOME="$where/own-home" timeout 60 "$PGOVERLAY" up "$store" --port 5997
	check "down as an ordinary user" as_owner env PGOVERLAY_HOME="$where/own-home" sh -c "'$PGOVERLAY' down '$where'/own-home/clones/*/mnt"
}

outside_configuration
options
restarts
left_backend
foreign_pid
cannot_start
interrupted
long_home
ordinary_user
finish
