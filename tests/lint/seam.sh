#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The concurrency core reaches atomics, threads and system calls through the platform seam
# (src/sync/platform.hpp, src/sync/native), so that the same source can also be built for an explorer
# of interleavings. Layers outside the core are ordinary code.
# Exceptions stand in seam_allowed.txt: a shell pattern of paths, then the reason. Tests and
# benchmarks are free.
set -eu
allowed=tests/lint/seam_allowed.txt
status=0

patterns=$(awk '!/^#/ && NF { print $1 }' "$allowed")
awk '!/^#/ && NF == 1 { print FILENAME ":" FNR ": no reason given for " $1; bad = 1 }
     END { exit bad }' "$allowed" || status=1
bypass='std::(atomic|thread|mutex)|pthread_[a-z_]+ *\(|(^|[^a-zA-Z_])syscall *\(|__(atomic|sync)_'

set -f
for file in $(find src/sync src/task src/defer src/map -name '*.hpp' -o -name '*.cpp' | sort); do
    skip=
    case $file in
    src/sync/platform* | src/sync/native/* | *_test.cpp | *_bench.cpp) continue ;;
    esac
    for pattern in $patterns; do
        # shellcheck disable=SC2254  # a pattern is meant
        case $file in $pattern) skip=1 ;; esac
    done
    [ -z "$skip" ] || continue
    # Comments may name anything.
    bypass=$bypass awk '{ code = $0; sub(/\/\/.*/, "", code) }
         code ~ ENVIRON["bypass"] {
             print FILENAME ":" FNR ": outside the platform seam: " $0; bad = 1 }
         END { exit bad }' "$file" || status=1
done
exit $status
