#!/bin/bash
# File systems that lack what a diff needs, or do not keep what they are given: refused, or warned of, with the reason.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need host zstd mkfs.ext4 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/host"
store=$TEST_WORK/host/store mnt=$TEST_WORK/host/mnt fs=$TEST_WORK/host/fs
own_dir "$mnt"
mkdir "$fs"

# warned NAME WORDS: a permanent diff on $fs mounts, WORDS are in the one warning of it, and it works; "": no warning
warned() {
	local err
	if ! err=$(pgo mount "$store" "$mnt" --diff "$fs/diff" 2>&1 >/dev/null); then
		not_ok "$1" "$err"
		return
	fi
	if [ -z "$2" ]; then
		equal "$1: nothing to warn of" "$err" ""
	elif [[ $err == *"$2"* ]]; then
		ok "$1: $2"
	else
		not_ok "$1: $2" "$err"
	fi
	check "$1: it works" as_owner sh -c "echo x >'$mnt/x' && sync '$mnt/x'"
	check "$1: umount" pgo umount "$mnt"
}

image() { # TYPE OPTIONS: a fresh file system on $fs, of the owner
	truncate -s 300M "$TEST_WORK/host/image"
	"mkfs.$1" -q -F "$TEST_WORK/host/image" && mount -o "loop,$2" "$TEST_WORK/host/image" "$fs" && chown "$PG_USER" "$fs"
}

if image ext4 rw; then
	warned ext4 ""
	umount "$fs"
else
	skip ext4 "no loop devices"
fi
if image ext4 nobarrier; then
	warned "ext4 without barriers" "without barriers"
	umount "$fs"
fi
if image ext2 rw; then
	warned "ext2" "without fallocate"
	warned "ext2 again: no journal" "no journal"
	umount "$fs"
fi
if mount -t tmpfs -o size=400m tmpfs "$fs"; then
	chown "$PG_USER" "$fs"
	warned tmpfs "gone when the machine restarts"
	mkdir -p "$fs/upper" "$fs/work" "$TEST_WORK/host/over"
	if mount -t overlay -o "lowerdir=$store,upperdir=$fs/upper,workdir=$fs/work,volatile" overlay "$TEST_WORK/host/over" 2>/dev/null; then
		out=$(pgo mount "$store" "$mnt" --diff "$TEST_WORK/host/over/diff" 2>&1) && not_ok "a volatile overlay is refused"
		if [[ $out == *"fsync does nothing"* ]]; then ok "a volatile overlay is refused"; else not_ok "a volatile overlay is refused" "$out"; fi
		equal "nothing was left there" "$(find "$TEST_WORK/host/over/diff" 2>/dev/null | wc -l)" 0
		umount "$TEST_WORK/host/over"
	else
		skip "a volatile overlay" "it cannot be mounted here"
	fi
	umount "$fs"
else
	skip tmpfs "it cannot be mounted"
fi
finish
