#!/usr/bin/env python3
"""A ledger outside of the database: which rows the server said are committed.

  ledger.py create --host DIR --port P [--db D]
  ledger.py run    --host DIR --port P [--db D] --file F [--clients N] [--seconds S]
  ledger.py verify --host DIR --port P [--db D] --file F [--until NS]

run: each client inserts row after row; when the server has acknowledged the commit, one line is appended to F and synced:
client, first and last row, and the moment (see recorder_now in recorder.h).
Clients end quietly when the server goes away: that is what the test does to them. Prints how many were recorded.
verify: every row that was recorded until then is there with the right content, and no row is there that no client sent."""
import argparse
import hashlib
import os
import sys
import threading
import time

from pgwire import Connection, ServerError


def payload(client, number):
    digest = hashlib.md5(f"{client}/{number}".encode()).hexdigest()
    return digest * (1 + number % 12)


class Ledger:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        dirfd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(dirfd)
        os.close(dirfd)

    def record(self, client, first, last):
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        os.write(self.fd, f"{client} {first} {last} {now}\n".encode())
        os.fdatasync(self.fd)

    @staticmethod
    def rows(path, until):
        found = set()
        with open(path, encoding="ascii") as f:
            for line in f:
                if line.endswith("\n"):
                    client, first, last, *when = map(int, line.split())
                    # A line without a moment was always there.
                    if until is None or not when or when[0] <= until:
                        found.update((client, n) for n in range(first, last + 1))
        return found


def connect(args):
    return Connection(args.host, args.port, args.db)


def create(args):
    conn = connect(args)
    conn.query("create table if not exists ledger(client int, n int, pad text, primary key (client, n));"
               "create table if not exists ledger_last(client int primary key, n int)")
    conn.close()
    return 0


def client_loop(args, client, ledger, until, counts):
    try:
        conn = connect(args)
        (top,) = conn.query(f"select coalesce(max(n), 0) from ledger where client = {client}")[0]
        number = int(top)
        while time.monotonic() < until:
            # Transactions of one to four rows; every eighth one also moves the client's counter.
            first, last = number + 1, number + 1 + number % 4
            values = ",".join(f"({client},{n},'{payload(client, n)}')" for n in range(first, last + 1))
            text = f"begin; insert into ledger values {values};"
            if number % 8 == 0:
                text += (f"insert into ledger_last values ({client},{last})"
                         f" on conflict (client) do update set n = excluded.n;")
            conn.query(text + "commit")
            ledger.record(client, first, last)
            counts[client] += last - first + 1
            number = last
        conn.close()
    except (OSError, ServerError) as e:
        if args.must_last:
            print(f"ledger: client {client}: {e}", file=sys.stderr)
            counts[-1] += 1


def run(args):
    ledger = Ledger(args.file)
    counts = [0] * (args.clients + 1)  # the last one counts failures
    until = time.monotonic() + args.seconds
    threads = [threading.Thread(target=client_loop, args=(args, c, ledger, until, counts), daemon=True)
               for c in range(args.clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(args.seconds + 120)
    hung = sum(t.is_alive() for t in threads)
    print(f"{sum(counts[:-1])} rows recorded" + (f", {hung} clients hang" if hung else ""), flush=True)
    os._exit(1 if hung or counts[-1] else 0)


def verify(args):
    recorded = Ledger.rows(args.file, args.until)
    conn = connect(args)
    rows = {(int(c), int(n)): pad for c, n, pad in conn.query("select client, n, pad from ledger")}
    indexed = int(conn.query("set enable_seqscan = off; set enable_bitmapscan = off;"
                             "select count(*) from (select n from ledger order by client, n) x")[0][0])
    conn.close()
    missing = sorted(recorded - rows.keys())
    wrong = sorted(k for k, pad in rows.items() if pad != payload(*k))
    print(f"{len(recorded)} rows recorded, {len(rows)} there, {len(missing)} missing, {len(wrong)} wrong")
    for key in (missing + wrong)[:10]:
        print(f"  client {key[0]} row {key[1]}")
    if indexed != len(rows):
        print(f"the index shows {indexed} rows")
    return 1 if missing or wrong or indexed != len(rows) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("create", "run", "verify"))
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--db", default="postgres")
    parser.add_argument("--file")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--until", type=int, metavar="NS")
    parser.add_argument("--must-last", action="store_true", help="a client that loses the server is a failure")
    args = parser.parse_args()
    if args.action != "create" and not args.file:
        parser.error("--file is missing")
    sys.exit({"create": create, "run": run, "verify": verify}[args.action](args))


if __name__ == "__main__":
    main()
