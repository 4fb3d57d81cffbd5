#!/bin/bash
# tally.sh COMMAND...: runs a test that prints `ok`, `not ok` and `skip:` lines, and adds the last line of a campaign.
set -uo pipefail
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$@" | tee "$out"
rc=${PIPESTATUS[0]}
passed=$(grep -c '^ok ' "$out")
failed=$(grep -c '^not ok ' "$out")
skipped=$(grep -c '^skip: ' "$out")
if [ "$rc" != 0 ] && [ "$failed" = 0 ]; then
	echo "not ok $1: exit status $rc"
	failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
