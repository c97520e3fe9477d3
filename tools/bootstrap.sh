#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages of tools/packages.txt that are missing. Asks nothing, and says
# nothing when all are there. Without root or sudo it prints the one line to run instead.
set -eu

list=$(dirname "$0")/packages.txt

if ! command -v dpkg-query >/dev/null; then
    echo "bootstrap: no dpkg here; the build needs what Debian 12 calls:" >&2
    sed 's/ *#.*//; /^$/d' "$list" >&2
    exit 1
fi

missing=
# shellcheck disable=SC2013  # words are wanted
for package in $(sed 's/#.*//' "$list"); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    echo "bootstrap: packages are missing, with neither root nor a sudo that asks nothing; run:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

echo "bootstrap: installing$missing"
apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120"
$apt update </dev/null
# shellcheck disable=SC2086  # both are lists
$apt install -y --no-install-recommends $missing </dev/null
