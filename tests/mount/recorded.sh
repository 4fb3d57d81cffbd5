#!/bin/bash
# A disk that keeps a log of what it is told to write and to flush, with ext4 and a diff on it, under a writer with a ledger.
# Afterwards every state that a power cut may have left is made: up to a flush, with any part of what was on its way to the
# next one. Each must mount, and have everything that was acknowledged by then.
#
#   RECORDED_STATES   how many
#   TEST_SEED         of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"

states=${RECORDED_STATES:-40}
mib=40
reserve=1M # a disk of this size has no room for what the kernel may hold with more
need recorded zstd losetup mkfs.ext4 fusermount3 || finish
use_tools
use_recorder
mkdir -p "$power/dump"

# record OPERATIONS [VARIABLE=VALUE]...: leaves a log and its ledger
record() {
	local operations=$1
	shift
	recorder_on $mib || return 1
	new_clone && mount_clone "$@" || return 1
	backup=$(sed -n 's/mounted backup \([^ ]*\) .*/\1/p' "$power/facts")
	timeout 300 "$ledger" write "$mnt/ledger" "$books/ledger" "$RANDOM" "$operations" >"$power/wrote" || return 1
	read -r acknowledged error _ <"$power/wrote"
	[ "$error" = - ] || { cat "$power/wrote"; return 1; }
	kill -9 "$pid"
	recorder_off
}

replay() { # STATES
	"$power/tools/replay" "$disk_log" $mib "${image_dir:-$power}/state" "$disk" "$1" "$seed" \
		ledger "$books/ledger" "$books" "$store" "$backup" "$power/dump" >"$power/replayed" 2>&1
}

echo "# seed $seed"
must record $((100 + states / 4))
if replay "$states"; then
	ok "recorded: $acknowledged acknowledged, $(tail -n 1 "$power/replayed")"
else
	tail -n 20 "$power/replayed" | sed 's/^/    /'
	not_ok "recorded" "seed $seed: $(grep -m 1 LOST "$power/replayed")"
fi

# A program that answers before its journal is on the disk, or writes it before the data, must be found out.
if [ -z "${RECORDED_STATES:-}" ]; then
	program=$power/tools/pgoverlay_doomed
	must record 100 DEFECT=2
	if replay 20; then not_ok "defect 2 is found" "not in 20 states; seed $seed"; else check "defect 2 is found" grep LOST "$power/replayed"; fi
fi
finish
