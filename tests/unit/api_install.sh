#!/bin/sh
# api_install.sh BUILD SOURCE CC...: installs libpgoverlay below a scratch directory, builds the example against what was
# installed and nothing else, and runs it on a sample store.
set -eu
build=$1 source=$2
shift 2
work=$(mktemp -d "${TMPDIR:-/tmp}/pgoverlay-install-XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
	echo "api_install: $1" >&2
	exit 1
}

command -v pkg-config >/dev/null || { echo "skipped: pkg-config is not installed"; exit 77; }
# --tags: what the development package holds; the program need not be built for it.
meson install -C "$build" --no-rebuild --quiet --tags devel,libs --destdir "$work/root"
pc=$(find "$work/root" -name pgoverlay.pc)
[ -n "$pc" ] || fail "no pgoverlay.pc was installed"
lib=$(dirname "$(dirname "$pc")")
[ -e "$lib/libpgoverlay.so.0" ] || fail "no libpgoverlay.so.0 beside it"
PKG_CONFIG_LIBDIR=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$work/root
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
flags=$(pkg-config --cflags --libs pgoverlay)

cp "$source/examples/readblocks.c" "$work"
cd "$work"
# shellcheck disable=SC2086 # flags are words
"$@" -std=c99 -Wall -Wextra -Wpedantic -Werror -o readblocks readblocks.c $flags
if command -v c++ >/dev/null; then
	echo '#include <pgoverlay/pgoverlay.h>' >header.cc
	# shellcheck disable=SC2046
	c++ -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags pgoverlay) header.cc
fi
strange=$(nm -D --defined-only "$lib/libpgoverlay.so.0" | awk '$3 !~ /^pgoverlay_/ { print $3 }')
[ -z "$strange" ] || fail "exported besides the API: $strange"

zstd -qdc "$source/tests/fixtures/shop/store.tar.zst" | tar -xf -
LD_LIBRARY_PATH=$lib
export LD_LIBRARY_PATH
[ "$(./readblocks store | wc -l)" = 5 ] || fail "not five backups are listed"
./readblocks store TOSQQ2 | grep -q ' 3 PG_VERSION$' || fail "PG_VERSION is not listed"
blocks=$(./readblocks store TOSQQ2 base/5/1259 | wc -l)
size=$(./readblocks store TOSQQ2 | awk '$2 == "base/5/1259" { print $1 }')
[ "$blocks" -gt 0 ] && [ "$((blocks * 8192))" = "$size" ] || fail "base/5/1259: $blocks blocks, $size bytes"
if ./readblocks store NOSUCH 2>message; then fail "a backup that is not there was opened"; fi
grep -q NOSUCH message || fail "the message does not name the backup"
echo "installed, compiled, linked and run: $blocks blocks"
