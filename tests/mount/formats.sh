#!/bin/bash
# Diffs of every format that was ever released mount and show what they showed then.
#
#   formats.sh             all samples in tests/fixtures/diffs
#   formats.sh make DIR    makes the samples of the format of today in DIR: do so when the format changes, and never change
#                          a sample that is there
#
# A sample is <name>/diff.tar.zst, made on the store of tests/fixtures/shop, and <name>/content: what `content` prints.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need formats zstd || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/formats"
store=$TEST_WORK/formats/store mnt=$TEST_WORK/formats-mnt
own_dir "$mnt"

content() { # kind, mode, size, target of every name; the sum of every file but those that pgoverlay shows by itself
	(cd "$mnt" && find . ! -path './.pgoverlay*' -printf '%P %y %m %s %l\n' | sed 's/^\(.* d [0-7]*\) [0-9]*/\1/' | LC_ALL=C sort &&
		find . -type f ! -path './.pgoverlay*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

change() { # one of everything that the diff records
	local big
	big=$(cd "$mnt" && find base -type f -size +24k | LC_ALL=C sort | head -n 3)
	# shellcheck disable=SC2086 # three words
	set -- $big
	cd "$mnt" || return 1
	mkdir -m 0750 sample sample/deep && echo "a new file" >sample/new && ln -s ../PG_VERSION sample/link && ln sample/new sample/second
	dd if=/dev/zero bs=8192 count=1 seek=1 conv=notrunc of="$1" status=none # a whole block of a file of the chain
	echo "part of a block" | dd bs=1 seek=100 conv=notrunc of="$1" status=none
	truncate -s 8292 "$2" && truncate -s 30000 "$2" # cut, and longer again
	mv "$3" sample/moved
	rm global/pg_filenode.map
	fallocate -p -o 8192 -l 8192 sample/moved
	fallocate -l 100000 sample/allocated
	chmod 0640 sample/new && touch -d @1000000000 sample/new
	mv sample/second sample/deep/second && sync sample/new
}

make_sample() { # NAME DIR: the diff as it lies on disk now
	mkdir -p "$2/$1"
	tar -C "$TEST_WORK/formats" -S --sort=name --owner=0 --group=0 --numeric-owner -c diff | zstd -q -19 -o "$2/$1/diff.tar.zst"
	content >"$2/$1/content"
}

make() {
	local to=$1 format
	must pgo mount "$store" "$mnt" --diff "$TEST_WORK/formats/diff" >/dev/null
	must as_owner bash -c "mnt='$mnt'; $(declare -f change); change"
	must pgo status "$mnt" --sync >/dev/null
	format=$(sed -n 's/^format = //p' "$TEST_WORK/formats/diff/superblock")
	make_sample "$format-open" "$to" # as a power cut leaves it: a journal to replay
	must pgo umount "$mnt"
	must pgo mount "$store" "$mnt" --diff "$TEST_WORK/formats/diff" >/dev/null
	content >"$TEST_WORK/formats/now"
	must pgo umount "$mnt"
	make_sample_closed "$format-closed" "$to"
}

make_sample_closed() { # the mount is gone: its content is what it was
	mkdir -p "$2/$1"
	tar -C "$TEST_WORK/formats" -S --sort=name --owner=0 --group=0 --numeric-owner -c diff | zstd -q -19 -o "$2/$1/diff.tar.zst"
	cp "$TEST_WORK/formats/now" "$2/$1/content"
}

try() { # SAMPLE
	local name=${1##*/} diff=$TEST_WORK/formats/$2/diff again
	own_dir "$TEST_WORK/formats/$2"
	must sh -c "zstd -dc '$1/diff.tar.zst' | tar -C '$TEST_WORK/formats/$2' -x --no-same-owner"
	chown -R "$PG_USER:" "$diff"
	for again in "" ", again"; do
		if ! pgo mount "$store" "$mnt" --diff "$diff" >"$TEST_WORK/formats/out" 2>&1; then
			not_ok "$name mounts$again" "$(cat "$TEST_WORK/formats/out")"
			return
		fi
		content >"$TEST_WORK/formats/got"
		if cmp -s "$TEST_WORK/formats/got" "$1/content"; then
			ok "$name shows what it showed$again"
		else
			diff "$1/content" "$TEST_WORK/formats/got" | head -n 5 | sed 's/^/    /'
			not_ok "$name shows what it showed$again"
		fi
		check "$name takes changes$again" as_owner sh -c "echo x >'$mnt/sample/later' && sync '$mnt/sample/later' && rm '$mnt/sample/later'"
		check "$name: umount$again" pgo umount "$mnt"
	done
}

if [ "${1:-}" = make ]; then
	make "$2"
	finish
fi
count=0
for sample in "$TEST_TOP"/tests/fixtures/diffs/*/; do
	count=$((count + 1))
	try "${sample%/}" $count
done
if [ $count -ge 2 ]; then ok "there are samples"; else not_ok "there are samples" "$count"; fi
finish
