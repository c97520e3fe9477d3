// SPDX-License-Identifier: Apache-2.0
//
// What COMMAND and its descendants do, without a gap: the kernel writes a record of every fork,
// exec, executable mapping and exit into rings of ours. They come from perf events that count
// nothing, one a processor, inherited by every child whether it is of the domain or not.
//
// Not to be had where perf events are forbidden, and not asked for on machines with very many
// processors, where inheriting would cost each new thread too much: then Processes looks at /proc
// instead.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace taskwork::cli {

struct FamilyRecord {
    enum class Kind { forked, execed, mapped, exited } kind = Kind::forked;
    pid_t pid = 0;
    pid_t parent = 0;           ///< forked: the parent's pid.
    std::uint64_t time_ns = 0;  ///< CLOCK_BOOTTIME.
    // mapped:
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t offset = 0;
    std::string text = {};  ///< execed: name of the thread; mapped: path of the file.
};

class Family {
public:
    static constexpr long kProcessorsMax = 32;

    Family() = default;
    ~Family();
    Family(const Family&) = delete;
    Family& operator=(const Family&) = delete;

    /// Follows a process and all that it will start. False: not to be had.
    /// Context: task.
    bool follow(pid_t pid);
    [[nodiscard]] bool is_following() const noexcept { return !rings_.empty(); }
    /// What has happened since the last call, in order. A record may come one call late.
    /// Context: task.
    std::vector<FamilyRecord> take();
    /// Records that did not fit into the rings.
    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

private:
    struct Ring {
        int descriptor;
        std::byte* memory;
    };
    void take_from(Ring& ring, std::vector<FamilyRecord>& records);
    void close();

    std::vector<Ring> rings_;
    std::uint64_t lost_ = 0;
};

}  // namespace taskwork::cli
