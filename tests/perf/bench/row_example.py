"""The same figures of a restored copy behind the pass-through example that comes with libfuse, where its source and a compiler are: what FUSE alone costs."""
import os
import shlex
import subprocess
import time

import row_bulk
import row_pgbench
import row_scan
from place import Site, call

SOURCE = os.environ.get("FUSE_EXAMPLE", "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
OPTIONS = ["-o", "cache=always", "-o", "writeback", "-o", "allow_other", "-o", "max_threads=10"]


class ExampleSite(Site):
    """A site whose clones are restored copies behind the example."""

    def __init__(self, args):
        super().__init__(args)
        self.options, self.daemons, self.profiles.wanted = [], {}, False
        self.example = self.path("example")
        flags = shlex.split(call(["pkg-config", "--cflags", "--libs", "fuse3"]))
        call(["cc", "-O2", "-D_GNU_SOURCE", "-o", self.example, SOURCE, *flags])

    def clone(self, name="example-copy"):
        data, point = self.restored(name), self.own_dir(f"m-{name}")
        daemon = subprocess.Popen([self.example, "-f", "-o", f"source={data}", *OPTIONS, point], cwd="/")
        while not os.path.ismount(point):
            if daemon.poll() is not None:
                raise RuntimeError(f"the example ended with status {daemon.returncode}")
            time.sleep(0.01)
        self.mounts.append(point)
        self.daemons[point] = daemon
        server = self.start(point, name, daemon.pid, point)
        server.below = [data]
        return server

    through_fuse = clone

    def umount(self, point):
        call(["umount", point])
        self.mounts.remove(point)
        self.daemons.pop(point).wait(60)

    def status(self, point):
        return {"requests": {}, "fast_syncs": 0, "groups": 0}


def example(site):
    if not os.path.exists(SOURCE):
        print(f"bench: example: {SOURCE} is not there (Debian: libfuse3-dev); $FUSE_EXAMPLE may name another")
        return []
    other, figures = ExampleSite(site.args), []
    try:
        other.made = site.made
        for row in (row_scan.ROWS["scan-cold"], row_scan.ROWS["scan-warm"], row_pgbench.ROWS["select"], row_pgbench.ROWS["tpcb-fuse"], row_bulk.ROWS["bulk"]):
            figures += row(other)
    finally:
        other.close()
    for figure in figures:
        figure.name, figure.goal, figure.floor, figure.notes = f"libfuse's pass-through: {figure.name}", None, None, []
    return figures


ROWS = {"example": example}
