#!/bin/bash
# Every backup of every undamaged store, mounted read-only, against the lists of its real restore.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need golden python3 zstd fusermount3 || finish
[ -n "$TEST_SHARED" ] || skip "golden of the shared stores" "no shared directory beside the clone; the repository's own stores are compared"

# golden_dir FIXTURE STORE-DIRECTORY: where the lists are; a fixture of the repository keeps them packed
golden_dir() {
	if [ -d "$1/golden" ]; then
		echo "$1/golden"
	else
		zstd -dc "$1/golden.tar.zst" | tar -C "$2" -x && echo "$2/golden"
	fi
}

compare() { # FIXTURE-NAME STORE INSTANCE ID GOLDEN
	local name=$1/$3/$4 mnt=$TEST_WORK/golden-mnt wal out rc
	wal=archive
	grep -q '^stream = true' "$2/backups/$3/$4/backup.control" && wal=stream
	own_dir "$mnt"
	if ! out=$(pgo mount "$2" "$mnt" --instance "$3" --backup "$4" --read-only 2>&1); then
		not_ok "golden $name" "mount: $out"
		return
	fi
	out=$(timeout -k 5 120 python3 "$TEST_TOOLS/golden.py" "$mnt" "$5" "$4" "$wal" 2>&1) && rc=0 || rc=$?
	printf '%s\n' "$out" | sed 's/^/    /'
	if [ $rc = 0 ]; then ok "golden $name"; else not_ok "golden $name" "differs"; fi
	check "umount $name" pgo umount "$mnt"
	is_mounted "$mnt" && unmount_below "$TEST_WORK"
	return 0
}

count=0
for fixture in $(fixtures); do
	where=$TEST_WORK/golden
	rm -rf "$where"
	must unpack "$fixture/store.tar.zst" "$where"
	lists=$(golden_dir "$fixture" "$where") || { not_ok "golden ${fixture##*/}" "no lists"; continue; }
	before=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	for control in "$where"/store/backups/*/*/backup.control; do
		dir=${control%/backup.control}
		id=${dir##*/}
		dir=${dir%/*}
		instance=${dir##*/}
		if [ -d "$lists/$instance" ]; then golden=$lists/$instance; else golden=$lists; fi
		compare "${fixture##*/}" "$where/store" "$instance" "$id" "$golden"
		count=$((count + 1))
	done
	after=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	equal "the bytes of store ${fixture##*/} are those before" "$after" "$before"
done
echo "    $count backups"
finish
