#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# coverage.sh BUILD: prints, per source file, what the tests run in that build (preset coverage)
# reached; BUILD/html has it line by line.
set -eu
build=$1

cd "$(dirname "$0")/.."
llvm-profdata-19 merge -sparse -o "$build/merged.profdata" "$build"/profile/*.profraw
objects=$(find "$build" -type f -name '*_test' -perm -u+x | sort | sed 's/^/-object /')
# shellcheck disable=SC2086  # a list
set -- $objects -instr-profile "$build/merged.profdata" \
    -ignore-filename-regex '_test\.cpp$|/tests/|^/usr/'
llvm-cov-19 show "$@" -format html -output-dir "$build/html" >/dev/null
llvm-cov-19 report "$@" -show-region-summary=false -show-branch-summary=false
