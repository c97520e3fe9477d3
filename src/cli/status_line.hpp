// SPDX-License-Identifier: Apache-2.0
//
// The line that says, once a second, that something is going on: elapsed time, events, callbacks.
// On a terminal only, and rewritten in place.
#pragma once

#include <cstdint>

namespace taskwork::cli {

class StatusLine {
public:
    /// Writes to standard error if that is a terminal, else nowhere.
    /// Context: task.
    explicit StatusLine(std::uint64_t start_ns) noexcept;
    /// Erases the line.
    ~StatusLine();
    StatusLine(const StatusLine&) = delete;
    StatusLine& operator=(const StatusLine&) = delete;

    /// Whether a second has passed since the last update.
    /// Context: task.
    [[nodiscard]] bool is_due(std::uint64_t now_ns) const noexcept;
    /// Context: task.
    void update(std::uint64_t now_ns, std::uint64_t events, std::uint64_t callbacks);
    /// Context: task.
    void erase() noexcept;

private:
    bool terminal_;
    bool shown_ = false;
    std::uint64_t start_ns_;
    std::uint64_t last_ns_;
};

}  // namespace taskwork::cli
