// SPDX-License-Identifier: Apache-2.0
//
// The caller's buffer for the verifier's words (BPF_PROG_LOAD, BPF_BTF_LOAD). As the kernel: when
// the text does not fit, the end of it is kept (with BPF_LOG_FIXED, 8: the beginning) and the call
// fails with -ENOSPC, also if it would have succeeded.
#pragma once

#include <cstdint>
#include <string>

namespace taskwork::uapi {

class VerifierLog {
public:
    VerifierLog(std::uint32_t level, std::uint64_t buffer, std::uint32_t size) noexcept
        : level_(level), buffer_(buffer), size_(size) {}

    /// Whether level, buffer and size make sense together; if not the call is -EINVAL.
    /// Context: any.
    [[nodiscard]] bool is_valid() const noexcept;

    /// Whether anybody gets to see the text.
    /// Context: any.
    [[nodiscard]] bool is_read() const noexcept { return level_ != 0 && buffer_ != 0; }

    /// Writes the text out; returns `result`, or -ENOSPC, -EFAULT in its place.
    /// Context: task.
    [[nodiscard]] long finish(const std::string& text, long result) const;

private:
    std::uint32_t level_;
    std::uint64_t buffer_;
    std::uint32_t size_;
};

}  // namespace taskwork::uapi
