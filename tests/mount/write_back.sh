#!/bin/bash
# Write-back: the kernel keeps writes until they are synced. What it keeps arrives where it must and costs what it should. A
# full disk: tight.sh. At the end, what else is as it is with write-back is so with --write-through.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need write_back zstd python3 mkfs.ext4 || finish
work=$TEST_WORK/write_back
mnt=$TEST_WORK/write_back-mnt
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$work"
own_dir "$mnt"

mounted() { pgo mount "$work/store" "$mnt" --diff "${diff:-$work/diff}" --reserve 8M "$@" >/dev/null; }
counts() { pgo status "$mnt" --format json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(*(s["requests"].get(k, {"count": 0})["count"] for k in ("write", "getattr", "setattr", "fsync")), s["groups"], s["fast_syncs"])'; }

# shellcheck disable=SC2317 # through check
# counted WANTED SCRIPT: what the script costs of WRITE, GETATTR, SETATTR, FSYNC, groups of the journal (the timer may add
# one), and fsyncs without any
counted() {
	local before after made=() i
	read -ra before < <(counts)
	python3 -c "import os; mnt = '$mnt'; page = b'p' * 8192
$2" || return 1
	read -ra after < <(counts)
	for i in 0 1 2 3 4 5; do made+=($((after[i] - before[i]))); done
	[[ "${made[*]}" =~ ^($1)$ ]] || { echo "made ${made[*]}, wanted $1"; return 1; }
}

must mounted --write-through
equal "not where it is not wanted" "$(pgo status "$mnt" --format json | json write_back)" False
must pgo umount "$mnt"
must mounted --write-back
equal "on when asked for" "$(pgo status "$mnt" --format json | json write_back)" True
check "200 pages are appended with few requests" timeout -k 5 60 python3 -c '
import json, os, subprocess, sys
def requests(): return json.loads(subprocess.run([sys.argv[2], "status", sys.argv[1], "--format", "json"], check=True, capture_output=True).stdout)["requests"]
f = os.open(sys.argv[1] + "/base/1/grown", os.O_RDWR | os.O_CREAT)
before = requests()
for i in range(200):
    assert os.lseek(f, 0, os.SEEK_END) == i * 8192
    os.pwrite(f, b"p" * 8192, i * 8192)
after = requests()
made = {k: after[k]["count"] - before.get(k, {"count": 0})["count"] for k in after}
made["write"] -= min(made["write"], 4) # starting a program closes the file for it, which writes
made["setattr"] -= min(made["setattr"], 1)
assert not any(made.values()), made' "$mnt" "$PGOVERLAY"
grown='f = os.open(mnt + "/base/1/grown", os.O_RDWR)
for i in range(200):
    end = os.lseek(f, 0, os.SEEK_END)
    os.pwrite(f, page, end)
'
check "an fsync writes them in few requests" counted "[1-9] [01] [01] 1 [12] 0" "$grown
os.fsync(f)"
check "written over and synced: one WRITE, one FSYNC, no commit" counted "1 [01] 1 1 [01] 1" '
f = os.open(mnt + "/base/1/grown", os.O_RDWR); os.pwrite(f, page, 8192); os.fsync(f)'
wal=$(cd "$mnt/pg_wal" && find . -maxdepth 1 -type f -name '0*' | head -n 1)
check "WAL does not wait for the sync" counted "3 [01] 0 1 [0-2] [01]" "
f = os.open(mnt + '/pg_wal/$wal', os.O_RDWR)
for i in range(3): os.pwrite(f, page, i * 8192)
os.fdatasync(f)"
# The kernel sends no FSYNC after a write to what was opened direct: wal_sync_method = open_datasync relies on each write.
check "WAL written through O_DSYNC is synced by each write" counted "3 [01] 0 0 [01] 3" "
f = os.open(mnt + '/pg_wal/$wal', os.O_RDWR | os.O_DSYNC)
for i in range(3): os.pwrite(f, page, i * 8192)"
check "and through O_SYNC" counted "1 [01] 0 0 [01] 1" "
f = os.open(mnt + '/pg_wal/$wal', os.O_RDWR | os.O_SYNC); os.pwrite(f, page, 0)"
check "and with RWF_DSYNC" counted "1 [01] 0 0 [01] 1" "
f = os.open(mnt + '/pg_wal/$wal', os.O_RDWR); os.pwritev(f, [page], 0, os.RWF_DSYNC)"
check "another file written through O_DSYNC has its FSYNC" counted "1 [01] [01] 1 [01] 1" "
f = os.open(mnt + '/base/1/grown', os.O_RDWR | os.O_DSYNC); os.pwrite(f, page, 8192)"

# keeps HOW COMMAND...: what was written, not synced, and is still open when the command ends the mount, is there after it
keeps() {
	local how=$1
	shift
	python3 - "$mnt/kept" "$how" "$@" <<-'END' || { not_ok "$how: it ends"; return; }
	import os, subprocess, sys
	f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
	for i in range(400):
	    os.pwrite(f, sys.argv[2].encode().ljust(8192, b"."), i * 8192)
	subprocess.run(sys.argv[3:], check=True, stdout=subprocess.DEVNULL, timeout=60)
	END
	for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
	must mounted --write-back
	equal "$how: nothing is missing" "$(tr -d . <"$mnt/kept" | sed "s/$how/x/g" | tr -d '\n' | wc -c)" 400
}
keeps SIGTERM kill -TERM "$(serving_pid "$mnt")"
keeps force "$PGOVERLAY" umount --force "$mnt"
# What the helper answers to a umount of a busy mount is not the end of the flush that a SIGTERM asks for meanwhile; nor does a
# second SIGTERM, which ends the flush, wait for a helper that waits for what it has ended.
helper_stopped() {
	python3 - "$mnt" "$(serving_pid "$mnt")" "$(pgrep -P "$(serving_pid "$mnt")")" "$PGOVERLAY" <<-END
	import os, signal, subprocess, sys, time
	mnt, pid, helper, pgoverlay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
	f = os.open(mnt + "/kept", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
	os.kill(helper, signal.SIGSTOP)
	for i in range(400):
	    os.pwrite(f, b"h" * 8192, i * 8192)
	$1
	os.kill(helper, signal.SIGCONT)
	end = time.time() + 10
	while os.path.exists(f"/proc/{pid}"):
	    assert time.time() < end, "it does not end"
	    time.sleep(0.05)
	END
}
check "SIGTERM while a umount is on its way: it ends" helper_stopped '
umount = subprocess.Popen([pgoverlay, "umount", mnt], stderr=subprocess.DEVNULL)
time.sleep(0.5); os.kill(pid, signal.SIGTERM); time.sleep(0.2)'
for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
must mounted --write-back
equal "nothing is missing" "$(tr -dc h <"$mnt/kept" | wc -c)" $((400 * 8192))
check "nor was the end of the flush taken for granted" sh -c "! grep 'did not write out' '$work/diff/log'"
check "a second SIGTERM does not wait" helper_stopped '
os.kill(pid, signal.SIGTERM); time.sleep(0.3); os.kill(pid, signal.SIGTERM); time.sleep(0.3)'
check "and says what that costs" grep -q 'nobody has synced is lost' "$work/diff/log"
for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
must mounted --write-back
times() { stat -c '%Y %s' "$mnt/base/1/grown"; }
times_before=$(times)
must pgo umount "$mnt"
must mounted --write-back
equal "the kernel's times are kept" "$(times)" "$times_before"
check "a kill -9 loses nothing that was synced" counted ".*" "$grown
os.fsync(f)
os.kill($(serving_pid "$mnt"), 0)"
size=$(stat -c %s "$mnt/base/1/grown")
kill -9 "$(serving_pid "$mnt")"
must mounted --write-back
equal "after the kill" "$(stat -c %s "$mnt/base/1/grown")" "$size"
must pgo umount "$mnt"

must mounted --write-back
# recovery_init_sync_method = syncfs: what a crashed server had not synced is with us before it vouches for it.
check "syncfs, then a write of the control file: durable" python3 - "$mnt" "$(serving_pid "$mnt")" <<-'END'
	import ctypes, os, signal, sys
	mnt, pid = sys.argv[1], int(sys.argv[2])
	files = [os.open(f"{mnt}/before{i}", os.O_RDWR | os.O_CREAT, 0o644) for i in range(20)]
	for f in files:
	    for i in range(60):
	        os.pwrite(f, b"%08d" % i * 1024, i * 8192)
	root = os.open(mnt, os.O_RDONLY)
	assert ctypes.CDLL(None).syncfs(root) == 0
	control = os.open(mnt + "/global/pg_control", os.O_RDWR)
	os.pwrite(control, os.pread(control, 8192, 0), 0)
	os.fsync(control)
	os.kill(pid, signal.SIGKILL)
END
for _ in $(seq 100); do is_mounted "$mnt" || break; sleep 0.1; done
must mounted --write-back
check "all of it is there" python3 -c "
for n in range(20):
    data = open('$mnt/before%d' % n, 'rb').read()
    assert data == b''.join(b'%08d' % i * 1024 for i in range(60)), n"
must pgo umount "$mnt"

# All that is answered otherwise is answered so here.
wrapper=$work/bin/pgoverlay
mkdir "$work/bin"
cat >"$wrapper" <<-END
	#!/bin/sh
	command=\$1
	shift
	case \$command in mount | up) exec "$PGOVERLAY" "\$command" --write-through "\$@" ;; *) exec "$PGOVERLAY" "\$command" "\$@" ;; esac
END
chmod 0755 "$wrapper" "$work/bin"
for test in posix model traps wal_dir; do
	mkdir -p "$work/more"
	if PGOVERLAY=$wrapper TEST_WORK=$work/more POSIX_OPTIONS='' MODEL_OPTIONS='' "$TEST_TOP/tests/mount/$test.sh" >"$work/more.log" 2>&1; then
		ok "$test.sh with --write-through: $(grep -c '^ok' "$work/more.log") checks"
	else
		grep -B 12 '^not ok' "$work/more.log" | sed 's/^/    /'
		not_ok "$test.sh with --write-through" "$(grep -m 1 '^not ok' "$work/more.log")"
	fi
	rm -rf --one-file-system "$work/more"
done
finish
