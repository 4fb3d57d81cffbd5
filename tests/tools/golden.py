#!/usr/bin/env python3
"""golden.py DIRECTORY GOLDEN ID archive|stream [restored]: compares a directory with the lists of a real restore.

GOLDEN holds ID.sha256, ID.tree, ID.postgresql.auto.conf and, with tablespaces, ID.tblspc.tree. Names, types, sizes, modes
and SHA-256 must be equal but for these exceptions, each of which must really be used:
  auto.conf        postgresql.auto.conf: the lines above the restore's comment
  recovery.signal  of ARCHIVE backups: absent
  pg_control mode  0600 instead of 0644
  tablespace link  relative, inside the directory; what it leads to is compared instead
Nothing may be there that the lists do not name, but .pgoverlay with the directories that tablespace links lead to.

With `restored` the directory is one that `pgoverlay restore` wrote, and these are the exceptions:
  auto.conf        postgresql.auto.conf: the comment line, and the restore_command
  tablespace link  leads to another absolute path
and external directories are compared with ID.external.sha256 and ID.external.tree if the environment's EXTERNAL_ROOT says in
which directory they lie by their own names."""
import collections
import hashlib
import os
import re
import stat
import sys

HIDDEN = ".pgoverlay"
COMMENT = b"# recovery settings added by pg_probackup"
KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}

Entry = collections.namedtuple("Entry", "kind mode size link")


class Comparison:
    def __init__(self, root, golden, backup, archive, restored):
        self.root, self.golden, self.backup, self.archive, self.restored = root, golden, backup, archive, restored
        self.errors, self.compared, self.bytes = [], 0, 0
        self.used = collections.Counter()

    def error(self, text):
        self.errors.append(text)

    # ---- what is there ----

    def walk(self):
        """Every entry by its path; the readdir's type must be lstat's."""
        found, inodes, todo = {}, collections.Counter(), [""]
        while todo:
            rel = todo.pop()
            path = os.path.join(self.root, rel) if rel else self.root
            for e in os.scandir(path):
                name = f"{rel}/{e.name}" if rel else e.name
                st = os.lstat(e.path)
                kind = KINDS.get(stat.S_IFMT(st.st_mode), "?")
                seen = "l" if e.is_symlink() else "d" if e.is_dir(follow_symlinks=False) else "f"
                if seen != kind:
                    self.error(f"{name}: readdir says {seen}, lstat says {kind}")
                if e.inode() != st.st_ino:
                    self.error(f"{name}: readdir's inode {e.inode()}, lstat's {st.st_ino}")
                inodes[st.st_ino] += 1
                link = os.readlink(e.path) if kind == "l" else ""
                found[name] = Entry(kind, stat.S_IMODE(st.st_mode), st.st_size, link)
                if kind == "d":
                    todo.append(name)
        shared = [i for i, n in inodes.items() if n > 1]
        if shared:
            self.error(f"{len(shared)} inode numbers are used twice")
        return found

    # ---- what is wanted ----

    def lines(self, suffix):
        with open(os.path.join(self.golden, f"{self.backup}.{suffix}"), encoding="utf-8") as f:
            return [line.rstrip("\n") for line in f]

    def wanted_tree(self):
        tree = {}
        for line in self.lines("tree"):
            kind, mode, rest = line.split(" ", 2)
            name, link = rest.rsplit(" ", 1)
            tree[name] = (kind, int(mode, 8), link)
        return tree

    def wanted_sums(self):
        return dict(reversed(line.split("  ", 1)) for line in self.lines("sha256"))

    # ---- comparison ----

    def place_of_space(self, name, have, link, found):
        """A restored tablespace: its files take part under the link's own name."""
        if not os.path.isabs(have.link) or not os.path.isdir(have.link):
            self.error(f"{name}: leads to '{have.link}', not to an absolute directory")
            return
        if have.link != link:
            self.used["tablespace link"] += 1
        space = Comparison(have.link, self.golden, self.backup, self.archive, True)
        for path, entry in space.walk().items():
            found[f"{name}/{path}"] = entry
        self.errors += space.errors

    def place_of_links(self, tree, found):
        """Where each tablespace lies: {'pg_tblspc/16384': '.pgoverlay/...'}"""
        places = {}
        for name, (kind, _, link) in tree.items():
            if kind != "l":
                continue
            have = found.get(name)
            if not have or have.kind != "l":
                self.error(f"{name}: a link is missing")
                continue
            if self.restored:
                self.place_of_space(name, have, link, found)
                places[name] = name
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(name), have.link))
            if os.path.isabs(have.link) or target.startswith("..") or found.get(target, Entry("", 0, 0, "")).kind != "d":
                self.error(f"{name}: leads to '{have.link}', not to a directory inside")
                continue
            if have.link != link:
                self.used["tablespace link"] += 1
            places[name] = target
        return places

    def wanted_entries(self, tree, places):
        """Every path that must be there with type and mode; tablespaces at the place their link leads to."""
        wanted = {n: (k, m) for n, (k, m, _) in tree.items() if n}
        if places:
            for line in self.lines("tblspc.tree"):
                kind, mode, name = line.split(" ", 2)
                for link, place in places.items():
                    if name == link and self.restored:
                        self.check_space_mode(name, int(mode, 8))
                    elif name == link or name.startswith(link + "/"):
                        wanted[place + name[len(link):]] = (kind, int(mode, 8))
        return wanted

    def check_space_mode(self, link, mode):
        have = stat.S_IMODE(os.stat(os.path.join(self.root, link)).st_mode)
        if have != mode:
            self.error(f"what {link} leads to has mode {have:o}, wanted {mode:o}")

    def check_modes(self, wanted, found):
        for name, (kind, mode) in sorted(wanted.items()):
            have = found.get(name)
            if name == "recovery.signal" and self.archive and not have and not self.restored:
                self.used["recovery.signal"] += 1
                continue
            if not have:
                self.error(f"{name}: missing")
                continue
            self.compared += 1
            if have.kind != kind:
                self.error(f"{name}: type {have.kind}, wanted {kind}")
            if name == "global/pg_control" and have.mode == 0o600 and mode == 0o644 and not self.restored:
                self.used["pg_control mode"] += 1
            elif have.mode != mode:
                self.error(f"{name}: mode {have.mode:o}, wanted {mode:o}")

    def check_extra(self, wanted, found, places):
        parents = {HIDDEN} if HIDDEN in found else set()
        for place in places.values():
            while "/" in place:
                place = os.path.dirname(place)
                parents.add(place)
        for name in sorted(found.keys() - wanted.keys()):
            if name not in parents or not name.startswith(HIDDEN):
                self.error(f"{name}: not in the lists")

    def content(self, name, size):
        with open(os.path.join(self.root, name), "rb") as f:
            data = f.read()
            if len(data) != size:
                self.error(f"{name}: {len(data)} bytes read, size says {size}")
            if f.read(1) or os.fstat(f.fileno()).st_size != size:
                self.error(f"{name}: the size moves")
        self.bytes += len(data)
        return data

    def check_auto_conf(self, data, wanted_sum):
        with open(os.path.join(self.golden, f"{self.backup}.postgresql.auto.conf"), "rb") as f:
            golden = f.read()
        if self.restored:
            self.used["auto.conf"] += 1
            if normal_conf(data) != normal_conf(golden):
                self.error("postgresql.auto.conf: differs in more than the comment and the restore_command")
            return
        above = golden.split(COMMENT)[0]
        if hashlib.sha256(data).hexdigest() == wanted_sum:
            return
        self.used["auto.conf"] += 1
        if data.split(COMMENT)[0].rstrip(b"\n") != above.rstrip(b"\n"):
            self.error("postgresql.auto.conf: differs above the restore's comment")

    def check_sums(self, sums, found, places):
        covered = set()
        for name, wanted in sorted(sums.items()):
            real = name
            for link, place in places.items():
                if name.startswith(link + "/"):
                    real = place + name[len(link):]
            covered.add(real)
            have = found.get(real)
            if not have or have.kind != "f":
                continue  # said already
            data = self.content(real, have.size)
            if name == "postgresql.auto.conf":
                self.check_auto_conf(data, wanted)
            elif hashlib.sha256(data).hexdigest() != wanted:
                self.error(f"{name}: content differs")
        for name in found.keys() - covered:
            if found[name].kind == "f":
                self.error(f"{name}: no sum in the list")

    def check_external(self):
        if not os.path.exists(os.path.join(self.golden, f"{self.backup}.external.tree")):
            return
        root = os.environ["EXTERNAL_ROOT"]
        wanted, dirs = {}, set()
        for line in self.lines("external.tree"):
            kind, mode, name = line.split(" ", 2)
            wanted[name.rstrip().rstrip("/")] = (kind, int(mode, 8))
        for name in wanted:
            dirs.add(name.split("/")[0])
        outside = Comparison(root, self.golden, self.backup, self.archive, True)
        found = {n: e for n, e in outside.walk().items() if n.split("/")[0] in dirs}
        outside.check_modes(wanted, found)
        outside.check_extra(wanted, found, {})
        for line in self.lines("external.sha256"):
            digest, name = line.split("  ", 1)
            if name in found and hashlib.sha256(outside.content(name, found[name].size)).hexdigest() != digest:
                outside.error(f"{name}: content differs")
        self.errors += outside.errors
        self.compared += outside.compared
        self.bytes += outside.bytes

    def run(self):
        found, tree, sums = self.walk(), self.wanted_tree(), self.wanted_sums()
        places = self.place_of_links(tree, found)
        wanted = self.wanted_entries(tree, places)
        root = os.lstat(self.root)
        if tree.get("") != ("d", stat.S_IMODE(root.st_mode), ""):
            self.error(f"the root has mode {stat.S_IMODE(root.st_mode):o}")
        self.check_modes(wanted, found)
        self.check_extra(wanted, found, places)
        self.check_sums(sums, found, places)
        due = {"auto.conf": 1} if self.restored else {"auto.conf": 1, "pg_control mode": 1}
        if self.archive and not self.restored:
            due["recovery.signal"] = 1
        if self.restored:
            self.check_external()
        if places:
            due["tablespace link"] = len(places)
        for name in sorted(due.keys() | self.used.keys()):
            if due.get(name, 0) != self.used[name]:
                self.error(f"exception '{name}': used {self.used[name]} times, wanted {due.get(name, 0)}")


def normal_conf(data):
    """postgresql.auto.conf without what differs from one restore to the next."""
    head, _, tail = data.decode().rpartition("\n# recovery settings added by ")
    tail = re.sub(r"\A\w+ restore of backup (\w+) at '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d(\d\d)?'\n", r"COMMENT \1\n", tail)
    tail = re.sub(r"^restore_command = '\"[^']*'$", "restore_command", tail, flags=re.M)
    return head + tail


def main():
    if len(sys.argv) not in (5, 6) or sys.argv[4] not in ("archive", "stream") or sys.argv[5:] not in ([], ["restored"]):
        sys.exit(__doc__)
    comparison = Comparison(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "archive", len(sys.argv) == 6)
    comparison.run()
    used = ", ".join(f"{n} {c}" for n, c in sorted(comparison.used.items())) or "none"
    print(f"{comparison.compared} entries compared, {comparison.bytes} bytes read; exceptions used: {used}")
    for e in comparison.errors[:20]:
        print(f"  {e}")
    if len(comparison.errors) > 20:
        print(f"  and {len(comparison.errors) - 20} more")
    sys.exit(1 if comparison.errors else 0)


if __name__ == "__main__":
    main()
