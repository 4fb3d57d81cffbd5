"""pgbench: select-only, and TPC-B by `up` and all through FUSE."""
from figures import Figure, side
from place import fill_cache


def run_pairs(site, figure, native, mine, argv):
    for n in range(site.pairs):
        tps, cpu = {}, {}
        for who in ((native, mine), (mine, native))[n % 2]:
            native.sql("checkpoint")
            mine.sql("checkpoint")
            fill_cache(native.place(), mine.place())
            box = []
            _, spent = side(who, lambda s: box.append(s.pgbench(*argv)))
            tps[who], cpu[who] = box[0], spent / box[0]
        figure.add(tps[mine] / tps[native], cpu[native] / cpu[mine])


def per_transaction(site, mine, argv, figure):
    """Requests by type for a transaction, and what was made durable how, of one more run."""
    mine.sql("checkpoint")
    fill_cache(mine.place())
    before = site.status(mine.mountpoint)
    count = mine.pgbench(*argv) * int(argv[argv.index("-T") + 1])
    after = site.status(mine.mountpoint)
    made = {k: v["count"] - before["requests"].get(k, {"count": 0})["count"] for k, v in after["requests"].items()}
    figure.notes.append("requests a transaction: " + ", ".join(f"{k} {n / count:.3f}" for k, n in made.items() if n))
    figure.notes.append("syncs a transaction: " + ", ".join(f"{k} {(after[k] - before[k]) / count:.3f}" for k in ("fast_syncs", "groups")))


def profiled(site, mine, argv, figure):
    if site.profiles.wanted:
        mine.sql("checkpoint")
        fill_cache(mine.place())
        site.profiles.serving(figure, mine.daemon, lambda: mine.pgbench(*argv))


def select_only(site):
    figure = Figure("select-only pgbench, warm, after a checkpoint", 0.95, 0.9)
    native, clone = site.native(), site.clone()
    argv = ["-S", "-c", "4", "-j", "1", "-T", "15" if site.full else "4"]
    for s in (native, clone):
        s.sql("select count(*) from pgbench_accounts; select count(*) from (select aid from pgbench_accounts order by aid) x")
        s.pgbench(*argv)
    run_pairs(site, figure, native, clone, argv)
    per_transaction(site, clone, argv, figure)
    profiled(site, clone, argv, figure)
    site.stop(clone)
    site.stop(native)
    return [figure]


def tpcb(site, figure, make):
    native, mine = site.native(), make()
    argv = ["-c", "4", "-j", "1", "-T", "30" if site.full else "6"]
    for s in (native, mine):
        s.sql("select count(*) from pgbench_accounts")
        s.pgbench(*argv)
    run_pairs(site, figure, native, mine, argv)
    per_transaction(site, mine, argv, figure)
    profiled(site, mine, argv, figure)
    site.stop(mine)
    site.stop(native)
    return [figure]


def tpcb_up(site):
    return tpcb(site, Figure("TPC-B pgbench, `up` with its defaults", 1.05, 0.95), site.clone)


def tpcb_fuse(site):
    return tpcb(site, Figure("TPC-B pgbench, all through FUSE", 0.9, 0.8), site.through_fuse)


ROWS = {"select": select_only, "tpcb-up": tpcb_up, "tpcb-fuse": tpcb_fuse}
