#!/bin/bash
# `changes` equals a model of what was done: of a mounted clone, of the diff when nobody serves it, and after it was mounted again.
# TEST_LONG=1: more seeds and more operations. SEED: the first one.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need changes python3 zstd runuser || finish
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
seeds=2 operations=300
[ "$TEST_LONG" != 1 ] || seeds=20 operations=3000
echo "    seed $seed"
work=$TEST_WORK/changes mnt=$TEST_WORK/changes/mnt diff=$TEST_WORK/changes/diff
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
store=$work/store
mkdir -p "$mnt"

# shellcheck disable=SC2317 # called through check
same() { # MOUNTPOINT|DIFF
	pgo changes "$1" --format json >"$work/answer.json" || return 1
	python3 "$TEST_TOOLS/changes_model.py" compare "$work/model.json" "$work/answer.json"
}

state() { (cd "$diff" && find . -type f ! -name lock ! -name log -exec sha256sum {} + | sort); }

for ((i = 0; i < seeds; i++)); do
	rm -rf "$diff"
	must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
	pgo changes "$mnt" --format json >"$work/answer.json"
	equal "nothing is changed at first" "$(json changes <"$work/answer.json")" "[]"
	must as_owner python3 "$TEST_TOOLS/changes_model.py" work "$mnt" $((seed + i)) "$operations" >"$work/model.json"
	check "mounted, seed $((seed + i))" same "$mnt"
	check "by its diff, seed $((seed + i))" same "$diff"
	must pgo umount "$mnt" >/dev/null
	before=$(state)
	check "not mounted, seed $((seed + i))" same "$diff"
	equal "the diff is as it was, seed $((seed + i))" "$(state)" "$before"
	must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null
	check "mounted again, seed $((seed + i))" same "$mnt"
	pgo changes "$mnt" >"$work/text"
	check "as text" grep -qE '^[1-9][0-9]* changes, [1-9][0-9]* blocks$' "$work/text"
	must pgo umount "$mnt" >/dev/null
done
pgo changes "$work/nowhere" >"$work/out" 2>&1
equal "of nothing" $? 1
finish
