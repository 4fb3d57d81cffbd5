"""scripts/bench: the figures of a clone beside a restored copy, as ratios. Asserts no time.

Both sides lie on the same file system and have the same settings. Runs take turns; what counts is the median of the pairs' ratios
(above 1: the clone is faster), by the clock and by processor time of the server's processes and the serving process together."""
import argparse
import json
import os
import sys
import tempfile
import time

import row_bulk
import row_example
import row_pgbench
import row_restore
import row_scan
import row_start
import row_synth
from figures import table
from place import MARK, Site

ROWS = {**row_start.ROWS, **row_scan.ROWS, **row_pgbench.ROWS, **row_bulk.ROWS, **row_synth.ROWS, **row_restore.ROWS, **row_example.ROWS}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=list(ROWS), metavar="NAME", help=f"only this one; may be repeated: {', '.join(ROWS)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scale", choices=["small", "full"], default="small", help="small: about a quarter of an hour")
    parser.add_argument("--write-through", action="store_true", help="with the option of that name for every clone")
    parser.add_argument("--profile", metavar="DIR", help="also write DIR/FIGURE.txt: where the serving process spends its time, of one more run after "
                        "each figure's pairs; needs perf (scripts/setup bench)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--work", help="an empty or missing directory that user postgres can reach; removed at the end")
    parser.add_argument("--keep", action="store_true", help="keep the stores made in --work; a later run with both options uses them")
    parser.add_argument("--pgoverlay", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.keep and not args.work:
        parser.error("--keep needs --work")
    if args.work and os.path.isdir(args.work) and os.listdir(args.work) and not (args.keep and os.path.exists(os.path.join(args.work, MARK))):
        parser.error(f"{args.work} is not empty")
    args.work = args.work or tempfile.mkdtemp(prefix="pgoverlay-bench.", dir="/var/tmp")
    site, figures, failed = Site(args), [], False
    try:
        for name in args.row or ROWS:
            begun = time.monotonic()
            try:
                figures += ROWS[name](site)
            except Exception as e:  # the other rows are still worth having
                print(f"bench: {name}: {e}", file=sys.stderr)
                failed = True
            finally:
                site.close()
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
        print(table(figures))
        if args.json:
            with open(args.json, "w", encoding="utf-8") as f:
                json.dump([figure.json() for figure in figures], f, indent=1)
    finally:
        site.close()
        site.clear(args.keep)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
