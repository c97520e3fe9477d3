#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Lists the C and C++ sources of the tree, one a line.
cd "$(dirname "$0")/.." || exit 1
for folder in include src tests examples bench; do
    if [ -d "$folder" ]; then
        find "$folder" -type f \( -name '*.[ch]' -o -name '*.hpp' -o -name '*.cpp' \)
    fi
done | sort
