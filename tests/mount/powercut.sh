#!/bin/bash
# The power fails under a diff: its file system is shut down at a random moment, its journal not flushed, and mounted again.
# Four threads write files and sync them; a ledger outside knows what was acknowledged. All of that must be there, whole.
#
#   POWERCUT_CYCLES   power cuts on each file system
#   POWERCUT_FS       the file systems
#   TEST_SEED         of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"

cycles=${POWERCUT_CYCLES:-4}
need powercut zstd losetup mkfs.ext4 || finish
use_tools

# one_cut: writes to the mounted clone, cuts, mounts and checks; the clone stays mounted
one_cut() { # [VARIABLE=VALUE]... for the program
	local cut
	start_writer "$RANDOM$RANDOM"
	between 20 500
	now && cut=$now
	"$power/tools/powercut" "$disk" || return 1
	[ $((RANDOM % 2)) = 0 ] || between 1 100 # the machine may see a little of it
	kill -9 "$pid"
	end_writer "$cut" EIO EROFS ENOTCONN ECONNABORTED || return 1
	disk_off && power_on || return 1
	mount_clone "$@" || { echo "it does not mount after the power cut"; return 1; }
	check_ledger
}

# Most often what was just recovered loses its power again, sometimes a diff that was unmounted in between.
cuts_on() { # FS
	local i begun=$SECONDS
	mkfs_of "$1" || return 0
	must power_make "$1" $(($([ "$1" = ext4 ] && echo 200 || echo 320)))
	for ((i = 1; i <= cycles; i++)); do
		if [ $((i % 40)) = 1 ]; then
			! is_mounted "$mnt" || must "$program" umount "$mnt"
			must new_clone
			must mount_clone
		elif [ $((RANDOM % 4)) = 0 ]; then
			must "$program" umount "$mnt"
			must mount_clone
		fi
		if one_cut >"$power/out" 2>&1; then
			ok "$1: power cut $i: $acknowledged acknowledged; $said"
		else
			sed 's/^/    /' "$power/out"
			not_ok "$1: power cut $i" "seed $seed: $(grep -m 1 LOST "$power/out" || tail -n 1 "$power/out")"
			return 0
		fi
	done
	echo "# $1: $cycles power cuts, $((SECONDS - begun)) s"
	must "$program" umount "$mnt"
	umount "$disk" || not_ok "$1: the disk can be unmounted"
}

# A program that answers before its journal is on the disk must be found out.
defect_is_found() { # DEFECT TRIES
	local i
	must power_make ext4 200
	must new_clone
	program=$power/tools/pgoverlay_doomed
	must mount_clone "DEFECT=$1"
	for ((i = 1; i <= $2; i++)); do
		if ! one_cut "DEFECT=$1" >"$power/out" 2>&1; then
			if grep -q LOST "$power/out"; then ok "defect $1 is found"; else not_ok "defect $1 is found" "$(tail -n 3 "$power/out")"; fi
			program=$PGOVERLAY
			return 0
		fi
	done
	not_ok "defect $1 is found" "not in $2 power cuts; seed $seed"
}

echo "# seed $seed, image $image"
for fs in ${POWERCUT_FS:-ext4 xfs}; do cuts_on "$fs"; done
[ -n "${POWERCUT_CYCLES:-}" ] || defect_is_found 2 20 # no sync of the journal
finish
