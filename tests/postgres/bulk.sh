#!/bin/bash
# COPY of 50 MB (TEST_LONG: 200 MB) into a clone; kill -9 of the serving process; mounted again, PostgreSQL recovers every row.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need bulk zstd python3 runuser || finish
megabytes=50
[ "$TEST_LONG" = 0 ] || megabytes=200
base=$TEST_WORK/bulk
mnt=$TEST_WORK/bulk-mnt
sock=$base/s
port=6177
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$base"
own_dir "$mnt"
mount_it() { must pgo mount "$base/store" "$mnt" --diff "$base/diff" >/dev/null; }
until_unmounted() {
	for _ in $(seq 100); do
		is_mounted "$mnt" || return 0
		sleep 0.1
	done
	return 1
}
# The same sum, from the file and from the table: of the rows as COPY writes them.
table_sum() { sql "$sock" "$port" postgres -c "copy (select id, pad from bulk order by id) to stdout" | sha256sum; }

python3 - "$megabytes" >"$base/rows" <<'END'
import hashlib, sys
for i in range(int(sys.argv[1]) * 1024):
    print(i, (hashlib.sha256(b"%d" % i).hexdigest() * 16)[:1012], sep="\t")
END
rows=$(wc -l <"$base/rows")
sum=$(sha256sum <"$base/rows")
mount_it
must pg_start "$mnt" "$sock" "$port"
must sql "$sock" "$port" postgres -c "create table bulk (id int, pad text)"
SQL_LIMIT=400 check "COPY of $megabytes MB" sql "$sock" "$port" postgres -c "copy bulk from stdin" <"$base/rows"
equal "rows after COPY" "$(sql "$sock" "$port" postgres -c "select count(*) from bulk")" "$rows"
equal "content after COPY" "$(table_sum)" "$sum"
postmaster=$(head -n 1 "$mnt/postmaster.pid")
kill -9 "$(serving_pid "$mnt")"
check "kill -9 leaves no mount" until_unmounted
kill_below "$mnt"
kill -9 "$postmaster" 2>/dev/null
for _ in $(seq 300); do
	kill -0 "$postmaster" 2>/dev/null || break
	sleep 0.1
done
mount_it
check "PostgreSQL recovers" pg_start "$mnt" "$sock" "$port"
equal "rows after kill -9 and recovery" "$(sql "$sock" "$port" postgres -c "select count(*) from bulk")" "$rows"
equal "content after kill -9 and recovery" "$(table_sum)" "$sum"
check "stop" pg_stop "$mnt" fast
must pgo umount "$mnt"
finish
