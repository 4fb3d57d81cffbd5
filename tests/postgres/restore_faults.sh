#!/bin/bash
# `restore`: options, and what fails: whatever goes wrong, nothing is left that a server could be started on.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/restore_lib.sh
. "$TEST_TOOLS/restore_lib.sh"

need "restore faults" python3 zstd runuser || finish

where=$TEST_WORK/restore
out=$TEST_WORK/restore-out

# ---- options ----

fixture=$TEST_TOP/tests/fixtures/shop
rm -rf "$where"
must unpack "$fixture/store.tar.zst" "$where"
store=$where/store
id=$(pgo list "$store" --format json | python3 -c 'import json,sys; print(json.load(sys.stdin)["backups"][-1]["id"])')
tree() { (cd "$1" && find . -type f ! -name postgresql.auto.conf -exec sha256sum {} + | LC_ALL=C sort); }

must restore_to "$out" "$store" main "$id" --jobs 1 --no-sync >/dev/null
must restore_to "$out-2" "$store" main "$id" --jobs 40 --waldir "$out-2/wal" --format json >"$TEST_WORK/restore.json"
equal "forty threads write what one does, pg_wal elsewhere too" "$(cd "$out-2/data" && find -L . -type f ! -name postgresql.auto.conf -exec sha256sum {} + | LC_ALL=C sort | sha256sum)" \
	"$(tree "$out/data" | sha256sum)"
equal "pg_wal is a link" "$(readlink "$out-2/data/pg_wal")" "$out-2/wal"
# shellcheck disable=SC2317 # called through check
report_is_right() {
	python3 - "$TEST_WORK/restore.json" "$(find -L "$TEST_WORK/restore-out-2/data" -type f ! -name postgresql.auto.conf -printf '%s\n' | awk '{ s += $1 } END { print s }')" <<-'P'
		import json, sys
		r = json.load(open(sys.argv[1]))
		assert r["complete"] is True and r["bytes"] == int(sys.argv[2]) and r["damage"] == 0 and r["seconds"] > 0, (r, sys.argv[2])
	P
}
check "the report's bytes are those written" report_is_right
equal "nothing of ours is left in it" "$(find "$out-2" \( -name 'restore.*' -o -name '.pgoverlay' -o -name '*.restore' \) | wc -l)" 0

must restore_to "$out" "$store" main "$id" --target-time '2026-11-20 10:00:00+00' --target-inclusive false --target-timeline latest \
	--target-action promote --restore-command 'cp /x/%f "%p"' >/dev/null
equal "settings of a point in time" "$(sed '1,/^# recovery settings added/d' "$out/data/postgresql.auto.conf")" \
	"## recovery settings
recovery_target_time = '2026-11-20 10:00:00+00'
recovery_target_inclusive = 'false'
recovery_target_timeline = 'latest'
recovery_target_action = 'promote'
restore_command = 'cp /x/%f \"%p\"'"
[ -f "$out/data/recovery.signal" ] || not_ok "recovery.signal is there"

# fails NAME STATUS TEXT COMMAND...: exits with that status and says that text
fails() {
	local name=$1 status=$2 text=$3 said rc
	shift 3
	said=$("$@" 2>&1) && rc=0 || rc=$?
	if [ "$rc" = "$status" ] && grep -qF -- "$text" <<<"$said"; then ok "$name"; else not_ok "$name" "status $rc: $said"; fi
}

fails "two targets are refused" 2 "only one of" restore_to "$out" "$store" main "$id" --target-xid 5 --target immediate
fails "a mapping of nothing is refused" 1 "no tablespace at '/no'" restore_to "$out" "$store" main "$id" -T /no=/where
[ ! -e "$out/data/PG_VERSION" ] || not_ok "a refused restore makes nothing"
fails "a database that is not there is refused" 1 "no database 'nobody'" restore_to "$out" "$store" main "$id" --db-exclude nobody

# ---- places that are not empty ----

own_dir "$TEST_WORK/full"
echo precious >"$TEST_WORK/full/file"
fails "a directory that is not empty is refused" 1 "not empty" pgo restore "$store" "$TEST_WORK/full" --backup "$id"
equal "and left as it was" "$(ls "$TEST_WORK/full") $(cat "$TEST_WORK/full/file")" "file precious"

ln -s "$store" "$TEST_WORK/to-store"
fails "a place in the store is refused, through a link too" 1 "lies in the store" \
	pgo restore "$store" "$TEST_WORK/to-store/backups/main/new/deeper" --backup "$id"
fails "pg_wal inside the directory is refused" 1 "a place of its own" \
	pgo restore "$store" "$TEST_WORK/new" --backup "$id" --waldir "$TEST_WORK/new/wal"
equal "nothing is made of those" "$(ls -d "$TEST_WORK/new" "$store/backups/main/new" 2>/dev/null)" ""

# ---- interrupted ----

# cannot_start DATA: the server refuses it
cannot_start() {
	! as_owner timeout -k 5 30 "$PG_BIN/pg_ctl" start -w -t 20 -s -D "$1" -l /dev/null -o "-c port=5999 -c listen_addresses='' -c unix_socket_directories=$TEST_WORK" >/dev/null 2>&1
}

# partial NAME OUT: what a failed restore leaves: the marker, and nothing that a server starts on
partial() {
	if [ -e "$2/data/global/pg_control" ] || [ ! -e "$2/data/restore.incomplete" ]; then
		not_ok "$1" "$(ls "$2/data" 2>&1 | tr '\n' ' ')"
	elif cannot_start "$2/data"; then
		ok "$1"
	else
		not_ok "$1" "the server started"
	fi
}

# fault INJECTION COMMAND...: runs it as the owner with that fault of strace's
fault() {
	local inject=$1
	shift
	timeout -k 5 60 strace -f -qqq -o /dev/null -e trace="${inject%%:*}" -e inject="$inject" "$@"
}

run() { fault "$1" runuser -u "$PG_USER" -- "$PGOVERLAY" restore "$store" "$out/data" --backup "$id" --jobs 2; }

again() {
	rm -rf "$out"
	own_dir "$out"
}

writes=pwrite64,pwritev,pwritev2
renames=rename,renameat,renameat2
if need "faults of restore" strace; then
	again
	run "$writes:signal=KILL:when=100" >/dev/null 2>&1
	partial "killed in the middle" "$out"
	fails "what is left of it is refused, with what to do" 1 "restore.incomplete in it says what to remove" \
		pgo restore "$store" "$out/data" --backup "$id"
	check "the marker names the directory" grep -qF "$out/data" "$out/data/restore.incomplete"

	# The rename that gives it its name is one of several: locks of the store are renamed, too.
	again
	timeout -k 5 60 strace -f -qqq -o "$TEST_WORK/renames" -e trace=$renames runuser -u "$PG_USER" -- "$PGOVERLAY" restore "$store" \
		"$out/data" --backup "$id" --jobs 2 >/dev/null 2>&1
	number=$(grep rename "$TEST_WORK/renames" | grep -n '"global/pg_control"' | cut -d: -f1)
	again
	run "$renames:signal=KILL:when=$number" >/dev/null 2>&1
	partial "killed before the control file has its name" "$out"

	for error in ENOSPC EIO; do
		again
		fails "a write fails with $error" 1 "cannot write '$out/data/" run "$writes:error=$error:when=60"
		partial "a write fails with $error: no server starts" "$out"
	done
	again
	fails "syncing fails" 1 "Input/output error" run syncfs,fsync:error=EIO:when=2+
	partial "syncing fails: no server starts" "$out"
fi

# ---- no room ----

if need "a full file system" mkfs.ext4 losetup mountpoint; then
	size=$(find -L "$out-2/data" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')
	truncate -s $((size * 2)) "$TEST_WORK/small.img"
	mkfs.ext4 -q -m 0 -N 600 "$TEST_WORK/small.img" # inodes: fewer than there are files
	mkdir -p "$TEST_WORK/small"
	if mount -o loop "$TEST_WORK/small.img" "$TEST_WORK/small" 2>/dev/null; then
		own_dir "$TEST_WORK/small/out"
		free=$(df -B1 --output=avail "$TEST_WORK/small" | tail -n 1)
		fallocate -l $((free - size + 4000000)) "$TEST_WORK/small/filler"
		fails "too little room is said before anything is made" 1 "no room" \
			pgo restore "$store" "$TEST_WORK/small/out/data" --backup "$id"
		equal "and nothing is made" "$(ls "$TEST_WORK/small/out")" ""
		rm -f "$TEST_WORK/small/filler"
		fails "a file system that fills up" 1 "No space left on device" \
			pgo restore "$store" "$TEST_WORK/small/out/data" --backup "$id"
		partial "a file system that fills up: no server starts" "$TEST_WORK/small/out"
		umount "$TEST_WORK/small"
	else
		skip "a full file system" "loop devices cannot be mounted here"
	fi
fi

# ---- damaged stores ----

# reason_of NAME: what the message must say, as an extended regular expression
reason_of() {
	case $1 in
	01-*) echo "TOSR0P: file 'database/base/5/16391', block 3" ;;
	02-*) echo "TOSR0P: file 'database/base/5/16391', block 3" ;;
	03-*) echo "TOSR0P" ;;
	04-*) echo "TOSR0P: file 'database/base/5/16391': No such file" ;;
	05-*) echo "TOSR10: backup_content.control" ;;
	06-* | 07-*) echo "TOSR10: backup.control" ;;
	08-*) echo "TOSR10.*ERROR" ;;
	09-*) echo "TOSR0P.*CORRUPT" ;;
	10-*) echo "TOSR1B.*ORPHAN" ;;
	11-*) echo "MERGING" ;;
	12-*) echo "TOSR10.*DELETING" ;;
	13-*) echo "TOSR1B.*RUNNING" ;;
	14-*) echo "TOSR0P: file 'database/base/5/16391', block 2" ;;
	17-* | 18-* | 19-*) echo "TOSR1B: backup_content.control, line" ;;
	20-* | 21-*) echo "parent|circle|cycle|chain" ;;
	*) echo "no reason is known for $1" ;;
	esac
}

# damaged NAME: one restore of the newest backup
damaged() {
	local name=$1 said rc
	said=$(restore_to "$out" "$where/$name" main TOSR1B --jobs 2 2>&1) && rc=0 || rc=$?
	case $name in
	00-* | 15-* | 16-* | 22-*) # undamaged, or the damage is made up for, or nothing of it is used
		if [ $rc != 0 ]; then
			not_ok "damaged $name" "$said"
		else
			check "damaged $name: right all the same" env EXTERNAL_ROOT="$out" python3 "$TEST_TOOLS/golden.py" "$out/data" \
				"$TEST_SHARED/corrupt/golden" TOSR1B stream restored
		fi
		;;
	*)
		if [ $rc != 1 ]; then
			not_ok "damaged $name" "status $rc: $said"
		elif ! grep -qE -- "$(reason_of "$name")" <<<"$said"; then
			not_ok "damaged $name: the reason" "$said"
		elif [ -e "$out/data/global/pg_control" ]; then
			not_ok "damaged $name" "there is a control file"
		else
			ok "damaged $name is refused"
		fi
		;;
	esac
	case $name in
	01-* | 02-* | 04-* | 14-*) partial "damaged $name: no server starts" "$out" ;;
	*) [ $rc = 0 ] || [ ! -e "$out/data" ] || not_ok "damaged $name: nothing is made" "$(ls "$out/data")" ;;
	esac
}

if [ -n "$TEST_SHARED" ] && [ -f "$TEST_SHARED/corrupt/store.tar.zst" ]; then
	rm -rf "$where"
	must unpack "$TEST_SHARED/corrupt/store.tar.zst" "$where"
	for dir in "$where"/*/; do
		dir=${dir%/}
		damaged "${dir##*/}"
	done
else
	skip "damaged stores" "no shared directory beside the clone"
fi
finish
