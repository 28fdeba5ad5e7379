#!/bin/sh
# Configure once, then build: tools/build.sh [FOLDER [MESON OPTION…]]. Prints a line, not a page, when all is well.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
[ $# -eq 0 ] || shift
if [ ! -f "$folder/build.ninja" ]; then
    echo "Configuring $folder …"
    if ! meson setup "$folder" "$@" >"${TMPDIR:-/tmp}/daybook-setup.$$" 2>&1; then
        cat "${TMPDIR:-/tmp}/daybook-setup.$$" >&2
        rm -f "${TMPDIR:-/tmp}/daybook-setup.$$"
        exit 3
    fi
    rm -f "${TMPDIR:-/tmp}/daybook-setup.$$"
fi
if [ -t 1 ]; then
    exec ninja -C "$folder"
fi
exec ninja -C "$folder" --quiet
