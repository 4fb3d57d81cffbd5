#!/bin/bash
# Random operations through system calls, compared with a model in memory: reads and writes, through mmap and O_DIRECT too,
# truncate, fallocate, punch, zero range, rename, link, fsync, on the layers' files and on new ones; the mount is made anew in
# between. MODEL_SEED, MODEL_OPS and MODEL_OPTIONS (-w, the default: the mount is one with write-back) say how.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

program=${TEST_BUILD:-}/tests/model/mount_model
if [ ! -x "$program" ]; then
	skip model "TEST_BUILD does not name a build with tests/model/mount_model"
	finish
fi
need model zstd || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/model"
mnt=$TEST_WORK/model-mnt
own_dir "$mnt"
ops=${MODEL_OPS:-2000}
[ "$TEST_LONG" != 1 ] || ops=100000

cat >"$TEST_WORK/model/again" <<SCRIPT
#!/bin/sh
timeout -k 5 60 "$PGOVERLAY" umount "$mnt" >/dev/null && timeout -k 5 60 "$PGOVERLAY" mount "$TEST_WORK/model/store" "$mnt" --diff "$TEST_WORK/model/diff" >/dev/null
SCRIPT
chmod +x "$TEST_WORK/model/again"
must pgo mount "$TEST_WORK/model/store" "$mnt" --diff "$TEST_WORK/model/diff" >/dev/null
seed=${MODEL_SEED:-$(($(date +%s) % 100000))}
echo "seed $seed"
check "model: $ops operations, seed $seed" timeout -k 5 800 "$program" -s "$seed" -o "$ops" ${MODEL_OPTIONS--w} -x "$TEST_WORK/model/again" "$mnt"
equal "model: no bad page" "$(pgo status "$mnt" --format json | json bad_pages)" 0
check "model: umount" pgo umount "$mnt"
finish
