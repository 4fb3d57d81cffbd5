#!/bin/bash
# How many requests what PostgreSQL does comes to: counts, not times. One WRITE for a page, one GETATTR for an extension, no
# READ of what has been read, no OPEN, READ or GETATTR for a file that is open and known.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need counts zstd python3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/counts"
mnt=$TEST_WORK/counts-mnt
own_dir "$mnt"
must pgo mount "$TEST_WORK/counts/store" "$mnt" --diff "$TEST_WORK/counts/diff" --write-through >/dev/null

# shellcheck disable=SC2317 # called through check
# counted WANTED SCRIPT [at_most]: the requests that a script (f: an open file of the chain, of 10 blocks at least) makes
counted() {
	timeout -k 5 100 python3 - "$mnt" "$PGOVERLAY" "$1" "$2" "${3:-}" <<-'END'
	import json, os, subprocess, sys
	mnt, program, wanted, script, at_most = sys.argv[1:]
	def requests(*more):
	    out = subprocess.run([program, "status", mnt, "--format", "json", *more], check=True, capture_output=True).stdout
	    return {k: v["count"] for k, v in json.loads(out)["requests"].items()}
	path = os.path.join(mnt, "base/1/1249")
	f = os.open(path, os.O_RDWR)
	size = os.fstat(f).st_size
	assert size >= 10 * 8192
	page = b"p" * 8192
	os.pwrite(f, page, 0)
	os.pread(f, size, 0)
	os.fstat(f) # a write makes the kernel ask anew, once
	before = requests()
	exec(script)
	after = requests()
	made = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
	wanted = json.loads(wanted)
	if made != wanted and not (at_most and all(n <= wanted.get(k, 0) for k, n in made.items())):
	    sys.exit(f"made {made}, wanted {wanted}")
	END
}

check "a page written is one WRITE" counted '{"write": 40}' 'for i in range(40): os.pwrite(f, page, i % 10 * 8192)'
check "an extension is one WRITE and at most one GETATTR" counted '{"write": 20, "getattr": 20}' \
	'for i in range(20): os.pwrite(f, page, size + i * 8192); assert os.lseek(f, 0, os.SEEK_END) == size + (i + 1) * 8192'
check "what has been read is not asked for again" counted '{}' 'for i in range(50): os.pread(f, 8192, i % 10 * 8192)'
check "what has been written neither" counted '{"write": 1}' 'os.pwrite(f, page, 8192); assert os.pread(f, 8192, 8192) == page'
check "an fsync is one FSYNC" counted '{"write": 1, "fsync": 1}' 'os.pwrite(f, page, 0); os.fsync(f)'
check "the size of an open file is known" counted '{}' 'for i in range(50): os.lseek(f, 0, os.SEEK_END)'
check "opening and closing: no LOOKUP, no GETATTR" counted '{"open": 9, "release": 9}' \
	'for i in range(9): os.close(os.open(path, os.O_RDWR)); os.stat(path)
import time; time.sleep(0.5)'
check "umount" pgo umount "$mnt"

# With write-back: no more of anything. Closing writes the file and its times out, a status looks at nothing.
must pgo mount "$TEST_WORK/counts/store" "$mnt" --diff "$TEST_WORK/counts/diff" --write-back >/dev/null
check "write-back: pages written are at most one WRITE each" counted '{"write": 10, "setattr": 1, "fsync": 1, "getattr": 1}' \
	'for i in range(40): os.pwrite(f, page, i % 10 * 8192)
os.fsync(f)' at_most
check "write-back: an extension is at most one WRITE and no GETATTR" counted '{"write": 20, "setattr": 1, "fsync": 1}' \
	'for i in range(20): os.pwrite(f, page, size + i * 8192); assert os.lseek(f, 0, os.SEEK_END) == size + (i + 1) * 8192
os.fsync(f)' at_most
check "write-back: what has been read or written is not asked for again" counted '{}' \
	'for i in range(50): os.pread(f, 8192, i % 10 * 8192); os.lseek(f, 0, os.SEEK_END)'
check "write-back: opening and closing: no LOOKUP" counted '{"open": 9, "release": 9, "getattr": 9, "setattr": 1, "write": 10}' \
	'for i in range(9): os.close(os.open(path, os.O_RDWR)); os.stat(path)
import time; time.sleep(0.5)' at_most
check "write-back: umount" pgo umount "$mnt"
finish
