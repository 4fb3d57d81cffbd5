#!/bin/bash
# Native WAL: pg_wal is a link to a directory that is filled once and stays with its diff.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need wal_dir zstd || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/wal"
store=$TEST_WORK/wal/store
mnt=$TEST_WORK/wal-mnt
diff=$TEST_WORK/wal/diff
wal=$TEST_WORK/wal/native
own_dir "$mnt"

sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2); }

must pgo mount "$store" "$mnt" --read-only >/dev/null
sums "$mnt/pg_wal" >"$TEST_WORK/wal/wanted"
must pgo umount "$mnt"
if [ -s "$TEST_WORK/wal/wanted" ]; then ok "the backup holds WAL"; else not_ok "the backup holds WAL"; fi

must pgo mount "$store" "$mnt" --diff "$diff" --wal-dir "$wal" >/dev/null
equal "pg_wal is a link" "$(readlink "$mnt/pg_wal")" "$wal"
equal "it leads to the backup's WAL" "$(sums "$wal")" "$(cat "$TEST_WORK/wal/wanted")"
equal "the directory is the owner's" "$(stat -c '%U %a' "$wal")" "$PG_USER 700"
as_owner sh -c "echo more >'$mnt/pg_wal/more'"
equal "writing goes past the mount" "$(cat "$wal/more")" more
must pgo umount "$mnt"

must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
equal "without the option the diff keeps its WAL" "$(readlink "$mnt/pg_wal")" "$wal"
equal "it is not filled again" "$(cat "$mnt/pg_wal/more")" more
must pgo umount "$mnt"

if pgo mount "$store" "$mnt" --diff "$diff" --wal-dir "$TEST_WORK/wal/elsewhere" 2>"$TEST_WORK/wal/err"; then
	not_ok "another directory is refused" "mounted"
	pgo umount "$mnt"
else
	equal "another directory is refused, naming the right one" "$(grep -c "$wal" "$TEST_WORK/wal/err")" 1
fi
mv "$wal" "$wal.away"
if pgo mount "$store" "$mnt" --diff "$diff" 2>"$TEST_WORK/wal/err"; then
	not_ok "a diff without its WAL is refused" "mounted"
	pgo umount "$mnt"
else
	equal "a diff without its WAL is refused, naming it" "$(grep -c "$wal" "$TEST_WORK/wal/err")" 1
fi
mv "$wal.away" "$wal"

# What the diff holds of pg_wal goes along when WAL becomes native later.
must pgo mount "$store" "$mnt" --diff "$diff.2" >/dev/null
as_owner sh -c "echo inside >'$mnt/pg_wal/inside'"
must pgo umount "$mnt"
must pgo mount "$store" "$mnt" --diff "$diff.2" --wal-dir "$wal.2" >/dev/null
equal "WAL written before goes along" "$(cat "$mnt/pg_wal/inside")" inside
must pgo umount "$mnt"

own_dir "$wal.3"
touch "$wal.3/foreign"
if pgo mount "$store" "$mnt" --wal-dir "$wal.3" 2>"$TEST_WORK/wal/err"; then
	not_ok "a directory with other files is refused" "mounted"
	pgo umount "$mnt"
else
	equal "a directory with other files is refused" "$(grep -c "not empty" "$TEST_WORK/wal/err")" 1
fi
finish
