#!/bin/bash
# `restore`: every backup of every undamaged store equals the lists of its real restore, and PostgreSQL starts on the
# last one of each with the facts recorded at its moment.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/restore_lib.sh
. "$TEST_TOOLS/restore_lib.sh"

need restore python3 zstd runuser || finish
[ -n "$TEST_SHARED" ] || skip "restore of the shared stores" "no shared directory beside the clone; the repository's own stores are restored"

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

finish
