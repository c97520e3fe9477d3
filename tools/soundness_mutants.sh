#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows that the soundness fuzzer catches faults: applies each patch of tests/fuzz/soundness/mutants to
# a copy of the one source of the verifier that it changes, links that in front of the rest of a
# `soundness` already built, and lets programs of the corpus, then random ones, be judged and executed
# until one leaves the states that were walked.
#
#   tools/soundness_mutants.sh [--build DIR] [--seconds N] [NAME...]
#   tools/soundness_mutants.sh --check
#
# Without names: all. --check: only that each patch applies and has its head; builds nothing. What was
# printed is in DIR/soundness_mutants. Exit: 0 all are caught, 1 not, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
patches=$root/tests/fuzz/soundness/mutants
corpus=$root/tests/fuzz/soundness/corpus_soundness
build=$root/build/release
seconds=300
check=
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$(cd "$2" && pwd) && shift ;;
    --seconds) seconds=$2 && shift ;;
    --check) check=1 ;;
    -*) sed -n '/^#   tools/p' "$0" >&2 && exit 2 ;;
    *) names+=("$1") ;;
    esac
    shift
done
if [ ${#names[@]} = 0 ]; then
    for file in "$patches"/*.patch; do
        names+=("$(basename "$file" .patch)")
    done
fi

if [ -n "$check" ]; then
    status=0
    for name in "${names[@]}"; do
        file=$patches/$name.patch
        grep -qx "Name: $name" "$file" && grep -q '^Story: ' "$file" &&
            patch --dry-run --batch --silent --fuzz=0 -p1 -d "$root" <"$file" >/dev/null ||
            { echo "$file: no head, or does not apply" && status=1; }
    done
    exit $status
fi

work=$build/soundness_mutants
mkdir -p "$work"
cmake --build "$build" --target soundness >"$work/base.log" 2>&1 || { cat "$work/base.log" && exit 1; }
ninja -C "$build" -t commands tests/fuzz/soundness/soundness >"$work/commands"

# Applies, builds, runs; prints a row.
try_one() {
    local name=$1 place=$work/$1 source object command verdict
    rm -rf "$place" && mkdir -p "$place"
    source=$(sed -n 's|^+++ b/\([^ \t]*\).*|\1|p' "$patches/$name.patch")
    mkdir -p "$place/$(dirname "$source")"
    cp "$root/$source" "$place/$source"
    patch --batch --silent --fuzz=0 -p1 -d "$place" <"$patches/$name.patch" >"$place/log" 2>&1 ||
        { printf '%-34s DOES NOT APPLY\n' "$name" && return; }
    object=src/bpf/CMakeFiles/taskwork_bpf.dir/${source#src/bpf/}.o
    command=$(grep -F -- " -o $object " "$work/commands" | head -n 1 |
        sed "s| -MD .* -o [^ ]*| -w -g0 -o $place/mutant.o|; s|$root/$source|$place/$source|")
    (cd "$build" && sh -c "$command") >>"$place/log" 2>&1 ||
        { printf '%-34s DOES NOT COMPILE\n' "$name" && return; }
    # The first definition is the one that is linked.
    command=$(tail -n 1 "$work/commands" |
        sed "s| -o [^ ]*soundness | -o $place/soundness $place/mutant.o |")
    (cd "$build" && sh -c "$command") >>"$place/log" 2>&1 ||
        { printf '%-34s DOES NOT LINK\n' "$name" && return; }
    verdict="NOT CAUGHT"
    if ! timeout 60 "$place/soundness" "$corpus"/* >"$place/log" 2>&1; then
        verdict=$(sed -n 's/^.*\/corpus_soundness\//corpus, /; /^corpus, .*: as walked$/d; /^corpus, /{p;q}' \
            "$place/log" | cut -c 1-110)
        [ -n "$verdict" ] || verdict="ENDS WITHOUT A WORD"
    elif ! timeout $((seconds + 60)) "$place/soundness" --seconds "$seconds" >"$place/log" 2>&1; then
        verdict=$(sed -n '/^seed [0-9]*: /{p;q}' "$place/log" | cut -c 1-110)
        [ -n "$verdict" ] || verdict="ENDS WITHOUT A WORD"
    fi
    printf '%-34s %s\n' "$name" "$verdict"
    rm -rf "$place/soundness" "$place/mutant.o"
}

for name in "${names[@]}"; do
    try_one "$name"
done | tee "$work/table"
bad=$(grep -vcE ' (seed [0-9]+|corpus, [^:]+): ' "$work/table" || true)
echo "${#names[@]} mutants, $bad not caught"
[ "$bad" = 0 ]
