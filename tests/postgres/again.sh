#!/bin/bash
# Permanent clones come back as they were: up --all after everything died, up --diff without a store, up --foreground as
# systemd runs it.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need again python3 zstd runuser || finish
where=$TEST_WORK/again
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$where"
chmod 0755 "$where"
store=$where/store diff=$where/diff
port=5983

facts() { host=$(json host <"$where/out") mnt=$(json mountpoint <"$where/out") pid=$(json pid <"$where/out") postmaster=$(json postmaster <"$where/out"); TEST_SOCKETS="$TEST_SOCKETS $host"; }
q() { sql "$host" "$port" postgres -c "$1" 2>&1; }
running() { pgo status | grep -c '^running '; }
find_server() { # of the clone that `up --all` started
	mnt=$(pgo status | awk '$1 == "running" { sub(/,$/, "", $4); print $4; exit }')
	postmaster=$(head -n 1 "$mnt/postmaster.pid")
	host=$(sed -n 5p "$mnt/postmaster.pid")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}

must pgo up "$store" --diff "$diff" --port $port --set work_mem=7MB --format json >"$where/out"
facts
must q "create table kept as select 1 n" >/dev/null
# The power fails: nobody says goodbye.
kill -9 $(pgrep -f "^pgoverlay: (serves|unmounts) $mnt\$") "$postmaster"
kill_below "$mnt"
umount -l "$mnt"
check "up --all" pgo up --all
equal "up --all: the clone runs" "$(running)" 1
find_server
equal "up --all: rows and settings" "$(q 'select n from kept') $(q 'show work_mem')" "1 7MB"
check "up --all again" pgo up --all
equal "up --all again: there was nothing to do" "$(running) $(head -n 1 "$mnt/postmaster.pid")" "1 $postmaster"
check "down" pgo down "$mnt"
check "up --all leaves what was taken down" pgo up --all
equal "it is down" "$(running)" 0

must pgo up --diff "$diff" --format json >"$where/out"
facts
equal "up --diff alone: rows and settings" "$(q 'select n from kept') $(q 'show work_mem')" "1 7MB"
check "umount --force takes it down, too" pgo umount "$mnt" --force
kill -QUIT "$postmaster" 2>/dev/null
kill_below "$mnt"
check "up --all" pgo up --all
equal "up --all leaves what was unmounted" "$(running)" 0
mv "$store" "$store.away"
if pgo up --diff "$diff" >/dev/null 2>&1; then not_ok "up without its store fails"; else ok "up without its store fails"; fi
mv "$store.away" "$store"
pgo up --diff "$where/other" >"$where/err" 2>&1 && not_ok "up of an unknown diff fails"
check "up of an unknown diff says what is missing" grep -q "give the STORE" "$where/err"

# ---- as systemd runs it ----

listen() { # notifications, one a line
	python3 - "$where/notify" >"$where/notified" <<-'END' &
		import os, socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		s.settimeout(100)
		while True:
		    text = s.recv(4096).decode()
		    print(text, flush=True)
		    if "STOPPING" in text:
		        break
	END
	listener=$!
	for i in $(seq 100); do [ ! -S "$where/notify" ] || break; sleep 0.1; done
}
foreground() {
	rm -f "$where/notify"
	listen
	NOTIFY_SOCKET=$where/notify timeout -k 5 200 "$PGOVERLAY" up --foreground --diff "$diff" >"$where/foreground" 2>"$where/err" &
	server=$!
	for i in $(seq 600); do ! grep -qs READY=1 "$where/notified" || break; sleep 0.1; done
	check "up --foreground: READY=1" grep -q "^READY=1" "$where/notified"
	find_server
	equal "up --foreground: it answers" "$(q 'select n from kept')" 1
}
foreground
kill -TERM "$(pgrep -P $server -f "up --foreground" | head -n 1)"
wait $server
equal "up --foreground: SIGTERM ends it well" $? 0
equal "up --foreground: nothing runs" "$(running) $(processes_below "$mnt" | wc -l)" "0 0"
wait $listener
check "up --foreground: STOPPING=1" grep -q "^STOPPING=1" "$where/notified"
check "up --foreground: a checkpoint was made" grep -q "database system is shut down" "$diff/postgres.log"

foreground
kill -9 "$postmaster"
wait $server
equal "up --foreground: a server that dies is a failure" $? 1
equal "up --foreground: nothing is left of it" "$(running) $(awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l)" "0 0"
kill $listener 2>/dev/null
foreground
kill -9 "$(serving_pid "$mnt")"
wait $server
equal "up --foreground: a mount that dies is a failure" $? 1
equal "up --foreground: nothing is left of it" "$(running) $(awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l)" "0 0"
kill $listener 2>/dev/null

unit=$(dirname "$PGOVERLAY")/../lib/systemd/system/pgoverlay@.service
if [ ! -f "$unit" ]; then
	skip "the unit" "$unit is not installed beside the program"
else
	equal "the unit runs the program that was installed with it" "$(sed -n 's|^ExecStart=\(.*\)/bin/pgoverlay up --foreground --diff /%I|\1|p' "$unit" | wc -l)" 1
	# It looks for the program, which lies elsewhere here.
	if need "systemd-analyze verify" systemd-analyze; then
		mkdir "$where/units" && sed "s|^ExecStart=[^ ]*|ExecStart=$PGOVERLAY|" "$unit" >"$where/units/pgoverlay@.service"
		equal "systemd finds nothing wrong with it" "$(systemd-analyze verify "$where/units/pgoverlay@srv-one.service" 2>&1 | grep -i pgoverlay)" ""
	fi
fi
finish
