#!/bin/bash
# own_mounts.sh DIR COMMAND...: in a mount namespace of its own (unshare -m): lets go of the mounts that tests running beside
# this one have elsewhere than below DIR, which would stay alive with the copy, then runs the command.
set -u
dir=$1
shift
awk '{ print $5 }' /proc/self/mountinfo | grep pgoverlay | grep -v "^$dir/" | tac | while read -r mount; do
	umount -l "$mount"
done
exec "$@"
