#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The sources are as `make format` leaves them.
set -eu

if ! command -v clang-format-19 >/dev/null; then
    echo "skipped: clang-format-19 is not installed"
    exit 77
fi
tools/sources.sh | xargs -r clang-format-19 --dry-run -Werror
