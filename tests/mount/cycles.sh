#!/bin/bash
# Mount, use, unmount, many times: nothing is left behind, nothing grows, and mounting does not become slower.
#
#   CYCLES  how many
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

cycles=${CYCLES:-50}
warm=10 # the diff has its final size after these

need cycles zstd python3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/cycles"
store=$TEST_WORK/cycles/store
mnt=$TEST_WORK/cycles-mnt
diff=$TEST_WORK/cycles/diff
own_dir "$mnt"
block=$TEST_WORK/cycles/block

# What may be left somewhere, one number each: mounts, processes, folders of running mounts, files of the home, of the
# store, of the diff, of anything else.
mounts() { grep -c "$TEST_WORK" /proc/self/mountinfo; }
processes() { # those of this mount; a zombie holds nothing
	local p n=0
	for p in /proc/[0-9]*; do
		case $(tr '\0' ' ' 2>/dev/null <"$p/cmdline") in "pgoverlay: "*" $mnt "*) n=$((n + 1)) ;; esac
	done
	echo $n
}
left() {
	echo "mounts $(mounts) processes $(processes)" \
		"run $(find "$PGOVERLAY_HOME/run" -mindepth 1 | wc -l) home $(find "$PGOVERLAY_HOME" | wc -l)" \
		"store $(find "$store" | wc -l) diff $(find "$diff" | wc -l) tmp $(find "$TEST_WORK" | wc -l)"
}
diff_bytes() { find "$diff" -type f ! -name log -printf '%s %b\n' | awk '{ s += $1; b += $2 } END { print s, b * 512 }'; }
cpu_ms() { awk -v h="$(getconf CLK_TCK)" '{ print int(($14 + $15 + $16 + $17) * 1000 / h) }' /proc/$$/stat; }

cycle() { # N: one of them; what was written last time is there, and something is written
	local got
	"$PGOVERLAY" mount "$store" "$mnt" --diff "$diff" >/dev/null || return 1
	read -r got <"$mnt/PG_VERSION" && [ "$got" = 15 ] || { echo "PG_VERSION reads '$got'"; return 1; }
	if [ "$1" -gt 1 ]; then
		read -r got <"$mnt/cycle" && [ "$got" = $(($1 - 1)) ] || { echo "the last cycle wrote '$got'"; return 1; }
	fi
	echo "$1" >"$mnt/cycle" || return 1
	dd if="$block" of="$mnt/cycle.block" bs=8192 seek=$(($1 % 8)) conv=notrunc,fsync status=none || return 1
	"$PGOVERLAY" umount "$mnt"
}

run() { # FIRST LAST
	local i
	for ((i = $1; i <= $2; i++)); do
		cycle "$i" || { echo "cycle $i"; return 1; }
		[ $((i % 1000)) != 0 ] || echo "# $i cycles, $SECONDS s"
	done
}

must head -c 8192 /dev/urandom >"$block"
chmod 0644 "$block"
must run 1 $warm
before=$(left)
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
