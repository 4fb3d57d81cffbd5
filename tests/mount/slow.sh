#!/bin/bash
# Slow storage: a read that takes more than half a minute holds up who asked for it and nobody else, is in the log with its
# node and age, and is answered right in the end.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need slow zstd python3 fusermount3 || finish
slowfs=${TEST_BUILD:-}/tests/tools/slowfs
[ -x "$slowfs" ] || { skip slow "no slowfs: set TEST_BUILD"; finish; }
must cp "$slowfs" "$TEST_WORK/slowfs"
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/slow"
chmod 0755 "$TEST_WORK/slow"
store=$TEST_WORK/slow/served mnt=$TEST_WORK/slow/mnt gate=$TEST_WORK/slow/gate diff=$TEST_WORK/slow/diff
own_dir "$mnt"
mkdir "$store"
name=base/1/1249 # stored as one file of the full backup

touch "$gate"
chmod 0644 "$gate"
must "$TEST_WORK/slowfs" "$TEST_WORK/slow/store" "/$name" "$gate" "$store" -o allow_other,default_permissions,ro
rm "$gate"
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null 2>&1
wanted=$(timeout 30 sha256sum <"$mnt/$name")
check "umount" pgo umount "$mnt"

touch "$gate"
umount "$store"
must "$TEST_WORK/slowfs" "$TEST_WORK/slow/store" "/$name" "$gate" "$store" -o allow_other,default_permissions,ro
must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null 2>&1
timeout 120 sha256sum <"$mnt/$name" >"$TEST_WORK/slow/sum" &
reader=$!
sleep 1
check "another file is read meanwhile" timeout 15 cmp -n 8192 "$mnt/base/1/1259" "$mnt/base/1/1259"
check "and written" as_owner timeout 15 sh -c "echo x >'$mnt/x' && sync '$mnt/x'"
check "and status answers" timeout 15 "$PGOVERLAY" status "$mnt"
if kill -0 $reader 2>/dev/null; then ok "the slow read waits"; else not_ok "the slow read waits"; fi
for i in $(seq 60); do ! grep -q "has been waiting for" "$diff/log" || break; sleep 1; done
equal "it is in the log, once, with what, node and age" "$(grep -cE 'warning a read of node [0-9]+ has been waiting for [0-9]+ s' "$diff/log")" 1
rm "$gate"
wait $reader
equal "it is answered in the end" "$(cat "$TEST_WORK/slow/sum")" "$wanted"
check "umount" pgo umount "$mnt"
umount "$store"
finish
