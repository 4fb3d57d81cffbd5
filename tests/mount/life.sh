#!/bin/bash
# The life of a mount: what it refuses, how it ends, what it leaves behind, who may do what.
# shellcheck disable=SC2317 # functions are called through check and until_true
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need life zstd python3 fusermount3 || finish
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/life"
store=$TEST_WORK/life/store
mnt=$TEST_WORK/life-mnt
diff=$TEST_WORK/life/diff
own_dir "$mnt"
first=TOSQOU
other_user=nobody

mount_it() { must pgo mount "$store" "$mnt" --diff "$diff" >/dev/null; }

# refused NAME STATUS WORD COMMAND...: fails with that status, once, and says WORD
refused() {
	local name=$1 status=$2 word=$3 out rc
	shift 3
	out=$("$@" 2>&1 >/dev/null) && rc=0 || rc=$?
	if [ $rc != "$status" ]; then
		not_ok "$name" "exit status $rc, wanted $status: $out"
	elif [ "$(printf '%s\n' "$out" | grep -c .)" != 1 ] || [[ $out != "pgoverlay: "* ]]; then
		not_ok "$name" "not one line of ours: $out"
	elif [[ $out != *"$word"* ]]; then
		not_ok "$name" "'$word' is not in: $out"
	else
		ok "$name"
	fi
}

# until_true SECONDS COMMAND...
until_true() {
	local tries=$(($1 * 10))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}
not_mounted() { ! is_mounted "$mnt"; }
no_process() { ! pgrep -f "^pgoverlay: (serves|unmounts) $mnt\$" >/dev/null || ! alive; }
alive() { # zombies do not count: nobody may reap them in a container
	local pid
	for pid in $(pgrep -f "^pgoverlay: (serves|unmounts) $mnt\$"); do
		[ "$(awk '{ print $3 }' "/proc/$pid/stat" 2>/dev/null)" = Z ] || return 0
	done
	return 1
}
gone() { # NAME: no mount, no process, no folder of the mount
	if until_true 10 not_mounted && until_true 10 no_process && [ -z "$(ls "$PGOVERLAY_HOME/run")" ]; then
		ok "$1"
	else
		not_ok "$1" "left: $(grep "$mnt" /proc/self/mountinfo) $(ls "$PGOVERLAY_HOME/run")"
		umount -l "$mnt" 2>/dev/null
	fi
}
clones() { find "$PGOVERLAY_HOME/clones" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
write_one() { as_owner timeout 20 sh -c "echo '$2' >'$mnt/$1'"; }
read_one() { timeout 20 cat "$mnt/$1" 2>&1; }

# ---- facts ----

exec 9>"$TEST_WORK/life/callers-file"
facts=$(pgo mount "$store" "$mnt" --diff "$diff" --format json)
exec 9>&-
pid=$(json pid <<<"$facts")
equal "mount tells its facts" "$(json mountpoint <<<"$facts") $(json diff <<<"$facts") $(json instance <<<"$facts")" "$mnt $diff main"
equal "the chain, oldest first" "$(python3 -c 'import json,sys; d=json.load(sys.stdin); print(d["chain"][0], d["chain"][-1] == d["backup"])' <<<"$facts")" "$first True"
equal "the daemon runs as the owner for good" "$(awk '/^Uid:/ { print $2, $3, $4 }' "/proc/$pid/status")" "$(id -u "$PG_USER") $(id -u "$PG_USER") $(id -u "$PG_USER")"
equal "no capability is left" "$(awk '/^Cap(Prm|Eff):/ { print $2 }' "/proc/$pid/status" | sort -u)" 0000000000000000
equal "no descriptor of the caller stays open" "$(find "/proc/$pid/fd" -lname '*callers-file*' | wc -l)" 0
equal "it works in /" "$(readlink "/proc/$pid/cwd")" /
helper=$(pgrep -f "^pgoverlay: unmounts $mnt\$")
equal "the helper keeps its rights" "$(awk '/^Uid:/ { print $3 }' "/proc/$helper/status")" 0
options=$(awk -v m="$mnt" '$5 == m { print $6 "," $NF }' /proc/self/mountinfo)
for o in nosuid nodev noatime default_permissions allow_other; do
	case ,$options, in *,$o,*) ok "mounted $o" ;; *) not_ok "mounted $o" "$options" ;; esac
done
device=$(awk -v m="$mnt" '$5 == m { print $3 }' /proc/self/mountinfo)
equal "readahead is raised" "$(cat "/sys/class/bdi/$device/read_ahead_kb")" 1024
keys=$(pgo status "$mnt" --format json | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(*[k for k in ("mountpoint", "diff", "pid", "engine", "requests", "errors", "layers", "diff_bytes", "fds", "index_bytes", "nodes",
    "fd_cache", "allocated_bytes") if k not in d])')
equal "status has the keys that scripts rely on" "$keys" ""
equal "status lists the clone" "$(pgo status | grep -c "^running .*$mnt")" 1
equal "the mount shows the backup" "$(read_one PG_VERSION)" 15
if pgo status "$mnt" --format prometheus | grep -q '^pgoverlay_requests_count{mountpoint="'; then ok "status for Prometheus"; else not_ok "status for Prometheus"; fi
# shellcheck disable=SC2317 # called through check
latencies() {
	pgo status "$mnt" --format prometheus | python3 -c '
import re, sys
buckets, counts = {}, {}
for line in sys.stdin:
    if m := re.match(r"pgoverlay_request_seconds_bucket\{.*type=\"(\w+)\",le=\"(\S+)\"\} (\d+)$", line):
        buckets.setdefault(m[1], []).append((float(m[2]), int(m[3])))
    elif m := re.match(r"pgoverlay_request_seconds_count\{.*type=\"(\w+)\"\} (\d+)$", line):
        counts[m[1]] = int(m[2])
assert counts["read"] > 0 and counts["lookup"] > 0, counts
for kind, rows in buckets.items():
    assert rows == sorted(rows) and [n for _, n in rows] == sorted(n for _, n in rows), rows
    assert rows[-1] == (float("inf"), counts[kind]), rows'
}
check "and its histograms add up" latencies

# ---- refusals ----

own_dir "$TEST_WORK/life/m2"
refused "a second mount of the diff names the process" 1 "$pid" pgo mount "$store" "$TEST_WORK/life/m2" --diff "$diff"
refused "a second mount on the mount point names the process" 1 "$pid" pgo mount "$store" "$mnt" --diff "$TEST_WORK/life/diff2"
refused "a mount of another home is said to be one" 1 "PGOVERLAY_HOME" \
	env PGOVERLAY_HOME="$TEST_WORK/life/home2" "$PGOVERLAY" mount "$store" "$mnt" --diff "$TEST_WORK/life/diff2"
if [ -e "$TEST_WORK/life/diff2" ]; then not_ok "a refused mount leaves no diff"; else ok "a refused mount leaves no diff"; fi
refused "cleanup of a diff in use" 1 "in use" pgo cleanup "$diff"
refused "a mount point that is not there" 1 "nowhere" pgo mount "$store" "$TEST_WORK/nowhere"
refused "a diff inside of the mount point" 1 "lies in" pgo mount "$store" "$TEST_WORK/life" --diff "$TEST_WORK/life/d"
refused "a mount point inside of the diff" 1 "lies in" pgo mount "$store" "$TEST_WORK/life/m2" --diff "$TEST_WORK/life"
refused "a diff inside of the store" 1 "lies in" pgo mount "$store" "$TEST_WORK/life/m2" --diff "$store/d"
refused "no such backup" 1 "NOSUCH" pgo mount "$store" "$TEST_WORK/life/m2" --backup NOSUCH
refused "no such user" 1 "no-such-user" pgo mount "$store" "$TEST_WORK/life/m2" --owner no-such-user
refused "read-only with a diff" 2 "--read-only" pgo mount "$store" "$TEST_WORK/life/m2" --read-only --diff "$diff"
refused "an unknown option" 2 "--nonsense" pgo mount "$store" "$TEST_WORK/life/m2" --nonsense
refused "a bad value" 2 "--io-engine" pgo mount "$store" "$TEST_WORK/life/m2" --io-engine steam
refused "too few arguments" 2 "MOUNTPOINT" pgo mount "$store"
refused "an unknown command" 2 "frobnicate" pgo frobnicate
refused "umount of what is no clone" 1 "no clone" pgo umount "$TEST_WORK/life/m2"
refused "cleanup of what is no diff" 1 "not a diff" pgo cleanup "$TEST_WORK/life/m2"
equal "no refusal left a mount" "$(grep -c "$TEST_WORK" /proc/self/mountinfo)" 1
equal "no refusal left a clone" "$(clones)" 0
for c in mount umount status cleanup; do
	if pgo $c --help | grep -q '^Usage:' && pgo $c --version | grep -q '^pgoverlay [0-9]'; then ok "$c --help, --version"; else not_ok "$c --help, --version"; fi
done

# ---- others ----

refused_quietly() { if "$@" >/dev/null 2>&1; then return 1; fi; }
check "another user sees nothing" refused_quietly runuser -u $other_user -- timeout 20 ls "$mnt"
check "another user gets no status" refused_quietly runuser -u $other_user -- env PGOVERLAY_HOME="$PGOVERLAY_HOME" timeout 20 "$PGOVERLAY" status "$mnt"
equal "the control socket is the owner's" "$(stat -c '%U %a' "$PGOVERLAY_HOME"/run/*/control)" "$PG_USER 600"
equal "so is its directory" "$(stat -c '%U %a' "$PGOVERLAY_HOME"/run/*)" "$PG_USER 700"
ask_as() { # USER: the bytes of the answer that USER gets
	timeout 20 runuser -u "$1" -- python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b"status\n")
    print(len(s.recv(65536)))
except OSError:
    print(0)' "$(echo "$PGOVERLAY_HOME"/run/*/control)"
}
chmod 0755 "$PGOVERLAY_HOME"/run/* && chmod 0666 "$PGOVERLAY_HOME"/run/*/control
equal "another user is not answered even where the socket is open to him" "$(ask_as $other_user)" 0
if [ "$(ask_as "$PG_USER")" -gt 100 ]; then ok "the owner is answered"; else not_ok "the owner is answered"; fi
chmod 0700 "$PGOVERLAY_HOME"/run/* && chmod 0600 "$PGOVERLAY_HOME"/run/*/control
check "files belong to who makes them" write_one mine x
equal "files belong to who makes them" "$(stat -c %U "$mnt/mine")" "$PG_USER"

# ---- the timer ----

journal() { pgo status "$mnt" --format json | json journal_used; }
pgo status "$mnt" --sync >/dev/null
before=$(journal)
write_one timer x
grown() { [ "$(journal)" -gt "$before" ]; }
if until_true 8 grown; then ok "what nobody syncs is committed within 5 seconds"; else not_ok "what nobody syncs is committed within 5 seconds"; fi
equal "--reset starts the figures again" "$(pgo status "$mnt" --reset >/dev/null; pgo status "$mnt" --format json | json requests)" "{}"

# ---- ends ----

kill_both() { # the helper is held, so that it cannot unmount in between
	local helper daemon
	helper=$(pgrep -f "^pgoverlay: unmounts $mnt\$")
	daemon=$(pgrep -f "^pgoverlay: serves $mnt\$")
	kill -STOP "$helper"
	kill -9 "$daemon" "$helper"
	until_true 5 no_process
}

# shellcheck disable=SC2317 # by until_true
holds_a_copy() { pgrep -P "$holder" -x sleep >/dev/null; }

write_one kept "before umount"
(cd "$mnt" && sleep 60) &
holder=$!
sleep 0.2
refused "umount of a mount in use" 1 "in use" pgo umount "$mnt"
equal "it goes on serving" "$(read_one kept)" "before umount"
kill $holder
wait $holder 2>/dev/null
check "umount" pgo umount "$mnt"
gone "umount leaves nothing"
# Who watches over the serving process (systemd) must not find it when umount has returned. A zombie nobody may reap here.
check "umount returns when the process is gone" timeout -k 5 100 python3 -c '
import json, subprocess, sys
program, store, mnt = sys.argv[1:]
def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
def run(*command): return subprocess.run([program, *command], check=True, capture_output=True).stdout
for _ in range(10):
    run("mount", store, mnt)
    pid = json.loads(run("status", mnt, "--format", "json"))["pid"]
    run("umount", mnt)
    assert is_gone(pid), pid
' "$PGOVERLAY" "$store" "$mnt"
equal "status lists it as stopped" "$(pgo status | grep -c "^stopped .*$mnt")" 1

mount_it
equal "what was written is there" "$(read_one kept)" "before umount"
write_one kept "before --force"
exec 8<"$mnt/kept"
check "umount --force" pgo umount "$mnt" --force
exec 8<&-
gone "umount --force leaves nothing"

# A container or a service of others that was started meanwhile may have a copy of the mount, which keeps it alive.
mount_it
timeout 60 unshare -m --propagation private "$TEST_TOOLS/own_mounts.sh" "$TEST_WORK" sleep 50 &
holder=$!
until_true 5 holds_a_copy
refused "umount says that a mount namespace of others has it" 1 "mount namespace" pgo umount "$mnt"
check "umount --force ends it all the same" pgo umount "$mnt" --force
gone "a copy elsewhere leaves nothing"
kill $holder
wait $holder 2>/dev/null

mount_it
equal "--force has committed" "$(read_one kept)" "before --force"
write_one kept "before SIGTERM"
kill -TERM "$(serving_pid "$mnt")"
gone "SIGTERM leaves nothing"
mount_it
equal "SIGTERM has committed" "$(read_one kept)" "before SIGTERM"
write_one kept "before umount(8)"
check "umount(8)" timeout 20 umount "$mnt"
mount_it
equal "the next mount waits for the last commit" "$(read_one kept)" "before umount(8)"

exec 8<"$mnt/kept"
check "umount -l" timeout 20 umount -l "$mnt"
equal "after umount -l an open file is still served" "$(timeout 20 cat <&8)" "before umount(8)"
refused "meanwhile the diff is in use" 1 "diff" pgo mount "$store" "$TEST_WORK/life/m2" --diff "$diff"
exec 8<&-
gone "it ends with the last file"

mount_it
write_one kept "before kill"
must pgo status "$mnt" --sync >/dev/null
kill -9 "$(serving_pid "$mnt")"
if until_true 10 not_mounted; then ok "kill -9 leaves no mount"; else not_ok "kill -9 leaves no mount"; fi
refused "status says that it is dead" 1 "is gone" pgo status "$mnt"
mount_it
equal "after kill -9 the next mount works at once" "$(read_one kept)" "before kill"

kill_both
if is_mounted "$mnt"; then ok "without its helper a dead mount stays"; else not_ok "without its helper a dead mount stays"; fi
facts=$(pgo mount "$store" "$mnt" --diff "$diff" --format json)
equal "a dead mount is cleared and said" "$(json note <<<"$facts" | grep -c 'dead mount')" 1
equal "there is one mount" "$(awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l)" 1
equal "and it works" "$(read_one kept)" "before kill"
kill_both
check "umount clears a dead mount" pgo umount "$mnt"
gone "it leaves nothing"

mount_it
connection=$(awk -v m="$mnt" '$5 == m { sub(/.*:/, "", $3); print $3 }' /proc/self/mountinfo)
[ -e /sys/fs/fuse/connections/abort ] || mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null
if echo 1 2>/dev/null >"/sys/fs/fuse/connections/$connection/abort"; then
	gone "an abort through fusectl leaves nothing"
	mount_it
	equal "and the next mount works" "$(read_one kept)" "before kill"
else
	skip "abort through fusectl" "fusectl is not mounted"
fi
check "umount --discard" pgo umount "$mnt" --discard
if [ -e "$diff" ]; then not_ok "the diff is gone"; else ok "the diff is gone"; fi
equal "status forgets it" "$(pgo status | grep -c "$mnt")" 0

# ---- temporary clones ----

rm -rf "$PGOVERLAY_HOME"
umask 077 # root's may be strict; the owner works in the home all the same
must pgo mount "$store" "$mnt" >/dev/null
write_one temp x
equal "a temporary diff lies in the home" "$(clones)" 1
check "umount of a temporary clone" pgo umount "$mnt"
equal "its diff is gone" "$(clones)" 0
must pgo mount "$store" "$mnt" >/dev/null
timeout 20 umount "$mnt"
gone "umount(8) of a temporary clone"
equal "its diff is gone too" "$(clones)" 0
must pgo mount "$store" "$mnt" >/dev/null
kill -9 "$(serving_pid "$mnt")"
until_true 10 not_mounted
equal "what a killed one held stays" "$(clones)" 1
equal "status calls it stale" "$(pgo status | grep -c "^stale .*$mnt")" 1
must pgo mount "$store" "$mnt" >/dev/null
equal "a new one beside it" "$(clones)" 2
check "cleanup --stale" pgo cleanup --stale
equal "only the stale one is removed" "$(clones)" 1
equal "the living one is untouched" "$(read_one PG_VERSION)" 15
check "umount" pgo umount "$mnt"
equal "nothing is left" "$(clones)" 0

mount_it
check "umount of a permanent one" pgo umount "$mnt"
check "cleanup DIFF" pgo cleanup "$diff"
if [ -e "$diff" ]; then not_ok "cleanup removes the diff"; else ok "cleanup removes the diff"; fi

umask 022

# ---- foreground ----

timeout 60 "$PGOVERLAY" mount "$store" "$mnt" --foreground --format json >"$TEST_WORK/life/facts" 2>"$TEST_WORK/life/err" &
server=$!
until_true 10 is_mounted "$mnt"
until_true 10 test -s "$TEST_WORK/life/facts"
equal "--foreground serves" "$(read_one PG_VERSION)" 15
equal "--foreground tells its facts" "$(json mountpoint <"$TEST_WORK/life/facts")" "$mnt"
timeout 20 umount "$mnt"
wait $server
equal "--foreground ends with the mount" $? 0
gone "--foreground leaves nothing"

# ---- users ----

umnt=$TEST_WORK/life/umnt
own_dir "$umnt"
own_dir "$TEST_WORK/life/uhome"
as_user() { as_owner env PGOVERLAY_HOME="$TEST_WORK/life/uhome" timeout 60 "$PGOVERLAY" "$@"; }
check "a user mounts" as_user mount "$store" "$umnt"
equal "a user's mount is not for others" "$(awk -v m="$umnt" '$5 == m { print $NF }' /proc/self/mountinfo | grep -c allow_other)" 0
equal "a user's mount works" "$(as_owner timeout 20 cat "$umnt/PG_VERSION")" 15
check "a user unmounts" as_user umount "$umnt"
must as_user mount "$store" "$umnt" >/dev/null
kill -9 "$(as_user status "$umnt" --format json | json pid)"
mnt=$umnt
if until_true 10 not_mounted; then ok "kill -9 of a user's daemon leaves no mount"; else not_ok "kill -9 of a user's daemon leaves no mount"; fi
must as_user mount "$store" "$umnt" >/dev/null
kill -TERM "$(as_user status "$umnt" --format json | json pid)"
if until_true 10 not_mounted; then ok "SIGTERM of a user's daemon leaves no mount"; else not_ok "SIGTERM of a user's daemon leaves no mount"; fi
refused "a user mounts for nobody else" 1 "only root" as_user mount "$store" "$umnt" --owner root
mnt=$TEST_WORK/life-mnt
must pgo mount "$store" "$mnt" >/dev/null
check "the owner unmounts what root has mounted" as_owner env PGOVERLAY_HOME="$PGOVERLAY_HOME" timeout 60 "$PGOVERLAY" umount "$mnt"
gone "nothing is left of it"

chmod 0700 "$store" && chown root: "$store"
refused "a store the owner cannot read is named, and the owner" 1 "$store: user $PG_USER must be able to read it" pgo mount "$store" "$mnt" --owner "$PG_USER"
gone "and nothing stays mounted"
equal "nor a clone" "$(clones)" 0
finish
