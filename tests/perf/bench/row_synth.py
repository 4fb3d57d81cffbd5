"""Synthetic stores, without PostgreSQL: long chains, big ones, memory, and how much a diff takes."""
import glob
import mmap
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from figures import Figure, seconds
from place import call, evict, evict_files

MOUNTS = 5
READS, PASSES = 4000, 5  # of 8 KiB in a pass; how often the second pass is made


def relations(point):
    base = os.path.join(point, "base", "5")
    return [p for p in (os.path.join(base, n) for n in sorted(os.listdir(base))) if "_" not in os.path.basename(p)]


def read_all(point, first=0.0):
    """From the first file on, or from another place in the list and around."""
    paths = relations(point)
    at = int(len(paths) * first)
    for path in paths[at:] + paths[:at]:
        with open(path, "rb", buffering=0) as f:
            while f.read(1 << 20):
                pass


def daemon_cpu(pid):
    """Seconds, of all its threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def second_mounts(site, stores, diffs):
    """The second store's over the first's: medians of some mounts each, in turns. One mount alone may take half or twice as long."""
    took = [[], []]
    for n in range(MOUNTS):
        for i in ((0, 1), (1, 0))[n % 2]:
            settle_memory(256 << 20)
            begun = time.monotonic()
            point, _ = site.mount(stores[i], "m-chain", "--diff", diffs[i])
            took[i].append(time.monotonic() - begun)
            site.umount(point)
    return statistics.median(took[1]) / statistics.median(took[0])


def chain_length(site):
    """100 increments of 1 % over one."""
    shape = ["--files", "400" if site.full else "100", "--blocks", "512", "--changed", "1", "--plain", "1000"]
    stores = [site.mkstore(f"chain-{n}", "--increments", str(n), *shape) for n in (1, 100)]
    read = Figure("chain of 100 over chain of 1: read cost", 1.1, 1.2, lower=True)
    mount = Figure("chain of 100 over chain of 1: second mount", 1.2, 1.5, lower=True)
    diffs = [site.own_dir(f"d-chain-{n}") for n in (1, 100)]
    for n in range(site.pairs + 1):
        took, cpu = [0, 0], [0, 0]
        for i in ((0, 1), (1, 0))[n % 2]:
            point, facts = site.mount(stores[i], "m-chain", "--diff", diffs[i])
            read_all(point)
            evict(point)
            before = daemon_cpu(facts["pid"])
            took[i] = seconds(lambda p=point: read_all(p))
            cpu[i] = daemon_cpu(facts["pid"]) - before
            site.umount(point)
        if n > 0:  # the first one makes the indexes
            read.add(took[1] / took[0], cpu[1] / cpu[0] if cpu[0] else None)
            mount.add(second_mounts(site, stores, diffs))
    if site.profiles.wanted:
        point, facts = site.profiles.command(mount, site, lambda: site.mount(stores[1], "m-chain", "--diff", diffs[1]))
        read_all(point)
        evict(point)
        site.profiles.serving(read, facts["pid"], lambda: read_all(point))
        site.umount(point)
    return [read, mount]


class RandomReads:
    """8 KiB at random places of files that stay open meanwhile."""

    def __init__(self, paths, count, seed):
        rng = random.Random(seed)
        self.fds = [os.open(p, os.O_RDONLY) for p in paths]
        blocks = [os.fstat(fd).st_size // 8192 for fd in self.fds]
        for fd in self.fds:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.places = [(self.fds[i], rng.randrange(blocks[i]) * 8192) for i in (rng.randrange(len(paths)) for _ in range(count))]

    def read(self):
        for fd, at in self.places:
            os.pread(fd, 8192, at)

    def evict(self):
        os.sync()
        for fd in self.fds:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self):
        for fd in self.fds:
            os.close(fd)


def big(site):
    """Ten times the bytes; --scale small: 10 GB over 1 GB. The store's files are links of one, which are read in both passes."""
    figure = Figure("random 8 KiB reads, 10 x the bytes, second pass", 0.8, 0.6)
    files = (1000, 100) if site.full else (10, 1)
    stores = [site.mkstore(f"big-{n}", "--increments", "0", "--random", "0", "--plain", "1", "--files", str(n), "--blocks", "131072", "--same") for n in files]
    points = [site.mount(s, f"m-big-{n}", "--diff", site.own_dir(f"d-big-{n}")) for s, n in zip(stores, files)]
    for n in range(site.pairs):
        took, cpu = [0, 0], [0, 0]
        for i in ((0, 1), (1, 0))[n % 2]:
            point, facts = points[i]
            reads = RandomReads(relations(point), READS, n)
            reads.read()
            for _ in range(PASSES):
                reads.evict()
                before = daemon_cpu(facts["pid"])
                took[i] += seconds(reads.read)
                cpu[i] += daemon_cpu(facts["pid"]) - before
            reads.close()
        figure.add(took[1] / took[0], cpu[1] / cpu[0] if cpu[0] else None)
    if site.profiles.wanted:
        point, facts = points[0]
        reads = RandomReads(relations(point), READS, site.pairs - 1)
        reads.evict()
        site.profiles.serving(figure, facts["pid"], reads.read)
        reads.close()
    figure.notes.append(f"{files[0]} GB over {files[1]} GB; the second pass reads the same blocks, the mount's page cache evicted")
    for point, _ in points:
        site.umount(point)
    return [figure]


def memory_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def peak_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def private_memory(pid):
    """What goes when the process goes: not the program's text and libraries, which all of them share."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_")) / 1024


def memory(site):
    files = "100000" if site.full else "10000"
    figures = []
    for n, goal in ((1, 64), (100, 128)):
        figure = Figure(f"daemon memory, {files} files, chain of {n}, idle", goal, None, unit="MiB", lower=True)
        store = site.mkstore(f"memory-{n}", "--increments", str(n), "--files", files, "--blocks", "4", "--plain", "10", "--changed", "1", "--random", "0")
        point, facts = site.mount(store, "m-memory", "--diff", site.own_dir("d-memory"))
        figure.add(memory_of(facts["pid"]))
        loaded = Figure(f"daemon memory, {files} files, chain of {n}, 16 clients read all of it", 512, None, unit="MiB", lower=True)
        with ThreadPoolExecutor(16) as readers:
            list(readers.map(lambda n, p=point: read_all(p, n / 16), range(16)))
        loaded.add(peak_of(facts["pid"]))
        site.umount(point)
        figures += [figure, loaded]
    return figures


def diff_size(site):
    """Blocks changed at random over what the data files of the diff take."""
    figure = Figure("diff size over bytes of blocks changed", 1.05, 1.1, lower=True)
    store = site.mkstore("chain-1", "--increments", "1", "--files", "100", "--blocks", "512", "--changed", "1", "--plain", "1000")
    for n in range(min(site.pairs, 3)):
        diff = site.own_dir("d-size")
        point, _ = site.mount(store, "m-size", "--diff", diff)
        rng, changed = random.Random(n), 0
        for path in relations(point):
            fd = os.open(path, os.O_WRONLY)
            for block in rng.sample(range(512), 100):
                os.pwrite(fd, b"x" * 8192, block * 8192)
                changed += 8192
            os.fsync(fd)
            os.close(fd)
        site.umount(point)
        used = 0
        for place, _, names in os.walk(os.path.join(diff, "gen")):
            used += sum(os.stat(os.path.join(place, name)).st_blocks * 512 for name in names if name != "journal")
        figure.add(used / changed)
    figure.notes.append(f"{changed >> 20} MiB changed, in single blocks at random")
    return [figure]


LISTS = ("backup_content.control", "backup.control", "page_header_map")


def list_files(store):
    """All that a mount reads: of a million data files none."""
    return [path for member in glob.glob(f"{store}/backups/*/*") for path in (os.path.join(member, name) for name in LISTS) if os.path.exists(path)]


def read_whole(paths):
    for path in paths:
        with open(path, "rb", buffering=0) as f:
            while f.read(1 << 20):
                pass


def settle_memory(most=4 << 30):
    """A virtual machine's host takes free memory back, and giving it again takes longer than what is measured: it is asked for before."""
    size = min(most, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 4)
    with mmap.mmap(-1, size) as area:
        area.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            area[at] = 1


def many_files(site):
    """The first mount of a store with very many files, nothing of it in the page cache, beside reading and parsing its lists."""
    figures = []
    for files, blocks, goal in ((100000, 1280 if site.full else 4, 1.5), (1000000, 1, None)):
        figure = Figure(f"cold mount of {files} files over reading and parsing their lists", goal, None, lower=True)
        store = site.mkstore(f"files-{files}-{blocks}", "--increments", "1", "--files", str(files), "--blocks", str(blocks), "--plain", "10",
                             "--changed", "1", "--random", "0", "--same")
        for n in range(site.pairs):
            needed = list_files(store)
            lists = [path for path in needed if path.endswith(LISTS[0])]
            evict_files(needed)
            read = seconds(lambda p=lists: read_whole(p))
            evict_files(needed)
            settle_memory()
            parse = seconds(lambda s=store: call([f"{site.build}/tests/perf/read_lists", s]))
            diff = site.own_dir(f"d-files-{n}")  # ext4 is slow to make directories where many have just been removed
            evict_files(needed)
            settle_memory()
            begun = time.monotonic()
            point, facts = site.mount(store, "m-files", "--diff", diff)
            took = time.monotonic() - begun
            memory_used = memory_of(facts["pid"])
            site.umount(point)
            figure.add(took / parse)
        if site.profiles.wanted:
            diff = site.own_dir("d-files")
            evict_files(needed)
            point, _ = site.profiles.command(figure, site, lambda s=store, d=diff: site.mount(s, "m-files", "--diff", d))
            site.umount(point)
        figure.notes.append(
            f"{sum(os.path.getsize(p) for p in lists) >> 20} MiB of lists; over reading them alone {took / read:.1f}; {memory_used:.0f} MiB of memory then")
        figures.append(figure)
    return figures


def clones(site):
    """Ten clones of one backup at once, idle; and what reading all of it takes the second of them after the first."""
    figure = Figure("memory of a further idle clone", 32, None, unit="MiB", lower=True)
    second = Figure("cold read of everything by the second clone, over the first's", 1.0, None)
    store = site.mkstore("chain-clones", "--increments", "3", "--files", "200" if site.full else "50", "--blocks", "1024", "--changed", "10", "--plain", "1000")
    points = [site.mount(store, f"m-clone-{n}", "--diff", site.own_dir(f"d-clone-{n}")) for n in range(10)]
    for _, facts in points[1:]:
        figure.add(private_memory(facts["pid"]))
    evict(store, *(point for point, _ in points[:2]))
    first = seconds(lambda: read_all(points[0][0]))
    second.add(first / seconds(lambda: read_all(points[1][0])))
    if site.profiles.wanted:
        point, facts = points[2]
        evict(point)
        site.profiles.serving(second, facts["pid"], lambda: read_all(point))
    second.notes.append("the store's files are then in the page cache")
    for point, _ in points:
        site.umount(point)
    return [figure, second]


ROWS = {"chain": chain_length, "big": big, "memory": memory, "diff": diff_size, "files": many_files, "clones": clones}
