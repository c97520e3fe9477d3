#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tidy.sh [FILE.cpp...]: clang-tidy over the sources named, or all of them; slow. The compile
# commands are those of the clang preset.
set -eu
cd "$(dirname "$0")/.."

if ! command -v clang-tidy-19 >/dev/null; then
    echo "tidy: not needed to build, so not installed by default: apt-get install clang-tidy-19" >&2
    exit 1
fi
cmake --preset clang >/dev/null
if [ $# = 0 ]; then
    # Only what that preset compiles: BPF objects have other commands.
    # shellcheck disable=SC2046  # names of ours, no spaces
    set -- $(sed -n 's|^ *"file": "\(.*\.cpp\)".*|\1|p' build/clang/compile_commands.json | sort -u)
fi
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 clang-tidy-19 --quiet -p build/clang
