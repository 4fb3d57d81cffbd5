"""COPY, CREATE INDEX, VACUUM FULL. What one side has written is on the disk before the other begins."""
import os

from figures import Figure, pair

CASES = {
    "COPY": ("truncate bench_copy", "copy bench_copy from '{file}'"),
    "CREATE INDEX": ("drop index if exists bench_index", "create index bench_index on bench_copy (b, a)"),
    "VACUUM FULL": ("checkpoint", "vacuum full bench_copy"),
}


def bulk(site):
    native, clone = site.native(), site.clone()
    rows = 6000000 if site.full else 600000
    native.sql(f"create table bench_copy (a int, b int, c text); insert into bench_copy select i, hashint4(i), repeat('x', 140) "
               f"from generate_series(1, {rows}) i")
    native.sql(f"copy bench_copy to '{site.own_dir('copy')}/copy.txt'")
    file = site.path("copy", "copy.txt")
    clone.sql("create table bench_copy (a int, b int, c text)")
    figures = []
    for name, (before, statement) in CASES.items():
        figure = Figure(f"{name}", 0.9, 0.8)
        for n in range(site.pairs):
            for s in (native, clone):
                s.sql(before)
                s.sql("checkpoint")
            pair(figure, n, native, clone, lambda s, q=statement: s.sql(q.format(file=file)), os.sync)
        figures.append(figure)
    if site.profiles.wanted:
        clone.sql("drop index bench_index")
        for figure, (before, statement) in zip(figures, CASES.values()):
            clone.sql(before)
            clone.sql("checkpoint")
            site.profiles.serving(figure, clone.daemon, lambda q=statement: clone.sql(q.format(file=file)))
    site.stop(clone)
    site.stop(native)
    return figures


ROWS = {"bulk": bulk}
