#!/bin/bash
# style.sh CHECK: one of the checks below; prints what breaks the rule and fails if anything does.
set -u
cd "$(dirname "$0")/../.." || exit 1

# The files of the repository; of an export without history, all files but those of builds.
files() { git ls-files -co --exclude-standard -- "$@" 2>/dev/null || find "$@" -type f 2>/dev/null; }
sources() { files src include tests examples | grep -E '\.[ch]$' | while read -r f; do if [ -f "$f" ]; then echo "$f"; fi; done; }

none() { # fails if there is anything on stdin
	local found
	found=$(cat)
	[ -z "$found" ] || { printf '%s\n' "$found"; return 1; }
}

file_length() { sources | xargs wc -l | awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines" }' | none; }

# A room includes its own headers and those of lower rooms.
includes() {
	sources | grep '^src/' | while read -r f; do
		grep -HnoE '#include "[a-z_0-9]+/' "$f" | sed 's/#include "//; s|/$||'
	done | awk -F: '
		BEGIN {
			n = split("base pg codec io layer diff overlay fuse cmd", order, " ")
			for (i = 1; i <= n; i++) floor[order[i]] = i
			floor["codec"] = floor["io"] = floor["pg"]
		}
		{
			split($1, path, "/")
			from = path[2]; to = $3
			if (from != to && (to in floor) && floor[to] >= floor[from]) print $1 ":" $2 ": " from " includes " to
		}' | none
}

system_calls() {
	local f
	for f in $(sources | grep '^src/' | grep -v '^src/base/sys[a-z_]*\.[ch]$'); do
		sed 's|/\*.*\*/||; s|^\s*/\?\*.*||' "$f" | grep -nE --label="$f" -H \
			'\b(pread|pwrite|preadv2?|pwritev2?|openat|fsync|fdatasync|ftruncate|renameat2?|unlinkat|mkdirat|(posix_)?fallocate)\('
	done | none
}

leftovers() {
	files src include scripts examples | xargs grep -nEI '\b(TODO|FIXME|XXX|HACK|not (yet )?implemented)\b' | none
}

shell() {
	command -v shellcheck >/dev/null || { echo "shellcheck is missing"; return 1; }
	files scripts .ci tests | while read -r f; do
		if [ -f "$f" ] && head -n 1 "$f" | grep -qE '^#!.*\b(ba)?sh\b|^# shellcheck shell='; then echo "$f"; fi
	done | xargs shellcheck -x -S warning
}

python() { files tests | grep '\.py$' | xargs python3 -c 'import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name).read(), name)'; }

fixtures_size() { du -sk tests/fixtures | awk '$1 > 16384 { print "tests/fixtures: " $1 " KiB, more than 16 MiB" }' | none; }

case "${1:-}" in
file_length | includes | system_calls | leftovers | shell | python | fixtures_size) "$1" ;;
*)
	sed -n '2s/^# //p' "$0" >&2
	exit 2
	;;
esac
