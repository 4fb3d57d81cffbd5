#!/bin/bash
# Others take what a nearly full disk gives, the file system has no room of another kind, or cannot set host space aside: what
# the kernel had accepted is not lost, and write-back is chosen only where that holds.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need tight_others zstd python3 mkfs.ext4 || finish
work=$TEST_WORK/tight_others
mnt=$TEST_WORK/tight_others-mnt
disk=$work/disk
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
own_dir "$mnt"
own_dir "$mnt.2"
mkdir "$disk"

# fresh SIZE TYPE [OPTION]...: an empty file system of the owner
fresh() {
	local size=$1 type=$2
	shift 2
	rm -f "$work/image"
	truncate -s "$size" "$work/image"
	"mkfs.$type" -q "$@" "$work/image" >/dev/null 2>&1 && mount -o loop "$work/image" "$disk" && chown "$PG_USER:" "$disk"
}
mounted() { pgo mount "$work/store" "$mnt" --diff "$disk/diff" --reserve 8M "$@" >/dev/null; }
fact() { pgo status "$mnt" --format json | json "$1"; }
user() { as_owner env "PGOVERLAY_HOME=$work/home" timeout -k 5 60 "$PGOVERLAY" "$@"; }
ends() { pgo umount "$mnt" >/dev/null 2>&1 || pgo umount --force "$mnt" >/dev/null 2>&1; }

# shellcheck disable=SC2317 # through check
# script TEXT: as the owner, with what the cases share
script() {
	as_owner timeout -k 5 60 python3 -c "
import errno, os, time
mnt, disk, page = '$mnt', '$disk', lambda i: b'%08d' % i * 1024
def refused(call):
    try:
        call()
    except OSError as e:
        assert e.errno in (errno.ENOSPC, errno.EDQUOT), e
        return True
    return False
def make(path):
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
def append_until_refused(f, limit=3000):
    for i in range(limit):
        if refused(lambda: os.pwrite(f, page(i), i * 8192)):
            return i
    raise AssertionError('nothing was refused')
def until_refused(f):
    end = time.time() + 20
    while not refused(lambda: os.pwrite(f, page(0), 0)):
        assert time.time() < end
        time.sleep(0.01)
def holds(f, count):
    os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
    for i in range(count):
        assert os.pread(f, 8192, i * 8192) == page(i), i
$1"
}

if ! fresh 320M ext4 -F -m 10; then
	skip tight_others "no loop devices"
	finish
fi

must mounted
# Every 2 ms it takes all that is there: what a failed fallocate has taken stays taken.
cat >"$work/taker.py" <<-'END'
	import os, sys, time
	f, end = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), time.time() + 20
	while time.time() < end and not os.path.exists(sys.argv[1] + ".stop"):
	    time.sleep(0.002)
	    try:
	        if os.path.exists(sys.argv[1] + ".full"):
	            os.posix_fallocate(f, 0, 1 << 30)
	    except OSError:
	        pass
END
check "what was accepted has room though another goes on filling the disk" script "
import subprocess
other = subprocess.Popen(['python3', '$work/taker.py', disk + '/foreign'])
while not os.path.exists(disk + '/foreign'): time.sleep(0.01)
f, g, at = make(mnt + '/accepted'), make(disk + '/rest'), 0
for i in range(400): os.pwrite(f, page(i), i * 8192)
for bits in range(28, 11, -1): # at once, so that the kernel has no reason to write
    while not refused(lambda: os.posix_fallocate(g, at, 1 << bits)):
        at += 1 << bits
make(disk + '/foreign.full')
time.sleep(0.1)
os.fsync(f)
make(disk + '/foreign.stop')
other.wait()
holds(f, 400)"
equal "some of what was set aside was used for it" "$(fact ballast_spent) $(fact failed_files)" "1 0"
ends
umount "$disk"

must fresh 320M ext4 -F -N 5000
must mounted
check "no file can be made any more: who writes is told, who syncs is not" script "
os.mkdir(disk + '/f')
fs = [make(mnt + '/new%d' % i) for i in range(20)]
for i in range(os.statvfs(disk).f_favail - 900):
    os.close(os.open(disk + '/f/%d' % i, os.O_CREAT))
time.sleep(1.1) # the disk is asked once a second
fs += [make(mnt + '/late%d' % i) for i in range(20)]
r = os.open(mnt + '/base/1/1259', os.O_RDWR)
until_refused(r)
counts = [append_until_refused(f) for f in fs]
for f in fs + [r]: os.fsync(f)
i = -1
while not refused(lambda: os.close(os.open(disk + '/f/%d' % i, os.O_CREAT))): i -= 1
time.sleep(1.1)
last = [make(mnt + '/last%d' % i) for i in range(20)]
for f in last: until_refused(f)
for f in last: os.fsync(f)
for f, n in zip(fs, counts): holds(f, n)"
equal "nothing was lost of it" "$(fact failed_files) $(fact disk_is_tight)" "0 True"
check "with files again it goes on" script "
for name in os.listdir(disk + '/f'): os.unlink(disk + '/f/' + name)
f, end = os.open(mnt + '/base/1/1259', os.O_RDWR), time.time() + 20
while refused(lambda: os.pwrite(f, os.pread(f, 8192, 0), 0)):
    assert time.time() < end
    time.sleep(0.2)
os.fsync(f)"
ends
umount "$disk"
if fresh 320M ext4 -F -N 960; then
	must mounted
	equal "where few files can be made there is write-through" "$(fact write_back)" False
	ends
	umount "$disk"
fi

# chosen NAME WRITE_BACK WORDS: what a mount there has without an option; the log says why
chosen() {
	must mounted
	equal "$1: what is chosen" "$(fact write_back) $(fact disk_is_tight)" "$2 False"
	[ -z "$3" ] || check "$1: the log says why" grep -q "write-through: $3" "$disk/diff/log"
	check "$1: it works" script "
f = make(mnt + '/x')
for i in range(50): os.pwrite(f, page(i), i * 8192)
os.fsync(f)
holds(f, 50)"
	ends
}

if fresh 400M xfs; then
	chosen xfs True ""
	umount "$disk"
else
	skip xfs "no mkfs.xfs, or no such file system"
fi
if fresh 320M ext2 -F; then
	chosen "ext2, which does not allocate" False "host space cannot be set aside"
	umount "$disk"
else
	skip ext2 "no such file system"
fi
if command -v fusermount3 >/dev/null && fresh 900M ext4 -F; then
	own_dir "$work/home"
	must user mount "$work/store" "$mnt" --diff "$disk/diff" --reserve 1M >/dev/null
	equal "who is not root has write-back where the disk is large beside what the kernel keeps" "$(user status "$mnt" --format json | json write_back)" True
	check "the log says how much that is" grep -q 'the kernel may keep [0-9]* MiB of writes: its bound could not be lowered' "$disk/diff/log"
	must user umount "$mnt"
	umount "$disk"
else
	skip "who is not root" "no fusermount3"
fi
if mount -t tmpfs -o size=320m tmpfs "$disk"; then
	chown "$PG_USER:" "$disk"
	chosen tmpfs True ""
	umount "$disk"
fi
if fresh 500M btrfs; then
	chosen "btrfs, where what is free is no room" False "host space that is set aside is not sure"
	must mounted --write-back
	equal "btrfs has write-back for who asks" "$(fact write_back)" True
	if btrfs quota enable "$disk" 2>/dev/null && sync && btrfs qgroup limit 200M "$disk" 2>/dev/null; then
		check "a quota that statvfs does not show: who writes is told, who syncs is not" script "
f = make(mnt + '/grown')
n = append_until_refused(f, 40000)
for i in range(20):
    g = make(mnt + '/late%d' % i)
    refused(lambda: os.pwrite(g, page(0), 0))
    os.fsync(g)
os.fsync(f)
holds(f, n)"
		equal "nothing is lost of it" "$(fact failed_files)" 0
	else
		skip "a quota" "btrfs has none here"
	fi
	ends
	umount "$disk"
else
	skip btrfs "no mkfs.btrfs, or no such file system"
fi
finish
