#!/bin/bash
# What the kernel forgets, the daemon forgets: after many lookups of many files its nodes and its memory are back where
# they were.
#
#   LOOKUPS_FILES  distinct files
#   LOOKUPS        lookups of them, each one a request: the kernel's caches are dropped in between
#   TEST_SEED      of their order
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

files=${LOOKUPS_FILES:-20000}
lookups=${LOOKUPS:-60000}
seed=${TEST_SEED:-$RANDOM}

need lookups zstd python3 || finish
if [ ! -x "${TEST_BUILD:-}/tests/tools/many_files" ]; then
	skip lookups "TEST_BUILD names no build"
	finish
fi
if [ ! -w /proc/sys/vm/drop_caches ]; then
	skip lookups "the kernel's caches cannot be dropped here"
	finish
fi
many_files=$TEST_BUILD/tests/tools/many_files
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/lookups"
mnt=$TEST_WORK/lookups-mnt
own_dir "$mnt"

status() { pgo status "$mnt" --format json >"$TEST_WORK/lookups/status"; }
figure() { # KEY...: of the last status
	python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    d = d[key]
print(d)' "$TEST_WORK/lookups/status" "$@"
}
settle() { # until the kernel holds nothing but the root, and all is committed
	local i
	for ((i = 0; i < 100; i++)); do
		status
		[ "$(figure nodes)" -gt 1 ] || break
		echo 2 >/proc/sys/vm/drop_caches
	done
	pgo status "$mnt" --sync >/dev/null
	status
}

must pgo mount "$TEST_WORK/lookups/store" "$mnt" --diff "$TEST_WORK/lookups/diff" >/dev/null
must mkdir "$mnt/many"
must timeout 900 "$many_files" make "$mnt/many" "$files"
# What is made on first use (buffers, names cached by the allocator) is there before it is measured.
must timeout 900 "$many_files" lookup "$mnt/many" "$files" "$files" "$seed" >/dev/null
settle
before=$(figure allocated_bytes)
equal "the root is what stays" "$(figure nodes)" 1
lookups_before=$(figure requests lookup count)

must timeout "${LOOKUPS_LIMIT:-900}" "$many_files" lookup "$mnt/many" "$files" "$lookups" "$seed" >/dev/null
status
asked=$(($(figure requests lookup count) - lookups_before))
# Somebody else may drop the kernel's caches at any time; it has to hold the files once.
for _ in 1 2 3; do
	most=$(figure nodes)
	peak=$(figure allocated_bytes)
	[ "$most" -lt 1000 ] || break
	timeout 600 "$many_files" lookup "$mnt/many" 1000 1000 "$seed" >/dev/null
	status
done
settle
after=$(figure allocated_bytes)
echo "# seed $seed, $files files, $lookups lookups asked as $asked requests, nodes: at most $most, then $(figure nodes)"
echo "# allocated bytes: before $before, with all nodes $peak, after $after"
if [ "$asked" -ge "$lookups" ]; then ok "every lookup was a request"; else not_ok "every lookup was a request" "$asked of $lookups"; fi
equal "all are forgotten" "$(figure nodes)" 1
equal "nothing is left of a forgotten node" "$((after - before > before / 100 || before - after > before / 100))" 0
# What a node takes is known then, and a leak of one in a hundred shows, whatever else the daemon holds.
if [ "$most" -ge 1000 ]; then
	per_node=$(((peak - after) / most))
	if [ $per_node -ge 24 ] && [ $per_node -le 256 ]; then ok "a node has a size"; else not_ok "a node has a size" "$per_node bytes"; fi
	if [ $((after - before)) -le $((lookups * per_node / 100)) ]; then ok "nor of one in a hundred"; else not_ok "nor of one in a hundred" "$((after - before)) bytes more"; fi
else
	skip "what a node takes" "somebody else drops the kernel's caches all the time"
fi

# What somebody holds is not forgotten: the file, and the directories above it.
exec 7<"$mnt/many/000/000000"
settle
equal "an open file stays, and what is above it" "$(figure nodes)" 4
exec 7<&-
settle
equal "and goes when it is closed" "$(figure nodes)" 1
must pgo umount "$mnt"
finish
