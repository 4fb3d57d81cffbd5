# shellcheck shell=bash
# Sourced behind lib.sh by the tests that cut the power or kill the program: a disk of its own for the diff, and the ledger
# that knows what must be there afterwards.
#
#   TEST_SEED      of everything random here
# shellcheck disable=SC2154 # what lib.sh sets

seed=${TEST_SEED:-$RANDOM}
RANDOM=$((seed % 32768)) # from here on the same numbers for the same seed
power=$TEST_WORK/power
disk=$power/disk
mnt=$power/mnt
image=$power/disk.img
books=$power/books # the ledger, and what the backup has
mkdir -p "$power" "$disk" "$books"
own_dir "$mnt"

# An image in memory, where there is room: a cycle should cost little, and it is the file system that loses its power.
image_dir=
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] 2>/dev/null; then
	image_dir=$(mktemp -d /dev/shm/pgoverlay-power.XXXXXX)
	image=$image_dir/disk.img
fi
# shellcheck disable=SC2064 # as it is now
trap "clean_up; [ -z '$image_dir' ] || rm -rf '$image_dir'" EXIT

# mkfs_of FS: false, with a line, where this machine has no such file system
mkfs_of() {
	if ! command -v "mkfs.$1" >/dev/null; then
		skip "$1" "mkfs.$1 is not installed"
	elif [ "$1" = xfs ] && ! grep -qw xfs /proc/filesystems && ! modprobe -q xfs 2>/dev/null; then
		skip "$1" "the kernel has none"
	else
		return 0
	fi
	return 1
}

power_make() { # FS MIB: a new disk, mounted
	rm -f "$image"
	truncate -s "$2M" "$image" || return 1
	case $1 in
	ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=1 "$image" ;;
	*) "mkfs.$1" -q "$image" ;;
	esac || return 1
	power_on && chown "$PG_USER:" "$disk" && chmod 0755 "$disk"
}

# power_on: again as long as the device of before has not let go
power_on() {
	local i
	for ((i = 0; i < 200; i++)); do
		if [ -z "$(losetup -j "$image")" ]; then
			mount -o loop "$image" "$disk" && return 0
		fi
		sleep 0.05
	done
	echo "the disk cannot be mounted"
	return 1
}

disk_off() { # as soon as those that the power cut has ended are gone
	local i
	for ((i = 0; i < 400; i++)); do
		umount "$disk" 2>/dev/null && return 0
		sleep 0.025
	done
	echo "the disk is still in use: $(fuser -m "$disk" 2>&1)"
	return 1
}

use_recorder() { # after use_tools
	must cp "$TEST_BUILD"/tests/tools/{recorder,replay} "$power/tools/"
	mkdir -p "$power/recorded"
	disk_log=${image_dir:-$power}/log
}

recorder_on() { # MIB: a new disk with ext4, mounted, that keeps $disk_log of what it is told to write and to flush
	"$power/tools/recorder" "$disk_log" "$1" "$power/recorded" || return 1
	image=$power/recorded/disk
	mkfs.ext4 -q -J size=$(($1 < 80 ? 4 : 16)) -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$image" && power_on && chown "$PG_USER:" "$disk"
}

# recorder_off: the log is complete when it has ended. A mount namespace of others may have a copy of the disk's mount: so it
# is told to end, whether its file is still in use or not.
recorder_off() {
	local i
	disk_off && pkill -TERM -f "^$power/tools/recorder" || return 1
	for ((i = 0; i < 400; i++)); do
		pgrep -f "^$power/tools/recorder" >/dev/null || return 0
		sleep 0.05
	done
	echo "the recorder does not end"
	return 1
}

# shellcheck disable=SC2034 # used by those that source this
now() { local up rest && read -r up rest </proc/uptime && now=${up/./}0; } # milliseconds, to $now

# between LOW HIGH: sleeps for so many milliseconds
between() { printf -v pause '0.%03d' $(($1 + RANDOM % ($2 - $1 + 1))) && sleep "$pause"; }

pristine() { # what a fresh clone has: files of the backup for the ledger; most have some blocks, none is too long
	find "$mnt/base" -type f -size +60k -size -320k ! -name '*_*' | sort | head -n $((2 * threads))
}

# some_options: most mounts are as they come, some not; to the array $options
some_options() {
	options=()
	[ $((RANDOM % 3)) != 0 ] || options+=(--io-engine threads)
	if [ -z "${same_writes:-}" ] && [ $((RANDOM % 4)) = 0 ]; then options+=(--write-through); else options+=(--write-back); fi
}

# shellcheck disable=SC2120,SC2034
# mount_clone [VARIABLE=VALUE]... : of $store with the diff on the disk; sets pid, and said: what it says of recovery
mount_clone() {
	local options
	some_options
	env "$@" "$program" mount "$store" "$mnt" --diff "$disk/diff" --reserve "${reserve:-8M}" "${options[@]}" \
		>"$power/facts" 2>&1 || { cat "$power/facts"; return 1; }
	local facts
	facts=$(<"$power/facts")
	pid=${facts#*(pid }
	pid=${pid%%)*}
	said=$(grep -o 'recovered the diff.*' "$power/facts" || echo "nothing to replay")
	kill -0 "$pid"
}

# new_clone: another diff, with a ledger that begins
new_clone() {
	rm -rf "$disk/diff" "$books"
	mkdir "$books"
	mount_clone || return 1
	# shellcheck disable=SC2046 # one word each
	"$ledger" init "$mnt/ledger" "$books/ledger" "$books" "$threads" $(pristine) && timeout 60 "$program" umount "$mnt"
}

start_writer() { # its seed
	"$ledger" write "$mnt/ledger" "$books/ledger" "$1" >"$power/wrote" 2>&1 &
	writer=$!
}

# end_writer SINCE ERROR...: it ended by one of these errors, not before that moment
end_writer() {
	local i n error when what since=$1
	shift
	for ((i = 0; i < 1000; i++)); do
		kill -0 "$writer" 2>/dev/null || break
		sleep 0.03
	done
	kill -9 "$writer" 2>/dev/null && { echo "the writer hangs"; return 1; }
	wait "$writer" 2>/dev/null
	read -r n error when what <"$power/wrote"
	# shellcheck disable=SC2034
	acknowledged=${n:-0}
	# The directory is not there any more for a writer that comes late.
	[ "$error $what" = "ENOENT open of the directory" ] || [[ " $* " == *" $error "* ]] || { echo "the writer ended with: $(cat "$power/wrote")"; return 1; }
	[ "${when/./}" -ge $((since - 20)) ] ||
		{ echo "the writer had $error ($what) at $when, before $since"; return 1; }
}

# check_ledger: everything acknowledged is there; the ledger goes on with what was found
check_ledger() {
	"$ledger" check "$mnt/ledger" "$books/ledger" "$books" "$books/next" >"$power/found" 2>&1 ||
		{ cat "$power/found"; cp "$books/ledger" "$power/ledger.lost"; return 1; }
	mv "$books/next" "$books/ledger"
}

# use_tools: copies of what others than root must be able to run
use_tools() {
	[ -x "${TEST_BUILD:-}/tests/tools/ledger" ] || { skip "${0##*/}" "TEST_BUILD names no build"; finish; }
	mkdir -p "$power/tools"
	must cp "$TEST_BUILD"/tests/tools/{ledger,powercut,pgoverlay_doomed,slow_death} "$power/tools/"
	ledger=$power/tools/ledger
	program=$PGOVERLAY
	threads=4
	must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$power/source"
	store=$power/source/store
	chmod 0755 "$power/source"
}
