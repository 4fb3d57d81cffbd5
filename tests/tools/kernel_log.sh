# shellcheck shell=bash
# Sourced by tests that also answer for what the kernel says meanwhile. Other users of the machine write to the same log, so
# only complaints count, and they are shown.

kernel_log_mark() { dmesg >"$1" 2>/dev/null || rm -f "$1"; }

# What ext4 says about itself when asynchronous writes split preallocated extents; fsx on a plain ext4 file brings it about too.
KERNEL_LOG_HOST='EXT4-fs warning .*: ext4_convert_unwritten_extents_endio:'
# And what disks say whose power was cut by a test (powercut.c) beside it.
KERNEL_LOG_HOST="$KERNEL_LOG_HOST|XFS \\(loop[0-9]+\\): .*Error .*goingdown|loop[0-9]+: writeback error"

# kernel_log_check NAME MARK: one case
kernel_log_check() {
	local new
	if [ ! -f "$2" ]; then
		skip "$1" "dmesg cannot be read"
		return 0
	fi
	new=$(dmesg | diff "$2" - | sed -n 's/^> //p' |
		grep -E 'BUG|WARNING|[Ww]arning|Oops|[Ee]rror|blocked for more than|fuse|traps:|lockup|Call Trace' |
		grep -v "$KERNEL_LOG_HOST" || true)
	if [ -z "$new" ]; then
		ok "$1"
	else
		printf '%s\n' "$new" | head -n 20 | sed 's/^/    /'
		not_ok "$1" "$(wc -l <<<"$new") lines, the first: $(head -n 1 <<<"$new")"
	fi
}
