"""A sequential scan of one big table, cold and warm."""
from figures import Figure, pair
from place import evict, fill_cache

QUERY = "select count(*) from pgbench_accounts"


def scan(server):
    server.sql(QUERY)


def cold(site):
    """Each pair is a fresh clone without an index in its cache, so that making the index counts too."""
    figure = Figure("sequential scan, cold", 0.9, 0.6)
    native = site.native()
    for n in range(site.pairs):
        clone = site.clone()
        for s in (native, clone):
            s.sql("select 1")
        evict(*clone.below, native.place(), clone.place())
        pair(figure, n, native, clone, scan)
        if n == 0:
            figure.notes.append("requests: " + requests(site, clone))
        site.stop(clone)
    site.stop(native)
    if site.profiles.wanted:
        clone = site.clone()
        clone.sql("select 1")
        evict(*clone.below, clone.place())
        site.profiles.serving(figure, clone.daemon, lambda: scan(clone))
        site.stop(clone)
    return [figure]


def requests(site, clone):
    return ", ".join(f"{k} {v['count']}" for k, v in site.status(clone.mountpoint)["requests"].items())


def warm(site):
    figure = Figure("sequential scan, warm", 0.95, 0.9)
    native, clone = site.native(), site.clone()
    for s in (native, clone):
        scan(s)
        scan(s)
    for n in range(site.pairs * 2):
        fill_cache(native.place(), clone.place())
        pair(figure, n, native, clone, scan)
    if site.profiles.wanted:
        fill_cache(clone.place())
        site.profiles.serving(figure, clone.daemon, lambda: scan(clone))
    site.stop(clone)
    site.stop(native)
    return [figure]


ROWS = {"scan-cold": cold, "scan-warm": warm}
