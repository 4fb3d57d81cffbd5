"""From nothing mounted to the first answer."""
import time

from figures import Figure, seconds


def first_answer(site):
    """Fresh clones with `up`; beside it the same server on a restored copy, started by pg_ctl."""
    figure = Figure("mount to first SQL answer", 1.0, 2.0, unit="s", lower=True)
    ratios = []
    native = site.native()
    site.stop(native)
    for _ in range(site.pairs):
        begun = time.monotonic()
        clone = site.clone()
        clone.sql("select 1")
        took = time.monotonic() - begun
        site.stop(clone)
        box = []
        own = seconds(lambda b=box: b.append(site.start(native.data, "native")) or b[0].sql("select 1"))
        site.stop(box[0])
        figure.add(took)
        ratios.append(own / took)
    if site.profiles.wanted:
        site.stop(site.profiles.command(figure, site, site.clone))
    figure.notes.append("pg_ctl on a restored copy takes of that: " + ", ".join(f"{r:.2f}" for r in ratios))
    return [figure, bytes_do_not_count(site)]


def answer(site, store, name):
    begun = time.monotonic()
    clone = site.up(store, name, site.own_dir(f"diff-{name}"))
    clone.sql("select 1")
    took = time.monotonic() - begun
    site.stop(clone)
    return took


def bytes_do_not_count(site):
    figure = Figure("mount to first SQL answer, 100 GB over 1 GB in as many files", 1.1, None, lower=True)
    stores = site.grown()
    for n in range(site.pairs):
        took = [0, 0]
        for i in ((0, 1), (1, 0))[n % 2]:
            took[i] = answer(site, stores[i], "grown")
        figure.add(took[1] / took[0])
    return figure


ROWS = {"start": first_answer}
