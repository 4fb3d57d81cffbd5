#!/bin/bash
# Options of `up` that need a store of their own: --force on backups of bad status, --external.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need up-more python3 zstd runuser || finish
work=$TEST_WORK/up-more
mkdir -p "$work"

# start STORE OPTIONS...: up; its answer is in $work/up.json
start() {
	timeout -k 5 150 "$PGOVERLAY" up "$@" --format json >"$work/up.json" 2>"$work/up.err" || { cat "$work/up.err"; return 1; }
	host=$(json host <"$work/up.json") port=$(json port <"$work/up.json") user=$(json user <"$work/up.json")
	mnt=$(json mountpoint <"$work/up.json")
	TEST_SOCKETS="$TEST_SOCKETS $host"
}

# ---- external directories ----

must unpack "$TEST_TOP/tests/fixtures/tablespace/store.tar.zst" "$work/spaces"
store=$work/spaces/store
control=$(grep -l '^external-dirs = .*:' "$store"/backups/*/*/backup.control | sort | tail -n 1)
dirs=$(sed -n "s/^external-dirs = '\(.*\)'$/\1/p" "$control" | tr ':' '\n' | grep -c .)
if start "$store" --external; then
	equal "external directories are shown" "$(find "$mnt/.pgoverlay/external" -mindepth 1 -maxdepth 1 | wc -l)" "$dirs"
	check "their files can be read" as_owner sh -c "find '$mnt/.pgoverlay/external' -type f -exec cat {} + | wc -c | grep -qvx 0"
	equal "the server runs beside them" "$(sql "$host" "$port" postgres -U "$user" -c 'select 1')" 1
	check "down with external directories" pgo down "$mnt"
else
	not_ok "up --external"
fi
if start "$store"; then
	check "without --external there are none" [ ! -e "$mnt/.pgoverlay/external" ]
	check "down" pgo down "$mnt"
else
	not_ok "up without --external"
fi

# ---- backups that pg_probackup calls damaged ----

if [ -z "$TEST_SHARED" ] || [ ! -f "$TEST_SHARED/corrupt/store.tar.zst" ]; then
	skip "up --force" "no shared directory beside the clone"
	finish
fi
own_dir "$work/corrupt"
must tar -C "$work/corrupt" --no-same-owner -xf "$TEST_SHARED/corrupt/store.tar.zst" --zstd 10-status-orphan 11-status-merging 12-status-deleting 13-status-running
chown -R "$PG_USER:" "$work/corrupt"
forced() { # STORE BACKUP STATUS: refused without --force and started with it, with its facts
	local name=${1##*/} out rc
	out=$(timeout -k 5 150 "$PGOVERLAY" up "$1" --backup "$2" 2>&1) && rc=0 || rc=$?
	if [ $rc = 1 ] && grep -q "$3" <<<"$out"; then ok "$name: refused"; else not_ok "$name: refused" "status $rc: $out"; fi
	if start "$1" --backup "$2" --force; then
		check "$name: by force" timeout -k 5 120 python3 "$TEST_TOOLS/check_facts.py" "$TEST_SHARED/corrupt/facts.tsv" main "$2" \
			--host "$host" --port "$port" --user "$user"
		check "$name: down" pgo down "$mnt"
	else
		not_ok "$name: by force"
	fi
}
forced "$work/corrupt/10-status-orphan" TOSR1B ORPHAN
for never in "11-status-merging TOSR10 MERGING" "12-status-deleting TOSR10 DELETING" "13-status-running TOSR1B RUNNING"; do
	read -r name id status <<<"$never"
	out=$(timeout -k 5 150 "$PGOVERLAY" up "$work/corrupt/$name" --backup "$id" --force 2>&1) && rc=0 || rc=$?
	if [ $rc = 1 ] && grep -q "$status" <<<"$out"; then ok "$name: refused in spite of --force"; else not_ok "$name: refused" "status $rc: $out"; fi
done
equal "nothing is left" "$(find "$PGOVERLAY_HOME" -mindepth 2 -maxdepth 2 2>/dev/null)" ""
finish
