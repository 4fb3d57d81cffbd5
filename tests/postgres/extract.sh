#!/bin/bash
# `extract` gives what pg_dump gives on a clone of the same backup, and leaves nothing behind, also when it is interrupted or fails.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need extract zstd runuser || finish
work=$TEST_WORK/extract
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
store=$work/store

# Newer pg_dumps write a word that is another each time.
plain() { grep -vE '^\\(un)?restrict ' "$1"; }
extract() { timeout -k 5 150 "$PGOVERLAY" extract "$store" "$@"; }
nothing_left() { equal "$1: nothing is left" "$(find "$PGOVERLAY_HOME" -mindepth 2 2>/dev/null)" ""; }

must timeout 150 "$PGOVERLAY" up "$store" --format json >"$work/up.json"
host=$(json host <"$work/up.json") port=$(json port <"$work/up.json") user=$(json user <"$work/up.json") mnt=$(json mountpoint <"$work/up.json")
TEST_SOCKETS="$TEST_SOCKETS $host"
dump() { as_owner "$PG_BIN/pg_dump" -h "$host" -p "$port" -U "$user" "$@"; }
dump -d shop -t public.item >"$work/item.wanted"
dump -d shop >"$work/shop.wanted"
must pgo down "$mnt" >/dev/null

check "a table" extract --table shop.public.item -o "$work/item.sql"
check "a table is as pg_dump has it" diff <(plain "$work/item.wanted") <(plain "$work/item.sql")
extract --table 'shop."public".ITEM' -o - >"$work/item.out" 2>"$work/err"
check "to standard output" diff <(plain "$work/item.wanted") <(plain "$work/item.out")
check "the bytes read are said" grep -qE 'read [1-9][0-9]+ bytes of pages and files from backup' "$work/err"
check "a database" extract --database shop -o "$work/shop.dump" --format custom
as_owner cat "$work/shop.dump" >/dev/null 2>&1 || chmod a+r "$work/shop.dump"
"$PG_BIN/pg_restore" -f "$work/shop.sql" "$work/shop.dump"
check "a database is as pg_dump has it" diff <(plain "$work/shop.wanted" | grep -E '^(COPY|[0-9]+	)') <(plain "$work/shop.sql" | grep -E '^(COPY|[0-9]+	)')
nothing_left "after dumps"

extract --table shop.public.nothing -o "$work/none.sql" >"$work/out" 2>&1
equal "a table that is not there: status" $? 1
check "a table that is not there: no file" [ ! -e "$work/none.sql" ] && [ ! -e "$work/none.sql.part" ]
extract --table item -o - >"$work/out" 2>&1
equal "no name of a table: usage" $? 2
nothing_left "after failures"

for signal in INT TERM; do
	"$PGOVERLAY" extract "$store" --database shop -o "$work/cut.sql" >"$work/out" 2>&1 &
	pid=$!
	for _ in $(seq 1 600); do # until its server is being started
		[ -z "$(find "$PGOVERLAY_HOME/run" -name server 2>/dev/null)" ] || break
		sleep 0.05
	done
	kill -$signal $pid
	wait $pid
	equal "interrupted by $signal: status" $? 1
	check "interrupted by $signal: no file" [ ! -e "$work/cut.sql" ]
	nothing_left "interrupted by $signal"
done
finish
