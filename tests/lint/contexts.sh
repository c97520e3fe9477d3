#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The markers of src/base/context.hpp are diagnosed: code that may run in a handler and calls a
# function for task context does not compile under clang, and the same code marked does.
set -eu

if ! command -v clang++-19 > /dev/null; then
    echo "skipped: clang++-19 is not installed, and no other compiler knows the markers"
    exit 77
fi

# compile <text>: what clang says to it, nothing if it is right.
compile() {
    printf '%s\n' '#include "task/worker.hpp"' '#include "task/run_point.hpp"' \
        'using namespace taskwork;' "$1" |
        clang++-19 -x c++ -std=c++20 -fsyntax-only -Wall -Wextra -Wno-unused -Wthread-safety -Werror \
            -Isrc -Isrc/sync/native - 2>&1
}

failed=0

# accepts <text>, refuses <text> <message>
accepts() {
    if ! said=$(compile "$1"); then
        printf 'refused, though right: %s\n%s\n' "$1" "$said"
        failed=1
    fi
}
refuses() {
    if said=$(compile "$1"); then
        printf 'not diagnosed: %s\n' "$1"
        failed=1
    elif ! printf '%s' "$said" | grep -q "calling function '$2' requires holding context"; then
        printf 'refused for another reason: %s\n%s\n' "$1" "$said"
        failed=1
    fi
}

# Unmarked code may be a handler.
refuses 'void handler() { task::safe_point(); }' safe_point
refuses 'void handler() { task::Worker::run_once(0); }' run_once
refuses 'TW_TASK_ONLY void f() { auto handler = [] { task::safe_point(); }; handler(); }' safe_point
# The worker may do less than a task.
refuses 'TW_NOT_NMI void worker() { task::Worker::synchronize(); }' synchronize
refuses 'void thread() { assume_not_nmi(); task::Worker::stop(); }' stop

accepts 'void handler(task::Task& task) { task::drain(task); }'
accepts 'TW_TASK_ONLY void f() { task::safe_point(); task::Worker::run_once(0); }'
accepts 'TW_NOT_NMI void worker() { task::Worker::run_once(0); }'
accepts 'void thread() { assume_task(); task::Worker::synchronize(); }'

exit $failed
