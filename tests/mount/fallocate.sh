#!/bin/bash
# fallocate and posix_fallocate on base and new files: sizes and content in every mode, on ext4 (or what TEST_WORK lies on)
# and on the mount; after a remount and after kill -9; ENOSPC on a small disk. fallocate_check does the work.
#
#   fallocate.sh [SEED]
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need fallocate zstd python3 mkfs.ext4 || finish
TEST_BUILD=${TEST_BUILD:-$TEST_TOP/build}
seed=${1:-$RANDOM}
base=$TEST_WORK/fallocate
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$base"
must install -m 0755 "$TEST_BUILD/tests/mount/fallocate_check" "$base/fallocate_check"
store=$base/store
mnt=$TEST_WORK/fallocate-mnt
diff=$base/diff
own_dir "$mnt"
own_dir "$base/wanted"

phase() { # PHASE ...: as the owner, with a limit
	local rc
	as_owner timeout -k 5 240 "$base/fallocate_check" "$@" && return 0 || rc=$?
	if [ $rc = 1 ]; then TEST_FAILED=$((TEST_FAILED + 1)); else not_ok "phase $1" "exit status $rc"; fi
}
requests() { pgo status "$mnt" --format json | python3 -c '
import json, sys
r = json.load(sys.stdin)["requests"].get("fallocate", 0)
print(r["count"] if isinstance(r, dict) else r)'; }
until_unmounted() {
	for _ in $(seq 100); do
		is_mounted "$mnt" || return 0
		sleep 0.1
	done
	return 1
}

# The files of relations, of several blocks each; from the middle of the list, so that different ones are used.
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
mapfile -t files < <(cd "$mnt" && find base -type f -size +64k -size -2000k | sort | shuf -n 4 --random-source=<(yes "$seed"))
equal "there are files of the backup" "${#files[@]}" 4

# The model itself holds on the host's file system.
mkdir -p "$base/plain/base" && cp -a "$mnt/base/." "$base/plain/base/" && chown "$PG_USER:" "$base/plain"
own_dir "$base/wanted.plain"
echo "# on $(stat -f -c %T "$base/plain")"
if as_owner fallocate -z -l 8192 "$base/plain/zero" 2>/dev/null; then
	phase change "$base/plain" "$base/wanted.plain" "$seed" --plain "${files[@]}"
else
	skip "fallocate on the host's file system" "$(stat -f -c %T "$base/plain") cannot zero a range"
fi

for engine in uring threads; do
	echo "# engine $engine"
	pgo umount "$mnt" >/dev/null
	rm -rf "$diff"
	must pgo mount "$store" "$mnt" --diff "$diff" --io-engine $engine >/dev/null
	phase change "$mnt" "$base/wanted" "$seed" "${files[@]}"
	count=$(requests)
	if [ "$count" -ge 100 ]; then ok "fallocate reached the mount ($engine)"; else not_ok "fallocate reached the mount ($engine)" "$count requests"; fi
	must pgo umount "$mnt"
	must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
	phase check "$mnt" "$base/wanted" "${files[@]}"
done
must pgo umount "$mnt"
rm -rf "$diff"
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
phase change "$mnt" "$base/wanted" $((seed + 1)) "${files[@]}"
kill -9 "$(serving_pid "$mnt")"
check "kill -9 leaves no mount" until_unmounted
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
echo "# after kill -9"
phase check "$mnt" "$base/wanted" "${files[@]}"
must pgo umount "$mnt"

# ---- a small disk ----

disk=$base/disk
mkdir "$disk"
truncate -s 96M "$base/disk.img"
mkfs.ext4 -q -F "$base/disk.img"
if mount -o loop "$base/disk.img" "$disk" 2>"$base/loop.err"; then
	own_dir "$disk/d"
	must pgo mount "$store" "$mnt" --diff "$disk/d/diff" --reserve 16M >/dev/null
	phase full "$mnt" "$disk" "${files[0]}"
	must pgo umount "$mnt"
	must umount "$disk"
else
	skip "fallocate on a small disk" "no loop device: $(head -n 1 "$base/loop.err")"
fi
finish
