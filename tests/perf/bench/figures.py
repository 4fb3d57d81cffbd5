"""Pairs, ratios, and the table."""
import statistics
import time


class Figure:
    """native and mine are lists of what the two sides of each pair took (smaller is faster); cpu the same in processor seconds."""

    def __init__(self, name, goal=None, floor=None, unit="x", lower=False):
        self.name, self.goal, self.floor, self.unit, self.lower = name, goal, floor, unit, lower
        self.values, self.cpu, self.notes = [], [], []

    def add(self, value, cpu=None):
        self.values.append(value)
        if cpu is not None:
            self.cpu.append(cpu)

    def verdict(self):
        if not self.values:
            return "not measured"
        if self.goal is None and self.floor is None:
            return "-"
        value = statistics.median(self.values)
        worse = (lambda a, b: a > b) if self.lower else (lambda a, b: a < b)
        if self.floor is not None and worse(value, self.floor):
            return "BELOW FLOOR"
        if self.goal is not None and worse(value, self.goal):
            return "between" if self.floor is not None else "MISSED"
        return "goal"

    def json(self):
        return {"figure": self.name, "unit": self.unit, "median": statistics.median(self.values) if self.values else None,
                "min": min(self.values, default=None), "max": max(self.values, default=None), "pairs": len(self.values),
                "cpu_median": statistics.median(self.cpu) if self.cpu else None, "goal": self.goal, "floor": self.floor,
                "lower_is_better": self.lower, "verdict": self.verdict(), "values": self.values, "notes": self.notes}


def table(figures):
    rows = [("figure", "median", "spread", "by cpu", "goal", "floor", "pairs", "verdict")]
    for f in figures:
        j = f.json()

        def show(x, unit=f.unit):
            return "-" if x is None else f"{x:.2f}{'' if unit == 'x' else ' ' + unit}"
        rows.append((f.name, show(j["median"]), f"{show(j['min'])} .. {show(j['max'])}" if f.values else "-", show(j["cpu_median"], "x"), show(f.goal),
                     show(f.floor), str(j["pairs"]), j["verdict"]))
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows]
    return "\n".join(lines + [f"  {f.name}: {n}" for f in figures for n in f.notes])


def seconds(fn):
    begun = time.monotonic()
    fn()
    return time.monotonic() - begun


def side(server, fn):
    """What fn(server) took: on the clock, and of processors."""
    before = server.cpu()
    took = seconds(lambda: fn(server))
    return took, server.cpu() - before


def pair(figure, number, native, mine, fn, ready=lambda: None):
    """One pair, in changing order, each side after ready(); the ratio is native's time over mine."""
    took = {}
    for who in ((native, mine), (mine, native))[number % 2]:
        ready()
        took[who] = side(who, fn)
    figure.add(took[native][0] / took[mine][0], took[native][1] / took[mine][1] if took[mine][1] > 0 else None)
