"""Operations behind tests/mount/traps.sh: traps.py MOUNTPOINT PHASE. One line a case."""

import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys

BLCKSZ = 8192
mnt, phase = sys.argv[1], sys.argv[2]
failed = False
libc = ctypes.CDLL(None, use_errno=True)

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE = 1, 2, 8, 16


def at(name):
    return os.path.join(mnt, name)


def page(n):
    return n.to_bytes(4, "little") * (BLCKSZ // 4)


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(off), ctypes.c_int64(length)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def case(function):
    """Runs a case and prints its line; its name is the docstring."""
    global failed
    try:
        function()
        print("ok", function.__doc__)
    except Exception as problem:  # every kind of failure is one line
        failed = True
        print(f"not ok {function.__doc__}: {type(problem).__name__}: {problem}")


def same(got, wanted):
    if got != wanted:
        if isinstance(got, bytes) and len(got) > 40:
            first = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
            raise AssertionError(f"{len(got)} bytes, {len(wanted)} wanted, first difference at {first}")
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


def base_files():
    """Two relation files of the backup with at least 4 blocks, the largest ones."""
    sizes = []
    for directory, _, names in os.walk(at("base")):
        for name in names:
            if name.isdigit():
                path = os.path.join(directory, name)
                sizes.append((os.stat(path).st_size, path))
    sizes.sort(reverse=True)
    return [path for _, path in sizes[:6]]


def status():
    out = subprocess.run(["pgoverlay", "status", mnt, "--format", "json"], capture_output=True, check=True)
    return json.loads(out.stdout)


# ---- fresh: on a mount nobody has touched ----


def new_relation():
    """a new relation whose size stays 0"""
    a = os.open(at("new"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    b = os.open(at("new"), os.O_RDWR)
    same(os.lseek(a, 0, os.SEEK_END), 0)
    same(os.lseek(b, 0, os.SEEK_END), 0)
    for n in range(5):
        os.pwrite(a, page(n), n * BLCKSZ)
        same(os.lseek(b, 0, os.SEEK_END), (n + 1) * BLCKSZ)
        same(os.stat(at("new")).st_size, (n + 1) * BLCKSZ)
        same(os.pread(b, BLCKSZ, n * BLCKSZ), page(n))
    os.close(a)
    os.close(b)
    os.unlink(at("new"))


def beyond_eof():
    """unexpected data beyond EOF from a cached size"""
    path = base_files()[0]
    a = os.open(path, os.O_RDWR)
    b = os.open(path, os.O_RDWR)
    size = os.lseek(a, 0, os.SEEK_END)
    os.pwrite(a, page(1), size)
    same(os.lseek(b, 0, os.SEEK_END), size + BLCKSZ)
    os.ftruncate(b, size - BLCKSZ)
    same(os.lseek(a, 0, os.SEEK_END), size - BLCKSZ)
    same(os.pread(a, BLCKSZ, size - BLCKSZ), b"")
    os.pwrite(a, page(2), size - BLCKSZ)
    same(os.lseek(b, 0, os.SEEK_END), size)
    same(os.pread(b, BLCKSZ, size - BLCKSZ), page(2))
    os.ftruncate(a, size + 3 * BLCKSZ)
    same(os.pread(b, 4 * BLCKSZ, size), bytes(3 * BLCKSZ))
    os.ftruncate(a, size)
    os.close(a)
    os.close(b)


def holes():
    """read only 0 of 8192 bytes from a sparse file's hole"""
    fd = os.open(at("sparse"), os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, page(9), 9 * BLCKSZ)
    same(os.pread(fd, BLCKSZ, 4 * BLCKSZ), bytes(BLCKSZ))
    os.ftruncate(fd, 20 * BLCKSZ)
    same(os.pread(fd, BLCKSZ, 15 * BLCKSZ), bytes(BLCKSZ))
    same(os.pread(fd, 20 * BLCKSZ, 0), bytes(9 * BLCKSZ) + page(9) + bytes(10 * BLCKSZ))
    os.close(fd)
    os.unlink(at("sparse"))


def short_reads():
    """reads past EOF that return zeros instead of a short read"""
    path = base_files()[1]
    size = os.stat(path).st_size
    fd = os.open(path, os.O_RDWR)
    same(os.pread(fd, BLCKSZ, size), b"")
    same(os.pread(fd, BLCKSZ, size + 100 * BLCKSZ), b"")
    same(len(os.pread(fd, 2 * BLCKSZ, size - BLCKSZ)), BLCKSZ)
    direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buf = mmap.mmap(-1, 2 * BLCKSZ)
    same(os.preadv(direct, [buf], size - BLCKSZ), BLCKSZ)
    same(os.preadv(direct, [buf], size), 0)
    os.close(direct)
    os.close(fd)
    fd = os.open(at("odd"), os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, b"x" * 100, 0)
    same(os.pread(fd, BLCKSZ, 0), b"x" * 100)
    same(os.pread(fd, BLCKSZ, 100), b"")
    os.close(fd)
    os.unlink(at("odd"))


def allocation():
    """fallocate that answers success and does nothing"""
    for path in (at("allocated"), base_files()[2]):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = os.fstat(fd).st_size
        before = os.pread(fd, size, 0)
        os.posix_fallocate(fd, size, 64 * BLCKSZ)
        same(os.fstat(fd).st_size, size + 64 * BLCKSZ)
        same(os.lseek(fd, 0, os.SEEK_END), size + 64 * BLCKSZ)
        same(os.pread(fd, size + 64 * BLCKSZ, 0), before + bytes(64 * BLCKSZ))
        fallocate(fd, KEEP_SIZE, size + 64 * BLCKSZ, 8 * BLCKSZ)
        same(os.fstat(fd).st_size, size + 64 * BLCKSZ)
        os.pwrite(fd, page(7), size)
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, size, BLCKSZ)
        same(os.pread(fd, BLCKSZ, size), bytes(BLCKSZ))
        if size >= BLCKSZ:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 100, 200)
            same(os.pread(fd, BLCKSZ, 0), before[:100] + bytes(200) + before[300:BLCKSZ])
            fallocate(fd, ZERO_RANGE, 0, BLCKSZ)
            same(os.pread(fd, BLCKSZ, 0), bytes(BLCKSZ))
        try:
            fallocate(fd, COLLAPSE_RANGE, 0, BLCKSZ)
            raise AssertionError("a mode that is not offered succeeded")
        except OSError as e:
            same(e.errno, errno.EOPNOTSUPP)
        os.close(fd)
    os.unlink(at("allocated"))


def open_unlinked():
    """open-unlinked files"""
    for path in (at("unlinked"), base_files()[3]):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, page(3), 0)
        os.unlink(path)
        same(os.path.exists(path), False)
        same(os.fstat(fd).st_nlink, 0)
        same(os.pread(fd, BLCKSZ, 0), page(3))
        os.pwrite(fd, page(4), BLCKSZ)
        os.fsync(fd)
        same(os.pread(fd, BLCKSZ, BLCKSZ), page(4))
        other = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        same(os.fstat(other).st_size, 0)
        same(os.pread(other, BLCKSZ, 0), b"")
        if os.fstat(other).st_ino == os.fstat(fd).st_ino:
            raise AssertionError("an inode number was used twice")
        os.close(other)
        os.close(fd)
    os.unlink(at("unlinked"))


def free_blocks():
    """statvfs with 0 free blocks"""
    st = os.statvfs(mnt)
    if st.f_bavail == 0 or st.f_blocks == 0 or st.f_bsize == 0:
        raise AssertionError(f"blocks {st.f_blocks}, available {st.f_bavail}, size {st.f_bsize}")


def page_cache():
    """page cache dropped on every write"""
    path = base_files()[4]
    fd = os.open(path, os.O_RDWR)
    size = os.fstat(fd).st_size
    first = os.pread(fd, size, 0)
    reads = status()["requests"].get("read", {"count": 0})["count"]
    os.pwrite(fd, page(1), size - BLCKSZ)
    again = os.open(path, os.O_RDONLY)
    same(os.pread(again, size, 0), first[:size - BLCKSZ] + page(1))
    same(status()["requests"]["read"]["count"], reads)
    os.close(again)
    os.close(fd)


def empty_files():
    """zero-length files that vanish"""
    count = sum(os.stat(os.path.join(d, n)).st_size == 0 for d, _, names in os.walk(mnt) for n in names)
    if count == 0:
        raise AssertionError("the backup has empty files, none is shown")


def appenders():
    """two that append never overwrite each other"""
    code = "import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND)\nfor i in range(500): os.write(fd,sys.argv[2].encode()*100)"
    open(at("appended"), "w").close()
    both = [subprocess.Popen([sys.executable, "-c", code, at("appended"), c]) for c in "ab"]
    for p in both:
        same(p.wait(timeout=60), 0)
    with open(at("appended"), "rb") as f:
        data = f.read()
    same(len(data), 100000)
    pieces = [data[i:i + 100] for i in range(0, len(data), 100)]
    same(sorted(set(pieces)), [b"a" * 100, b"b" * 100])
    same(pieces.count(b"a" * 100), 500)
    os.unlink(at("appended"))


def mapped():
    """mmap and write see each other"""
    path = base_files()[5]
    fd = os.open(path, os.O_RDWR)
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as m:
        os.pwrite(fd, page(5), 0)
        same(m[:BLCKSZ], page(5))
        m[BLCKSZ:2 * BLCKSZ] = page(6)
        same(os.pread(fd, BLCKSZ, BLCKSZ), page(6))
        m.flush()
    os.fsync(fd)
    os.close(fd)


def names():
    """rename over, exchange, no-replace, hard links"""
    for name, text in (("n1", b"one"), ("n2", b"two")):
        with open(at(name), "wb") as f:
            f.write(text)
    rename = libc.renameat2
    a, b = at("n1").encode(), at("n2").encode()
    same((rename(-100, a, -100, b, 1), ctypes.get_errno()), (-1, errno.EEXIST))
    same(rename(-100, a, -100, b, 2), 0)
    same((open(at("n1"), "rb").read(), open(at("n2"), "rb").read()), (b"two", b"one"))
    os.link(at("n1"), at("n3"))
    same(os.stat(at("n1")).st_nlink, 2)
    os.rename(at("n1"), at("n2"))
    same(open(at("n2"), "rb").read(), b"two")
    same(os.path.exists(at("n1")), False)
    same(os.stat(at("n3")).st_nlink, 2)
    same(os.stat(at("n3")).st_ino, os.stat(at("n2")).st_ino)
    os.unlink(at("n2"))
    same(os.stat(at("n3")).st_nlink, 1)
    os.unlink(at("n3"))


def listing():
    """a directory read while its files are removed shows each file once"""
    os.mkdir(at("many"))
    wanted = {f"file{i:04}" for i in range(3000)}
    for name in wanted:
        open(at("many/" + name), "w").close()
    seen = []
    with os.scandir(at("many")) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    same((len(seen), set(seen)), (len(wanted), wanted))
    same(os.listdir(at("many")), [])
    os.rmdir(at("many"))


def no_attributes():
    """calls that are not offered say so"""
    for call in (lambda: os.getxattr(at("PG_VERSION"), "user.x"), lambda: os.setxattr(at("PG_VERSION"), "user.x", b"1")):
        try:
            call()
            raise AssertionError("extended attributes are offered")
        except OSError as e:
            same(e.errno, errno.EOPNOTSUPP)
    for kind in (0o020000, 0o060000):
        try:
            os.mknod(at("device"), kind | 0o600, os.makedev(1, 3))
            raise AssertionError("a device was made")
        except OSError as e:
            same(e.errno, errno.EPERM)
    os.mkfifo(at("fifo"))
    os.unlink(at("fifo"))


# ---- write, and check after forget, umount, mount, kill ----


def chosen():
    """Files of the backup, the same ones in both phases: not the largest, which `fresh` changes."""
    sizes = []
    for directory, _, found in os.walk(at("base")):
        for name in found:
            if name.isdigit() and directory.endswith("/1"):
                path = os.path.join(directory, name)
                sizes.append((path, os.stat(path).st_size))
    return sorted(path for path, size in sizes if size >= 4 * BLCKSZ)[:8]


def write_all():
    """unsynced state dropped by forget: written"""
    files = chosen()
    with open(at("chosen"), "w") as f:
        json.dump([files, open(files[3], "rb").read(3 * BLCKSZ).hex()], f)
    dropped, emptied, recreated, cut, changed, moved = files[:6]
    os.unlink(dropped)
    os.truncate(emptied, 0)
    os.unlink(recreated)
    open(recreated, "w").close()
    os.truncate(cut, BLCKSZ + 100)
    os.truncate(cut, 3 * BLCKSZ)
    fd = os.open(changed, os.O_RDWR)
    os.pwrite(fd, page(77), BLCKSZ)
    os.close(fd)
    os.rename(moved, at("moved"))
    fd = os.open(at("written"), os.O_RDWR | os.O_CREAT, 0o640)
    for n in (0, 1, 5):
        os.pwrite(fd, page(n + 1), n * BLCKSZ)
    os.close(fd)
    open(at("empty_init"), "w").close()
    os.makedirs(at("space/PG_15"))
    os.symlink("../space", at("pg_tblspc/70001"))
    os.symlink("/nowhere/at all", at("pg_tblspc/70002"))


def check_all():
    """unsynced state dropped by forget"""
    same(open(at("written"), "rb").read(), page(1) + page(2) + bytes(3 * BLCKSZ) + page(6))
    same(os.stat(at("written")).st_mode & 0o7777, 0o640)


def check_dropped():
    """an emptied or dropped file that comes back from an older layer"""
    (files, _) = json.load(open(at("chosen")))
    dropped, emptied, recreated = files[:3]
    same(os.path.exists(dropped), False)
    same(os.path.basename(dropped) in os.listdir(os.path.dirname(dropped)), False)
    same(open(emptied, "rb").read(), b"")
    same(open(recreated, "rb").read(), b"")
    fd = os.open(emptied, os.O_RDWR)
    os.ftruncate(fd, 2 * BLCKSZ)
    same(os.pread(fd, 3 * BLCKSZ, 0), bytes(2 * BLCKSZ))
    os.ftruncate(fd, 0)
    os.close(fd)


def check_cut():
    """stale tails after a truncation"""
    (files, old) = json.load(open(at("chosen")))
    same(open(files[3], "rb").read(), bytes.fromhex(old)[:BLCKSZ + 100] + bytes(2 * BLCKSZ - 100))


def check_changed():
    """a block written into a file of the backup, a moved file"""
    (files, _) = json.load(open(at("chosen")))
    with open(files[4], "rb") as f:
        f.seek(BLCKSZ)
        same(f.read(BLCKSZ), page(77))
    same(os.path.exists(files[5]), False)
    if os.stat(at("moved")).st_size < 4 * BLCKSZ or not any(open(at("moved"), "rb").read(4 * BLCKSZ)):
        raise AssertionError("the moved file has lost its content")


def check_empty():
    """zero-length files that vanish: new ones"""
    same(os.stat(at("empty_init")).st_size, 0)


def check_links():
    """a new tablespace's symlink"""
    same(os.readlink(at("pg_tblspc/70001")), "../space")
    same(os.readlink(at("pg_tblspc/70002")), "/nowhere/at all")
    same(os.listdir(at("pg_tblspc/70001")), ["PG_15"])


# ---- many files, few descriptors ----


def many_files():
    """descriptors running out: 400 files open at once, written in turn"""
    fds = [os.open(at(f"m{i}"), os.O_RDWR | os.O_CREAT, 0o600) for i in range(400)]
    for n in range(3):
        for i, fd in enumerate(fds):
            os.pwrite(fd, page(1000 * n + i), n * BLCKSZ)
    for i, fd in enumerate(fds):
        same(os.pread(fd, 3 * BLCKSZ, 0), b"".join(page(1000 * n + i) for n in range(3)))
    for fd in fds:
        os.fsync(fd)
        os.close(fd)
    for directory, _, found in os.walk(at("base")):
        for name in found:
            open(os.path.join(directory, name), "rb").read(BLCKSZ)


def no_map():
    """tablespace_map left visible so that the server re-links production"""
    found = os.listdir(mnt)
    same([n for n in ("tablespace_map", "backup_content.control") if n in found], [])
    links = [n for n in os.listdir(at("pg_tblspc")) if not n.startswith(".")]
    if not links:
        raise AssertionError("the backup has tablespaces, none is shown")
    for name in links:
        target = os.readlink(at("pg_tblspc/" + name))
        same(target.startswith("/"), False)
        inside = os.path.realpath(at("pg_tblspc/" + name))
        same(inside.startswith(os.path.realpath(mnt) + "/"), True)
        same(os.path.isdir(inside), True)


phases = {
    "fresh": (empty_files, new_relation, holes, short_reads, allocation, beyond_eof, open_unlinked, free_blocks,
              page_cache, appenders, mapped, names, listing, no_attributes),
    "write": (write_all,),
    "check": (check_all, check_dropped, check_cut, check_changed, check_empty, check_links),
    "many": (many_files,),
    "tablespace": (no_map,),
}
for function in phases[phase]:
    case(function)
sys.exit(failed)
