#!/bin/bash
# A file that `verify` reads in parts: damage in each of them, at its seams and at its end is found, and told once. SEED: the damages.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

mkstore=${TEST_BUILD:-$TEST_TOP/build}/tests/tools/mkstore
need verify-parts python3 || finish
if [ ! -x "$mkstore" ]; then
	skip verify-parts "no mkstore in TEST_BUILD"
	finish
fi
seed=${SEED:-$RANDOM}
echo "    seed $seed"
RANDOM=$seed
store=$TEST_WORK/verify-parts
must "$mkstore" "$store" --files 1 --blocks 16384 --increments 0 --plain 1 --random 60 --seed "$seed" >/dev/null
chown -R "$PG_USER:" "$store"
file=$(find "$store/backups" -path '*/database/base/*' -type f -size +40M | head -n 1)
size=$(stat -c %s "$file")
equal "the file has several parts" "$((size > 40 << 20))" 1

# lines: what verify says of the file
lines() { pgo verify "$store" --jobs "${1:-3}" 2>&1 | grep -v "^warning" | grep -c "file '.*${file##*/}'"; }
flip() { # OFFSET
	python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b ^ 4]))' "$file" "$1"
}
equal "an undamaged file" "$(lines)" 0
equal "with one thread" "$(lines 1)" 0
for at in 0 5 $((16 << 20)) $(((16 << 20) + 4000)) $((32 << 20)) $((size - 1)) $((RANDOM * RANDOM % size)) $((RANDOM * RANDOM % size)); do
	flip "$at"
	found=$(lines)
	equal "a flipped bit at $at" "$((found > 0 && found < 3))" 1
	flip "$at"
done
flip $((1 << 20)); flip $((20 << 20)); flip $((size - 100))
equal "one in each of three parts" "$(lines)" 3
flip $((1 << 20)); flip $((20 << 20)); flip $((size - 100))
cp "$file" "$TEST_WORK/whole"
for cut in 100 $((17 << 20)) $((size - 1)); do
	truncate -s "$cut" "$file"
	equal "cut to $cut bytes: told once" "$(lines)" 1
	cp "$TEST_WORK/whole" "$file"
done
printf x >>"$file"
equal "a byte too many" "$(pgo verify "$store" 2>&1 | grep -c "file '.*${file##*/}': it is not as long as its list says")" 1
cp "$TEST_WORK/whole" "$file"
list=$(find "$store/backups" -name backup_content.control)
python3 - "$list" "$TEST_TOOLS" "base/" <<'END'
import os, re, sys
sys.path.insert(0, sys.argv[2])
from add_relation import crc32c
text = open(sys.argv[1], "rb").read()
# Only the sum of the file is another one: nothing of its pages is.
text = re.sub(rb'("path":"base/[^\n]*?"crc":")(\d+)"', lambda m: m.group(1) + str(int(m.group(2)) ^ 1).encode() + b'"', text)
open(sys.argv[1], "wb").write(text)
control = os.path.join(os.path.dirname(sys.argv[1]), "backup.control")
old = open(control).read()
open(control, "w").write(re.sub(r"(?m)^content-crc = \d+", f"content-crc = {crc32c(text)}", old))
END
equal "another crc in the list" "$(pgo verify "$store" 2>&1 | grep -c "file '.*${file##*/}': it does not match the crc of its list")" 1
equal "unmoved" "$(cmp "$file" "$TEST_WORK/whole" && echo same)" same
finish
