"""--profile: where the serving process spends its time, a file a figure.

A profile is taken of one more run after a figure's pairs, so it disturbs no figure. It is perf's: samples by processor time, of all
threads of the process."""
import os
import re
import shutil
import signal
import subprocess
import sys

TOP = 60
LIBRARIES = ("libdeflate", "libz.", "libz-", "libisal", "liblz4", "libzstd")
DECODING = re.compile(r"^(pglz_|codec_|decode_(zlib|lz4|zstd)|gzip_)")
SUMS = re.compile(r"^(crc32|sum_page_|pg_page_(compute_)?checksum|pg_page_is_zero)")
COPYING = re.compile(r"mem(cpy|move|set)|^0x")  # without debug symbols libc's variants for each processor have no names


def kind(dso, where, symbol):
    if where == "k" or dso.startswith("["):
        return "kernel"
    if dso.startswith("libxxhash") or SUMS.match(symbol):
        return "checking sums"
    if dso.startswith(LIBRARIES) or DECODING.match(symbol):
        return "decoding"
    if dso.startswith("libc.") and COPYING.search(symbol):
        return "copying"
    return "all else"


def read_rows(report):
    """[overhead, samples, command, object, [k] or [.], symbol]; symbols that a stripped object has lost are one."""
    rows = {}
    for line in report.splitlines():
        words = [word.strip() for word in line.split("|", 4)]
        if len(words) < 5 or not words[4].startswith("["):
            continue
        where, symbol = words[4][1], words[4][4:]
        share = kind(words[3], where, symbol)
        key = (words[2], words[3], where, "(without names)" if symbol.startswith("0x") else symbol, share)
        row = rows.setdefault(key, [0.0, 0])
        row[0] += float(words[0].rstrip("%"))
        row[1] += int(words[1])
    return sorted(((*row, *key) for key, row in rows.items()), reverse=True)


def shares(rows):
    total = dict.fromkeys(("decoding", "checking sums", "copying", "kernel", "all else"), 0.0)
    for overhead, _, _, _, _, _, share in rows:
        total[share] += overhead
    whole = sum(total.values()) or 1.0
    return {k: v * 100 / whole for k, v in total.items()}


class Profiles:
    """Does nothing but its one complaint where perf is missing, or where nobody asked for it."""

    def __init__(self, directory, work):
        self.directory = directory and os.path.abspath(directory)
        self.data = os.path.join(work, "perf.data")
        self.wanted = bool(directory)
        if not self.wanted:
            return
        os.makedirs(self.directory, exist_ok=True)
        why = self.unusable()
        if why:
            self.wanted = False
            print(f"bench: no profiles: {why}", file=sys.stderr)

    def unusable(self):
        if not shutil.which("perf"):
            return "perf is not installed (scripts/setup bench)"
        done = subprocess.run([*self.record(), "--", "true"], capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip() or "perf record fails").splitlines()[-1]
        os.unlink(self.data)
        return None

    def record(self):
        return ["perf", "record", "-g", "-F", "3999", "-o", self.data]

    def command(self, figure, site, fn):
        """Of the next pgoverlay command of fn, until it ends: the program's processes alone. What fn returns."""
        if not self.wanted:
            return fn()
        site.wrap = [*self.record(), "--"]
        made = fn()
        self.report(figure, "pgoverlay,pgoverlay-io,pgoverlay-helpr")
        return made

    def serving(self, figure, pid, fn):
        """Of a serving process, while fn runs. What was measured is not lost if that fails."""
        if not self.wanted:
            return
        try:
            self.sample(pid, fn)
        except (RuntimeError, OSError, subprocess.SubprocessError) as e:
            print(f"bench: no profile of {figure.name}: {e}", file=sys.stderr)
        else:
            self.report(figure, None)

    def sample(self, pid, fn):
        control, acks = os.pipe(), os.pipe()
        argv = [*self.record(), "-p", str(pid), "-D", "-1", f"--control=fd:{control[0]},{acks[1]}"]
        with subprocess.Popen(argv, pass_fds=(control[0], acks[1]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
            os.close(control[0])
            os.close(acks[1])
            with open(control[1], "w", encoding="ascii", buffering=1) as ask, open(acks[0], encoding="ascii") as answer:
                try:
                    for word, act in (("enable", fn), ("disable", lambda: None)):
                        ask.write(word + "\n")
                        if "ack" not in answer.readline():
                            raise RuntimeError(f"perf record has ended: {perf.stderr.read()[-500:]}")
                        act()
                finally:
                    perf.send_signal(signal.SIGINT)
                    perf.communicate(timeout=120)

    def perf_report(self, comms, *more):
        argv = ["perf", "report", "-i", self.data, "--stdio", "-q", "--no-children", "--percentage", "relative", *(["--comms", comms] if comms else []), *more]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def report(self, figure, comms):
        path = os.path.join(self.directory, re.sub(r"[^a-z0-9]+", "-", figure.name.lower()).strip("-") + ".txt")
        try:
            rows = read_rows(self.perf_report(comms, "-g", "none", "-t", "|", "-F", "overhead,sample,comm,dso,symbol"))
            chains = self.perf_report(comms, "-g", "caller,0.5,callee,function,percent", "--max-stack", "12", "--percent-limit", "5",
                                      "-F", "overhead,comm,dso,symbol")
            os.unlink(self.data)
        except (OSError, subprocess.SubprocessError) as e:
            print(f"bench: no profile of {figure.name}: {e}", file=sys.stderr)
            return
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"{figure.name}: " + ", ".join(f"{k} {v:.1f} %" for k, v in shares(rows).items()) +
                    f" of {sum(row[1] for row in rows)} samples\n\n")
            for overhead, _, comm, dso, where, symbol, share in rows[:TOP]:
                f.write(f"{overhead:6.2f} %  {share:13}  {comm:15}  {dso:20}  [{where}] {symbol}\n")
            f.write("\nWho calls what takes 5 % and more:\n\n" + chains.strip("\n") + "\n")
