#!/usr/bin/env python3
"""coverage.py COVERAGE_JSON TOP: lines covered by room; every uncovered line has a reason, every reason a line."""
import json
import os
import re
import sys

ROOMS = ("diff", "overlay", "layer", "codec", "io")
WANTED = 90.0
FUNCTION = re.compile(r"^[A-Za-z_][^;=]*?\b(\w+)\(")


def functions(path):
    """The name of the function that each line belongs to. A function ends with a brace in the first column."""
    names, current = [], None
    with open(path) as f:
        for line in f:
            if current is None or line[:1] not in (" ", "\t", "{", "}", "\n", ""):
                found = FUNCTION.match(line)
                current = found.group(1) if found else current
            names.append(current or "-")
            if line.startswith("}"):
                current = None
    return names


def read_reasons(path):
    reasons = {}
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                words = line.rstrip("\n").split("\t")
                if len(words) != 3 or not words[2].strip():
                    sys.exit(f"{path}:{number}: not FILE, FUNCTION, reason with tabs between")
                reasons[words[0], words[1]] = words[2]
    return reasons


def reason_for(reasons, path, name, text):
    """The key of the reason for a line: of its function, of its file, or of what it says wherever that is."""
    for key in ((path, name), (path, "*")):
        if key in reasons:
            return key
    return next((k for k in reasons if k[0] == "*" and re.search(k[1], text)), None)


def main():
    data, top = json.load(open(sys.argv[1])), sys.argv[2]
    reasons = read_reasons(os.path.join(top, "tests", "coverage.reasons"))
    used, total, covered, without = set(), {}, {}, []
    for file in data["files"]:
        path = file["file"]
        room = path.split("/")[1]
        if room not in ROOMS or not path.endswith(".c"):
            continue
        names = functions(os.path.join(top, path))
        texts = open(os.path.join(top, path)).read().split("\n")
        for line in file["lines"]:
            if line.get("gcovr/noncode"):
                continue
            total[room] = total.get(room, 0) + 1
            if line["count"] > 0:
                covered[room] = covered.get(room, 0) + 1
                continue
            name = names[line["line_number"] - 1]
            key = reason_for(reasons, path, name, texts[line["line_number"] - 1].strip())
            if key:
                used.add(key)
            else:
                without.append((path, name, line["line_number"]))
    passed = failed = 0
    for room in ROOMS:
        share = 100.0 * covered.get(room, 0) / max(1, total.get(room, 0))
        good = share >= WANTED
        passed, failed = passed + good, failed + (not good)
        print(f"{'ok' if good else 'not ok'} src/{room}: {covered.get(room, 0)} of {total.get(room, 0)} lines, {share:.1f} %")
    by_function = {}
    for path, name, line in without:
        by_function.setdefault((path, name), []).append(line)
    for (path, name), lines in sorted(by_function.items()):
        print(f"no reason: {path}\t{name}\t{','.join(map(str, lines))}")
    stale = sorted(set(reasons) - used)
    for path, name in stale:
        print(f"no use: {path}\t{name}")
    good = not by_function and not stale
    passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


main()
