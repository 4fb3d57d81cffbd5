#!/bin/bash
# What system calls answer: errors, permissions, link counts, times, the same on the mount as on ext4, line by line. Then
# four processes on the same files and names at once; what they leave is there after a new mount.
#
#   posix.sh [SEED]
#   POSIX_OPTIONS   --write-back, the default: the mount is one; empty: it is not
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need posix zstd || finish
POSIX_OPTIONS=${POSIX_OPTIONS---write-back}
tools=${TEST_BUILD:-$TEST_TOP/build}/tests/mount
seed=${1:-$RANDOM}
work=$TEST_WORK/posix
mnt=$TEST_WORK/posix-mnt
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
own_dir "$mnt"
must pgo mount "$work/store" "$mnt" --diff "$work/diff" >/dev/null

# answers DIR OUT: all as wanted
# shellcheck disable=SC2317 # by check
answers() {
	mkdir "$1" && timeout -k 5 120 "$tools/posix_check" "$1" ${POSIX_OPTIONS:+"$POSIX_OPTIONS"} >"$2"
}
check "posix: answers on the mount" answers "$mnt/check" "$work/mount"
reference=
for d in "$TEST_WORK" /var/tmp /tmp; do
	[ "$(stat -f -c %T "$d")" != ext2/ext3 ] || reference=$(mktemp -d "$d/pgoverlay-posix.XXXXXX")
	[ -z "$reference" ] || break
done
if [ -n "$reference" ]; then
	check "posix: answers on ext4" answers "$reference/check" "$work/ext4"
	check "posix: $(wc -l <"$work/mount") answers are those of ext4" diff "$work/ext4" "$work/mount"
	rm -rf "$reference"
else
	skip "posix: answers are those of ext4" "no directory for scratch files lies on ext4"
fi

operations=1500
[ "$TEST_LONG" != 1 ] || operations=100000
# shellcheck disable=SC2317 # by check
stress() {
	mkdir "$mnt/stress" && timeout -k 5 600 "$tools/posix_stress" "$mnt/stress" "$1" 4 "$operations" >"$work/figures"
}
check "posix: four processes on the same files, seed $seed" stress "$seed"
sed 's/^/    /' "$work/figures"
sums() { (cd "$mnt/stress" && find . -type f -exec sha256sum {} + | sort -k 2); }
sums >"$work/before"
equal "posix: files left" "$(wc -l <"$work/before")" 37 # six, their locks, 30 of the races
must pgo umount "$mnt"
must pgo mount "$work/store" "$mnt" --diff "$work/diff" >/dev/null
check "posix: what they left is there after a new mount" diff "$work/before" <(sums)
check "posix: umount" pgo umount "$mnt"
finish
