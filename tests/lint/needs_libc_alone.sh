#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# needs_libc_alone.sh LIBRARY: the preload library needs libc (and the loader that is there anyway),
# and binds everything at start.
set -eu

dynamic=$(readelf -dW "$1")
echo "$dynamic" | awk '
    /\(NEEDED\)/ {
        if ($0 !~ /\[(libc\.so\.6|ld-linux-x86-64\.so\.2)\]/) {
            print "needs more than libc: " $0
            bad = 1
        }
    }
    /\(FLAGS_1\)/ && /NOW/ { now = 1 }
    END {
        if (!now) { print "not bound at start (-z now)"; bad = 1 }
        exit bad
    }'
