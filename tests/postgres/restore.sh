#!/bin/bash
# `restore`: every backup of every undamaged store equals the lists of its real restore; PostgreSQL starts on some and the facts
# hold; what fails leaves nothing that a server could be started on.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need restore python3 zstd runuser || finish
[ -n "$TEST_SHARED" ] || skip "restore of the shared stores" "no shared directory beside the clone; the repository's own stores are restored"

golden_dir() { # FIXTURE STORE-DIRECTORY
	if [ -d "$1/golden" ]; then
		echo "$1/golden"
	else
		zstd -dc "$1/golden.tar.zst" | tar -C "$2" -x && echo "$2/golden"
	fi
}

# mappings BACKUP-DIRECTORY OUT: options that put tablespaces and external directories below OUT
mappings() {
	local oid path
	if [ -f "$1/database/tablespace_map" ]; then
		while read -r oid path; do
			printf '%s\n' -T "$path=$2/space-$oid"
		done <"$1/database/tablespace_map"
	fi
	sed -n "s/^external-dirs = '\(.*\)'$/\1/p" "$1/backup.control" | tr ':' '\n' | while read -r path; do
		printf '%s\n' "--external-mapping=$path=$2/${path##*/}"
	done
}

# restore_to OUT STORE INSTANCE ID [OPTION]...: into OUT/data, whatever lies outside beside it
restore_to() {
	local out=$1 store=$2 instance=$3 id=$4 options
	shift 4
	rm -rf "$out"
	own_dir "$out"
	mapfile -t options < <(mappings "$store/backups/$instance/$id" "$out")
	(umask 022 && timeout -k 5 120 "$PGOVERLAY" restore "$store" "$out/data" --instance "$instance" --backup "$id" "${options[@]}" "$@")
}

compare() { # NAME OUT STORE INSTANCE ID GOLDEN JOBS
	local name=$1/$4/$5 wal=archive out
	grep -q '^stream = true' "$3/backups/$4/$5/backup.control" && wal=stream
	if ! out=$(restore_to "$2" "$3" "$4" "$5" --jobs "$7" 2>&1); then
		printf '%s\n' "$out" | sed 's/^/    /'
		not_ok "restore $name"
		return 1
	fi
	check "golden $name" env EXTERNAL_ROOT="$2" timeout -k 5 120 python3 "$TEST_TOOLS/golden.py" "$2/data" "$6" "$5" "$wal" restored
}

has_wal_get() { "$PGOVERLAY" wal-get --help >/dev/null 2>&1; }

# starts NAME DATA FACTS INSTANCE ID
starts() {
	local sock=$TEST_WORK/restore-sock
	rm -rf "$sock"
	if ! pg_start "$2" "$sock" 5432; then
		not_ok "start $1"
		return
	fi
	check "facts $1" timeout -k 5 120 python3 "$TEST_TOOLS/check_facts.py" "$3" "$4" "$5" --host "$sock" --port 5432 --user postgres
	check "stop $1" pg_stop "$2" fast
}

# ---- every backup ----

where=$TEST_WORK/restore
out=$TEST_WORK/restore-out
count=0
for fixture in $(fixtures); do
	rm -rf "$where"
	must unpack "$fixture/store.tar.zst" "$where"
	lists=$(golden_dir "$fixture" "$where") || { not_ok "golden ${fixture##*/}" "no lists"; continue; }
	before=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	newest=
	for control in "$where"/store/backups/*/*/backup.control; do
		dir=${control%/backup.control}
		id=${dir##*/}
		dir=${dir%/*}
		instance=${dir##*/}
		golden=$lists
		[ ! -d "$lists/$instance" ] || golden=$lists/$instance
		compare "${fixture##*/}" "$out" "$where/store" "$instance" "$id" "$golden" 2 && newest=$instance/$id
		count=$((count + 1))
	done
	# The last one of each store is started.
	if [ -n "$newest" ]; then
		instance=${newest%/*} id=${newest#*/}
		name="${fixture##*/}/$newest"
		if [ ! -f "$out/data/recovery.signal" ]; then
			starts "$name" "$out/data" "$fixture/facts.tsv" "$instance" "$id"
		elif ! has_wal_get; then
			skip "start $name" "needs the WAL archive, and this program has no wal-get"
		else
			must restore_to "$out" "$where/store" "$instance" "$id" --target immediate --target-action promote >/dev/null
			starts "$name" "$out/data" "$fixture/facts.tsv" "$instance" "$id"
		fi
	fi
	after=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	equal "the bytes of store ${fixture##*/} are those before" "$after" "$before"
done
echo "    $count backups"

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
	python3 - "$TEST_WORK/restore.json" "$(find -L "$out-2/data" -type f ! -name postgresql.auto.conf -printf '%s\n' | awk '{ s += $1 } END { print s }')" <<-'P'
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

if need "faults of restore" strace; then
	again
	run pwrite64:signal=KILL:when=100 >/dev/null 2>&1
	partial "killed in the middle" "$out"
	fails "what is left of it is refused, with what to do" 1 "restore.incomplete in it says what to remove" \
		pgo restore "$store" "$out/data" --backup "$id"
	check "the marker names the directory" grep -qF "$out/data" "$out/data/restore.incomplete"

	again
	run renameat2,renameat,rename:signal=KILL:when=2 >/dev/null 2>&1
	partial "killed before the control file has its name" "$out"

	for error in ENOSPC EIO; do
		again
		fails "a write fails with $error" 1 "cannot write '$out/data/" run pwrite64:error=$error:when=60
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
	mkfs.ext4 -q -m 0 -N 8192 "$TEST_WORK/small.img"
	mkdir -p "$TEST_WORK/small"
	if mount -o loop "$TEST_WORK/small.img" "$TEST_WORK/small" 2>/dev/null; then
		own_dir "$TEST_WORK/small/out"
		free=$(df -B1 --output=avail "$TEST_WORK/small" | tail -n 1)
		fallocate -l $((free - size + 4000000)) "$TEST_WORK/small/filler"
		fails "too little room is said before anything is made" 1 "no room" \
			pgo restore "$store" "$TEST_WORK/small/out/data" --backup "$id"
		equal "and nothing is made" "$(ls "$TEST_WORK/small/out" | grep -v '^data$'; ls "$TEST_WORK/small/out/data" 2>/dev/null)" ""
		# The sum of the sizes fits, what the file system needs for it does not.
		rm -rf "$TEST_WORK/small/filler" "$TEST_WORK/small/out/data"
		free=$(df -B1 --output=avail "$TEST_WORK/small" | tail -n 1)
		fallocate -l $((free - size - 100000)) "$TEST_WORK/small/filler"
		fails "a file system that fills up" 1 "No space left on device" \
			pgo restore "$store" "$TEST_WORK/small/out/data" --backup "$id"
		partial "a file system that fills up: no server starts" "$TEST_WORK/small/out"
		umount "$TEST_WORK/small"
	else
		skip "a full file system" "loop devices cannot be mounted here"
	fi
fi

# ---- damaged stores ----

# damaged NAME OUT STORE: one restore of the newest backup
damaged() {
	local name=$1 said rc
	said=$(restore_to "$out" "$where/$name/store" main TOSR1B --jobs 2 2>&1) && rc=0 || rc=$?
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
		elif [ -e "$out/data/global/pg_control" ]; then
			not_ok "damaged $name" "there is a control file"
		else
			ok "damaged $name is refused"
		fi
		;;
	esac
	case $name in
	01-* | 02-* | 04-* | 14-*)
		if grep -q "TOSR0P.*base/5/16391" <<<"$said"; then ok "damaged $name: backup and file are named"; else not_ok "damaged $name: backup and file are named" "$said"; fi
		partial "damaged $name: no server starts" "$out"
		;;
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
