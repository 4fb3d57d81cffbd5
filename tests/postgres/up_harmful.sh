#!/bin/bash
# A backup whose postgresql.conf sets every setting of the table harmfully comes `up`, commits, and touches nothing outside of
# the clone and its socket: every call of the server that changes a file or opens a connection is looked at.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
HERE=$TEST_TOP/tests/postgres

need "harmful configuration" python3 zstd runuser strace || finish
where=$TEST_WORK/harmful
outside=$TEST_WORK/outside
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$where"
own_dir "$outside"
store=$where/store
id=$(find "$store"/backups/main -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
id=${id##*/}
sed "s|OUTSIDE|$outside|g" "$HERE/harmful.conf" >"$where/harmful.conf"
: >"$where/empty"
for signal in standby.signal recovery.signal; do
	must python3 "$TEST_TOOLS/edit_store.py" "$store" main "$id" put $signal "$where/empty"
done
must python3 "$TEST_TOOLS/edit_store.py" "$store" main "$id" append postgresql.conf "$where/harmful.conf"
(cd "$store" && find . -type f -exec sha256sum {} + | sort) >"$where/sums"

# Settings of other versions and of libraries, the one that has no value of the backup's, and the one that only a recovery that pauses needs.
exempt=" config_file hot_standby synchronized_standby_slots stats_temp_directory timescaledb.max_background_workers timescaledb.telemetry_level "
forgotten=
while read -r name; do
	grep -qE "^$name = " "$HERE/harmful.conf" || case $exempt in *" $name "*) ;; *) forgotten="$forgotten $name" ;; esac
done < <(grep -oE '^	\{"[a-z_.]+"' "$TEST_TOP/src/cmd/settings.c" | cut -d'"' -f2)
equal "every setting of the table is set" "$forgotten" ""

strace -f -y -s 512 --signal=none -e trace=file,network,process -o "$where/trace" \
	timeout -k 5 120 "$PGOVERLAY" up "$store" --backup "$id" --format json >"$where/up.json" 2>"$where/up.err" &
tracer=$!
for _ in $(seq 1 1200); do
	if [ -s "$where/up.json" ] || ! kill -0 $tracer 2>/dev/null; then break; fi
	sleep 0.1
done
if ! [ -s "$where/up.json" ]; then
	sed 's/^/    /' "$where/up.err"
	not_ok "up with a harmful configuration"
	finish
fi
ok "up with a harmful configuration"
host=$(json host <"$where/up.json") port=$(json port <"$where/up.json") mnt=$(json mountpoint <"$where/up.json")
log=$(json log <"$where/up.json")
TEST_SOCKETS="$TEST_SOCKETS $host"

check "it commits" sql "$host" "$port" postgres -c "create table t as select generate_series(1, 1000) a" -c "insert into t values (1)" \
	-c "select pg_switch_wal()" -c checkpoint
equal "it is a primary" "$(sql "$host" "$port" postgres -c 'select pg_is_in_recovery()' 2>&1)" f
sleep 2 # for what acts on a schedule

# as the server itself sees them
show() { equal "$1" "$(sql "$host" "$port" postgres -c "show $1" 2>&1)" "$2"; }
show archive_mode off
show archive_command "(disabled)"
show synchronous_standby_names ""
show listen_addresses ""
show max_logical_replication_workers 0
show fsync on
show full_page_writes on
show recovery_init_sync_method syncfs
show shared_preload_libraries '"auto_explain"'
show session_preload_libraries ""
show data_directory "$mnt"
show lc_messages C
show TimeZone GMT

check "changed[] names them all" python3 -c '
import json, re, sys
up = json.load(open(sys.argv[1]))
told = {c["name"]: c for c in up["changed"]}
missing = [n for n in re.findall(r"^([a-z_]+) = ", open(sys.argv[2]).read(), re.M)
           if n not in told and n.lower() not in {t.lower() for t in told} and not n.startswith("ssl_cert") and not n.startswith("ssl_key")]
assert not missing, missing
assert all(c["reason"] for c in told.values())
assert told["archive_mode"]["value"] == "off" and told["archive_mode"]["was"] == "always"
assert "pg_cron" in told["shared_preload_libraries"]["reason"] and "no_such_library" in told["shared_preload_libraries"]["reason"]
assert len(up["notes"]) >= 5, up["notes"]' "$where/up.json" "$where/harmful.conf"

check "down" pgo down "$mnt"
wait $tracer
equal "nothing outside" "$(find "$outside" -mindepth 1)" ""
(cd "$store" && find . -type f -exec sha256sum {} + | sort) >"$where/sums.now"
check "the store is as before" cmp "$where/sums" "$where/sums.now"

# The daemon takes the store's shared locks, names its threads and sets the mount's readahead; glibc asks for nscd, which is not there.
home=$PGOVERLAY_HOME
out=$(python3 "$TEST_TOOLS/trace_check.py" "$where/trace" --inside "$home" --inside "$host" --inside "/dev/null" --inside "/dev/fuse" \
	--inside "/dev/shm/PostgreSQL.*" --inside /proc/self --inside /sys/class/bdi \
	--inside "/var/run/nscd/socket" --inside "$store/backups/main/*" --program "${PGOVERLAY##*/}" --program timeout \
	--program postgres --program pg_config --program psql 2>&1) && rc=0 || rc=$?
printf '%s\n' "$out" | sed 's/^/    /'
equal "no call reaches outside of the clone" "$rc" 0
[ ! -e "$log" ] || not_ok "the log of a temporary clone goes with it"
finish
