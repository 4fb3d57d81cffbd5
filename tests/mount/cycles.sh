#!/bin/bash
# Mount, use, unmount, many times: nothing is left behind, nothing grows, and mounting does not become slower.
#
#   CYCLES  how many
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

cycles=${CYCLES:-40}
warm=5 # the diff has its final size after these
first=1000000 # of the numbers written: all have as many digits

need cycles zstd python3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/cycles"
store=$TEST_WORK/cycles/store
mnt=$TEST_WORK/cycles-mnt
diff=$TEST_WORK/cycles/diff
own_dir "$mnt"
printf -v block '%8000d' 0 # most of a block

# What may be left somewhere, one number each: mounts, processes, folders of running mounts, files of the home, of the
# store, of the diff, of anything else.
mounts() { grep -c "$TEST_WORK" /proc/self/mountinfo; }
processes() { grep -ls "^pgoverlay: .*$mnt" /proc/[0-9]*/cmdline | wc -l; } # of this mount; a zombie has no such line
left() {
	echo "mounts $(mounts) processes $(processes)" \
		"run $(find "$PGOVERLAY_HOME/run" -mindepth 1 | wc -l) home $(find "$PGOVERLAY_HOME" | wc -l)" \
		"store $(find "$store" | wc -l) diff $(find "$diff" | wc -l) tmp $(find "$TEST_WORK" | wc -l)"
}
diff_bytes() { find "$diff" -type f ! -name log -printf '%s %b\n' | awk '{ s += $1; b += $2 } END { print s, b * 512 }'; }
cpu_ms() { awk -v h="$(getconf CLK_TCK)" '{ print int(($14 + $15 + $16 + $17) * 1000 / h) }' /proc/$$/stat; }

# One of them: what was written last time is there, and something is written. No process but pgoverlay's own.
cycle() { # N
	local got
	"$PGOVERLAY" mount "$store" "$mnt" --diff "$diff" >/dev/null || return 1
	read -r got <"$mnt/PG_VERSION" && [ "$got" = 15 ] || { echo "PG_VERSION reads '$got'"; return 1; }
	if [ "$1" -gt 1 ]; then
		read -r got <"$mnt/cycle" && [ "$got" = $((first + $1 - 1)) ] || { echo "the last cycle wrote '$got'"; return 1; }
	fi
	echo $((first + $1)) >"$mnt/cycle" || return 1
	echo "$block" 1<>"$mnt/cycle.block" || return 1
	"$PGOVERLAY" umount "$mnt"
}

run() { # FIRST LAST
	local i
	for ((i = $1; i <= $2; i++)); do
		cycle "$i" || { echo "cycle $i"; return 1; }
		if [ $((i % 500)) = 0 ]; then
			echo "# $i cycles, $SECONDS s"
			[ "$(left)" = "$before" ] || { echo "left behind: $(left), not $before"; return 1; }
		fi
	done
}

sleep 3 # what lists say that have just been written is not kept in the cache
must run 1 $warm
before=$(left)
equal "nothing of the first ones is left" "${before%% home *}" "mounts 0 processes 0 run 0"
bytes=$(diff_bytes)
begun=$(date +%s%N)
cpu=$(cpu_ms)
if run $((warm + 1)) $((warm + cycles)); then ok "$cycles times mounted, used, unmounted"; else not_ok "$cycles times mounted, used, unmounted"; fi
ms=$((($(date +%s%N) - begun) / 1000000))
cpu=$(($(cpu_ms) - cpu))
equal "nothing is left behind" "$(left)" "$before"
equal "the diff does not grow" "$(diff_bytes)" "$bytes"
echo "# $before, diff (bytes, on disk) $bytes"
echo "# $cycles cycles: $((ms / cycles)) ms each, of which the commands, not the daemon, computed $((cpu / cycles)) ms"
finish
