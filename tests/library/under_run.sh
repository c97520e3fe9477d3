#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# under_run.sh TASKWORK BPF_DIR WORKLOAD PLUGIN: a program that uses the library, and is itself run
# under `taskwork run`, works, and is sampled.
set -eu
taskwork=$1
bpf=$2
workload=$3
plugin=$4
report=$(mktemp)
trap 'rm -f "$report"' EXIT

run() {
    timeout 100 "$taskwork" run --json="$report" "$bpf/$1" -- "$workload" $2
    # Two domains in the process: the events and callbacks of taskwork's went on meanwhile.
    tr -d ' \n' <"$report" | grep -q '"ran":[1-9]' || {
        echo "no callback of $1 ran"
        exit 1
    }
}
run hash_resume.bpf.o ""
run hash_resume.bpf.o "$plugin"
