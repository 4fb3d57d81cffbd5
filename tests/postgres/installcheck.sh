#!/bin/bash
# Some of PostgreSQL's own tests on a clone and on a copy of it: scripts/installcheck with few of them. PG_SOURCES names a
# source tree with the test programs built in it (scripts/installcheck --help); nothing of it comes with pgoverlay.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

script=$TEST_TOP/scripts/installcheck
if [ -z "${PG_SOURCES:-}" ]; then
	skip installcheck "PG_SOURCES names no source tree of PostgreSQL, see scripts/installcheck --help"
	finish
fi
need installcheck zstd python3 runuser || finish

run() { # SUITE TEST...
	local suite=$1 out rc
	shift
	out=$(PGOVERLAY=$PGOVERLAY timeout -k 10 500 "$script" "$PG_SOURCES" --suite "$suite" ${1:+--tests "$*"} \
		--work "$TEST_WORK/installcheck-$suite" 2>&1) && rc=0 || rc=$?
	printf '%s\n' "$out" | sed 's/^/    /'
	equal "$suite: ${*:-the whole schedule}" "$rc" 0
}

if [ "$TEST_LONG" = 1 ]; then
	run regress
	run isolation
else
	run regress boolean tablespace copy create_index vacuum truncate
	run isolation read-only-anomaly vacuum-conflict
fi
finish
