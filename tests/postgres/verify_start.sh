#!/bin/bash
# `verify --start`: good backups are started, checked and dumped; what only PostgreSQL can tell is found; nothing is left behind,
# whoever is interrupted or killed.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need "verify --start" python3 zstd runuser unshare || finish
work=$TEST_WORK/verify-start

nothing_left() {
	equal "$1: no clone is left" "$(find "$PGOVERLAY_HOME" -mindepth 2 -maxdepth 2 2>/dev/null)" ""
	equal "$1: no mount is left" "$(awk -v d="$PGOVERLAY_HOME/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)" ""
	equal "$1: no lock is left" "$(find "$work" -name 'backup*.pid' -size +0 2>/dev/null)" ""
}

# starts NAME STATUS PATTERN STORE [OPTION]...
starts() {
	local name=$1 wanted=$2 pattern=$3 out rc
	shift 3
	out=$(timeout -k 5 150 "$PGOVERLAY" verify "$@" --start 2>&1) && rc=0 || rc=$?
	if [ "$rc" = "$wanted" ] && grep -qE -- "$pattern" <<<"$out"; then
		ok "start $name"
	else
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/    /'
		not_ok "start $name" "status $rc, wanted $wanted and /$pattern/"
	fi
}

must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work/good"
store=$work/good/store
instance=$(basename "$store"/backups/*)
full=$(grep -l '^backup-mode = FULL' "$store"/backups/*/*/backup.control | head -n 1)
full=$(basename "$(dirname "$full")")

# ---- good ----

before=$(cd "$store" && find . -type f -exec sha256sum {} + | sort | sha256sum)
out=$(timeout -k 5 150 "$PGOVERLAY" verify "$store" --start --format json 2>"$work/err")
equal "a good backup: status" $? 0
equal "a good backup as JSON" "$(python3 -c '
import json, sys
o = json.loads(sys.argv[1])
s = o["backups"][0]["started"]
print(o["good"], s["result"], s["server"].split(".")[0], bool(s["recovery"]["consistent"]), s["failed"],
      sorted((d["name"], d["pg_amcheck"], d["pg_dump"]) for d in s["databases"]))' "$out")" \
	"True good 15 True [] [('postgres', 'good', 'good'), ('shop', 'good', 'good'), ('template1', 'good', 'good')]"
after=$(cd "$store" && find . -type f -exec sha256sum {} + | sort | sha256sum)
equal "the bytes of the store are those before" "$after" "$before"
nothing_left "a good backup"

# ---- what only PostgreSQL tells ----

damaged() { # NAME PATTERN COMMAND...: of a copy of the store; verify alone finds nothing
	local name=$1 pattern=$2 out
	shift 2
	rm -rf "$work/damaged"
	cp -a "$work/good" "$work/damaged"
	must "$@" >/dev/null
	out=$(pgo verify "$work/damaged/store" --backup "$full" 2>&1)
	equal "$name: verify alone finds nothing" "$(tail -n 1 <<<"$out" | sed 's/.*: //')" "no damage found"
	starts "$name" 1 "$pattern" "$work/damaged/store" --backup "$full"
}
edit_page() { python3 "$TEST_TOOLS/edit_page.py" "$work/damaged/store" "$instance" "$full" "$1"; }
edit_label() {
	local label=$work/damaged/store/backups/$instance/$full/database/backup_label
	sed 's/^CHECKPOINT LOCATION: .*/CHECKPOINT LOCATION: 0\/28/' "$label" >"$work/label"
	python3 "$TEST_TOOLS/edit_store.py" "$work/damaged/store" "$instance" "$full" put backup_label "$work/label"
}
damaged "a heap page" "^backup $full: started: database '.*': pg_amcheck: .*heap table" edit_page tuple
damaged "an index page" "^backup $full: started: database '.*': pg_amcheck: btree index" edit_page key
damaged "a wrong backup_label" "^backup $full: PostgreSQL does not start on it: .*the last lines" edit_label
grep -qE 'FATAL: .*could not (locate|find) (a valid|required|redo|checkpoint)|invalid checkpoint' \
	<<<"$(pgo verify "$work/damaged/store" --backup "$full" --start --format json 2>/dev/null | json backups)"
equal "a wrong backup_label: the server's own message in JSON" $? 0
nothing_left "damaged backups"
printf x | dd of="$(find "$work/damaged/store/backups/$instance/$full/database/base" -name '1259' | head -n 1)" bs=1 seek=100 conv=notrunc 2>/dev/null
starts "what is damaged anyway: not" 1 "^backup $full: not started, because it is damaged" "$work/damaged/store" --backup "$full"
nothing_left "not started"

# WAL that an ARCHIVE backup needs: from the archive, through wal-get.
if [ -n "$TEST_SHARED" ] && [ -f "$TEST_SHARED/archive/store.tar.zst" ]; then
	must unpack "$TEST_SHARED/archive/store.tar.zst" "$work/archive"
	starts "an ARCHIVE backup" 0 'recovered to [0-9A-F/]+ as timeline 2, .*checked and dumped$' "$work/archive/store"
	nothing_left "an ARCHIVE backup"
else
	skip "start an ARCHIVE backup" "no shared directory beside the clone"
fi

# ---- programs that are missing ----

without() { # NAME PATTERN SHELL-COMMAND: in a namespace of mounts of its own
	local out
	out=$(timeout -k 5 150 unshare -m "$TEST_TOOLS/own_mounts.sh" "$TEST_WORK" sh -c "$3; exec \"\$0\" verify \"\$1\" --start" "$PGOVERLAY" "$store" 2>&1)
	equal "$1: status" $? 1
	if grep -qE -- "$2" <<<"$out"; then
		ok "$1 is said"
	else
		printf '%s\n' "$out" | sed 's/^/    /'
		not_ok "$1 is said"
	fi
}
bin=$(dirname "$PG_BIN")
without "no server" 'it is not installed .*apt install postgresql-15' "mount -t tmpfs none $bin"
without "no pg_amcheck" 'pg_amcheck.* is not there: apt install postgresql-client-15' "mount --bind /dev/null $PG_BIN/pg_amcheck"
without "no amcheck" 'no extension amcheck here: apt install postgresql-15' "mount --bind /dev $bin/lib"
nothing_left "missing programs"

# ---- interrupted, killed ----

# children PID
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }
wait_gone() { # everything that was started ends by itself
	for _ in $(seq 1 600); do
		[ -n "$(find "$PGOVERLAY_HOME" -mindepth 2 2>/dev/null)" ] || return 0
		sleep 0.1
	done
	pgrep -af "pgoverlay.*($store|$PGOVERLAY_HOME)" | sed 's/^/    still there: /'
}
end_it() { # NAME SIGNAL parent|child mount|server|check
	local pid child i
	: >"$work/err" # of the case before
	"$PGOVERLAY" verify "$store" --start --progress >"$work/out" 2>"$work/err" &
	pid=$!
	for i in $(seq 1 1200); do
		case $4 in
		mount) [ -z "$(find "$PGOVERLAY_HOME/clones" -mindepth 1 2>/dev/null)" ] || break ;;
		server) [ -z "$(find "$PGOVERLAY_HOME/run" -name server 2>/dev/null)" ] || break ;;
		check) ! grep -q 'checking database' "$work/err" || break ;;
		esac
		sleep 0.02
	done
	child=$(children "$pid" | tr -d ' ')
	if [ "$3" = parent ]; then kill "-$2" "$pid"; else kill "-$2" "$child"; fi
	wait "$pid"
	i=$?
	[ "$3$2" = parentKILL ] || equal "$1: status" "$i" 1
	wait_gone
	nothing_left "$1"
}
# Too long and, on a busy machine, not yet certain enough for every run.
[ "$TEST_LONG" = 1 ] || finish
end_it "interrupted while it mounts" INT parent mount
end_it "killed while the server starts" KILL parent server
end_it "terminated while it checks" TERM parent check
end_it "killed while it checks" KILL parent check
end_it "its child killed while it checks" KILL child check
check "its child killed is said" grep -q 'was killed, or died' "$work/out"
finish
