#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/demo.sh BUILD: the demo, from a build of the target `product` (make demo makes one).
#
#   1. Debian's own xz, unmodified, compresses 64 MB on two threads while it is sampled at 997 Hz.
#   2. A program of ours with frame pointers is sampled the same way, whole stacks.
#   3. What sampling costs, in four figures: events per second and the program's time from (1) and
#      (2), the time from a schedule to its callback from an object that schedules at each event,
#      the slowdown of (1) from runs of the same command without and with, in turn.
set -eu

build=${1:-build/release}
taskwork=$build/bin/taskwork
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
pairs=3

if ! command -v xz >/dev/null; then
    echo "demo: xz is missing (Debian: apt-get install xz-utils)" >&2
    exit 1
fi

# title TEXT
title() { printf '\n== %s\n' "$1"; }

# fit: no line longer than a screen is wide; one that was cut ends in "...".
fit() {
    awk 'length($0) > 100 {
        line = substr($0, 1, 97)
        at_word = line
        sub(/[^ ]*$/, "", at_word)
        $0 = (length(at_word) > 60 ? at_word : line) "..."
    } { print }'
}

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
    sed '/^map /,$d' "$work/$name.txt" | fit
}

# number FILE NAME: the first "NAME":number of a JSON report.
number() { grep -o "\"$2\":[0-9]*" "$1" | head -n 1 | cut -d : -f 2; }

# sorted FILE: "MEDIAN MIN MAX" of one number a line.
sorted() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[1], v[NR] }'; }

seq 1 9500000 | head -c 67108864 >"$work/input"

title "xz -1 -T2 over 64 MB, sampled at 997 Hz by examples/sampler.bpf.c"
sampled xz sampler xz -1 -T2 -k -c "$work/input"
echo
"$build/examples/sample_table" "$work/xz.json" 10 | fit

title "examples/demo/stacks_main.c, whole stacks by examples/stack_sampler.bpf.c"
sampled stacks stack_sampler "$build/examples/stacks" --seconds 3
echo
"$build/examples/sample_table" "$work/stacks.json" 10 | fit

title "What it costs"
for name in xz stacks; do
    awk -v name="$name" -v fired="$(number "$work/$name.json" fired)" \
        -v ns="$(number "$work/$name.json" elapsed)" -v user="$(number "$work/$name.json" user)" \
        -v runs="$(number "$work/$name.json" runs)" \
        -v run="$(number "$work/$name.json" run_ns)" 'BEGIN {
            printf "events per second     %.0f (%.0f per second of user CPU time)  %s\n",
                fired * 1e9 / ns, fired * 1e9 / user, name
            printf "nmi program           %.1f us on average  %s\n", run / runs / 1000, name }'
done

# The sampler schedules once a process; here a work is scheduled at each event.
sampled work hash_resume xz -1 -T2 -k -c "$work/input" >"$work/unused"
sed -n 's/.*"latency_ns":{\([^}]*\)}.*/{\1}/p' "$work/work.json" >"$work/latency"
awk -v count="$(number "$work/latency" count)" -v p50="$(number "$work/latency" p50)" \
    -v p99="$(number "$work/latency" p99)" -v max="$(number "$work/latency" max)" 'BEGIN {
        printf "schedule to callback  p50 %.1f us, p99 %.1f us, max %.1f us of %d callbacks",
            p50 / 1000, p99 / 1000, max / 1000, count
        print "  xz, hash_resume" }'

# Time that passes is what a user sees, CPU time what a busy machine disturbs less.
for _ in $(seq "$pairs"); do
    start=$(date +%s%N)
    (xz -1 -T2 -k -c "$work/input" >/dev/null; times >"$work/times")
    echo $(($(date +%s%N) - start)) >>"$work/plain"
    tail -n 1 "$work/times" | awk -F '[ms ]+' '{
        printf "%.0f\n", ($1 * 60 + $2 + $3 * 60 + $4) * 1e9 }' >>"$work/plain_cpu"
    sampled again sampler xz -1 -T2 -k -c "$work/input" >"$work/unused"
    number "$work/again.json" elapsed >>"$work/sampled"
    echo $(($(number "$work/again.json" user) + $(number "$work/again.json" system))) \
        >>"$work/sampled_cpu"
done

# slowdown TITLE PLAIN SAMPLED: of two files of nanoseconds.
slowdown() {
    echo "$(sorted "$2") $(sorted "$3")" | awk -v title="$1" '{
        printf "%-21s %+.1f %%: %.2f s (%.2f to %.2f) unsampled, %.2f s (%.2f to %.2f) sampled\n",
            title, ($4 / $1 - 1) * 100, $1 / 1e9, $2 / 1e9, $3 / 1e9, $4 / 1e9, $5 / 1e9, $6 / 1e9 }'
}
slowdown "slowdown, elapsed" "$work/plain" "$work/sampled"
slowdown "slowdown, CPU time" "$work/plain_cpu" "$work/sampled_cpu"
echo "                      xz: medians (least to most) of $pairs runs without and with, in turn"
