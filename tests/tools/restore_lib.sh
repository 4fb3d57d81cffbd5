# shellcheck shell=bash
# Sourced by the tests of `restore`, behind lib.sh.

golden_dir() { # FIXTURE STORE-DIRECTORY
	if [ -d "$1/golden" ]; then
		echo "$1/golden"
	else
		zstd -dc "$1/golden.tar.zst" | tar -C "$2" -x && echo "$2/golden"
	fi
}

# mappings BACKUP-DIRECTORY OUT: options that put tablespaces and external directories below OUT
mappings() {
	local oid path
	if [ -f "$1/database/tablespace_map" ]; then
		while read -r oid path; do
			printf '%s\n' -T "$path=$2/space-$oid"
		done <"$1/database/tablespace_map"
	fi
	sed -n "s/^external-dirs = '\(.*\)'$/\1/p" "$1/backup.control" | tr ':' '\n' | while read -r path; do
		printf '%s\n' "--external-mapping=$path=$2/${path##*/}"
	done
}

# restore_to OUT STORE INSTANCE ID [OPTION]...: into OUT/data, whatever lies outside beside it
restore_to() {
	local out=$1 store=$2 instance=$3 id=$4 options
	shift 4
	rm -rf "$out"
	own_dir "$out"
	mapfile -t options < <(mappings "$store/backups/$instance/$id" "$out")
	(umask 022 && timeout -k 5 120 "$PGOVERLAY" restore "$store" "$out/data" --instance "$instance" --backup "$id" "${options[@]}" "$@")
}
