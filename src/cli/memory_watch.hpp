// SPDX-License-Identifier: Apache-2.0
//
// Who holds memory back? What maps and programs give up is used again after a grace period: when
// everybody has left the section that he was in at that time. A callback may sleep in its section,
// and a process may be stopped in one; nobody waits for them, but memory does, and a map whose
// spares they hold refuses updates. So `run` asks for a grace period every now and then, and names
// those who keep it from ending.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace taskwork::cli {

/// A thread in a section that a grace period had to wait for.
struct HeldBack {
    pid_t pid = 0;
    pid_t tid = 0;
    std::string command;   ///< Name of the thread.
    std::uint64_t ns = 0;  ///< For how long at least; its longest section.
};

class MemoryWatch {
public:
    /// A grace period is late after this time, and they are asked for this often. So whoever is
    /// named has been in a section for a second, and whoever is for two is named.
    static constexpr std::uint64_t kLateNs = 1'000'000'000;

    /// One at a time in a process.
    MemoryWatch() noexcept;
    MemoryWatch(const MemoryWatch&) = delete;
    MemoryWatch& operator=(const MemoryWatch&) = delete;

    /// Asks, or looks who is late; to be called every now and then. Context: task. Host only.
    void look(std::uint64_t now_ns);
    /// Whether a grace period has been asked for and has not ended.
    /// Context: task.
    [[nodiscard]] bool is_waiting() const noexcept;
    /// Those that were late, in the order in which they were found so.
    /// Context: task.
    [[nodiscard]] const std::vector<HeldBack>& held_back() const noexcept { return held_back_; }

private:
    void find_holders(std::uint64_t ns);

    std::uint64_t epoch_ = 0;  ///< Sections of it and before are waited for; 0: none asked for yet.
    std::uint64_t asked_ns_ = 0;
    std::vector<HeldBack> held_back_;
};

}  // namespace taskwork::cli
