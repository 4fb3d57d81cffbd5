#!/bin/bash
# Every way a mount can end under a running PostgreSQL: the next `up` of the same diff works, says in one line what it found,
# and every row that was acknowledged is there.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need ends python3 zstd runuser fusermount3 || finish
where=$TEST_WORK/ends
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$where"
chmod 0755 "$where"
store=$where/store diff=$where/diff
rows=0

up() { # sets host, port, mnt, pid, postmaster
	if ! pgo up "$store" --diff "$diff" --format json >"$where/out" 2>"$where/err"; then
		sed 's/^/    /' "$where/err"
		return 1
	fi
	host=$(json host <"$where/out") port=$(json port <"$where/out") mnt=$(json mountpoint <"$where/out")
	pid=$(json pid <"$where/out") postmaster=$(json postmaster <"$where/out")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}
q() { sql "$host" "$port" postgres -c "$1" 2>&1; }
write_row() { must q "insert into kept values ($((rows + 1)))" >/dev/null && rows=$((rows + 1)); }
mounts() { awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l; }
said() { grep "^pgoverlay: " "$where/err" | grep -v "PostgreSQL is starting"; }

# came_back NAME LINE: up again: it says the line, or nothing where there was nothing to do; all rows; one mount
came_back() {
	if ! up; then not_ok "$1: up again"; must up; fi
	equal "$1: rows" "$(q 'select count(*), max(n) from kept')" "$rows|$rows"
	equal "$1: one mount" "$(mounts)" 1
	equal "$1: it is said in one line" "$(said | grep -v "a server of this clone is left from before; stopping it" | sed 's/replayed [0-9]* commits*/replayed/; s/, removed.*//')" "$2"
	write_row
}
helper() { pgrep -f "^pgoverlay: unmounts $mnt\$"; }
end_server() { # what the user is told to do
	local i
	kill -QUIT "$postmaster" 2>/dev/null
	for i in $(seq 100); do kill -0 "$postmaster" 2>/dev/null || return 0; sleep 0.1; done
}

must up
must q "create table kept (n int)" >/dev/null
write_row

pgo umount "$mnt" >"$where/refusal" 2>&1 && not_ok "umount under a running server is refused"
check "umount under a running server names it" grep -q "process $postmaster" "$where/refusal"
check "and offers down" grep -q "pgoverlay down $mnt" "$where/refusal"
write_row
check "umount --force" pgo umount "$mnt" --force
equal "umount --force: no mount" "$(mounts)" 0
end_server
came_back "umount --force" ""

kill -TERM "$pid"
for i in $(seq 100); do [ "$(mounts)" != 0 ] || break; sleep 0.1; done
pgo up "$store" --diff "$diff" >"$where/out" 2>"$where/err" && not_ok "SIGTERM: up beside the old server is refused"
check "SIGTERM: the server that is left is named" grep -q "$postmaster" "$where/err"
end_server
came_back "SIGTERM" ""

kill -9 "$pid"
came_back "kill -9" "pgoverlay: recovered the diff: replayed"

held=$(helper)
kill -STOP "$held"
kill -9 "$pid" "$held"
came_back "kill -9 of daemon and helper" "pgoverlay: cleared a dead mount; recovered the diff: replayed"

connection=$(awk -v m="$mnt" '$5 == m { sub(/.*:/, "", $3); print $3 }' /proc/self/mountinfo)
if echo 1 2>/dev/null >"/sys/fs/fuse/connections/$connection/abort"; then
	end_server
	came_back "abort through fusectl" ""
else
	skip "abort through fusectl" "fusectl is not mounted"
fi

check "umount -l" timeout 20 umount -l "$mnt"
must q "insert into kept values ($((rows + 1)))" >/dev/null && rows=$((rows + 1))
end_server
came_back "umount -l" ""

# The postmaster is told to stop while it starts its processes anew after the crash of one. Before it replays WAL it never does
# by itself (version 15): it waits for a checkpointer that it does not tell.
# The new process is looked for without a process for each look: it lives for a few milliseconds.
hold_recovery() { # sets held: a startup process that is stopped before that
	local log=$diff/postgres.log children=/proc/$postmaster/task/$postmaster/children line writer before now child i
	for _ in $(seq 10); do
		line=$(wc -l <"$log")
		for _ in $(seq 100); do # it comes a moment after the server says that it is ready
			writer=$(pgrep -P "$postmaster" -f walwriter) && break
			sleep 0.1
		done
		read -r before <"$children"
		kill -9 "$writer" || return 1
		held=
		for ((i = 0; i < 100000 && ${#held} == 0; i++)); do
			read -ra now <"$children"
			[ "${#now[@]}" -le 2 ] || continue # when all have ended it comes, alone or beside the logger
			for child in "${now[@]}"; do
				[[ " $before " == *" $child "* ]] || { kill -STOP "$child" && held=$child && break; }
			done
		done
		[ -n "$held" ] || continue
		sed "1,${line}d" "$log" | grep -qE "redo (starts|is not required)" || return 0
		kill -CONT "$held"
		for _ in $(seq 100); do
			sed "1,${line}d" "$log" | grep -q "ready to accept" && break
			sleep 0.1
		done
	done
	return 1
}
must hold_recovery
(sleep 3; kill -CONT "$held") &
check "down during recovery from a crash of a process" pgo down "$mnt"
wait
came_back "down during recovery" ""

# No server; the number in its postmaster.pid is another process's.
check "down" pgo down "$mnt"
own_dir "$where/mnt"
must pgo mount "$store" "$where/mnt" --diff "$diff" >/dev/null 2>"$where/err"
equal "mount has nothing to say of a clone that was taken down" "$(cat "$where/err")" ""
as_owner sh -c "echo \$\$ >'$where/mnt/postmaster.pid'; cd /; exec sleep 100" >/dev/null 2>&1 &
for i in $(seq 100); do [ ! -s "$where/mnt/postmaster.pid" ] || break; sleep 0.1; done
foreign=$(cat "$where/mnt/postmaster.pid")
check "umount" pgo umount "$where/mnt"
must pgo mount "$store" "$where/mnt" --diff "$diff" >/dev/null 2>"$where/err"
check "mount explains a postmaster.pid with a living number" grep -q "number $foreign is now the process 'sleep'" "$where/err"
kill "$foreign"
check "umount" pgo umount "$where/mnt"
finish
