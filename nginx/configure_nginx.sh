#!/bin/bash
# configure_nginx.sh SOURCE OUT: the two headers nginx's configure makes, for the nginx that Debian built.
#
# A dynamic module is loaded only when its signature – which fields nginx's structures have – matches the binary's. Debian
# ships the flags of its build beside the headers (conf_flags), so the same questions get the same answers here. It takes
# a few seconds and happens once; after that the module's own files are compiled like any other of ours.
set -euo pipefail
source=$1 out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"
# shellcheck disable=SC1091
. ./conf_flags
if ! ./configure --builddir="$work/objs" "${NGX_CONF_FLAGS[@]}" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
cp "$work/objs/ngx_auto_config.h" "$work/objs/ngx_auto_headers.h" "$out/"
