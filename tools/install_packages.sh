#!/bin/sh
# Install what daybook needs from Debian: tools/install_packages.sh [--list] PURPOSE…   (build run test bench long fuzz)
#
# Reads tools/packages.txt, installs only what is missing, asks once when it stands at a terminal, and keeps every
# package from starting a service of its own while it is installed (Debian's nginx would take port 80).
# Exit: 0 all there, 1 the answer was no, 2 used wrongly, 3 this is not Debian 12 or later, or apt failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
list_only=no
if [ "${1:-}" = --list ]; then
    list_only=yes
    shift
fi
if [ $# -eq 0 ]; then
    echo "usage: tools/install_packages.sh [--list] build|run|test|bench|long|fuzz …" >&2
    exit 2
fi

wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
for purpose in "$@"; do
    awk -v purpose="$purpose" '$1 == purpose { print $2 }' "$here/packages.txt" >>"$wanted"
done

is_installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'
}

missing=
while IFS=/ read -r package command; do
    if [ -n "$command" ] && command -v "$command" >/dev/null 2>&1; then
        continue
    fi
    if ! command -v dpkg-query >/dev/null 2>&1 || ! is_installed "$package"; then
        missing="$missing $package"
    fi
done <"$wanted"

if [ "$list_only" = yes ]; then
    echo "$missing" | tr ' ' '\n' | sed '/^$/d'
    exit 0
fi
[ -n "$missing" ] || exit 0

version=$(. /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_ID:-0}" || echo 0)
if [ "${version%%.*}" -lt 12 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "daybook installs its packages by itself on Debian 12 and later only." >&2
    echo "Here, please install what these Debian packages hold, then call make again:" >&2
    echo "   $missing" >&2
    exit 3
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These Debian packages are missing:$missing" >&2
        echo "Install them as root:  apt-get install --no-install-recommends$missing" >&2
        exit 3
    fi
    as_root=sudo
fi

if [ -t 0 ] && [ -t 1 ]; then
    echo "daybook needs these Debian packages:$missing"
    printf 'Install them now? [Y/n] '
    read -r answer || answer=n
    case "$answer" in
    '' | y* | Y*) ;;
    *)
        echo "Nothing was installed." >&2
        exit 1
        ;;
    esac
fi

# 101: "do not start this service" (invoke-rc.d). Whatever policy stood there before comes back afterwards.
policy=/usr/sbin/policy-rc.d
saved=
restore_policy() {
    rm -f "$wanted"
    $as_root rm -f "$policy"
    [ -z "$saved" ] || $as_root mv "$saved" "$policy"
}
if [ -e "$policy" ]; then
    saved=$policy.daybook-saved
    $as_root mv "$policy" "$saved"
fi
trap restore_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
$as_root chmod 755 "$policy"

echo "Installing:$missing"
log=$(mktemp)
if ! $as_root apt-get update -qq >"$log" 2>&1 ||
    ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "apt-get could not install them; the whole output is in $log" >&2
    exit 3
fi
rm -f "$log"
