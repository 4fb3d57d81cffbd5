"""Where a run works: programs, directories, servers, and what they cost in processor time."""
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

from profiles import Profiles

TICK = os.sysconf("SC_CLK_TCK")
PG_BIN = os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")
OWNER = "postgres"
MARK = "made-by-bench"  # in a work directory that is kept: a line for each store that is whole

# The same for both sides, whatever `up` would choose by itself.
SETTINGS = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "off", "max_wal_size": "4GB", "min_wal_size": "256MB",
    "checkpoint_timeout": "30min", "max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0", "jit": "off",
    "wal_level": "replica", "max_wal_senders": "0", "archive_mode": "off", "logging_collector": "off", "bgwriter_delay": "200ms",
    "huge_pages": "off",
}


def as_owner(argv):
    return (["runuser", "-u", OWNER, "--"] if os.geteuid() == 0 else []) + argv


def call(argv, limit=1200, **more):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit, cwd="/", **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stat_of(pid):
    """Parent, own seconds, seconds of ended children; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            words = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(words[1]), (int(words[11]) + int(words[12])) / TICK, (int(words[13]) + int(words[14])) / TICK


def tree_cpu(pid):
    """Seconds of a postmaster and its processes, the ended ones too."""
    top = stat_of(pid)
    total = top[1] + top[2] if top else 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            s = stat_of(name)
            if s and s[0] == pid:
                total += s[1] + s[2]
    return total


def evict_files(paths):
    os.sync()
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def evict(*trees):
    """The page cache of the files below; other people's stays."""
    evict_files(os.path.join(place, name) for tree in trees for place, _, names in os.walk(tree) for name in names)


def fill_cache(*places):
    """Files of the biggest relations there into the page cache: some systems give up what nobody has read for a minute."""
    for place in places:
        for base, _, names in os.walk(os.path.join(place, "base")):
            for name in names:
                path = os.path.join(base, name)
                if os.path.getsize(path) < 1 << 20:
                    continue
                with open(path, "rb", buffering=0) as f:
                    while f.read(1 << 20):
                        pass


def drop_recycled(data):
    """WAL files that wait for reuse: no backup holds them."""
    control = call([f"{PG_BIN}/pg_controldata", data])
    last = next(line.split()[-1] for line in control.splitlines() if "REDO WAL file" in line)
    for name in os.listdir(f"{data}/pg_wal"):
        if len(name) == 24 and name > last:
            os.unlink(f"{data}/pg_wal/{name}")


class Server:
    """A PostgreSQL server, on a plain directory or on a clone (daemon: the process that serves it)."""

    def __init__(self, sock, port, postmaster, daemon=None, mountpoint=None):
        self.sock, self.port, self.postmaster, self.daemon, self.mountpoint = sock, port, postmaster, daemon, mountpoint
        self.data = None  # of one that was started by pg_ctl
        self.below = []  # the directories that its files come from

    def where(self):
        return ["-h", self.sock, "-p", str(self.port), "-U", OWNER]

    def place(self):
        return self.data or self.mountpoint

    def sql(self, text, database="postgres"):
        return call(as_owner([f"{PG_BIN}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *self.where(), "-d", database, "-c", text])).strip()

    def pgbench(self, *argv):
        """Transactions a second."""
        out = call(as_owner([f"{PG_BIN}/pgbench", *self.where(), "-n", *argv, "postgres"]))
        return float(next(line for line in out.splitlines() if line.startswith("tps")).split()[2])

    def cpu(self):
        time.sleep(0.1)  # backends that have just ended are reaped
        daemon = stat_of(self.daemon) if self.daemon else None
        return tree_cpu(self.postmaster) + (daemon[1] if daemon else 0)


class Site:
    def __init__(self, args):
        self.args = args
        self.work, self.build, self.program, self.full = args.work, args.build, args.pgoverlay, args.scale == "full"
        self.pairs = args.pairs
        self.options = ["--write-through"] if args.write_through else []
        self.mounts, self.servers, self.made = [], [], set()
        self.wrap = []  # what the next command of the program runs under
        self.settings = dict(SETTINGS, shared_buffers="256MB" if self.full else "64MB")
        self.env = dict(os.environ, PGOVERLAY_HOME=os.path.join(self.work, "home"))
        os.makedirs(self.work, exist_ok=True)
        os.chmod(self.work, 0o755)
        self.profiles = Profiles(args.profile, self.work)
        if args.keep and os.path.exists(self.path(MARK)):
            with open(self.path(MARK), encoding="utf-8") as f:
                self.made = set(f.read().split())

    def path(self, *names):
        return os.path.join(self.work, *names)

    def own_dir(self, *names):
        path = self.path(*names)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path, mode=0o700)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return path

    def give(self, path):
        if os.geteuid() == 0:
            call(["chown", "-R", f"{OWNER}:", path])

    def pgo(self, *argv):
        wrap, self.wrap = self.wrap, []
        return call([*wrap, self.program, *argv], env=self.env)

    def mkstore(self, name, *argv):
        """A store, made once a run."""
        path = self.path(name)
        if name not in self.made:
            shutil.rmtree(path, ignore_errors=True)
            call([f"{self.build}/tests/tools/mkstore", path, *argv])
            self.give(path)
            self.made.add(name)
            with open(self.path(MARK), "w", encoding="utf-8") as f:
                f.write("\n".join(self.made))
        return path

    # ---- plain mounts ----

    def mount(self, store, name, *argv):
        """Mountpoint and what `mount` says of it."""
        point = self.own_dir(name)
        facts = json.loads(self.pgo("mount", store, point, "--format", "json", *argv))
        self.mounts.append(point)
        return point, facts

    def umount(self, point):
        self.pgo("umount", point)
        self.mounts.remove(point)

    def status(self, point):
        return json.loads(self.pgo("status", point, "--format", "json"))

    # ---- servers ----

    def start(self, data, name, daemon=None, mountpoint=None, settings=None):
        sock, port = self.own_dir(f"s-{name}"), free_port()
        options = " ".join(f"-c {k}={v}" for k, v in {**self.settings, **(settings or {})}.items())
        call(as_owner([f"{PG_BIN}/pg_ctl", "start", "-w", "-s", "-t", "120", "-D", data, "-l", f"{sock}/log", "-o",
                       f"{options} -c listen_addresses= -c unix_socket_directories={sock} -c port={port}"]))
        with open(f"{data}/postmaster.pid", encoding="ascii") as f:
            server = Server(sock, port, int(f.readline()), daemon, mountpoint)
        server.data = data
        self.servers.append(server)
        return server

    def stop(self, server):
        self.servers.remove(server)
        if server.mountpoint and not server.data:
            self.pgo("down", server.mountpoint)
            return
        call(as_owner([f"{PG_BIN}/pg_ctl", "stop", "-w", "-s", "-m", "fast", "-t", "300", "-D", server.data]))
        if server.mountpoint:
            self.umount(server.mountpoint)

    def up(self, store, name, diff=None):
        argv = ["up", store, "--format", "json", "--port", str(free_port()), *self.options]
        if diff:
            argv += ["--diff", diff]
        for k, v in self.settings.items():
            argv += ["--set", f"{k}={v}"]
        facts = json.loads(self.pgo(*argv))
        with open(os.path.join(facts["mountpoint"], "postmaster.pid"), encoding="ascii") as f:
            server = Server(facts["host"], facts["port"], int(f.readline()), facts["pid"], facts["mountpoint"])
        self.servers.append(server)
        return server

    def restored(self, name):
        data = self.path(name)
        shutil.rmtree(data, ignore_errors=True)
        self.pgo("restore", self.chain(), data, *(["--owner", OWNER] if os.geteuid() == 0 else []))
        return data

    def native(self, name="native"):
        """A restored copy, served."""
        return self.start(self.restored(name), name)

    def clone(self, name="clone"):
        """`up` as it comes."""
        server = self.up(self.chain(), name, self.own_dir(f"diff-{name}"))
        server.below = [self.chain()]
        return server

    def through_fuse(self, name="fuse"):
        """All through FUSE, pg_wal too."""
        point, facts = self.mount(self.chain(), f"m-{name}", "--diff", self.own_dir(f"diff-{name}"), *self.options)
        return self.start(point, name, facts["pid"], point)

    # ---- the chain that PostgreSQL runs on ----

    def cluster(self, fill):
        """A data directory to be backed up, shut down, its server given to fill before."""
        data = self.own_dir("cluster")
        call(as_owner([f"{PG_BIN}/initdb", "-k", "-N", "-D", data, "-U", OWNER, "-A", "trust", "--wal-segsize=16"]))
        server = self.start(data, "cluster", settings={"min_wal_size": "32MB", "max_wal_size": "64MB"})  # else the backup is mostly WAL
        fill(server)
        # Increments raise the LSNs of pages by some MiB each: WAL that far must have been written.
        server.sql("checkpoint; select count(pg_logical_emit_message(false, 'bench', repeat('x', 1000000))) from generate_series(1, 64)")
        server.sql("checkpoint")
        self.stop(server)
        drop_recycled(data)
        return data

    def chain(self):
        """A FULL and three zlib increments of a pgbench cluster; made once a run."""
        def fill(server):
            call(as_owner([f"{PG_BIN}/pgbench", *server.where(), "-i", "-q", "-s", "100" if self.full else "20", "postgres"]))
            server.sql("vacuum analyze")

        if "chain" not in self.made:
            data = self.cluster(fill)
            self.mkstore("chain", "--from", data, "--increments", "3", "--changed", "10", "--codec", "zlib")
            shutil.rmtree(data)
        return self.path("chain")

    def grown(self):
        """Two chains of four of an empty cluster with a hundred more relations: 1 GB, and 100 GB in as many files."""
        names = {"grown-1": "1310", "grown-100": "131072"}
        if not all(name in self.made for name in names):
            data = self.cluster(lambda server: None)
            for name, blocks in names.items():
                self.mkstore(name, "--from", data, "--more", "100", "--blocks", blocks, "--increments", "3", "--changed", "1", "--random", "0", "--same")
            shutil.rmtree(data)
        return [self.path(name) for name in names]

    def close(self):
        for server in list(self.servers):
            try:
                self.stop(server)
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                print(f"bench: {e}")
                try:
                    os.kill(server.postmaster, signal.SIGQUIT)
                except ProcessLookupError:
                    pass
        for point in list(self.mounts):
            try:
                self.umount(point)
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                print(f"bench: {e}")
                subprocess.run(["umount", "-l", point], check=False)

    def clear(self, keep):
        """Everything but, if they are kept, the stores."""
        for name in os.listdir(self.work):
            if not keep or (name != MARK and name not in self.made):
                shutil.rmtree(self.path(name), ignore_errors=True)
        if not keep:
            shutil.rmtree(self.work, ignore_errors=True)
