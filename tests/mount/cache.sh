#!/bin/bash
# Indexes that are kept: a second mount asks no backup for them; whatever became of the cache, what is read is the same; and reading
# changes nothing of a diff but its cache.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need cache python3 zstd runuser || finish
work=$TEST_WORK/cache mnt=$TEST_WORK/cache/mnt diff=$TEST_WORK/cache/diff
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
store=$work/store
mkdir -p "$mnt"
# Without header maps every index costs the reading of its files.
rm "$store"/backups/*/*/page_header_map

# What the mount shows, as one sum.
content() { (cd "$mnt/base/5" && find . -type f -exec sha256sum {} + | sort | sha256sum) 2>/dev/null; }
figure() { pgo status "$mnt" --format json | json "$1"; }
kept() { find "$1" -path '*/index-*/*' -type f ! -name 'tmp-*' | wc -l; }
clone() { pgo mount "$store" "$mnt" --diff "$diff" "$@"; }
leave() { pgo umount "$mnt" >/dev/null; }

# ---- a clone ----

must clone >/dev/null
first=$(content)
builds=$(figure index_builds)
check "files without a map were read for their indexes" test "$builds" -gt 100
check "they are kept" test "$(kept "$diff/cache")" -ge "$builds"
must leave
must clone >/dev/null
equal "the second mount shows the same" "$(content)" "$first"
equal "the second mount builds nothing" "$(figure index_builds)" 0
equal "it loads what the first has built" "$(figure index_loads)" "$builds"
must leave

# ---- what is said before it serves ----

chmod g+w "$diff/cache"
must clone >/dev/null
check "a cache that others can write to is not used, the log says" grep -q "no index is kept in .* the owner's alone" "$diff/log"
must leave
chmod g-w "$diff/cache"

# ---- reading changes nothing ----

state() { (cd "$diff" && find superblock gen -type f -exec sha256sum {} + | sort); }
must clone >/dev/null
before=$(state)
content >/dev/null
equal "reading leaves superblock and generations as they are" "$(state)" "$before"
must leave

# ---- what may become of it ----

flip() { # FILE: one byte of each
	python3 - "$@" <<-'END'
		import random, sys
		for path in sys.argv[1:]:
		    with open(path, "r+b") as f:
		        data = bytearray(f.read())
		        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
		        f.seek(0)
		        f.write(data)
	END
}
find "$diff/cache" -type f -print0 | while IFS= read -r -d '' file; do echo "$file"; done >"$work/files"
mapfile -t files <"$work/files"
must flip "${files[@]}"
must clone >/dev/null
equal "a damaged cache: the same is shown" "$(content)" "$first"
equal "a damaged cache: all is built anew" "$(figure index_builds)" "$builds"
rm -rf "$diff/cache"
equal "removed under the mount: the same is shown" "$(content)" "$first"
must leave
must clone --index-memory 64K >/dev/null
content >/dev/null &
sleep 0.7
kill -9 "$(serving_pid "$mnt")"
wait
must clone --index-memory 64K >/dev/null
equal "after kill -9: the same is shown" "$(content)" "$first"
equal "with little memory: nothing is built twice" "$(($(figure index_builds) <= builds))" 1
must leave
must clone >/dev/null
equal "after kill -9: once more" "$(content)" "$first"
equal "after kill -9: all is there again" "$(figure index_builds)" 0
must leave

# ---- a disk with little room ----

small=$work/small
mkdir "$small"
if mount -t tmpfs -o size=150m,mode=0755 pgoverlay-test "$small" 2>/dev/null; then
	own_dir "$small/diff"
	must pgo mount "$store" "$mnt" --diff "$small/diff" >/dev/null
	equal "little room: the same is shown" "$(content)" "$first"
	equal "little room: it is left to the diff" "$(kept "$small/diff/cache")" 0
	check "little room: the log says so" grep -q 'not kept in the cache: No space left' "$small/diff/log"
	must leave
	umount "$small"
else
	skip "a disk with little room" "tmpfs cannot be mounted"
fi

# ---- read-only mounts share one ----

look() { pgo mount "$store" "$mnt" --read-only "$@"; }
must look >/dev/null # its owner cannot write to the home
equal "no cache: the same is shown" "$(content)" "$first"
must leave
own_dir "$PGOVERLAY_HOME/cache"
must look >/dev/null
content >/dev/null
must leave
check "root mounts, the owner keeps" test "$(find "$PGOVERLAY_HOME/cache" -type f -user "$PG_USER" | wc -l)" -ge "$builds"
mkdir -p "$work/mnt2"
must look >/dev/null
must pgo mount "$store" "$work/mnt2" --read-only >/dev/null
equal "two read-only mounts: the same is shown" "$(content)" "$first"
equal "two read-only mounts: the first builds nothing" "$(figure index_builds)" 0
must leave
mnt=$work/mnt2
equal "two read-only mounts: nor does the second" "$(content; figure index_builds)" "$first
0"
must leave
mnt=$work/mnt
home=$work/someone
own_dir "$home"
chown "$PG_USER" "$mnt"
if as_owner env -u PGOVERLAY_HOME HOME="$home" XDG_CACHE_HOME="$home/xdg" "$PGOVERLAY" mount "$store" "$mnt" --read-only >/dev/null 2>&1; then
	as_owner find "$mnt" -type f -exec cat {} + >/dev/null
	as_owner env -u PGOVERLAY_HOME HOME="$home" "$PGOVERLAY" umount "$mnt" >/dev/null
	check "a user's own cache directory" test "$(kept "$home/xdg/pgoverlay")" -ge "$builds"
else
	skip "a user's own cache directory" "users cannot mount here"
fi
finish
