#!/bin/bash
# `verify`: undamaged stores are good, each damaged one is reported as it should be, and WAL that is missing is missed.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need verify python3 zstd || finish
where=$TEST_WORK/verify
# says NAME WANTED-STATUS PATTERN ARGUMENTS...: verify ends so, and prints a line that matches
says() {
	local name=$1 wanted=$2 pattern=$3 out rc
	shift 3
	out=$(pgo verify "$@" 2>&1) && rc=0 || rc=$?
	if [ "$rc" = "$wanted" ] && grep -qE -- "$pattern" <<<"$out"; then
		ok "verify $name"
	else
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/    /'
		not_ok "verify $name" "status $rc, wanted $wanted and /$pattern/"
	fi
}

for fixture in $(fixtures); do
	rm -rf "$where"
	must unpack "$fixture/store.tar.zst" "$where"
	before=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	says "${fixture##*/}" 0 'no damage found$' "$where/store" --all
	after=$(cd "$where" && find store -type f -exec sha256sum {} + | sort | sha256sum)
	equal "the bytes of store ${fixture##*/} are those before" "$after" "$before"
done

# Damages of our own, on the repository's own store.
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/own"
store=$TEST_WORK/own/store
last=$(find "$store"/backups/*/* -maxdepth 0 -type d | sort | tail -n 1)
id=${last##*/}
says "one backup" 0 "^backup $id: good$" "$store" --backup "$id"
equal "verify as JSON" "$(pgo verify "$store" --backup "$id" --format json | json good)" True
change() { # NAME PATTERN FILE SED-SCRIPT: that line of a control file is found out
	local keep=$TEST_WORK/keep
	cp -p "$3" "$keep"
	sed -i "$4" "$3"
	if cmp -s "$3" "$keep"; then not_ok "verify $1" "nothing was changed"; fi
	says "$1" 1 "$2" "$store" --backup "$id"
	cp -p "$keep" "$3"
}
control=$last/backup.control
change "a wrong start-lsn" "it starts at .*, backup_label at" "$control" 's/^\(start-lsn = .*\)[0-9A-F]$/\10/;t;s/^\(start-lsn = .*\)0$/\18/'
change "a wrong stop-lsn" "missing|ends before its stop" "$control" 's/^stop-lsn = [0-9A-F]*\//stop-lsn = 7\//'
change "a stop-lsn that is too late" "its WAL ends before its stop at|where its WAL has no end of a backup" "$control" 's/^\(stop-lsn = .*\)[0-9A-F]\{3\}$/\1FF8/'
change "a stop-lsn that is too early" "where its WAL has no end of a backup" "$control" 's/^\(stop-lsn = .*\)[0-9A-F]\{2\}$/\100/'
change "no content-crc" "backup.control has no content-crc" "$control" '/^content-crc/d'
change "a wrong timeline" "it is of timeline 9, backup_label of" "$control" 's/^timelineid = .*/timelineid = 9/'
change "a wrong checksum-version" "its pages have (no )?checksums, pg_control" "$control" \
	's/^checksum-version = 1/checksum-version = 0/;t;s/^checksum-version = 0/checksum-version = 1/'
change "a wrong server version" "it is of PostgreSQL 14, pg_control of" "$control" 's/^server-version = .*/server-version = 14/'
change "another cluster" "another cluster than its instance" "${last%/*}/pg_probackup.conf" \
	's/^system-identifier = .*/system-identifier = 7000000000000000001/'

# A segment of WAL: inside of a backup, or in the archive.
if grep -q '^stream = true' "$control"; then
	segment=$(find "$last/database/pg_wal" -maxdepth 1 -type f -name '0000*' | sort | head -n 1)
	mv "$segment" "$TEST_WORK/segment"
	says "a missing file of WAL" 1 "file 'database/pg_wal/${segment##*/}'.*No such file" "$store" --backup "$id"
	mv "$TEST_WORK/segment" "$segment"
fi
if [ -n "$TEST_SHARED" ] && [ -f "$TEST_SHARED/archive/store.tar.zst" ]; then
	rm -rf "$where"
	must unpack "$TEST_SHARED/archive/store.tar.zst" "$where"
	control=$(grep -L '^stream = true' "$where"/store/backups/*/*/backup.control | sort | head -n 1)
	dir=${control%/backup.control}
	label=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\)).*/\1/p' "$dir/database/backup_label")
	instance=${dir%/*}
	instance=${instance##*/}
	archived=$(find "$where/store/wal/$instance" -name "$label" -o -name "$label.gz" | head -n 1)
	cp -p "$archived" "$TEST_WORK/segment"
	python3 - "$archived" "$(sed -n 's/^start-lsn = .*\/\([0-9A-F]*\)$/\1/p' "$control")" <<-'END'
		import sys
		at = int(sys.argv[2], 16) % (1 << 20) + 30  # the data of the first record that the backup needs
		with open(sys.argv[1], "r+b") as f:
		    f.seek(at)
		    byte = f.read(1)[0] ^ 1
		    f.seek(at)
		    f.write(bytes([byte]))
	END
	says "a flipped bit in the archive" 1 "the WAL record at [0-9A-F/]* does not match its sum" \
		"$where/store" --instance "$instance" --backup "${dir##*/}"
	cp -p "$TEST_WORK/segment" "$archived"
	rm -f "$where/store/wal/$instance/$label" "$where/store/wal/$instance/$label".*
	says "a missing segment of the archive" 1 "WAL segments? $label .*missing in the archive" \
		"$where/store" --instance "$instance" --backup "${dir##*/}"
else
	skip "verify a missing segment of the archive" "no shared directory beside the clone"
fi

# Each damaged store: what is printed, of the newest backup and of all.
corrupt() { # STORE PATTERN: found by --all, and nothing is wrong with what is right
	says "corrupt ${1##*/}" 1 "$2" "$1" --all
}
if [ -n "$TEST_SHARED" ] && [ -f "$TEST_SHARED/corrupt/store.tar.zst" ]; then
	rm -rf "$where"
	must unpack "$TEST_SHARED/corrupt/store.tar.zst" "$where"
	says "corrupt 00-pristine" 0 'no damage found$' "$where/00-pristine" --all
	corrupt "$where/01-flipped-byte-in-page" "^backup TOSR0P: file 'database/base/5/16391', block 3: "
	corrupt "$where/02-truncated-data-file" "^backup TOSR0P: file 'database/base/5/16391', block 3: the file is shorter"
	corrupt "$where/03-missing-parent-dir" "^backup TOSR1B: not checked: .*TOSR0P"
	corrupt "$where/04-missing-data-file" "^backup TOSR0P: file 'database/base/5/16391': No such file"
	corrupt "$where/05-truncated-content-control" "^backup TOSR10: not checked: .*backup_content.control"
	corrupt "$where/06-garbage-backup-control" "^backup TOSR10: not checked: .*backup.control"
	corrupt "$where/07-empty-backup-control" "^backup TOSR10: not checked: .*backup.control"
	corrupt "$where/08-status-error" "^backup TOSR10: not checked: .*ERROR"
	corrupt "$where/09-status-corrupt" "^backup TOSR0P: not checked: .*CORRUPT"
	corrupt "$where/10-status-orphan" "^backup TOSR1B: not checked: .*ORPHAN"
	corrupt "$where/11-status-merging" "^backup TOSR0P: not checked: .*MERGING"
	corrupt "$where/12-status-deleting" "^backup TOSR10: not checked: .*DELETING"
	corrupt "$where/13-status-running" "^backup TOSR1B: not checked: .*RUNNING"
	corrupt "$where/14-wrong-block-number" "^backup TOSR0P: file 'database/base/5/16391', block 2: its record is not"
	corrupt "$where/15-header-map-missing" "^backup TOSR0P: file 'database/base/5/16391': page_header_map: .*missing"
	corrupt "$where/16-header-map-flipped-byte" "^backup TOSR0P: file 'database/base/5/16391': page_header_map: "
	corrupt "$where/17-content-path-traversal" "^backup TOSR1B: not checked: .*backup_content.control"
	corrupt "$where/18-content-absolute-path" "^backup TOSR1B: not checked: .*backup_content.control"
	corrupt "$where/19-content-10mb-line" "^backup TOSR1B: not checked: .*backup_content.control"
	corrupt "$where/20-cyclic-parents" "^backup TOSR1B: not checked: "
	corrupt "$where/21-self-parent" "^backup TOSR1B: not checked: "
	corrupt "$where/22-flipped-byte-in-superseded-page" "^backup TOSR0P: file 'database/base/5/16384', block 3: "
	# By force a backup of bad status is looked at: these files are intact.
	says "corrupt 09-status-corrupt by force" 0 "no damage found$" "$where/09-status-corrupt" --backup TOSR1B --force
	says "corrupt 22, the FULL's page that the newest does not use" 1 "it or a backup it is made on is damaged" \
		"$where/22-flipped-byte-in-superseded-page"
else
	skip "verify of damaged stores" "no shared directory beside the clone"
fi
finish
