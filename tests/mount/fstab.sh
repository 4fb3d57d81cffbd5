#!/bin/bash
# mount(8): mount -t fuse.pgoverlay, a line of fstab, mount -a.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need fstab zstd mount.fuse3 || finish
# mount(8) clears PATH and lets the shell look for pgoverlay in its default places, of which this is the first.
link=/usr/local/sbin/pgoverlay
if [ -e $link ]; then
	skip fstab "$link exists: mount(8) would run that one"
	finish
fi
ln -sfn "$PGOVERLAY" $link
trap 'rm -f $link; clean_up' EXIT
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/fstab"
store=$TEST_WORK/fstab/store
mnt=$TEST_WORK/fstab-mnt
diff=$TEST_WORK/fstab/diff
own_dir "$mnt"
last=TOSQQ2
first=TOSQOU

# seen NAME: the mount shows a cluster, with nosuid and nodev
seen() {
	equal "$1: shows the cluster" "$(timeout 20 cat "$mnt/PG_VERSION" 2>&1)" 15
	local options
	options=$(awk -v m="$mnt" '$5 == m { print $6 }' /proc/self/mountinfo)
	case ,$options, in
	*,nosuid,*nodev,* | *,nodev,*nosuid,*) ok "$1: nosuid and nodev stay" ;;
	*) not_ok "$1: nosuid and nodev stay" "options are '$options'" ;;
	esac
	equal "$1: the type" "$(awk -v m="$mnt" '$5 == m { sub(/.* - /, ""); print $1 }' /proc/self/mountinfo)" fuse.pgoverlay
}

gone() {
	if is_mounted "$mnt"; then
		not_ok "$1" "still mounted"
		unmount_below "$TEST_WORK"
	else
		ok "$1"
	fi
}

check "mount -t fuse.pgoverlay" timeout -k 5 60 mount -t fuse.pgoverlay "$store" "$mnt" -o "backup=$last,diff=$diff"
seen "mount -t fuse.pgoverlay"
check "write through it" as_owner timeout 20 sh -c "echo kept >'$mnt/new' && sync '$mnt/new'"
check "umount(8)" timeout -k 5 60 umount "$mnt"
gone "umount(8) unmounts"

fstab=$TEST_WORK/fstab/fstab
echo "$store $mnt fuse.pgoverlay instance=main,backup=$last,diff=$diff 0 0" >"$fstab"
chmod 0644 "$fstab"
# umount(8) does not wait for the server, which holds the diff until its last commit is made.
check "the diff is free again" timeout 20 flock "$diff/lock" true
check "mount -a" timeout -k 5 60 mount -a -T "$fstab"
seen "mount -a"
equal "mount -a: what was written is there" "$(timeout 20 cat "$mnt/new" 2>&1)" kept
check "mount -a again changes nothing" timeout -k 5 60 mount -a -T "$fstab"
equal "mounted once" "$(awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l)" 1
check "pgoverlay umount" pgo umount "$mnt"
gone "pgoverlay umount unmounts"

echo "$store $mnt fuse.pgoverlay ro,backup=$first,noauto 0 0" >"$fstab"
check "mount MOUNTPOINT with a read-only line" timeout -k 5 60 mount -T "$fstab" "$mnt"
seen "read-only line"
if as_owner timeout 20 touch "$mnt/x" 2>/dev/null; then not_ok "read-only" "a file was made"; else ok "read-only"; fi
check "umount of the read-only mount" timeout -k 5 60 umount "$mnt"
gone "read-only mount is gone"

echo "$store $mnt fuse.pgoverlay backup=$last,nonsense=1 0 0" >"$fstab"
if timeout -k 5 60 mount -a -T "$fstab" 2>"$TEST_WORK/fstab/err"; then
	not_ok "an unknown option is refused" "mounted"
elif grep -q nonsense "$TEST_WORK/fstab/err"; then
	ok "an unknown option is refused by name"
else
	not_ok "an unknown option is refused by name" "$(head -n 1 "$TEST_WORK/fstab/err")"
fi
gone "nothing is mounted after a refusal"
finish
