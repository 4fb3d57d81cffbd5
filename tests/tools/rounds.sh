#!/bin/bash
# rounds.sh SCRIPT COUNTER SEED BUDGET EACH [VARIABLE=VALUE]...: runs a test script again and again, each time with other
# random numbers and at most EACH in the variable COUNTER, until BUDGET are done; the VARIABLEs take turns. It works in memory
# where there is room: what costs time is then the mounts alone. The last lines are those of a campaign.
set -uo pipefail

script=$1 counter=$2 seed=$3 left=$4 each=$5
shift 5
base=${TEST_BASE:-/tmp}
[ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -lt 4000000 ] 2>/dev/null || base=/dev/shm
work=$(mktemp -d "$base/pgoverlay-rounds.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 0755 "$work"
out=$work/out
failed=0
for ((n = 0; left > 0 && !failed; n++)); do
	count=$((left < each ? left : each))
	left=$((left - count))
	turn=("TEST_SEED=$((seed + n))" "$counter=$count")
	[ $# = 0 ] || turn+=("${@:n % $# + 1:1}")
	mkdir -p "$work/run"
	env TEST_WORK="$work/run" "${turn[@]}" "$script" 2>&1 | tee -a "$out" | grep -v '^ok '
	[ "${PIPESTATUS[0]}" = 0 ] || failed=1
	if [ $failed = 1 ]; then
		echo "again: ${turn[*]} $script"
		left_over=$(mktemp -d /var/tmp/pgoverlay-failed.XXXXXX)
		cp -a --sparse=always "$work/run/." "$left_over/" && echo "what it has left is in $left_over"
	fi
	rm -rf --one-file-system "$work/run"
done
awk '/^ok /{ for (i = 2; i < NF; i++) if ($(i + 1) ~ /^acknowledged/) sum += $i } END { print "# " sum + 0 " acknowledged" }' "$out"
passed=$(grep -c '^ok ' "$out")
bad=$(grep -c '^not ok ' "$out")
[ $failed = 0 ] || [ "$bad" != 0 ] || bad=1
echo "$passed passed, $bad failed, $(grep -c '^skip: ' "$out") skipped"
[ "$bad" = 0 ] && [ "$passed" -gt 0 ]
