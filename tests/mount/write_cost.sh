#!/bin/bash
# What one page costs: 8 KiB written and synced in a 100 MB file of a layer must cost the diff at most 64 KiB.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need write_cost zstd python3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/cost"
store=$TEST_WORK/cost/store
mnt=$TEST_WORK/cost-mnt
diff=$TEST_WORK/cost/diff
blocks=12800
file=base/5/999999
own_dir "$mnt"
must timeout 280 python3 "$TEST_TOOLS/add_relation.py" "$store" main "$file" $blocks --compress >/dev/null
chown -R "$PG_USER:" "$store"
must pgo mount "$store" "$mnt" --diff "$diff"

# cost: allocated bytes of the data files, and the journal up to its last byte that is not zero
cost() {
	python3 - "$diff" <<-'END'
	import os, sys
	data = journal = 0
	for directory, _, names in os.walk(os.path.join(sys.argv[1], "gen")):
	    for name in names:
	        path = os.path.join(directory, name)
	        if name == "journal":
	            journal += len(open(path, "rb").read().rstrip(b"\0"))
	        elif name != "state":
	            data += os.stat(path).st_blocks * 512
	print(data, journal)
	END
}

# shellcheck disable=SC2317 # called through check
write_page() { # BLOCK: one page over the mount, synced; timed out if it hangs
	timeout -k 5 60 python3 - "$mnt/$file" "$1" <<-'END'
	import os, sys
	fd = os.open(sys.argv[1], os.O_RDWR)
	assert os.pwrite(fd, b"\xa5" * 8192, int(sys.argv[2]) * 8192) == 8192
	os.fsync(fd)
	END
}

equal "size of the file" "$(timeout 20 stat -c %s "$mnt/$file")" $((blocks * 8192))
read -r data0 journal0 < <(cost)
check "pwrite and fsync of one page" write_page 7000
read -r data1 journal1 < <(cost)
rise=$((data1 - data0 + journal1 - journal0))
echo "    data $data0 -> $data1, journal $journal0 -> $journal1: $rise bytes for one page of 8192"
if [ "$rise" -ge 8192 ] && [ "$rise" -le 65536 ]; then ok "one page costs at most 64 KiB"; else not_ok "one page costs at most 64 KiB" "$rise"; fi

check "the same page again" write_page 7000
read -r data2 journal2 < <(cost)
echo "    again: $((data2 - data1 + journal2 - journal1)) bytes"
equal "the same page again costs nothing" "$((data2 - data1 + journal2 - journal1))" 0

# Its neighbours still come from the layer, and all of it is there after the next mount.
# shellcheck disable=SC2317 # called through check
verify() {
	timeout -k 5 120 python3 - "$TEST_TOOLS" "$mnt/$file" "$blocks" <<-'END'
	import sys
	sys.path.insert(0, sys.argv[1])
	from add_relation import page
	with open(sys.argv[2], "rb") as f:
	    data = f.read()
	assert len(data) == int(sys.argv[3]) * 8192, len(data)
	for block in (0, 1, 6998, 6999, 7001, 7002, 12798, 12799):
	    assert data[block * 8192:(block + 1) * 8192] == page(block, True), block
	assert data[7000 * 8192:7001 * 8192] == b"\xa5" * 8192
	for block in range(12800):
	    want = b"\xa5" * 4 if block == 7000 else block.to_bytes(4, "little")
	    assert data[block * 8192 + 8188:block * 8192 + 8192] == want, block
	END
}
check "the written page and its neighbours" verify
check "umount" pgo umount "$mnt"
must pgo mount "$store" "$mnt" --diff "$diff"
check "the same after the next mount" verify
check "last umount" pgo umount "$mnt"
finish
