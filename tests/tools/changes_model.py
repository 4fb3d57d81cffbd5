#!/usr/bin/env python3
"""changes_model.py work MOUNTPOINT SEED COUNT: does random operations on the files of a mounted clone and prints what they changed.
changes_model.py compare MODEL ANSWER: compares that with the answer of `pgoverlay changes --format json`."""
import json
import os
import random
import sys

BLOCK = 8192


class File:
    def __init__(self, origin, size):
        self.origin, self.base, self.size = origin, size, size  # origin None: new
        self.kept, self.blocks, self.names = size, set(), 1


class Model:
    def __init__(self, root, seed):
        self.root, self.random = root, random.Random(seed)
        self.files, self.dirs, self.origins = {}, [], {}
        for where in ("base", "global"):
            for path, _, names in os.walk(os.path.join(root, where)):
                self.dirs.append(os.path.relpath(path, root))
                for name in names:
                    full = os.path.join(path, name)
                    size = os.path.getsize(full)
                    if size % BLOCK == 0 and name[0].isdigit():
                        self.add(os.path.relpath(full, root), size)
        self.dirs.sort()
        self.new_dirs, self.number = [], 0

    def add(self, path, size):
        self.files[path] = self.origins[path] = File(path, size)

    def pick(self):
        return self.random.choice(sorted(self.files))

    def path(self):
        self.number += 1
        return f"{self.random.choice(self.dirs)}/made{self.number}"

    def write(self):
        path = self.pick()
        f = self.files[path]
        first = self.random.randint(0, f.size // BLOCK)  # at the end at most
        count = self.random.randint(1, 8)
        with open(os.path.join(self.root, path), "r+b") as out:
            if first * BLOCK < f.size and self.random.random() < 0.3:  # a part of a block makes all of it the clone's
                out.seek(first * BLOCK + 100)
                out.write(b"part")
                count = 1
            else:
                out.seek(first * BLOCK)
                out.write(self.random.randbytes(count * BLOCK))
        f.blocks |= set(range(first, first + count))
        f.size = max(f.size, (first + count) * BLOCK)

    def cut(self):
        path = self.pick()
        f = self.files[path]
        size = self.random.randint(0, f.size // BLOCK) * BLOCK
        os.truncate(os.path.join(self.root, path), size)
        f.size, f.kept = size, min(f.kept, size)
        f.blocks = {b for b in f.blocks if b < size // BLOCK}

    def create(self):
        path = self.path()
        with open(os.path.join(self.root, path), "xb"):
            self.files[path] = File(None, 0)

    def rename(self):
        old, new = self.pick(), self.path()
        if self.random.random() < 0.2:
            new = self.pick()
        if self.files[old] is self.files.get(new):
            return
        os.rename(os.path.join(self.root, old), os.path.join(self.root, new))
        if new in self.files:
            self.files[new].names -= 1
        self.files[new] = self.files.pop(old)

    def remove(self):
        path = self.pick()
        os.unlink(os.path.join(self.root, path))
        self.files.pop(path).names -= 1

    def link(self):
        old, new = self.pick(), self.path()
        os.link(os.path.join(self.root, old), os.path.join(self.root, new))
        self.files[new] = self.files[old]
        self.files[new].names += 1

    def mkdir(self):
        path = self.path()
        os.mkdir(os.path.join(self.root, path))
        self.dirs.append(path)
        self.new_dirs.append(path)

    def run(self, count):
        kinds = [(self.write, 12), (self.cut, 3), (self.create, 2), (self.rename, 2), (self.remove, 1), (self.link, 1), (self.mkdir, 1)]
        for _ in range(count):
            self.random.choices([k for k, _ in kinds], [w for _, w in kinds])[0]()

    def changes(self):
        found = {}
        for path, f in self.files.items():
            cut = f.kept < f.base
            own = bool(f.blocks) or f.size != f.base or cut
            if f.origin is None:
                change = "new"
            elif path != f.origin:
                change = "linked" if f.names > 1 else "renamed"
            elif own:
                change = "modified"
            else:
                continue
            found[f"{path} {change}"] = [f.origin if f.origin != path else None, f.size, f.kept if cut else None, sorted(f.blocks)]
        for path, f in self.origins.items():
            if f.names == 0:
                found[f"{path} removed"] = [None, None, None, []]
        for path in self.new_dirs:
            found[f"{path} new"] = [None, None, None, []]
        return found


def answered(text):
    found = {}
    for c in json.loads(text)["changes"]:
        if c["change"] == "attributes":
            continue  # times of directories and of files that have another name now
        blocks = sorted(b for first, count in c.get("blocks", []) for b in range(first, first + count))
        found[f"{c['path']} {c['change']}"] = [c.get("from"), c.get("size"), c.get("kept"), blocks]
    return found


def main():
    if sys.argv[1] == "work":
        model = Model(sys.argv[2], int(sys.argv[3]))
        model.run(int(sys.argv[4]))
        json.dump(model.changes(), sys.stdout)
        return 0
    with open(sys.argv[2], encoding="utf-8") as a, open(sys.argv[3], encoding="utf-8") as b:
        wanted, got = json.load(a), answered(b.read())
    wrong = 0
    for key in sorted(wanted.keys() | got.keys()):
        if wanted.get(key) != got.get(key):
            wrong += 1
            print(f"{key}: {got.get(key)}, wanted {wanted.get(key)}"[:300])
    print(f"{len(wanted)} changes, {wrong} wrong")
    return 1 if wrong or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
