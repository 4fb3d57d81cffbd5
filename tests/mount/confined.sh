#!/bin/bash
# The serving process cannot get out: tried from inside, by system call in two threads and through its ring, by a build of
# the program that has a command for it (tests/mount/probe.c). And what it can no longer do itself is done all the same.
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

need confined zstd python3 || finish
probed=${TEST_BUILD:-}/tests/mount/pgoverlay_probed
[ -x "$probed" ] || { skip confined "no pgoverlay_probed: set TEST_BUILD"; finish; }
must cp "$probed" "$TEST_WORK/pgoverlay_probed"
must unpack "$TEST_TOP/tests/fixtures/shop/store.tar.zst" "$TEST_WORK/confined"
store=$TEST_WORK/confined/store
mnt=$TEST_WORK/confined/mnt
diff=$TEST_WORK/confined/diff
outside=$TEST_WORK/confined/outside
own_dir "$mnt"
own_dir "$outside"
stored=$store/backups/main/victim
as_owner sh -c "echo \$\$ >'$outside/pid'; exec sleep 200" >/dev/null 2>&1 &
for i in $(seq 100); do [ ! -s "$outside/pid" ] || break; sleep 0.05; done
victim=$(cat "$outside/pid")
must rm "$outside/pid"

probe() { # the answer of the mount's `probe`
	python3 - "$PGOVERLAY_HOME"/run/*/control <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(20)
		s.connect(sys.argv[1])
		s.sendall(b"probe\n")
		while (part := s.recv(65536)):
		    sys.stdout.buffer.write(part)
	END
}

# judge NAME: the probe's lines on stdin; what begins with may- succeeds, all else fails as a boundary fails
judge() {
	local how what rc count=0
	while read -r how what rc; do
		count=$((count + 1))
		case $what,$rc in
		may-*,ok | none,ok) ok "$1: $how $what" ;;
		may-*) not_ok "$1: $how $what" "$rc" ;;
		*,EACCES | *,EPERM) ok "$1: $how $what fails with $rc" ;;
		*) not_ok "$1: $how $what" "$rc, wanted EACCES or EPERM" ;;
		esac
	done
	if [ $count -gt 40 ]; then ok "$1: the probe has run"; else not_ok "$1: the probe has run" "$count lines"; fi
}

export PROBE_OUTSIDE=$outside PROBE_STORE=$stored PROBE_DIFF=$diff PROBE_PID=$victim
run_with() { # ENGINE [OPTION]...
	local engine=$1
	shift
	as_owner touch "$outside/there" "$stored"
	must timeout 60 "$TEST_WORK/pgoverlay_probed" mount "$store" "$mnt" --io-engine "$engine" "$@" >/dev/null
}

own_dir "$diff"
run_with uring --diff "$diff"
pid=$(serving_pid "$mnt")
equal "no thread gains rights" "$(grep -h NoNewPrivs "/proc/$pid"/task/*/status | sort -u | awk '{ print $2 }')" 1
equal "every thread is filtered" "$(grep -h '^Seccomp:' "/proc/$pid"/task/*/status | sort -u | awk '{ print $2 }')" 2
judge "with a ring" < <(probe)
equal "nothing was made outside" "$(ls -A "$outside")" there
equal "the mount goes on" "$(timeout 20 cat "$mnt/PG_VERSION")" 15
check "writing goes on" as_owner timeout 20 sh -c "echo x >'$mnt/new' && sync '$mnt/new'"
must mv "$diff/log" "$diff/log.1"
kill -HUP "$pid"
for i in $(seq 50); do [ ! -e "$diff/log" ] || break; sleep 0.1; done
if [ -e "$diff/log" ]; then ok "SIGHUP opens the log anew"; else not_ok "SIGHUP opens the log anew"; fi
locks() { find "$store" -name 'backup*.pid*' | wc -l; }
if [ "$(locks)" -gt 0 ]; then ok "the chain is locked"; else not_ok "the chain is locked"; fi
check "umount" pgo umount "$mnt"
equal "the helper has taken the locks off" "$(locks)" 0

run_with threads --diff "$diff"
equal "what was written is there" "$(timeout 20 cat "$mnt/new")" x
judge "with threads" < <(probe)
kill -9 "$(serving_pid "$mnt")"
for i in $(seq 100); do is_mounted "$mnt" || [ "$(locks)" -gt 0 ] || break; sleep 0.1; done
equal "after kill -9 the helper has unmounted and taken the locks off" "$(locks)" 0

run_with auto --read-only
equal "a read-only mount has no diff to change" "$(probe | grep -c 'may-create EACCES')" 2
check "umount of it" pgo umount "$mnt"

# A kernel that has neither: said, and the mount serves. The probe gets out then: what it says elsewhere means something.
if need "without Landlock" strace; then
	as_owner touch "$outside/there" "$stored"
	timeout -k 5 120 strace -f -qq -o /dev/null -e trace=landlock_create_ruleset,seccomp -e inject=landlock_create_ruleset:error=ENOSYS \
		-e inject=seccomp:error=EINVAL "$TEST_WORK/pgoverlay_probed" mount "$store" "$mnt" --diff "$diff" --foreground \
		>/dev/null 2>"$TEST_WORK/confined/err" &
	tracer=$!
	for i in $(seq 300); do [ ! -S "$(echo "$PGOVERLAY_HOME"/run/*/control)" ] || break; sleep 0.1; done
	equal "without Landlock: the mount serves" "$(timeout 20 cat "$mnt/PG_VERSION")" 15
	equal "without Landlock: it is said once" "$(grep -c 'no Landlock' "$TEST_WORK/confined/err")" 1
	equal "without Landlock: the probe gets out" "$(probe | grep -cE '^core (open|create|rename|store-write|store-unlink|exec) ok$')" 6
	equal "without Landlock: the ring stays what it is" "$(probe | grep -cE '^ring (open|create|unlink) EACCES$')" 3
	check "without Landlock: umount" pgo umount "$mnt"
	wait $tracer
fi

# The owner could do all of that by itself: the tries fail for no other reason.
rm -rf "${outside:?}"/*
as_owner touch "$outside/there" "$stored"
for command in "cat there" "touch new" "mkdir d" "ln -s / s" "mkfifo f" "mv there r" "rm r"; do
	check "the owner may: $command" as_owner sh -c "cd '$outside' && $command"
done
check "the owner may: write to the store" as_owner test -w "$stored"
kill "$victim"
finish
