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
    return [figure]


ROWS = {"start": first_answer}
