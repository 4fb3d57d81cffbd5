#!/bin/bash
# The kernel keeps writes, and the disk runs full: who writes is told, not who syncs later, and what was accepted has room.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need tight zstd python3 mkfs.ext4 || finish
work=$TEST_WORK/tight
mnt=$TEST_WORK/tight-mnt
disk=$work/disk
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
own_dir "$mnt"
mkdir "$disk"

# fresh SIZE: an empty file system of that size
fresh() {
	truncate -s "$1" "$work/image"
	mkfs.ext4 -q -F -m 10 "$work/image" && mount -o loop "$work/image" "$disk" && chown "$PG_USER:" "$disk"
}
mounted() { pgo mount "$work/store" "$mnt" --diff "$disk/diff" --reserve 8M "$@" >/dev/null; }
fact() { pgo status "$mnt" --format json | json "$1"; }

# shellcheck disable=SC2317 # through check
# script TEXT: as the owner, with what the cases share
script() {
	as_owner timeout -k 5 120 python3 -c "
import errno, os, time
mnt, disk, page = '$mnt', '$disk', lambda i: b'%08d' % i * 1024
def refused(call):
    try:
        call()
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
        return True
    return False
def make(name):
    return os.open(mnt + '/' + name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
def fill(path): # at once, so that the kernel has no reason to write
    f, end = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), 0
    for bits in range(28, 11, -1):
        while not refused(lambda: os.posix_fallocate(f, end, 1 << bits)):
            end += 1 << bits
    return f
def append_until_refused(f, limit=60000):
    for i in range(limit):
        assert os.lseek(f, 0, os.SEEK_END) == i * 8192
        if refused(lambda: os.pwrite(f, page(i), i * 8192)):
            return i
    raise AssertionError('nothing was refused')
def until_refused(f): # what has just told the kernel attributes lets some writes through
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

if ! fresh 320M 2>/dev/null; then
	skip tight "no loop devices"
	finish
fi

must mounted
equal "write-back is what a mount has where there is room" "$(fact write_back)" True
bdi=/sys/class/bdi/$(mountpoint -d "$mnt")
if [ -e "$bdi/strict_limit" ]; then
	check "the kernel holds no more than --reserve, strictly" python3 -c "
import os, sys
read = lambda path: int(open(path).read())
threshold = read('/proc/sys/vm/dirty_bytes') or os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGESIZE') * read('/proc/sys/vm/dirty_ratio') // 100
held = threshold * read('$bdi/max_ratio_fine') // 1000000
assert read('$bdi/strict_limit') == 1 and 0 < held <= 8 << 20, held"
else
	skip "the kernel's bound" "this kernel does not show it"
fi
whole=$(fact ballast_bytes)
check "host space is set aside" test "$(fact ballast_bytes)" -gt 8000000 -a "$(du -k "$disk/diff/ballast" | cut -f 1)" -gt 8000
check "who appends is told that the disk is full, who syncs is not" script "
f, r = make('grown'), os.open(mnt + '/base/1/1249', os.O_RDWR)
n = append_until_refused(f)
assert n > 5000, n
assert os.lseek(f, 0, os.SEEK_END) == n * 8192 and os.fstat(f).st_size == n * 8192
os.pread(r, 8192, 0); os.listdir(mnt + '/base/1'); os.stat(mnt + '/base/1/1249')
until_refused(r)
os.fsync(f); os.fsync(r)
holds(f, n)"
equal "status says so" "$(fact disk_is_tight) $(fact failed_files) $(fact ballast_spent)" "True 0 0"
check "also in words" sh -c "'$PGOVERLAY' status '$mnt' | grep -q 'refused: the disk is nearly full'"
check "the log says so" grep -q 'the disk is nearly full: writes are refused' "$disk/diff/log"
check "what is opened then is refused, too" script "
f = os.open(mnt + '/base/1/1259', os.O_RDWR)
assert refused(lambda: os.pwrite(f, os.pread(f, 8192, 0), 0))
until_refused(make('late'))"
check "the control file can be written" script "
f = os.open(mnt + '/global/pg_control', os.O_RDWR)
for i in range(20):
    os.pwrite(f, os.pread(f, 8192, 0), 0)
    os.fsync(f)
    time.sleep(0.05)"
check "nor do new files slip through without end, or the truncated" script "
for i in range(40):
    f, end = make('slipped%d' % i), 0
    for turn in range(2):
        os.ftruncate(f, max(end - 8192, 0))
        for j in range(end // 8192, 20000):
            if refused(lambda: os.pwrite(f, page(j), j * 8192)):
                break
        end = os.fstat(f).st_size
    os.fsync(f)"
equal "none of them was lost" "$(fact disk_is_tight) $(fact failed_files) $(fact ballast_spent)" "True 0 0"
script "for i in range(40): os.unlink(mnt + '/slipped%d' % i)"
check "with room again writes go on, by themselves" script "
f = os.open(mnt + '/base/1/1259', os.O_RDWR)
os.truncate(mnt + '/grown', 0); os.unlink(mnt + '/grown')
end = time.time() + 40
while refused(lambda: os.pwrite(f, os.pread(f, 8192, 0), 0)):
    assert time.time() < end
    time.sleep(0.2)
os.fsync(f)"
check "and the log says that" grep -q 'there is room on the disk again' "$disk/diff/log"

check "what PostgreSQL writes at each checkpoint can be written with less than the reserve left" script "
g = fill(disk + '/foreign')
os.ftruncate(g, os.fstat(g).st_size - (6 << 20))
os.fsync(g)
for i in range(40):
    f = os.open(mnt + '/pg_logical/replorigin_checkpoint.tmp', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    time.sleep(0.05)
    os.write(f, b'magic')
    os.write(f, b'sum')
    os.fsync(f)
    os.close(f)
    os.rename(mnt + '/pg_logical/replorigin_checkpoint.tmp', mnt + '/pg_logical/replorigin_checkpoint')
f = os.open(mnt + '/pg_logical/replorigin_checkpoint', os.O_RDWR)
until_refused(f)
os.ftruncate(g, 0); os.unlink(disk + '/foreign')
end = time.time() + 20
while refused(lambda: os.pwrite(f, b'x', 0)):
    assert time.time() < end
    time.sleep(0.1)"
check "what was accepted has room, whoever fills the disk" script "
f, r = make('accepted'), os.open(mnt + '/base/1/1249', os.O_RDWR)
for i in range(300): os.pwrite(f, page(i), i * 8192)
for i in range(4): os.pwrite(r, page(i), i * 8192)
g = fill(disk + '/foreign')
os.fsync(f); os.fsync(r); os.fsync(f)
holds(f, 300)
until_refused(r)"
equal "what was set aside was used" "$(fact ballast_spent) $(fact failed_files) $(fact disk_is_tight)" "1 0 True"
check "syncs of everything go on: the control file can be written" script "
os.truncate(disk + '/foreign', 0); os.unlink(disk + '/foreign')
f = os.open(mnt + '/global/pg_control', os.O_RDWR)
end = time.time() + 40
while refused(lambda: os.pwrite(f, os.pread(f, 8192, 0), 0)):
    assert time.time() < end
    time.sleep(0.2)
os.fsync(f)"
for _ in $(seq 100); do [ "$(fact ballast_bytes)" != "$whole" ] || break; sleep 0.1; done
equal "all of it is set aside again" "$(fact ballast_bytes)" "$whole"
check "kill -9 loses nothing of it" kill -9 "$(serving_pid "$mnt")"
for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
must mounted
check "all that was synced is there" script "holds(os.open(mnt + '/accepted', os.O_RDWR), 300)"
must pgo umount "$mnt"
check "nothing stays set aside" test ! -e "$disk/diff/ballast"

# Root may take the last tenth of this file system, and then there is nothing to give back: what is lost is not forgotten.
must mounted
cat >"$work/lost.py" <<-'END'
	import errno, os, sys
	mnt, disk = sys.argv[1:3]
	f, r = os.open(mnt + "/lost", os.O_RDWR | os.O_CREAT, 0o644), os.open(mnt + "/base/1/1249", os.O_RDWR)
	os.pwrite(r, b"s" * 8192, 0)
	os.fsync(r)
	for i in range(300):
	    os.pwrite(f, b"%08d" % i * 1024, i * 8192)
	g, end = os.open(disk + "/foreign", os.O_WRONLY | os.O_CREAT), 0
	for bits in range(28, 11, -1):
	    try:
	        while True:
	            os.posix_fallocate(g, end, 1 << bits)
	            end += 1 << bits
	    except OSError as e:
	        assert e.errno == errno.ENOSPC
	for turn in "first", "second":
	    try:
	        os.fsync(f)
	        sys.exit(f"the {turn} fsync says that all is well")
	    except OSError as e:
	        assert e.errno == errno.ENOSPC, e
END
check "where root has taken the last of the disk, fsync says so, again and again" timeout -k 5 60 python3 "$work/lost.py" "$mnt" "$disk"
equal "and the file counts as failed" "$(fact failed_files)" 1
pgo umount "$mnt" >/dev/null 2>&1 || pgo umount --force "$mnt" >/dev/null 2>&1
for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
rm "$disk/foreign"
must mounted
equal "what was synced before is there" "$(head -c 8192 "$mnt/base/1/1249" | tr -d s | wc -c)" 0
check "and the mount works" as_owner sh -c "echo x >'$mnt/x' && sync '$mnt/x'"
must pgo umount "$mnt"

must mounted --write-through
equal "write-through is there for who asks" "$(fact write_back) $(fact ballast_bytes)" "False 0"
must pgo umount "$mnt"
umount "$disk"

must fresh 64M
must mounted
equal "a small disk has write-through" "$(fact write_back) $(fact ballast_bytes)" "False 0"
check "and says so" grep -q 'write-through: there is little room on the disk' "$disk/diff/log"
must pgo umount "$mnt"
must mounted --write-back
equal "unless it is asked for" "$(fact write_back)" True
must pgo umount "$mnt"
umount "$disk"
finish
