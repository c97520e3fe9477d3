#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/demo.sh BUILD: the demo, from a build of the target `product` (make demo makes one).
#
#   1. Debian's own xz, unmodified, compresses 64 MB on two threads while it is sampled at 997 Hz.
#   2. A program of ours with frame pointers is sampled the same way, whole stacks.
#   3. What sampling costs: xz on 16 MB, with and without, in turn.
set -eu

build=${1:-build/release}
taskwork=$build/bin/taskwork
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
pairs=5

if ! command -v xz >/dev/null; then
    echo "demo: xz is missing (Debian: apt-get install xz-utils)" >&2
    exit 1
fi

# title TEXT
title() { printf '\n== %s\n' "$1"; }

# sampled NAME OBJECT COMMAND...: runs it sampled, and prints the report down to the maps. The
# command's own output is not the subject.
sampled() {
    name=$1
    object=$build/bpf/$2.bpf.o
    shift 2
    if ! "$taskwork" run --freq 997 --json="$work/$name.json" "$object" -- "$@" \
        >/dev/null 2>"$work/$name.txt"; then
        cat "$work/$name.txt" >&2
        exit 1
    fi
    sed '/^map /,$d' "$work/$name.txt"
}

# number FILE NAME: the first "NAME":number of a JSON report.
number() { sed -n "s/.*\"$2\":\\([0-9]*\\).*/\\1/p" "$1"; }

# median FILE: of one number a line.
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# ms TEXT: nanoseconds as milliseconds.
ms() { awk -v ns="$1" 'BEGIN { printf "%.0f ms", ns / 1e6 }'; }

seq 1 9500000 | head -c 67108864 >"$work/input"

title "xz -1 -T2 over 64 MB, sampled at 997 Hz by examples/sampler.bpf.c"
sampled xz sampler xz -1 -T2 -k -c "$work/input"
echo
"$build/examples/sample_table" "$work/xz.json" 10

title "examples/demo/stacks_main.c, whole stacks by examples/stack_sampler.bpf.c"
sampled stacks stack_sampler "$build/examples/stacks" --seconds 3
echo
"$build/examples/sample_table" "$work/stacks.json" 10

title "What it costs: xz -1 -T2 over 16 MB, $pairs times with and without, in turn"
head -c 16777216 "$work/input" >"$work/small"
for _ in $(seq "$pairs"); do
    start=$(date +%s%N)
    xz -1 -T2 -k -c "$work/small" >/dev/null
    echo $(($(date +%s%N) - start)) >>"$work/plain"
    sampled small sampler xz -1 -T2 -k -c "$work/small" >/dev/null
    number "$work/small.json" elapsed >>"$work/sampled"
done
plain=$(median "$work/plain")
with=$(median "$work/sampled")
for name in xz stacks; do
    awk -v name="$name" -v fired="$(number "$work/$name.json" fired)" \
        -v ns="$(number "$work/$name.json" elapsed)" -v user="$(number "$work/$name.json" user)" \
        -v runs="$(number "$work/$name.json" runs)" -v run="$(number "$work/$name.json" run_ns)" \
        -v p50="$(number "$work/$name.json" p50)" -v max="$(number "$work/$name.json" max)" 'BEGIN {
            printf "%-7s %.0f events/s (%.0f per second of user CPU time), nmi program %.1f us, ",
                name, fired * 1e9 / ns, fired * 1e9 / user, run / runs / 1000
            printf "schedule to callback p50 %.1f us, max %.1f us\n", p50 / 1000, max / 1000 }'
done
awk -v plain="$plain" -v with="$with" -v a="$(ms "$plain")" -v b="$(ms "$with")" 'BEGIN {
    printf "slowdown: %s unsampled, %s sampled (medians): %+.1f %%\n", a, b, (with / plain - 1) * 100 }'
