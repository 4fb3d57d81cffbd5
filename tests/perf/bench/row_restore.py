"""restore, by tests/perf/restore_bench."""
import os
import re
import sys

from figures import Figure
from place import call


def restore(site):
    figure = Figure("restore over pg_probackup's work, zlib, as many jobs", 2.0, 1.3)
    bench = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "restore_bench")
    out = call([sys.executable, bench, "--pgoverlay", site.program, "--build", site.build, "--store", site.chain(), "--work", site.path("restore"),
                "--pairs", str(site.pairs)])
    found = re.search(r"pg_probackup's work, zlib: ([\d.]+) by the clock .*?, ([\d.]+) by processor time", out)
    figure.add(float(found.group(1)), float(found.group(2)))
    figure.notes.append(f"median of {site.pairs} pairs; against tests/perf/oldrestore.c, which does pg_probackup's work")
    if site.profiles.wanted:
        site.profiles.command(figure, site, lambda: site.pgo("restore", site.chain(), site.path("restored")))
    return [figure]


ROWS = {"restore": restore}
