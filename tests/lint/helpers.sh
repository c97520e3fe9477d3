#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# docs/verifier.md names the helpers and kernel functions that there are, and no others.
set -eu

{
    sed -n 's/^    table\[BPF_FUNC_\([a-z_0-9]*\)\] = .*/bpf_\1/p' src/bpf/helpers.cpp
    sed -n 's/^    {"\(bpf_[a-z_0-9]*\)",.*/\1/p' src/bpf/kfuncs.cpp
} | awk -v document=docs/verifier.md '
    { exists[$0] = 1; ++count }
    END {
        while ((getline line < document) > 0) {
            if (line ~ /^## /) { inside = line == "## Helpers and kernel functions" }
            while (inside && match(line, /`bpf_[a-z_0-9]+`/)) {
                named[substr(line, RSTART + 1, RLENGTH - 2)] = 1
                line = substr(line, RSTART + RLENGTH)
            }
        }
        for (name in exists) {
            if (!(name in named)) { print document ": does not name " name; bad = 1 }
        }
        for (name in named) {
            if (!(name in exists)) { print document ": there is no " name; bad = 1 }
        }
        if (count < 40) { print "tables of helpers and kernel functions were not found"; bad = 1 }
        exit bad
    }'
