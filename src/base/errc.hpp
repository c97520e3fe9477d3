// SPDX-License-Identifier: Apache-2.0
//
// Errors. Code that may run in irq or nmi returns std::errc: nothing is allocated, nothing is
// formatted. Set-up code returns Result<T> (base/result.hpp). A BPF program sees the negative errno
// that negative_errno() makes of either, here and nowhere else.
#pragma once

#include <cerrno>
#include <system_error>

namespace taskwork {

/// Success, as in std::from_chars.
inline constexpr std::errc no_error{};

/// The kernel's own "not supported" (524), which is not an errno of user space but which map
/// operations of the bpf(2) interface return.
inline constexpr std::errc errc_kernel_notsupp = static_cast<std::errc>(524);

/// The value that a BPF program or a caller of bpf(2) sees for `error`; 0 for success.
/// Context: any.
[[nodiscard]] constexpr int negative_errno(std::errc error) noexcept {
    return -static_cast<int>(error);
}

/// The errno of the last failed libc call as an std::errc.
/// Context: any.
[[nodiscard]] inline std::errc last_errc() noexcept { return static_cast<std::errc>(errno); }

}  // namespace taskwork
