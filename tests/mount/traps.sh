#!/bin/bash
# The traps that tools of this kind have fallen into, as far as they show without PostgreSQL. Each case is
# named after its trap. traps.py does the work, here are the mounts around it.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need traps zstd python3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/traps"
store=$TEST_WORK/traps/store
mnt=$TEST_WORK/traps-mnt
diff=$TEST_WORK/traps/diff
own_dir "$mnt"

phase() { # PHASE: as the owner, with a limit: a hang is a failure
	local rc
	as_owner timeout -k 5 120 python3 "$TEST_TOP/tests/mount/traps.py" "$mnt" "$1" && return 0 || rc=$?
	if [ $rc = 1 ]; then TEST_FAILED=$((TEST_FAILED + 1)); else not_ok "phase $1" "exit status $rc"; fi
}

remount() {
	must pgo umount "$mnt"
	must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
}

for engine in uring threads; do
	echo "# engine $engine"
	rm -rf "$diff"
	must pgo mount "$store" "$mnt" --diff "$diff" --io-engine $engine >/dev/null
	equal "the engine is in use ($engine)" "$(pgo status "$mnt" --format json | json engine)" $engine
	phase fresh
	phase write
	sync
	echo 2 >/proc/sys/vm/drop_caches 2>/dev/null
	phase check
	remount
	phase check
	must pgo umount "$mnt"
done

# Unsynced state, and then the daemon dies: what it had answered is in the host's page cache.
rm -rf "$diff"
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
phase write
must pgo status "$mnt" --sync >/dev/null
kill -9 "$(serving_pid "$mnt")"
for _ in $(seq 50); do is_mounted "$mnt" || break; sleep 0.1; done
if is_mounted "$mnt"; then not_ok "a killed daemon leaves no dead mount"; else ok "a killed daemon leaves no dead mount"; fi
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
phase check
must pgo umount "$mnt"

# Descriptors running out: the daemon has fewer than one a file.
rm -rf "$diff"
(
	ulimit -n 128
	pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
) || must pgo status "$mnt"
pid=$(serving_pid "$mnt")
equal "the daemon's limit is 128" "$(awk '/Max open files/ { print $4 }' "/proc/$pid/limits")" 128
phase many
fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
if [ "$fds" -le 128 ]; then ok "descriptors running out"; else not_ok "descriptors running out" "$fds are open"; fi
must pgo umount "$mnt"

# What the server must not see of a backup, with tablespaces.
if [ -f "$TEST_TOP/tests/fixtures/tablespace/store.tar.zst" ]; then
	must unpack "$TEST_TOP/tests/fixtures/tablespace/store.tar.zst" "$TEST_WORK/traps/t"
	must pgo mount "$TEST_WORK/traps/t/store" "$mnt" --read-only >/dev/null
	phase tablespace
	must pgo umount "$mnt"
fi
finish
