"""restore, by tests/perf/restore_bench."""
import json
import os
import sys

from figures import Figure
from place import call


def restore(site):
    figure = Figure("restore over pg_probackup's work, zlib, as many jobs", 2.0, 1.3)
    bench = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "restore_bench")
    listed = site.path("restore.json")
    call([sys.executable, bench, "--pgoverlay", site.program, "--build", site.build, "--store", site.chain(), "--work", site.path("restore"),
          "--pairs", str(site.pairs), "--json", listed])
    with open(listed, encoding="utf-8") as f:
        pairs = next(found["pairs"] for found in json.load(f) if found["over"] == "pg_probackup's work, zlib")
    for pair in pairs:
        figure.add(pair["clock"], pair["cpu"])
    figure.notes.append(f"median of {site.pairs} pairs; against tests/perf/oldrestore.c, which does pg_probackup's work")
    if site.profiles.wanted:
        site.profiles.command(figure, site, lambda: site.pgo("restore", site.chain(), site.path("restored")))
    return [figure]


ROWS = {"restore": restore}
