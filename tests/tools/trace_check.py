#!/usr/bin/env python3
"""trace_check.py TRACE [--inside PREFIX]... [--program NAME]...: what traced processes changed, connected to or ran.

TRACE is of `strace -f -y -e trace=file,network,process`. Prints every successful call that makes, changes or removes a file
outside of the prefixes, binds or connects a socket elsewhere, or runs another program than those named, and fails if
there is one. Relative names are followed from each process's own directory."""
import argparse
import collections
import os.path
import re
import sys

LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?:<[^>]*>)?(?: .*)?$")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
FIRST = {"unlink", "rmdir", "mkdir", "chmod", "chown", "lchown", "truncate", "creat", "mknod", "utime", "utimes", "setxattr",
         "lsetxattr", "removexattr"}
FIRST_AT = {"unlinkat", "mkdirat", "fchmodat", "fchownat", "mknodat", "utimensat", "futimesat"}
FORKS = ("fork", "vfork", "clone", "clone3")
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")


def unescape(text):
    return text.encode().decode("unicode_escape", errors="replace")


class Trace:
    def __init__(self):
        self.cwd, self.forking = {}, []

    def appears(self, pid):
        """A child may be seen before its parent's fork has returned."""
        if pid not in self.cwd:
            self.cwd[pid] = self.cwd[self.forking[-1]] if self.forking else "/"

    def resolve(self, pid, directory, name):
        base = directory if directory else self.cwd[pid]
        return os.path.normpath(os.path.join(base, unescape(name)))

    def changed(self, pid, call, rest):
        """The paths a call changes."""
        names = STRING.findall(rest)
        dirs = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", rest)
        if call in ("open", "creat") and names:
            return [self.resolve(pid, None, names[0])] if call == "creat" or WRITING.search(rest) else []
        if call in ("openat", "openat2") and names:
            return [self.resolve(pid, dirs[0] if dirs else None, names[0])] if WRITING.search(rest) else []
        if call in FIRST and names:
            return [self.resolve(pid, None, names[0])]
        if call in FIRST_AT and names:
            return [self.resolve(pid, dirs[0] if dirs else None, names[0])]
        if call in ("rename", "link") and len(names) > 1:
            return [self.resolve(pid, None, n) for n in names[:2]]
        if call in ("renameat", "renameat2", "linkat") and len(names) > 1:
            return [self.resolve(pid, dirs[i] if i < len(dirs) else None, names[i]) for i in range(2)]
        if call == "symlink" and len(names) > 1:
            return [self.resolve(pid, None, names[1])]
        if call == "symlinkat" and len(names) > 1:
            return [self.resolve(pid, dirs[0] if dirs else None, names[1])]
        return []

    def reached(self, pid, call, rest):
        """What a socket is bound or connected to; a path, or text that is no path."""
        if call not in ("bind", "connect", "sendto", "sendmsg") or "sa_family=" not in rest:
            return []
        if "AF_UNIX" in rest:
            names = re.findall(r'sun_path=(@?"(?:[^"\\]|\\.)*")', rest)
            return [self.resolve(pid, None, n.strip('"')) for n in names if not n.startswith("@")]
        if "AF_NETLINK" in rest or "AF_UNSPEC" in rest:
            return []
        return ["network: " + rest[:120]]

    def call(self, pid, call, rest, result, failed):
        if call in FORKS and not failed:
            self.cwd.setdefault(int(result, 0), self.cwd[pid])
        if call == "chdir" and not failed:
            self.cwd[pid] = self.resolve(pid, None, STRING.findall(rest)[0])
        # A failed connect has still knocked at somebody's door.
        return self.changed(pid, call, rest) if not failed else [], self.reached(pid, call, rest)


def lines(path, trace):
    """Whole calls; strace splits those that another process interrupts."""
    open_calls = {}
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            line = line.rstrip("\n")
            unfinished = re.match(r"^(\d+) +(.*) <unfinished \.\.\.>$", line)
            resumed = re.match(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$", line)
            if re.match(r"^\d+ ", line):
                trace.appears(int(line.split()[0]))
            if unfinished:
                open_calls[unfinished.group(1)] = line[:-len(" <unfinished ...>")]
                if unfinished.group(2).split("(")[0] in FORKS:
                    trace.forking.append(int(unfinished.group(1)))
            elif resumed:
                if int(resumed.group(1)) in trace.forking:
                    trace.forking.remove(int(resumed.group(1)))
                yield open_calls.pop(resumed.group(1), "") + resumed.group(2)
            else:
                yield line


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trace")
    parser.add_argument("--inside", action="append", default=[])
    parser.add_argument("--program", action="append", default=[])
    args = parser.parse_args()
    trace, bad, calls, changes, programs = Trace(), [], 0, 0, collections.Counter()
    for line in lines(args.trace, trace):
        m = LINE.match(line)
        if not m:
            continue
        calls += 1
        pid, call, rest, result = int(m.group(1)), m.group(2), m.group(3), m.group(4)
        failed = result.startswith("-")
        if call == "execve" and not failed:
            program = unescape(STRING.findall(rest)[0])
            programs[os.path.basename(program)] += 1
            if os.path.basename(program) not in args.program:
                bad.append(f"ran {program}: {line[:200]}")
        paths, ends = trace.call(pid, call, rest, result, failed)
        changes += len(paths) + len(ends)
        for p in paths + ends:
            if not any(p == i or p.startswith(i.rstrip("/") + "/") or (i.endswith("*") and p.startswith(i[:-1]))
                       for i in args.inside):
                bad.append(f"{call} {p}")
    for text, count in collections.Counter(bad).most_common():
        print(f"{count} x {text}")
    print(f"{calls} calls, {changes} of them change a file or name a peer; ran: "
          + ", ".join(f"{n} x {p}" for p, n in sorted(programs.items())))
    return 1 if bad or not changes else 0


if __name__ == "__main__":
    sys.exit(main())
