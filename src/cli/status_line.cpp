// SPDX-License-Identifier: Apache-2.0
#include "cli/status_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "cli/report.hpp"

namespace taskwork::cli {

StatusLine::StatusLine(std::uint64_t start_ns) noexcept
    : terminal_(::isatty(STDERR_FILENO) == 1), start_ns_(start_ns), last_ns_(start_ns) {}

StatusLine::~StatusLine() { erase(); }

bool StatusLine::is_due(std::uint64_t now_ns) const noexcept {
    return terminal_ && now_ns - last_ns_ >= 1'000'000'000;
}

void StatusLine::update(std::uint64_t now_ns, std::uint64_t events, std::uint64_t callbacks) {
    last_ns_ = now_ns;
    shown_ = true;
    // Back to the first column, erase to the end.
    fmt::print(stderr, "\r\x1b[Ktaskwork: {} s, {} events, {} callbacks",
               (now_ns - start_ns_) / 1'000'000'000, with_commas(events), with_commas(callbacks));
    std::fflush(stderr);
}

void StatusLine::erase() noexcept {
    if (shown_) {
        std::fputs("\r\x1b[K", stderr);
        std::fflush(stderr);
        shown_ = false;
    }
}

}  // namespace taskwork::cli
