#!/bin/bash
# PostgreSQL on a clone whose disk runs full, anywhere in TPC-B, DDL and checkpoints: transactions fail, or the server stops;
# when there is room again everything acknowledged is there, without a repair, and pg_amcheck has nothing to say.
#
#   FULL_WAL     native: pg_wal on the same disk; fuse: through the mount; default: both
#   FULL_PLACES  how often of each, each time with another amount of room; every 12 the clone is a new one
#   TEST_SEED    of all that is random
set -u
# shellcheck source-path=SCRIPTDIR source=../tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_lib.sh
. "$TEST_TOOLS/power_lib.sh"
# shellcheck source-path=SCRIPTDIR source=../tools/power_pg.sh
. "$TEST_TOOLS/power_pg.sh"

places=${FULL_PLACES:-1}
need full python3 zstd runuser losetup mkfs.ext4 || finish
use_tools
ballast=$disk/ballast
load_seconds=8

server_lives() { kill -0 "$postmaster" 2>/dev/null && [ "$(q postgres -c "select 1" 2>/dev/null)" = 1 ]; }

# fill: all but a random amount of the room that is left
fill() {
	local free keep
	free=$(df --output=avail -k "$disk" | tail -n 1)
	keep=$((RANDOM % 4 ? RANDOM % 16000 : RANDOM % 3000))
	room=$((keep < free ? keep : free))
	[ "$room" = "$free" ] || fallocate -l "$((free - room))K" "$ballast"
}

# was_full: a client or the server has met the full disk
was_full() { grep -qs 'No space left on device' "$power"/load.* "$log" "$disk/diff/log"; }

one_full() {
	local i
	log=$sock/log
	[ "$wal" = fuse ] || log=$disk/diff/postgres.log
	: >"$log"
	: >"$disk/diff/log"
	fill || return 1
	start_load || return 1
	for ((i = 0; i < load_seconds * 10; i++)); do
		was_full && break
		kill -0 "$postmaster" 2>/dev/null || break
		sleep 0.1
	done
	met=no
	was_full && met=yes
	between 1 999
	rm -f "$ballast"
	end_load || return 1
	for ((i = 0; i < 100; i++)); do # it may be recovering, or stopping
		server_lives && break
		kill -0 "$postmaster" 2>/dev/null || break
		sleep 0.1
	done
	if server_lives; then
		all_there quick || return 1 # all pages after the next start
		stopped=''
	else
		stopped=', the server had stopped'
	fi
	kill -0 "$pid" || { echo "the mount has gone"; return 1; }
	# Also one that seemed to live may be ending by itself.
	if ! kill -0 "$postmaster" 2>/dev/null || ! (take_down); then
		for ((i = 0; i < 100; i++)); do
			kill -0 "$postmaster" 2>/dev/null || break
			sleep 0.1
		done
		if [ "$wal" = native ]; then
			timeout 150 "$PGOVERLAY" down "$mnt" || return 1
		else
			timeout 60 "$PGOVERLAY" umount "$mnt" || return 1
		fi
	fi
	bring_up || { echo "it does not come up when there is room again"; return 1; }
	all_there
}

run() { # WAL
	local i name="a full disk, WAL on it too" begun=$SECONDS history=0 processed=0 full=0 met='' stopped='' room
	wal=$1
	[ "$wal" = native ] || name="a full disk, WAL through the mount"
	must power_make ext4 700
	for ((i = 1; i <= places; i++)); do
		if [ $((i % 12)) = 1 ]; then
			[ $i = 1 ] || take_down
			must new_cluster
		fi
		if one_full >"$power/out" 2>&1; then
			ok "$name, $i, with $room KiB: $acknowledged acknowledged$stopped"
			[ "$met" = no ] || full=$((full + 1))
		else
			tail -n 20 "$power/out" | sed 's/^/    /'
			not_ok "$name, $i" "seed $seed, $room KiB: $(grep -m 1 -E 'LOST|missing' "$power/out" || tail -n 1 "$power/out")"
			return 0
		fi
	done
	take_down
	must disk_off
	echo "# $name: $places, $full of them met it, $((SECONDS - begun)) s"
	[ "$places" -lt 3 ] || check "$name: it was met" [ $((full * 3)) -ge "$places" ]
}

echo "# seed $seed, image $image"
for what in ${FULL_WAL:-native fuse}; do run "$what"; done
finish
